"""Sums, means, variances and norms: exact integer sums, rounded once."""

from collections.abc import Sequence

import torch

from exact_torch.arithmetic.bits import F64, constant
from exact_torch.arithmetic.functions import to_type
from exact_torch.state import kernels
from exact_torch.table import Rule, define

Dims = int | Sequence[int] | None


def dims_of(x: torch.Tensor, dim: Dims) -> tuple[int, ...]:
    """Return the dimensions a reduction is over, not negative; none given means all."""
    if dim is None or dim == [] or dim == ():
        return tuple(range(x.dim()))
    wanted = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % max(x.dim(), 1) for d in wanted)


def count_of(x: torch.Tensor, dims: tuple[int, ...]) -> int:
    """Return how many elements each result reduces."""
    count = 1
    for d in dims:
        count *= x.shape[d] if x.dim() else 1
    return count


def sum64(x: torch.Tensor, dims: tuple[int, ...], *, keepdim: bool = False) -> torch.Tensor:
    """Return the exact sum as float64."""
    return kernels(x).sum(x, dims if x.dim() else (), keepdim=keepdim)


@define("sum", rule=Rule.SUM, meaning="an exact integer sum on the grid of the largest term")
def sum_(
    x: torch.Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Add up."""
    kind = dtype or (x.dtype if x.is_floating_point() else torch.int64)
    if not kind.is_floating_point:
        return torch.sum(x, dims_of(x, dim), keepdim=keepdim, dtype=kind)
    return to_type(sum64(x, dims_of(x, dim), keepdim=keepdim), kind)


@define("nansum", rule=Rule.SUM, meaning="the sum of what is not NaN")
def nansum(
    x: torch.Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Add up what is not NaN."""
    return sum_(torch.where(torch.isnan(x), torch.zeros_like(x), x), dim, keepdim, dtype=dtype)


@define("mean", rule=Rule.SUM, meaning="sum/n in float64, rounded once")
def mean(
    x: torch.Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Average."""
    return to_type(mean64(x, dims_of(x, dim), keepdim=keepdim), dtype or x.dtype)


def mean64(x: torch.Tensor, dims: tuple[int, ...], *, keepdim: bool = False) -> torch.Tensor:
    """Return the mean as float64."""
    return sum64(x, dims, keepdim=keepdim) / constant(float(count_of(x, dims)), x)


@define(
    "var", rule=Rule.SUM, meaning="sum((x - mean)²)/max(0, n - correction) in float64, rounded once"
)
def var(
    x: torch.Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> torch.Tensor:
    """Return the variance."""
    return to_type(_var64(x, dim, unbiased, keepdim, correction)[0], x.dtype)


@define("std", rule=Rule.SUM, meaning="the root of the variance in float64, rounded once")
def std(
    x: torch.Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> torch.Tensor:
    """Return the standard deviation."""
    return to_type(torch.sqrt(_var64(x, dim, unbiased, keepdim, correction)[0]), x.dtype)


@define("var_mean", rule=Rule.SUM, meaning="variance and mean")
def var_mean(
    x: torch.Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return variance and mean."""
    variance, average = _var64(x, dim, unbiased, keepdim, correction)
    return to_type(variance, x.dtype), to_type(average, x.dtype)


@define("std_mean", rule=Rule.SUM, meaning="standard deviation and mean")
def std_mean(
    x: torch.Tensor,
    dim: Dims = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return standard deviation and mean."""
    variance, average = _var64(x, dim, unbiased, keepdim, correction)
    return to_type(torch.sqrt(variance), x.dtype), to_type(average, x.dtype)


def _var64(
    x: torch.Tensor, dim: Dims, unbiased: bool, keepdim: bool, correction: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(dim, bool):  # var(x, unbiased) is an overload of its own
        unbiased, dim = dim, None
    dims = dims_of(x, dim)
    delta = correction if correction is not None else float(unbiased)
    average = mean64(x, dims, keepdim=True)
    d = x.to(F64) - average
    freedom = max(0.0, count_of(x, dims) - float(delta))
    variance = sum64(d * d, dims, keepdim=True) / constant(freedom, x)
    if keepdim:
        return variance, average
    kept = [size for d_, size in enumerate(x.shape) if d_ not in dims]
    return variance.reshape(kept), average.reshape(kept)


@define(
    "linalg_vector_norm",
    "norm",
    rule=Rule.SUM,
    meaning="1: sum|x|; 2: the root of sum(x²); ±inf: the largest or smallest |x|; in float64",
)
def vector_norm(
    x: torch.Tensor,
    order: float | None = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return the norm of vectors."""
    kind = dtype or x.dtype
    wide, dims, p = x.to(F64).abs(), dims_of(x, dim), 2.0 if order is None else float(order)
    if p == float("inf"):
        found = wide.amax(dims, keepdim=keepdim)
    elif p == -float("inf"):
        found = wide.amin(dims, keepdim=keepdim)
    elif p == 0:
        found = sum64((wide != 0).to(F64), dims, keepdim=keepdim)
    elif p == 1:
        found = sum64(wide, dims, keepdim=keepdim)
    elif p == 2:
        found = torch.sqrt(sum64(wide * wide, dims, keepdim=keepdim))
    else:
        from exact_torch.arithmetic.functions import power

        exponent = constant(p, x)
        found = power(sum64(power(wide, exponent), dims, keepdim=keepdim), 1.0 / exponent)
    return to_type(found, kind)


@define(
    "amax", "max.default", rule=Rule.ORDER, meaning="the largest (NaN if any); zeros count as +0"
)
def amax(x: torch.Tensor, dim: Dims = (), keepdim: bool = False) -> torch.Tensor:
    """Return the largest; `max` without a dimension arrives here too."""
    return _unsigned_zero(torch.amax(x, dims_of(x, dim), keepdim=keepdim))


@define(
    "amin", "min.default", rule=Rule.ORDER, meaning="the smallest (NaN if any); zeros count as +0"
)
def amin(x: torch.Tensor, dim: Dims = (), keepdim: bool = False) -> torch.Tensor:
    """Return the smallest."""
    return _unsigned_zero(torch.amin(x, dims_of(x, dim), keepdim=keepdim))


def _unsigned_zero(x: torch.Tensor) -> torch.Tensor:
    """Which of two equal zeros a reduction keeps depends on its order: -0 becomes +0."""
    return x + 0.0 if x.is_floating_point() else x


@define("prod", rule=Rule.FUNCTION, meaning="float64 products by ascending index, rounded once")
def prod(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Multiply up."""
    kind = dtype or (x.dtype if x.is_floating_point() else torch.int64)
    flat, axis = (x.reshape(-1), 0) if dim is None else (x, dim)
    if not kind.is_floating_point:
        return torch.prod(flat, axis, keepdim=keepdim and dim is not None, dtype=kind)
    wide = flat.to(F64)
    total = torch.ones_like(wide.select(axis, 0)) if wide.shape[axis] else wide.sum(axis) + 1
    for i in range(wide.shape[axis]):
        total = total * wide.select(axis, i)
    total = total.unsqueeze(axis) if keepdim and dim is not None else total
    return to_type(total, kind)
