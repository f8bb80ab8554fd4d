"""Normalisation against float64: values, gradients, running statistics, orders and batches."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import exact_torch
from exact_torch.table import OPS
from tests.exact.float64_reference import (
    Outcome,
    both,
    close,
    close_to_largest,
    run,
    same_bits,
    seeded,
    upstream,
)

CHECKED = settings(max_examples=6, deadline=None)
ALLOWED = 2.0**-20
"""Of the largest element: gradients start from statistics rounded to float32."""

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch_1d": (lambda: nn.BatchNorm1d(6), (9, 6)),
    "batch_2d": (lambda: nn.BatchNorm2d(6), (4, 6, 5, 3)),
    "batch_3d": (lambda: nn.BatchNorm3d(2), (3, 2, 2, 3, 2)),
    "batch_plain": (lambda: nn.BatchNorm2d(6, affine=False, momentum=None), (4, 6, 5, 3)),
    "batch_without_history": (
        lambda: nn.BatchNorm2d(6, track_running_stats=False),
        (4, 6, 5, 3),
    ),
    "instance": (lambda: nn.InstanceNorm2d(6, affine=True), (4, 6, 5, 3)),
    "instance_with_history": (lambda: nn.InstanceNorm1d(6, track_running_stats=True), (4, 6, 5)),
    "group": (lambda: nn.GroupNorm(3, 6), (4, 6, 5, 3)),
    "group_plain": (lambda: nn.GroupNorm(2, 6, affine=False), (4, 6, 5)),
    "group_of_rows": (lambda: nn.GroupNorm(2, 6), (4, 6)),
    "rms": (lambda: nn.RMSNorm(6, eps=1e-6), (4, 5, 6)),
    "rms_of_two": (lambda: nn.RMSNorm((5, 6), eps=1e-3), (4, 5, 6)),
    "rms_plain": (lambda: nn.RMSNorm(6, eps=1e-7, elementwise_affine=False), (7, 6)),
    "local_response": (lambda: nn.LocalResponseNorm(3, alpha=0.5), (2, 6, 4, 3)),
}


def layer(name: str) -> nn.Module:
    """Return a layer whose parameters are not the ones and zeros that hide mistakes."""
    made = LAYERS[name][0]()
    for parameter in made.parameters():
        parameter.data.copy_(upstream(parameter.shape, torch.float32) * 0.125 + 0.3)
    return made


def trained(made: nn.Module, x: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """Run two batches in training and one in evaluation; return all that they leave."""
    made = copy.deepcopy(made).to(dtype)
    leaf = x.to(dtype).clone().requires_grad_()
    left = []
    for training in (True, True, False):
        made.train(training)
        value = made(leaf)
        value.backward(upstream(value.shape, value.dtype))
        left.append(value.detach())
    assert leaf.grad is not None
    left += [leaf.grad, *(p.grad for p in made.parameters() if p.grad is not None)]
    return left + [b for b in made.buffers() if b.is_floating_point()]


@pytest.mark.parametrize("name", LAYERS)
@CHECKED
@given(
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([1e-2, 1.0, 1e3]),
    centre=st.sampled_from([0.0, 1.0, -4.0]),
)
def test_layers_are_those_of_float64(name: str, seed: int, spread: float, centre: float) -> None:
    made, shape = layer(name), LAYERS[name][1]
    x = (seeded(*shape, seed=seed) + centre) * spread
    with exact_torch.mode():
        found = trained(made, x, torch.float32)
    expected = trained(made, x, torch.float64)
    assert len(found) == len(expected)
    for part, wanted in zip(found, expected, strict=True):
        assert part.dtype is torch.float32
        assert close_to_largest(part, wanted, ALLOWED)


@CHECKED
@given(seed=st.integers(0, 2**31), shift=st.integers(0, 3))
def test_batch_statistics_do_not_depend_on_the_order_of_images(seed: int, shift: int) -> None:
    made = layer("batch_2d")
    x = seeded(4, 6, 5, 3, seed=seed, spread=7.0)
    results = []
    for images in (x, x.roll(shift, 0).flip(2)):
        fresh = copy.deepcopy(made)
        with exact_torch.mode():
            fresh(images)
        results.append((fresh.running_mean, fresh.running_var))
    assert same_bits(results[0][0], results[1][0])
    assert same_bits(results[0][1], results[1][1])


@pytest.mark.parametrize("name", ["group", "group_of_rows", "instance", "rms", "local_response"])
def test_no_row_depends_on_its_batch(name: str) -> None:
    made, shape = layer(name), LAYERS[name][1]
    x = seeded(*shape, seed=1)
    x[1] *= 1e15
    with exact_torch.mode():
        together = run(made, x)
        for i in range(shape[0]):
            assert same_bits(together.value[i : i + 1], made(x[i : i + 1]))


def test_large_means_do_not_cancel() -> None:
    """mean 10^4, deviation 1: variances are of differences from the mean, in float64."""
    x = seeded(64, 6, seed=2) + 1e4
    for made in (nn.BatchNorm1d(6), nn.GroupNorm(2, 6)):
        with exact_torch.mode():
            found = made(x)
        expected = copy.deepcopy(made).double()(x.double())
        assert close(found, expected.detach(), relative=2.0**-22, absolute=2.0**-22)


def test_edges() -> None:
    """Constant rows, zeros, infinities and NaN; each channel by itself."""
    x = seeded(5, 6, 2, 2, seed=3)
    x[:, 1] = 3.0
    x[:, 2] = 0.0
    x[0, 3, 0, 0] = float("inf")
    x[0, 4, 0, 0] = float("nan")
    with exact_torch.mode():
        found = nn.BatchNorm2d(6)(x)
        plain = nn.BatchNorm2d(6)(x[:, :1].expand(-1, 6, -1, -1))
    assert same_bits(found[:, 1:3], torch.zeros(5, 2, 2, 2))
    assert found[:, 3:5].isnan().all()
    assert same_bits(found[:, 0], plain[:, 0])


def test_empty_batches() -> None:
    for name in ("group", "rms"):
        made = layer(name)
        with exact_torch.mode():
            found = run(made, torch.zeros(0, *LAYERS[name][1][1:]))
        assert found.value.shape == (0, *LAYERS[name][1][1:])
    made = layer("batch_2d").eval()
    with exact_torch.mode():
        assert made(torch.zeros(0, 6, 2, 2)).shape == (0, 6, 2, 2)


@pytest.mark.parametrize("name", ["batch_2d", "group", "rms"])
def test_bfloat16_rounds_once(name: str) -> None:
    made, shape = layer(name), LAYERS[name][1]
    x = seeded(*shape, seed=4).bfloat16()
    with exact_torch.mode():
        narrow = copy.deepcopy(made).bfloat16()(x)
        wide = copy.deepcopy(made).bfloat16().float()(x.float())
    assert same_bits(narrow, wide.bfloat16())


def test_bfloat16_inputs_with_float32_parameters() -> None:
    """What autocast makes of batch norm: statistics and parameters stay float32."""
    made = layer("batch_2d")
    x = seeded(4, 6, 5, 3, seed=5).bfloat16()
    with exact_torch.mode():
        narrow = copy.deepcopy(made)(x)
        wide = copy.deepcopy(made)(x.float())
    assert same_bits(narrow, wide.bfloat16())


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (1, 1)])
def test_rms_norm_by_all_its_names(shape: tuple[int, ...]) -> None:
    x, weight = seeded(*shape, seed=6), seeded(shape[-1], seed=7)
    size = shape[-1:]
    with exact_torch.mode():
        expected = run(lambda v, w: functional.rms_norm(v, size, w, 1e-5), x, weight)
        named = run(
            lambda v, w: torch.rms_norm(input=v, normalized_shape=size, weight=w, eps=1e-5),
            x,
            weight,
        )
        with torch.no_grad():
            silent = functional.rms_norm(x, size, weight, 1e-5)
        with torch.inference_mode():
            inferred = functional.rms_norm(x, size, weight, 1e-5)
    for part, wanted in zip(named.tensors(), expected.tensors(), strict=True):
        assert same_bits(part, wanted)
    assert same_bits(silent, expected.value)
    assert same_bits(inferred, expected.value)


def test_rms_norm_is_one_rounding_from_float64() -> None:
    x = seeded(50, 64, seed=8, spread=30.0)
    found, expected = both(lambda v: functional.rms_norm(v, (64,), eps=1e-6), x)
    assert close(found.value, expected.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_default_eps_of_rms_norm_is_torchs(dtype: torch.dtype) -> None:
    """Values as small as the root of eps tell one default from another."""
    x = torch.full((4,), 1e-4).to(dtype)
    expected = functional.rms_norm(x, (4,))
    with exact_torch.mode():
        found = functional.rms_norm(x, (4,))
    # sums keep 39 bits, of float64 too
    assert close_to_largest(found, expected.double(), max(torch.finfo(dtype).eps, 2.0**-36))


def test_rms_norm_of_another_shape_is_an_error() -> None:
    with exact_torch.mode(), pytest.raises(ValueError, match="normalized_shape"):
        functional.rms_norm(torch.ones(2, 3), (2,))


def test_fused_rms_norm_is_the_same() -> None:
    x, weight = seeded(5, 8, seed=9), seeded(8, seed=10)
    with exact_torch.mode():
        expected = run(lambda v, w: functional.rms_norm(v, (8,), w, 1e-5), x, weight)
    y, rstd = OPS["_fused_rms_norm"].run(x, (8,), weight, 1e-5)
    slopes = OPS["_fused_rms_norm_backward"].run(
        upstream(y.shape, y.dtype), x, (8,), rstd, weight, (True, True)
    )
    for part, wanted in zip((y, *slopes), expected.tensors(), strict=True):
        assert same_bits(part, wanted)


def test_cudnn_batch_norm_is_the_same() -> None:
    """What a GPU dispatches to: other arguments and results, the same bits."""
    x, weight, bias = seeded(4, 3, 2, 2, seed=11), seeded(3, seed=12), seeded(3, seed=13)
    histories = [(torch.zeros(3), torch.ones(3)) for _ in range(2)]
    native = OPS["native_batch_norm"].run(x, weight, bias, *histories[0], True, 0.1, 1e-5)
    *cudnn, reserve = OPS["cudnn_batch_norm"].run(x, weight, bias, *histories[1], True, 0.1, 1e-5)
    for one, other in zip((*native, *histories[0]), (*cudnn, *histories[1]), strict=True):
        assert same_bits(one, other)
    g = upstream(x.shape, x.dtype)
    rest = (*histories[0], native[1], native[2])
    expected = OPS["native_batch_norm_backward"].run(
        g, x, weight, *rest, True, 1e-5, (True, True, True)
    )
    found = OPS["cudnn_batch_norm_backward"].run(x, g, weight, *rest, 1e-5, reserve)
    for one, other in zip(found, expected, strict=True):
        assert same_bits(one, other)


@pytest.mark.parametrize("dim", [0, 1, None])
@CHECKED
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([1e-6, 1.0, 1e6]))
def test_weight_norm(dim: int | None, seed: int, spread: float) -> None:
    made = nn.utils.parametrizations.weight_norm(nn.Linear(7, 5, bias=False), dim=dim)
    direction = made.parametrizations.weight.original1
    direction.data.copy_(seeded(5, 7, seed=seed, spread=spread))
    x = seeded(3, 7, seed=seed + 1)

    def outcome(dtype: torch.dtype) -> Outcome:
        with torch.no_grad():
            copied = copy.deepcopy(made).to(dtype)
        value = copied.weight
        value.backward(upstream(value.shape, dtype))
        lengths = copied.parametrizations.weight
        return Outcome(value.detach(), (lengths.original0.grad, lengths.original1.grad))

    with exact_torch.mode():
        found = outcome(torch.float32)
        assert made(x).shape == (3, 5)
    expected = outcome(torch.float64)
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert close_to_largest(part, wanted, ALLOWED)


@pytest.mark.parametrize("p", [1.0, 2.0, float("inf")])
def test_normalize(p: float) -> None:
    x = seeded(6, 5, seed=14)
    x[2] = 0.0
    found, expected = both(lambda v: functional.normalize(v, p=p, dim=1), x)
    assert close_to_largest(found.value, expected.value, ALLOWED)
    # a row of zeros is divided by eps = 1e-12, which hides the others' errors
    assert close_to_largest(found.gradients[0][:2], expected.gradients[0][:2], ALLOWED)
    assert close_to_largest(found.gradients[0][2], expected.gradients[0][2], ALLOWED)
