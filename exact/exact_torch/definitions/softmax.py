"""Softmax and log-softmax."""

import torch

from exact_torch.arithmetic.bits import F32
from exact_torch.state import kernels
from exact_torch.table import Rule, define


def rows_last(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return x with `dim` moved last, where kernels expect it."""
    return x if dim % max(x.dim(), 1) == x.dim() - 1 else x.movedim(dim, -1)


def _apply(
    x: torch.Tensor, dim: int, kind: torch.dtype, *, log: bool, empty_rows_are_zero: bool = False
) -> torch.Tensor:
    rows = rows_last(x.reshape(1) if x.dim() == 0 else x, dim)
    result = kernels(x).softmax(rows, log=log, empty_rows_are_zero=empty_rows_are_zero)
    return result.movedim(-1, dim).reshape(x.shape).to(kind)


@define(
    "_softmax", "softmax", rule=Rule.FUNCTION, meaning="e^(x - max)/sum, the sum exact on 2^-40"
)
def softmax(x: torch.Tensor, dim: int, half_to_float: bool = False) -> torch.Tensor:
    """Normalise exponentials."""
    return _apply(x, dim, F32 if half_to_float else x.dtype, log=False)


@define("_safe_softmax", rule=Rule.FUNCTION, meaning="softmax; a row of -inf alone gives zeros")
def safe_softmax(x: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Normalise exponentials of scores that may be masked whole."""
    return _apply(x, dim, dtype or x.dtype, log=False, empty_rows_are_zero=True)


@define(
    "_log_softmax", "log_softmax", rule=Rule.FUNCTION, meaning="x - max - ln(sum of e^(x - max))"
)
def log_softmax(x: torch.Tensor, dim: int, half_to_float: bool = False) -> torch.Tensor:
    """Return the logarithm of softmax."""
    return _apply(x, dim, F32 if half_to_float else x.dtype, log=True)


def _backward(
    g: torch.Tensor, y: torch.Tensor, dim: int, kind: torch.dtype, *, log: bool
) -> torch.Tensor:
    if y.dim() == 0:
        g, y = g.reshape(1), y.reshape(1)
    result = kernels(g).softmax_backward(rows_last(g, dim), rows_last(y, dim), log=log)
    return result.movedim(-1, dim).to(kind)


@define("_softmax_backward_data", rule=Rule.FUNCTION, meaning="y·(g - sum(g·y)), the sum exact")
def softmax_backward(g: torch.Tensor, y: torch.Tensor, dim: int, kind: torch.dtype) -> torch.Tensor:
    """Differentiate softmax."""
    return _backward(g, y, dim, kind, log=False).reshape(y.shape)


@define("_log_softmax_backward_data", rule=Rule.FUNCTION, meaning="g - e^y·sum(g), the sum exact")
def log_softmax_backward(
    g: torch.Tensor, y: torch.Tensor, dim: int, kind: torch.dtype
) -> torch.Tensor:
    """Differentiate log-softmax."""
    return _backward(g, y, dim, kind, log=True).reshape(y.shape)


@define("logsumexp", rule=Rule.FUNCTION, meaning="max + ln(sum of e^(x - max)), as x - log_softmax")
def logsumexp(x: torch.Tensor, dim: int | list[int], keepdim: bool = False) -> torch.Tensor:
    """Return the logarithm of a sum of exponentials."""
    from exact_torch.arithmetic import functions
    from exact_torch.definitions.reductions import dims_of, sum64

    dims = dims_of(x, dim)
    wide = x.to(torch.float64)
    largest = wide.amax(dims, keepdim=True)
    shift = torch.where(torch.isfinite(largest), largest, torch.zeros_like(largest))
    nan = torch.isnan(wide)
    e = functions.exp64(torch.where(nan, torch.zeros_like(wide), wide - shift))
    e = torch.where(wide == -float("inf"), torch.zeros_like(e), torch.where(nan, wide, e))
    e = torch.where(wide == float("inf"), wide, e)
    result = functions.log(sum64(e, dims, keepdim=True)) + shift
    if not keepdim:
        result = result.reshape([s for d, s in enumerate(x.shape) if d not in dims])
    return functions.to_type(result, x.dtype)
