"""Batch, group, root-mean-square and weight normalisation: exact sums, float64, one rounding.

Statistics that a gradient needs are saved as float32 (float64 for float64 inputs), and the gradient
starts from them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes

from exact_torch.arithmetic.bits import F32, F64, constant
from exact_torch.arithmetic.functions import to_type
from exact_torch.definitions.reductions import mean64, sum64
from exact_torch.table import Rule, define, replace

Tensor = torch.Tensor

_BATCH_MEANING = (
    "((x - mean)·rstd)·weight + bias, rstd = 1/sqrt(var + eps); running = (1 - momentum)·running + "
    "momentum·statistic, var·n/(n - 1) for the variance; in float64"
)
_BATCH_BACKWARD = (
    "(rstd·w)·((g - sum(g)/n) - h·(sum(g·h)/n)), h = (x - mean)·rstd; in evaluation g·(rstd·w)"
)


def _saved(x: Tensor) -> torch.dtype:
    """Return the type in which statistics of x are saved."""
    return F64 if x.dtype is F64 else F32


def _inverse_root(variance: Tensor, eps: float) -> Tensor:
    return torch.ones_like(variance) / torch.sqrt(variance + constant(eps, variance))


# ---- batch ---------------------------------------------------------------------------------------


@define("native_batch_norm", "_native_batch_norm_legit", rule=Rule.SUM, meaning=_BATCH_MEANING)
def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel over the batch; returns y, and mean and rstd (empty in evaluation).

    In training the running statistics are changed in place.
    """
    wide, dims = x.to(F64), _all_but_channels(x)
    if not training:
        assert running_mean is not None, "evaluation normalises by running statistics"
        assert running_var is not None, "evaluation normalises by running statistics"
        h = (wide - _channels(running_mean, x)) * _inverse_root(_channels(running_var, x), eps)
        empty = x.new_empty(0, dtype=_saved(x))
        return _affine(h, weight, bias, x), empty, empty.clone()
    mean = mean64(wide, dims, keepdim=True)
    d = wide - mean
    variance = mean64(d * d, dims, keepdim=True)
    rstd = _inverse_root(variance, eps)
    if running_mean is not None:
        _move(running_mean, mean.reshape(-1), momentum)
    if running_var is not None:
        count = x.numel() // max(x.shape[1], 1)
        unbiased = sum64(d * d, dims) / constant(float(count - 1), x)
        _move(running_var, unbiased, momentum)
    mean, saved_rstd = (to_type(s.reshape(-1), _saved(x)) for s in (mean, rstd))
    return _affine(d * rstd, weight, bias, x), mean, saved_rstd


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.dim()))


def _channels(statistic: Tensor, x: Tensor) -> Tensor:
    """Return one value a channel, float64, to broadcast with x."""
    return statistic.to(F64).reshape(1, -1, *[1] * (x.dim() - 2))


def _affine(h: Tensor, weight: Tensor | None, bias: Tensor | None, x: Tensor) -> Tensor:
    if weight is not None:
        h = h * _channels(weight, x)
    if bias is not None:
        h = h + _channels(bias, x)
    return to_type(h, x.dtype)


def _move(running: Tensor, statistic: Tensor, momentum: float) -> None:
    """Move a running statistic towards this batch's, in float64, rounded once."""
    kept = running.to(F64) * constant(1.0 - momentum, running)
    running.copy_(to_type(kept + statistic * constant(momentum, running), running.dtype))


@define("_native_batch_norm_legit.no_stats", rule=Rule.SUM, meaning=_BATCH_MEANING)
def batch_norm_without_running(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel over the batch, keeping no running statistics."""
    return batch_norm(x, weight, bias, None, None, training, momentum, eps)


@define("cudnn_batch_norm", rule=Rule.SUM, meaning=_BATCH_MEANING)
def cudnn_batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise as `batch_norm`; the last result is a reserve that nothing reads."""
    results = batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps)
    return *results, x.new_empty(0, dtype=torch.uint8)


