"""Layer normalisation."""

from collections.abc import Sequence

import torch

from exact_torch.state import kernels
from exact_torch.table import Rule, define


@define("native_layer_norm", rule=Rule.SUM, meaning="((x - mean)·rstd)·weight + bias in float64")
def layer_norm(
    x: torch.Tensor,
    shape: Sequence[int],
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise over the trailing dimensions; mean and rstd come back as float32."""
    rows = x.reshape(-1, _size(shape))
    y, mean, rstd = kernels(x).layer_norm(rows, _flat(weight), _flat(bias), eps)
    leading = list(x.shape[: x.dim() - len(shape)]) + [1] * len(shape)
    return y.reshape(x.shape).to(x.dtype), mean.reshape(leading), rstd.reshape(leading)


@define("native_layer_norm_backward", rule=Rule.SUM, meaning="rstd·(w - mean(w) - h·mean(w·h))")
def layer_norm_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    shape: Sequence[int],
    mean: torch.Tensor,
    rstd: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    wanted: Sequence[bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Differentiate layer_norm with respect to x, weight and bias."""
    size = _size(shape)
    dx, dweight, dbias = kernels(x).layer_norm_backward(
        g.reshape(-1, size), x.reshape(-1, size), mean.reshape(-1), rstd.reshape(-1), _flat(weight)
    )
    kind = x.dtype if weight is None else weight.dtype
    return (
        dx.reshape(x.shape).to(x.dtype) if wanted[0] else None,
        dweight.reshape(tuple(shape)).to(kind) if wanted[1] else None,
        dbias.reshape(tuple(shape)).to(kind) if wanted[2] else None,
    )


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _flat(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.reshape(-1)
