"""Ops that only move, view, select or make elements, and integer or logical ones."""

import math
from typing import Any

import torch

from exact_torch.arithmetic.bits import F64, canonical_nan
from exact_torch.arithmetic.functions import to_type
from exact_torch.table import Rule, define, trust

trust(
    *[
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "t",
        "transpose",
        "swapaxes",
        "permute",
        "movedim",
        "expand",
        "expand_as",
        "slice",
        "select",
        "narrow",
        "split",
        "split_with_sizes",
        "chunk",
        "unbind",
        "squeeze",
        "unsqueeze",
        "as_strided",
        "alias",
        "detach",
        "flatten",
        "unflatten",
        "diagonal",
        "unfold",
        "view_as_real",
        "lift",
        "lift_fresh",
        "lift_fresh_copy",
        "slice_copy",
        "select_copy",
        "squeeze_copy",
        "unsqueeze_copy",
        "view_copy",
        "expand_copy",
        "permute_copy",
        "transpose_copy",
        "t_copy",
        "detach_copy",
        "alias_copy",
    ],
    rule=Rule.MOVES,
    meaning="a view of the same elements",
)
trust(
    *[
        "clone",
        "copy",
        "contiguous",
        "cat",
        "stack",
        "flip",
        "roll",
        "repeat",
        "tile",
        "constant_pad_nd",
        "resize_",
        "set_",
        "slice_scatter",
        "select_scatter",
        "diagonal_scatter",
        "as_strided_scatter",
        "slice_backward",
        "select_backward",
        "diagonal_backward",
        "gather",
        "index_select",
        "index",
        "take",
        "masked_select",
        "where",
        "masked_fill",
        "masked_scatter",
        "tril",
        "triu",
        "embedding",
        "im2col",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "reflection_pad1d",
        "reflection_pad2d",
        "replication_pad1d",
        "replication_pad2d",
        "repeat_interleave",
        "rot90",
        "diag_embed",
        "block_diag",
        "scatter.value",
        "index_fill",
        "unsafe_split",
        "unsafe_chunk",
        "_unsafe_index",
        "_pin_memory",
        "is_pinned",
        "pin_memory",
        "record_stream",
    ],
    rule=Rule.MOVES,
    meaning="copies of elements",
)
trust(
    *[
        "zeros",
        "ones",
        "full",
        "empty",
        "empty_like",
        "empty_strided",
        "zeros_like",
        "ones_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "new_empty_strided",
        "zero",
        "zero_",
        "fill",
        "fill_",
        "scalar_tensor",
        "eye",
        "tril_indices",
        "triu_indices",
        "_efficientzerotensor",
    ],
    rule=Rule.MOVES,
    meaning="elements of a given value",
)
trust(
    *[
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "logical_and",
        "logical_or",
        "logical_not",
        "logical_xor",
        "bitwise_and",
        "bitwise_or",
        "bitwise_not",
        "bitwise_xor",
        "bitwise_left_shift",
        "bitwise_right_shift",
        "__and__",
        "__or__",
        "__xor__",
        "__lshift__",
        "__rshift__",
        "isnan",
        "isinf",
        "isfinite",
        "isposinf",
        "isneginf",
        "signbit",
        "any",
        "all",
        "equal",
        "is_same_size",
        "nonzero",
        "count_nonzero",
        "bucketize",
        "searchsorted",
        "isin",
        "is_nonzero",
        "nonzero_static",
        "gcd",
        "lcm",
    ],
    rule=Rule.INTEGER,
    meaning="comparison, logic or integer arithmetic",
)
trust("_local_scalar_dense", "item", rule=Rule.MOVES, meaning="one element as a Python number")


_SATURATING = {
    torch.uint8: (0, 255),
    torch.int8: (-128, 127),
    torch.int16: (-(2**15), 2**15 - 1),
    torch.int32: (-(2**31), 2**31 - 1),
    torch.int64: (-(2**63), 2**63 - 1),
}


@define(
    "_to_copy",
    rule=Rule.IEEE,
    meaning="round half to even; to integers: towards zero, saturating, NaN becomes 0",
)
def to_copy(x: torch.Tensor, dtype: torch.dtype | None = None, **kwargs: Any) -> torch.Tensor:
    """Convert; machines differ in what an out-of-range float becomes as an integer."""
    if dtype in _SATURATING and x.is_floating_point():
        return _saturated(x, dtype).to(**kwargs)
    if dtype in (torch.bfloat16, torch.float16) and x.dtype is torch.float64:
        x = x.to(torch.float32)
    moved: torch.Tensor = torch.ops.aten._to_copy.default(x, dtype=dtype, **kwargs)
    return moved


@define("copy_", rule=Rule.IEEE, meaning="as a conversion, into an existing tensor")
def copy_(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """Copy, converting to the target's type."""
    if target.dtype in _SATURATING and source.is_floating_point():
        source = _saturated(source, target.dtype)
    return target.copy_(source, non_blocking)


def _saturated(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    low, high = _SATURATING[dtype]
    wide = x.to(torch.float64)
    above, below = wide >= float(high), wide <= float(low)
    inside = ~(above | below | torch.isnan(wide))
    result = torch.where(inside, wide, torch.zeros_like(wide)).to(torch.int64)
    result = torch.where(above, torch.full_like(result, high), result)
    return torch.where(below, torch.full_like(result, low), result).to(dtype)


@define("view.dtype", rule=Rule.MOVES, meaning="the bits of the elements, NaN made canonical")
def view_as_type(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Reinterpret; NaN's payload and sign are the machine's own, so they are replaced first."""
    if x.is_floating_point() and not dtype.is_floating_point:
        x.copy_(canonical_nan(x))
    return x.view(dtype)


@define(
    "arange", rule=Rule.IEEE, meaning="start + i·step in float64 (integers: exact), rounded once"
)
def arange(
    *bounds: float,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    step: float | None = None,
) -> torch.Tensor:
    """Count from start (0) to before end by step (1)."""
    start, end, by = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    by = by if step is None else step
    whole = all(isinstance(bound, int) for bound in (start, end, by))
    kind = dtype or (torch.int64 if whole else torch.get_default_dtype())
    if whole and not kind.is_floating_point:
        return torch.arange(start, end, by, dtype=kind, device=device)
    count = max(0, math.ceil((end - start) / by))
    index = torch.arange(count, dtype=torch.int64, device=device).to(F64)
    return to_type(index * float(by) + float(start), kind)


@define(
    "linspace", rule=Rule.IEEE, meaning="start + i·((end - start)/(n - 1)) in float64, rounded once"
)
def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Divide [start, end] evenly."""
    step = (float(end) - float(start)) / (steps - 1) if steps > 1 else 0.0
    index = torch.arange(steps, dtype=torch.int64, device=device).to(F64)
    values = index * step + float(start)
    if steps > 1:
        values[-1] = float(end)
    return to_type(values, dtype or torch.get_default_dtype())