@define("native_batch_norm_backward", rule=Rule.SUM, meaning=_BATCH_BACKWARD)
def batch_norm_backward(
    g: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor | None,
    rstd: Tensor | None,
    training: bool,
    eps: float,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Differentiate batch_norm with respect to x, weight and bias."""
    wide, dims = g.to(F64), _all_but_channels(x)
    if training:
        assert mean is not None, "training saves its statistics"
        assert rstd is not None, "training saves its statistics"
        centre, scale = _channels(mean, x), _channels(rstd, x)
    else:
        assert running_mean is not None, "evaluation normalises by running statistics"
        assert running_var is not None, "evaluation normalises by running statistics"
        centre = _channels(running_mean, x)
        scale = _inverse_root(_channels(running_var, x), eps)
    h = (x.to(F64) - centre) * scale
    dbias = sum64(wide, dims, keepdim=True)
    dweight = sum64(wide * h, dims, keepdim=True)
    factor = scale if weight is None else scale * _channels(weight, x)
    dx = wide
    if training:
        count = constant(float(x.numel() // max(x.shape[1], 1)), x)
        dx = (wide - dbias / count) - h * (dweight / count)
    kind = _saved(x) if weight is None else weight.dtype
    return (
        to_type(dx * factor, x.dtype) if wanted[0] else None,
        to_type(dweight.reshape(-1), kind) if wanted[1] else None,
        to_type(dbias.reshape(-1), kind) if wanted[2] else None,
    )


@define("cudnn_batch_norm_backward", rule=Rule.SUM, meaning=_BATCH_BACKWARD)
def cudnn_batch_norm_backward(
    x: Tensor,
    g: Tensor,
    weight: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor | None,
    rstd: Tensor | None,
    eps: float,
    reserve: Tensor,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Differentiate cudnn_batch_norm, which trains."""
    statistics = (running_mean, running_var, mean, rstd)
    return batch_norm_backward(g, x, weight, *statistics, True, eps, (True, True, True))


# ---- group ---------------------------------------------------------------------------------------


@define(
    "native_group_norm",
    rule=Rule.SUM,
    meaning="((x - mean)·rstd)·weight + bias in float64, statistics of each image and group",
)
def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    images: int,
    channels: int,
    places: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise groups of channels of each image; returns y, and mean and rstd (images, groups)."""
    rows = x.reshape(images, groups, channels // groups * places).to(F64)
    mean = mean64(rows, (2,), keepdim=True)
    d = rows - mean
    rstd = _inverse_root(mean64(d * d, (2,), keepdim=True), eps)
    h = (d * rstd).reshape(images, channels, places)
    y = _affine(h, weight, bias, h)
    mean, rstd = (to_type(s.reshape(images, groups), _saved(x)) for s in (mean, rstd))
    return to_type(y, x.dtype).reshape(x.shape), mean, rstd


@define(
    "native_group_norm_backward",
    rule=Rule.SUM,
    meaning="rstd·((w - mean(w)) - h·mean(w·h)), w = g·weight, h = (x - mean)·rstd",
)
def group_norm_backward(
    g: Tensor,
    x: Tensor,
    mean: Tensor,
    rstd: Tensor,
    weight: Tensor | None,
    images: int,
    channels: int,
    places: int,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Differentiate group_norm with respect to x, weight and bias."""
    shape = (images, groups, channels // groups * places)
    centre, scale = (s.to(F64).reshape(images, groups, 1) for s in (mean, rstd))
    h = (x.reshape(shape).to(F64) - centre) * scale
    by_channel = (images, channels, places)
    wide, each = g.reshape(by_channel).to(F64), h.reshape(by_channel)
    w = (wide if weight is None else wide * _channels(weight, wide)).reshape(shape)
    dx = scale * ((w - mean64(w, (2,), keepdim=True)) - h * mean64(w * h, (2,), keepdim=True))
    kind = x.dtype if weight is None else weight.dtype
    return (
        to_type(dx, x.dtype).reshape(x.shape) if wanted[0] else None,
        to_type(sum64(wide * each, (0, 2)), kind) if wanted[1] else None,
        to_type(sum64(wide, (0, 2)), kind) if wanted[2] else None,
    )


# ---- root mean square ----------------------------------------------------------------------------


_RMS_MEANING = "(x·rstd)·weight, rstd = 1/sqrt(mean(x²) + eps), in float64"


@replace(functional.rms_norm, torch.rms_norm, rule=Rule.SUM, meaning=_RMS_MEANING)
def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root mean square of the trailing dimensions (arXiv:1910.07467).

    Torch composes it of other ops on one device or release and not on another, so it is one
    function here. `eps` is by default, as in torch, the spacing of float32 at 1 (for float64 inputs
    that of float64).
    """
    result: Tensor = _RmsNorm.apply(  # type: ignore[no-untyped-call]
        input, tuple(normalized_shape), weight, eps
    )
    return result


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
    ) -> Tensor:
        with _outside_the_modes():
            y, rstd = fused_rms_norm(x, shape, weight, eps)
        ctx.save_for_backward(x, rstd, weight)
        ctx.shape = shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        x, rstd, weight = ctx.saved_tensors
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[2])
        with _outside_the_modes():
            dx, dweight = fused_rms_norm_backward(g, x, ctx.shape, rstd, weight, wanted)
        return dx, None, dweight, None


@contextmanager
def _outside_the_modes() -> Iterator[None]:
    """Compute natively inside, as definitions of ops do."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


@define("_fused_rms_norm", rule=Rule.SUM, meaning=_RMS_MEANING)
def fused_rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None
) -> tuple[Tensor, Tensor]:
    """Divide by the root mean square; rstd comes back too, with dimensions of size 1."""
    dims = _trailing(x, shape)
    wide = x.to(F64)
    least = torch.finfo(_saved(x)).eps if eps is None else eps
    rstd = _inverse_root(mean64(wide * wide, dims, keepdim=True), least)
    y = wide * rstd
    if weight is not None:
        y = y * weight.to(F64)
    return to_type(y, x.dtype), to_type(rstd, _saved(x))


@define(
    "_fused_rms_norm_backward",
    rule=Rule.SUM,
    meaning="rstd·(w - h·mean(w·h)), w = g·weight, h = x·rstd",
)
def fused_rms_norm_backward(
    g: Tensor,
    x: Tensor,
    shape: Sequence[int],
    rstd: Tensor,
    weight: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Differentiate rms_norm with respect to x and weight."""
    dims = _trailing(x, shape)
    wide, scale = g.to(F64), rstd.to(F64)
    h = x.to(F64) * scale
    w = wide if weight is None else wide * weight.to(F64)
    dx = dweight = None
    if wanted[0]:
        dx = to_type(scale * (w - h * mean64(w * h, dims, keepdim=True)), x.dtype)
    if wanted[1] and weight is not None:
        rows = (wide * h).reshape(-1, prod(shape))
        dweight = to_type(sum64(rows, (0,)).reshape(weight.shape), weight.dtype)
    return dx, dweight


def _trailing(x: Tensor, shape: Sequence[int]) -> tuple[int, ...]:
    if list(x.shape[x.dim() - len(shape) :]) != list(shape):
        raise ValueError(f"normalized_shape {list(shape)} is not the end of {list(x.shape)}")
    return tuple(range(x.dim() - len(shape), x.dim()))


# ---- weights -------------------------------------------------------------------------------------


@define(
    "_weight_norm_interface",
    rule=Rule.SUM,
    meaning="v·(g/norm), norm = the root of the sum of v² over all dimensions but one",
)
def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    """Return the weight of a direction and a length (arXiv:1602.07868), and the norms."""
    wide, dims = v.to(F64), _all_but(v, dim)
    norm = torch.sqrt(sum64(wide * wide, dims, keepdim=True))
    return to_type(wide * (g.to(F64) / norm), v.dtype), to_type(norm, _saved(v))


@define(
    "_weight_norm_interface_backward",
    rule=Rule.SUM,
    meaning="v: (g/norm)·(w - v·(s/norm²)); g: s/norm; s = sum of w·v, w the gradient",
)
def weight_norm_backward(
    w: Tensor, v: Tensor, g: Tensor, norms: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """Differentiate weight_norm with respect to the direction and the length."""
    wide, upstream, norm = v.to(F64), w.to(F64), norms.to(F64)
    total = sum64(upstream * wide, _all_but(v, dim), keepdim=True)
    dv = (g.to(F64) / norm) * (upstream - wide * (total / (norm * norm)))
    return to_type(dv, v.dtype), to_type(total / norm, g.dtype)


def _all_but(x: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(d for d in range(x.dim()) if d != dim % x.dim())
