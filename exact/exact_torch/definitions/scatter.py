"""Running sums, and sums and copies by index: nothing depends on the order of additions or writes.

Sums by index are exact integer sums, one grid for each destination. Where several elements are
written to one place, the last in the order of the index counts.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from exact_torch.arithmetic import functions, sums
from exact_torch.arithmetic.bits import F64, I64, constant, exponent_of, pow2
from exact_torch.arithmetic.functions import to_type
from exact_torch.definitions.ordering import low_keys, order_keys, values_of_keys
from exact_torch.definitions.reductions import sum64
from exact_torch.errors import UnsupportedOp
from exact_torch.state import kernels
from exact_torch.table import Rule, define

Number = float | int


# ---- running sums and products ------------------------------------------------------------------


@define(
    "cumsum", rule=Rule.SUM, meaning="exact integer sums on the grid of the row, each rounded once"
)
def cumsum(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Add up along a dimension, keeping every step."""
    kind = dtype or (x.dtype if x.is_floating_point() else I64)
    if not kind.is_floating_point:
        return torch.cumsum(x, dim, dtype=kind)
    if x.dim() == 0 or x.numel() == 0:
        return to_type(x.to(F64), kind) + 0.0
    return to_type(_running_sum(x.to(F64), dim), kind)


def _running_sum(x: torch.Tensor, dim: int) -> torch.Tensor:
    finite = torch.isfinite(x)
    clean = torch.where(finite, x, torch.zeros_like(x))
    exponent = exponent_of(clean.abs().amax(dim, keepdim=True))
    grid = sums.grid_bits(x.shape[dim])
    terms = torch.round(clean * pow2(grid - exponent)).to(I64)
    total = terms.cumsum(dim).to(F64) * pow2(exponent - grid)

    def seen(flags: torch.Tensor) -> torch.Tensor:
        return flags.to(I64).cumsum(dim) > 0

    up, down = seen(x == math.inf), seen(x == -math.inf)
    total = torch.where(up, torch.full_like(total, math.inf), total)
    total = torch.where(down, torch.full_like(total, -math.inf), total)
    nan = seen(torch.isnan(x)) | (up & down)
    return torch.where(nan, torch.full_like(total, math.nan), total)


