"""Norms: layer, RMS, group, instance, batch, weight; with and without affine parameters."""

import torch
from torch import nn

from tests.exact.programs.inputs import fill, gradients, lattice, weights
from tests.exact.programs.registry import Tensors, program


def _each(layers: dict[str, nn.Module], inputs: torch.Tensor) -> Tensors:
    result: Tensors = {}
    for number, (name, layer) in enumerate(layers.items()):
        fill(layer, seed=900 + 10 * number)
        point = inputs.detach().clone().requires_grad_()
        value = layer(point)
        (value * lattice(*value.shape, seed=990)).sum().backward()
        result |= {f"{name}.value": value.detach(), f"{name}.grad": point.grad}
        result |= {f"{name}.{key}": slope for key, slope in gradients(layer).items()}
        result |= {f"{name}.{key}": slope for key, slope in weights(layer).items()}
    return result


@program
def norms_of_sequences() -> Tensors:
    return _each(
        {
            "layer": nn.LayerNorm(48),
            "layer_plain": nn.LayerNorm(48, elementwise_affine=False),
            "layer_wide": nn.LayerNorm((10, 48)),
            "layer_without_bias": nn.LayerNorm(48, bias=False),
            "rms": nn.RMSNorm(48),
            "rms_plain": nn.RMSNorm(48, elementwise_affine=False, eps=1e-6),
        },
        lattice(5, 10, 48, seed=901, scale=8.0) + 3.0,
    )


@program
def norms_of_images() -> Tensors:
    return _each(
        {
            "group": nn.GroupNorm(4, 12),
            "group_plain": nn.GroupNorm(3, 12, affine=False),
            "instance": nn.InstanceNorm2d(12, affine=True),
            "instance_plain": nn.InstanceNorm2d(12),
            "batch": nn.BatchNorm2d(12),
            "batch_plain": nn.BatchNorm2d(12, affine=False, momentum=None),
            "batch_without_history": nn.BatchNorm2d(12, track_running_stats=False),
        },
        lattice(4, 12, 7, 7, seed=902, scale=4.0) - 1.0,
    )


@program
def batch_norm_in_inference() -> Tensors:
    norm = fill(nn.BatchNorm1d(20), seed=910)
    rows = lattice(32, 20, seed=911, scale=2.0) + 1.0
    for part in rows.split(8):
        norm(part)
    norm.eval()
    point = rows[:6].clone().requires_grad_()
    value = norm(point)
    value.square().sum().backward()
    return {"value": value.detach(), "grad": point.grad, **weights(norm)}


@program
def weight_norms() -> Tensors:
    """Weights rebuilt from direction and length; weights divided by a power iteration."""
    layer = nn.utils.parametrizations.weight_norm(fill(nn.Linear(20, 12), seed=920))
    value = layer(lattice(9, 20, seed=921))
    value.square().mean().backward()
    norms = {f"norm{p}": lattice(9, 20, seed=922).norm(p=p, dim=1) for p in (1, 2, float("inf"))}
    return {"value": value.detach(), **gradients(layer), **norms}


@program
def statistics() -> Tensors:
    values = lattice(40, 60, seed=930) * 100.0 + 1e4
    return {
        "mean": values.mean(),
        "mean_of_rows": values.mean(1),
        "variance": values.var(0),
        "variance_of_all": values.var(unbiased=False),
        "deviation": values.std(1, correction=0),
        "largest": values.amax(0),
        "extent": values.max() - values.min(),
        "norm": values.norm(),
        "product": (values[0] / 1e4).prod(),
        "covariance": (values - values.mean(0)).t() @ (values - values.mean(0)) / 39,
        "count": (values > 1e4).sum(),
        "any": (values > 10099).any(1),
    }
