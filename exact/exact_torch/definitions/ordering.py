"""Order: sorting, extremes with their indices, medians, distinct values.

Floats are compared as integers of the same order: -0 equals +0, NaN is above everything. Equal
elements keep the order of their positions, so every index has one value.
"""

import torch

from exact_torch.arithmetic.bits import F32, F64, I64
from exact_torch.definitions.reductions import amax, amin, dims_of
from exact_torch.table import Rule, define

Pair = tuple[torch.Tensor, torch.Tensor]


def order_keys(x: torch.Tensor) -> torch.Tensor:
    """Return integers that compare as x does, with -0 as +0 and NaN above everything."""
    if not x.is_floating_point():
        return x.to(torch.uint8) if x.dtype is torch.bool else x
    wide, kind = (x, I64) if x.dtype is F64 else (x.to(F32), torch.int32)
    wide = torch.where(wide == 0, torch.zeros_like(wide), wide)
    bits = wide.view(kind)
    limits = torch.iinfo(kind)
    keys = torch.where(bits < 0, bits ^ limits.max, bits)
    return torch.where(torch.isnan(wide), torch.full_like(keys, limits.max), keys)


def values_of_keys(keys: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """Return the elements, of type `kind`, that have these keys."""
    if not kind.is_floating_point:
        return keys.to(kind)
    limits = torch.iinfo(keys.dtype)
    bits = torch.where(keys < 0, keys ^ limits.max, keys)
    values = bits.view(F64 if keys.dtype is I64 else F32)
    nan = torch.full_like(values, float("nan"))
    return torch.where(keys == limits.max, nan, values).to(kind)


def low_keys(x: torch.Tensor) -> torch.Tensor:
    """Return `order_keys`, but with NaN below everything."""
    keys = order_keys(x)
    if not x.is_floating_point():
        return keys
    return torch.where(torch.isnan(x), torch.full_like(keys, torch.iinfo(keys.dtype).min), keys)


# ---- sorting ------------------------------------------------------------------------------------


@define("sort", rule=Rule.ORDER, meaning="by value, equal elements by position; NaN is largest")
def sort(
    x: torch.Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> Pair:
    """Sort; always stable."""
    order = _order(x, dim, descending=descending)
    return torch.gather(x, dim, order) if x.dim() else x.clone(), order


def _order(x: torch.Tensor, dim: int, *, descending: bool) -> torch.Tensor:
    return torch.sort(order_keys(x), dim=dim, descending=descending, stable=True).indices


@define(
    "topk",
    rule=Rule.ORDER,
    meaning="the first k of the stable order, always sorted; NaN is largest",
)
def topk(
    x: torch.Tensor,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> Pair:
    """Return the k largest or smallest."""
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=I64, device=x.device)
    size = x.shape[dim]
    if k > size:
        raise RuntimeError(f"topk of {k} from a dimension of size {size}")
    keys = order_keys(x)
    if keys.dtype is I64:
        order = torch.sort(keys, dim=dim, descending=largest, stable=True).indices
        order = order.narrow(dim, 0, k)
    else:
        order = _first_of_unique(keys, k, dim, largest=largest)
    order = order.contiguous()
    return torch.gather(x, dim, order), order


def _first_of_unique(keys: torch.Tensor, k: int, dim: int, *, largest: bool) -> torch.Tensor:
    """Return the k first positions; key and position together are unique, so no tie is left."""
    size = keys.shape[dim]
    position = _positions(keys, dim)
    low = (size - 1) - position if largest else position
    unique = (keys.to(I64) << 32) | low
    found = torch.topk(unique, k, dim=dim, largest=largest, sorted=True).values & 0xFFFFFFFF
    return (size - 1) - found if largest else found


def _positions(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return 0, 1, … along `dim`, broadcastable to x."""
    shape = [1] * x.dim()
    shape[dim] = x.shape[dim]
    return torch.arange(x.shape[dim], device=x.device).reshape(shape)


# ---- extremes with their indices ----------------------------------------------------------------


@define("argmax", rule=Rule.ORDER, meaning="the first index of the largest; NaN is largest")
def argmax(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> torch.Tensor:
    """Return the index of the largest, of the flattened tensor if no dimension is given."""
    return _first_index(x, order_keys(x), dim, keepdim=keepdim, largest=True)


@define("argmin", rule=Rule.ORDER, meaning="the first index of the smallest; NaN is smallest")
def argmin(x: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> torch.Tensor:
    """Return the index of the smallest, of the flattened tensor if no dimension is given."""
    return _first_index(x, low_keys(x), dim, keepdim=keepdim, largest=False)


def _first_index(
    x: torch.Tensor, keys: torch.Tensor, dim: int | None, *, keepdim: bool, largest: bool
) -> torch.Tensor:
    if x.dim() == 0:
        return torch.zeros((), dtype=I64, device=x.device)
    if dim is None:
        found = _first_index(x.reshape(-1), keys.reshape(-1), 0, keepdim=False, largest=largest)
        return found.reshape([1] * x.dim()) if keepdim else found
    if x.shape[dim] == 0:
        raise IndexError(f"no largest or smallest in dimension {dim}, which is empty")
    extreme = keys.amax(dim, keepdim=True) if largest else keys.amin(dim, keepdim=True)
    beyond = torch.full((), x.shape[dim], dtype=I64, device=x.device)
    candidates = torch.where(keys == extreme, _positions(keys, dim), beyond)
    return candidates.amin(dim, keepdim=keepdim)


def _at(x: torch.Tensor, index: torch.Tensor, dim: int, *, keepdim: bool) -> Pair:
    """Return values and indices of one element along `dim`; index keeps that dimension."""
    values = torch.gather(x, dim, index) if x.dim() else x.clone()
    if keepdim or x.dim() == 0:
        return values, index
    return values.squeeze(dim), index.squeeze(dim)


@define("max.dim", rule=Rule.ORDER, meaning="the first largest and its index; NaN is largest")
def max_along(x: torch.Tensor, dim: int, keepdim: bool = False) -> Pair:
    """Return the largest and their indices."""
    return _at(x, argmax(x, dim, keepdim=True), dim, keepdim=keepdim)


@define("min.dim", rule=Rule.ORDER, meaning="the first smallest and its index; NaN is smallest")
def min_along(x: torch.Tensor, dim: int, keepdim: bool = False) -> Pair:
    """Return the smallest and their indices."""
    return _at(x, argmin(x, dim, keepdim=True), dim, keepdim=keepdim)


@define("aminmax", rule=Rule.ORDER, meaning="the smallest and the largest (NaN if any)")
def aminmax(x: torch.Tensor, *, dim: int | None = None, keepdim: bool = False) -> Pair:
    """Return both extremes."""
    dims = dims_of(x, dim)
    return amin(x, dims, keepdim), amax(x, dims, keepdim)


@define("cummax", rule=Rule.ORDER, meaning="the largest so far and its last index; NaN is largest")
def cummax(x: torch.Tensor, dim: int) -> Pair:
    """Return running maxima."""
    return _running(x, order_keys(x), dim, largest=True)


@define(
    "cummin", rule=Rule.ORDER, meaning="the smallest so far and its last index; NaN is smallest"
)
def cummin(x: torch.Tensor, dim: int) -> Pair:
    """Return running minima."""
    return _running(x, low_keys(x), dim, largest=False)


def _running(x: torch.Tensor, keys: torch.Tensor, dim: int, *, largest: bool) -> Pair:
    if x.numel() == 0 or x.dim() == 0:
        return x.clone(), torch.zeros(x.shape, dtype=I64, device=x.device)
    ranks = _ranks(keys, dim)
    position = _positions(keys, dim)
    if largest:
        found = torch.cummax((ranks << 32) | position, dim).values
    else:
        found = torch.cummax(((x.shape[dim] - ranks) << 32) | position, dim).values
    index = found & 0xFFFFFFFF
    return torch.gather(x, dim, index), index


def _ranks(keys: torch.Tensor, dim: int) -> torch.Tensor:
    """Return int64 ranks along `dim`, below 2^31, equal for equal keys."""
    ordered, order = torch.sort(keys, dim=dim, stable=True)
    steps = torch.zeros_like(order)
    steps.narrow(dim, 1, keys.shape[dim] - 1).copy_(
        ordered.narrow(dim, 1, keys.shape[dim] - 1) != ordered.narrow(dim, 0, keys.shape[dim] - 1)
    )
    return torch.zeros_like(order).scatter_(dim, order, steps.cumsum(dim))


# ---- order statistics ---------------------------------------------------------------------------


@define("kthvalue", rule=Rule.ORDER, meaning="the k-th of the stable order; NaN is largest")
def kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Pair:
    """Return the k-th smallest and its index."""
    size = x.shape[dim] if x.dim() else 1
    if not 1 <= k <= size:
        raise RuntimeError(f"kthvalue of k = {k} in a dimension of size {size}")
    order = _order(x, dim, descending=False)
    index = order.narrow(dim, k - 1, 1) if x.dim() else order
    return _at(x, index, dim, keepdim=keepdim)


@define("median.dim", rule=Rule.ORDER, meaning="the lower middle of the stable order; NaN if any")
def median_along(x: torch.Tensor, dim: int, keepdim: bool = False) -> Pair:
    """Return the medians and their indices; of a row with NaN the first NaN."""
    return _middle(x, dim, keepdim=keepdim, skips_nan=False)


@define("nanmedian.dim", rule=Rule.ORDER, meaning="the lower middle of what is not NaN")
def nanmedian_along(x: torch.Tensor, dim: int, keepdim: bool = False) -> Pair:
    """Return the medians of what is not NaN and their indices."""
    return _middle(x, dim, keepdim=keepdim, skips_nan=True)


@define("median", rule=Rule.ORDER, meaning="the lower middle; NaN if any")
def median(x: torch.Tensor) -> torch.Tensor:
    """Return the median of all elements."""
    return _middle_of_all(x, skips_nan=False)


@define("nanmedian", rule=Rule.ORDER, meaning="the lower middle of what is not NaN")
def nanmedian(x: torch.Tensor) -> torch.Tensor:
    """Return the median of all elements that are not NaN."""
    return _middle_of_all(x, skips_nan=True)


def _middle_of_all(x: torch.Tensor, *, skips_nan: bool) -> torch.Tensor:
    if x.numel() == 0:
        return torch.full((), float("nan"), dtype=x.dtype, device=x.device)
    return _middle(x.reshape(-1), 0, keepdim=False, skips_nan=skips_nan)[0]


def _middle(x: torch.Tensor, dim: int, *, keepdim: bool, skips_nan: bool) -> Pair:
    row = x.reshape(1) if x.dim() == 0 else x
    if row.shape[dim] == 0:
        raise IndexError(f"no median in dimension {dim}, which is empty")
    order = _order(row, dim, descending=False)
    numbers = (~torch.isnan(row)).sum(dim, keepdim=True)
    middle = ((numbers if skips_nan else row.shape[dim]) - 1) // 2
    if not skips_nan:
        middle = torch.where(numbers < row.shape[dim], numbers, middle)
    index = torch.gather(order, dim, torch.as_tensor(middle).clamp(min=0))
    return _at(x, index.reshape(()) if x.dim() == 0 else index, dim, keepdim=keepdim)


@define("mode", rule=Rule.ORDER, meaning="the smallest of the most frequent, its last index")
def most_frequent(x: torch.Tensor, dim: int = -1, keepdim: bool = False) -> Pair:
    """Return the most frequent values and their indices; every NaN counts as the same."""
    if x.dim() == 0:
        return x.clone(), torch.zeros((), dtype=I64, device=x.device)
    ordered, order = torch.sort(order_keys(x), dim=dim, stable=True)
    position = _positions(x, dim)
    starts = torch.ones_like(order)
    starts.narrow(dim, 1, x.shape[dim] - 1).copy_(
        ordered.narrow(dim, 1, x.shape[dim] - 1) != ordered.narrow(dim, 0, x.shape[dim] - 1)
    )
    start = torch.cummax(torch.where(starts == 1, position, 0), dim).values
    length = position - start + 1
    last = _first_index(length, length, dim, keepdim=True, largest=True)
    return _at(x, torch.gather(order, dim, last), dim, keepdim=keepdim)


# ---- distinct values ----------------------------------------------------------------------------


@define(
    "_unique2",
    rule=Rule.ORDER,
    meaning="ascending, the first of equal ones; each NaN by itself; always sorted",
)
def unique(
    x: torch.Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return distinct elements, where each element went, and how often each occurs."""
    flat = x.reshape(-1)
    order = _order(flat, 0, descending=False)
    ordered = flat[order]
    starts, inverse, counts = _groups(_new_rows(_rows(ordered)), order)
    return ordered[starts], inverse.reshape(x.shape), counts


@define("_unique", rule=Rule.ORDER, meaning="as _unique2")
def unique_without_counts(
    x: torch.Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
) -> Pair:
    """Return distinct elements and where each element went."""
    return unique(x, sorted, return_inverse)[:2]


@define("unique_dim", rule=Rule.ORDER, meaning="as _unique2, slices in lexicographic order")
def unique_slices(
    x: torch.Tensor,
    dim: int,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return distinct slices along `dim`, where each went, and how often each occurs."""
    slices = x.movedim(dim, 0)
    rows = _rows(slices)
    order = torch.arange(len(rows), device=x.device)
    keys = order_keys(rows)
    for column in range(rows.shape[1] - 1, -1, -1):
        order = order[torch.sort(keys[order, column], stable=True).indices]
    starts, inverse, counts = _groups(_new_rows(rows[order]), order)
    return slices[order[starts]].movedim(0, dim).contiguous(), inverse, counts


@define("unique_consecutive", rule=Rule.ORDER, meaning="the first of each run of equal elements")
def unique_consecutive(
    x: torch.Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the first element (or slice) of each run, the run of each, and the runs' lengths."""
    slices = x.reshape(-1) if dim is None else x.movedim(dim, 0)
    order = torch.arange(len(slices), device=x.device)
    starts, inverse, counts = _groups(_new_rows(_rows(slices)), order)
    if dim is None:
        return slices[starts], inverse.reshape(x.shape), counts
    return slices[starts].movedim(0, dim).contiguous(), inverse, counts


@define("unique_dim_consecutive", rule=Rule.ORDER, meaning="as unique_consecutive")
def unique_dim_consecutive(
    x: torch.Tensor, dim: int, return_inverse: bool = False, return_counts: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the first slice of each run along a dimension."""
    return unique_consecutive(x, return_inverse, return_counts, dim)


def _rows(slices: torch.Tensor) -> torch.Tensor:
    """Flatten all but the first dimension."""
    return slices.reshape(slices.shape[0], -1) if slices.numel() else slices.new_zeros((0, 0))


def _new_rows(rows: torch.Tensor) -> torch.Tensor:
    """Return whether each row differs from the one before; the first does."""
    new = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    new[1:] = (rows[1:] != rows[:-1]).any(-1)
    return new


def _groups(
    new: torch.Tensor, order: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where groups start in the order, the group of each element, the groups' sizes."""
    group = new.cumsum(0) - 1
    inverse = torch.zeros_like(order).scatter_(0, order, group)
    starts = torch.nonzero(new).reshape(-1)
    ends = torch.cat([starts[1:], starts.new_full((min(1, len(order)),), len(order))])
    return starts, inverse, ends - starts