@define("cumprod", rule=Rule.FUNCTION, meaning="float64 products by ascending index, each rounded")
def cumprod(x: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Multiply up along a dimension, keeping every step."""
    kind = dtype or (x.dtype if x.is_floating_point() else I64)
    if not kind.is_floating_point:
        return torch.cumprod(x, dim, dtype=kind)
    steps = x.to(F64).clone()
    for i in range(1, x.shape[dim] if x.dim() else 0):
        steps.select(dim, i).copy_(steps.select(dim, i - 1) * steps.select(dim, i))
    return to_type(steps, kind)


@define(
    "logcumsumexp",
    rule=Rule.FUNCTION,
    meaning="s = max(s, x) + ln(1 + e^-|s - x|) in float64 by ascending index, each rounded",
)
def logcumsumexp(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the logarithm of the running sum of exponentials."""
    steps = x.to(F64).clone()
    for i in range(1, x.shape[dim] if x.dim() else 0):
        steps.select(dim, i).copy_(_log_add(steps.select(dim, i - 1), steps.select(dim, i)))
    return to_type(steps, x.dtype)


def _log_add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    larger = torch.where((a > b) | torch.isnan(a), a, b)
    distance = (a - b).abs()
    near = torch.isfinite(distance)
    e = functions.exp64(-torch.where(near, distance, torch.zeros_like(distance)))
    return torch.where(near, larger + functions.log1p64(e), larger)


@define("trace", rule=Rule.SUM, meaning="the exact sum of the diagonal")
def trace(x: torch.Tensor) -> torch.Tensor:
    """Add up the diagonal of a matrix."""
    diagonal = x.diagonal()
    if not x.is_floating_point():
        return diagonal.sum()
    return to_type(sum64(diagonal, (0,)), x.dtype)


# ---- sums by index ------------------------------------------------------------------------------

_SUM_AT = "an exact integer sum for each destination, rounded once; others stay"


def sum_at(x: torch.Tensor, positions: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    """Return x with terms added at flat positions, in x's type.

    Args:
        x: any shape.
        positions: int64, positions in the flattened x.
        terms: of the shape of positions; float64 where x is floating point.
    """
    flat, where = x.reshape(-1), positions.reshape(-1)
    if not x.is_floating_point():
        return flat.index_add(0, where, terms.reshape(-1).to(x.dtype)).reshape(x.shape)
    touched, rows = torch.unique(where, return_inverse=True)
    both = torch.cat([flat[touched].to(F64), terms.reshape(-1).to(F64)])
    index = torch.cat([torch.arange(len(touched), device=x.device), rows])
    total = kernels(x).sum_at(both.unsqueeze(1), index, len(touched)).squeeze(1)
    return flat.index_copy(0, touched, to_type(total, x.dtype)).reshape(x.shape)


def _flat_positions(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.numel(), device=x.device).reshape(x.shape)


def _gathered_positions(x: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    """Return where each element of `index`, as of torch.scatter, goes in the flattened x."""
    return torch.gather(_flat_positions(x), dim, index)


def _cut(source: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the part of a scatter's source that has indices."""
    return source[tuple(slice(0, size) for size in index.shape)]


@define("scatter_add", rule=Rule.SUM, meaning=_SUM_AT)
def scatter_add(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor
) -> torch.Tensor:
    """Add elements of source at the places that index names along a dimension."""
    if index.numel() == 0:
        return x.clone()
    return sum_at(x, _gathered_positions(x, dim, index), _cut(source, index))


@define("index_add", rule=Rule.SUM, meaning="an exact integer sum of self and alpha·source")
def index_add(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    source: torch.Tensor,
    *,
    alpha: Number = 1,
) -> torch.Tensor:
    """Add slices of source at the places that index names along a dimension."""
    if x.dim() == 0:
        return index_add(x.reshape(1), 0, index, source.reshape(1), alpha=alpha).reshape(())
    positions = _flat_positions(x).index_select(dim, index.reshape(-1).to(I64))
    if not x.is_floating_point():
        return sum_at(x, positions, source * alpha)
    terms = source.to(F64)
    return sum_at(x, positions, terms if alpha == 1 else terms * float(alpha))


@define(
    "scatter_reduce",
    rule=Rule.SUM,
    meaning="sum, mean: an exact integer sum for each destination, rounded; amax, amin by order",
)
def scatter_reduce(
    x: torch.Tensor,
    dim: int,
    index: torch.Tensor,
    source: torch.Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> torch.Tensor:
    """Combine elements of source at the places that index names along a dimension."""
    if reduce == "prod" and x.is_floating_point():
        raise UnsupportedOp(
            "aten::scatter_reduce", "products depend on their order; sum logarithms", (x, source)
        )
    if index.numel() == 0:
        return x.clone()
    if not x.is_floating_point():
        return torch.scatter_reduce(x, dim, index, source, reduce, include_self=include_self)
    if reduce in ("amax", "amin"):
        keys = order_keys if reduce == "amax" else low_keys
        found = torch.scatter_reduce(
            keys(x), dim, index, keys(source), reduce, include_self=include_self
        )
        hit = torch.zeros_like(x, dtype=torch.bool).scatter(dim, index, True)
        return torch.where(hit, _values(found, x.dtype, reduce), x)
    positions = _gathered_positions(x, dim, index)
    start = x
    if not include_self:
        start = x.reshape(-1).index_fill(0, positions.reshape(-1), 0.0).reshape(x.shape)
    if reduce == "sum":
        return sum_at(start, positions, _cut(source, index))
    assert reduce == "mean", f"torch knows no scatter_reduce of {reduce}"
    total = sum_at(start.to(F64), positions, _cut(source, index))
    counts = torch.bincount(positions.reshape(-1), minlength=x.numel()).reshape(x.shape)
    average = total / (counts + int(include_self)).clamp(min=1).to(F64)
    return torch.where(counts > 0, to_type(average, x.dtype), x)


def _values(keys: torch.Tensor, kind: torch.dtype, reduce: str) -> torch.Tensor:
    values = values_of_keys(keys, kind)
    if reduce == "amax":
        return values
    nan = keys == torch.iinfo(keys.dtype).min
    return torch.where(nan, torch.full_like(values, math.nan), values)


@define(
    "scatter.reduce", rule=Rule.SUM, meaning="add: as scatter_add; multiply: refused for floats"
)
def scatter_with_reduction(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor, *, reduce: str
) -> torch.Tensor:
    """Add or multiply elements of source at the places that index names."""
    return scatter_reduce(x, dim, index, source, "sum" if reduce == "add" else "prod")


@define("scatter.value_reduce", rule=Rule.SUM, meaning="as scatter.reduce of a constant")
def scatter_value_with_reduction(
    x: torch.Tensor, dim: int, index: torch.Tensor, value: Number, *, reduce: str
) -> torch.Tensor:
    """Add or multiply a number at the places that index names."""
    source = torch.full(index.shape, value, dtype=x.dtype, device=x.device)
    return scatter_with_reduction(x, dim, index, source, reduce=reduce)


@define("index_reduce", rule=Rule.SUM, meaning="refused: write scatter_reduce")
def index_reduce(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Refuse; say how to write it."""
    raise UnsupportedOp("aten::index_reduce", "write torch.scatter_reduce", (x, *args))


@define("segment_reduce", rule=Rule.SUM, meaning="refused: write scatter_reduce or index_add")
def segment_reduce(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Refuse; say how to write it."""
    raise UnsupportedOp(
        "aten::segment_reduce", "write torch.scatter_reduce or index_add by segment number", (x,)
    )


@define("embedding_dense_backward", rule=Rule.SUM, meaning="the exact sum of each row's gradients")
def embedding_dense_backward(
    g: torch.Tensor,
    indices: torch.Tensor,
    rows: int,
    padding: int,
    scale_by_frequency: bool,
) -> torch.Tensor:
    """Differentiate embedding with respect to its table."""
    index = indices.reshape(-1).to(I64)
    terms = g.reshape(len(index), g.shape[-1]).to(F64)
    if padding >= 0:
        kept = index != padding
        index, terms = index[kept], terms[kept]
    named, row, counts = torch.unique(index, return_inverse=True, return_counts=True)
    total = kernels(g).sum_at(terms, row, len(named))
    if scale_by_frequency:
        total = total / counts.to(F64).unsqueeze(1)
    table = torch.zeros((rows, g.shape[-1]), dtype=g.dtype, device=g.device)
    return table.index_copy(0, named, to_type(total, g.dtype))


@define("bincount", rule=Rule.SUM, meaning="counts, or the exact sum of each bin's weights")
def bincount(
    x: torch.Tensor, weights: torch.Tensor | None = None, minlength: int = 0
) -> torch.Tensor:
    """Count, or add up weights, by non-negative integer."""
    if weights is None:
        return torch.bincount(x, minlength=minlength)
    size = max(minlength, int(x.max()) + 1 if x.numel() else 0)
    kind = weights.dtype if weights.dtype is torch.float32 else F64
    total = kernels(weights).sum_at(weights.to(F64).unsqueeze(1), x.to(I64), size)
    return to_type(total.squeeze(1), kind)


@define("histc", rule=Rule.INTEGER, meaning="counts of floor((x - low)/(high - low)·bins)")
def histc(
    x: torch.Tensor,
    bins: int = 100,
    min: Number = 0,
    max: Number = 0,
) -> torch.Tensor:
    """Count elements in bins of equal width; the last includes its upper end."""
    wide = x.reshape(-1).to(F64)
    low, high = float(min), float(max)
    if low == high and x.numel():
        low, high = float(wide.min()), float(wide.max())
    if low == high:
        low, high = low - 1, high + 1
    inside = wide[(wide >= low) & (wide <= high)]
    position = (inside - low) / constant(high - low, x) * float(bins)
    index = torch.floor(position).to(I64).clamp(max=bins - 1)
    return torch.bincount(index, minlength=bins).to(x.dtype)


@define("unfold_backward", rule=Rule.SUM, meaning="the exact sum of the windows over each element")
def unfold_backward(
    g: torch.Tensor, shape: Sequence[int], dim: int, size: int, step: int
) -> torch.Tensor:
    """Differentiate Tensor.unfold."""
    x = torch.zeros(tuple(shape), dtype=g.dtype, device=g.device)
    return sum_at(x, _flat_positions(x).unfold(dim, size, step), g)


# ---- copies by index ----------------------------------------------------------------------------


def write_at(x: torch.Tensor, positions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return x with values written at flat positions; the last counts where some are the same."""
    flat, where = x.reshape(-1), positions.reshape(-1)
    order = torch.arange(len(where), device=x.device)
    last = torch.full_like(flat, -1, dtype=I64).scatter_reduce(0, where, order, "amax")
    kept = last >= 0
    written = values.reshape(-1)[last[kept]]
    return flat.masked_scatter(kept, written).reshape(x.shape)


@define("scatter.src", rule=Rule.MOVES, meaning="copies of elements; the last counts")
def scatter(x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Write elements of source at the places that index names along a dimension."""
    if index.numel() == 0:
        return x.clone()
    return write_at(x, _gathered_positions(x, dim, index), _cut(source, index))


@define("index_copy", rule=Rule.MOVES, meaning="copies of slices; the last counts")
def index_copy(
    x: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor
) -> torch.Tensor:
    """Write slices of source at the places that index names along a dimension."""
    if x.dim() == 0:
        return source.reshape(()).clone() if index.numel() else x.clone()
    return write_at(x, _flat_positions(x).index_select(dim, index.reshape(-1)), source)


@define("put", rule=Rule.SUM, meaning="copies of elements, the last counts; or exact sums")
def put(
    x: torch.Tensor, index: torch.Tensor, source: torch.Tensor, accumulate: bool = False
) -> torch.Tensor:
    """Write or add elements at flat positions."""
    positions = torch.where(index < 0, index + x.numel(), index)
    return (sum_at if accumulate else write_at)(x, positions, source)


@define(
    "index_put",
    "_index_put_impl",
    "_unsafe_index_put",
    rule=Rule.SUM,
    meaning="copies of elements, the last counts; or exact sums",
)
def index_put(
    x: torch.Tensor,
    indices: Sequence[torch.Tensor | None],
    values: torch.Tensor,
    accumulate: bool = False,
    unsafe: bool = False,
) -> torch.Tensor:
    """Write or add values at the places that x[indices] names."""
    if not accumulate and (values.numel() == 1 or _are_distinct(indices)):
        return torch.index_put(x, list(indices), values)
    positions = torch.ops.aten.index(_flat_positions(x), list(indices))
    spread = values.expand(positions.shape)
    return (sum_at if accumulate else write_at)(x, positions, spread)


def _are_distinct(indices: Sequence[torch.Tensor | None]) -> bool:
    """Whether no place can be named twice, as no mask does."""
    return all(index is None or index.dtype in (torch.bool, torch.uint8) for index in indices)


@define("masked_scatter_backward", rule=Rule.MOVES, meaning="the masked elements, then zeros")
def masked_scatter_backward(
    g: torch.Tensor, mask: torch.Tensor, shape: Sequence[int]
) -> torch.Tensor:
    """Differentiate masked_scatter with respect to its source."""
    source = torch.zeros(math.prod(shape), dtype=g.dtype, device=g.device)
    taken = g.masked_select(mask.expand(g.shape))
    source[: len(taken)] = taken
    return source.reshape(tuple(shape))
