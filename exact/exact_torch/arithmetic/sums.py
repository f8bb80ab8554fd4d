"""Exact sums: a grid shared by all terms, an int64 sum on it, one rounding.

For n terms with largest magnitude m: e = floor(log2 m), g = min(39, 61 - ceil(log2 n)), each term
becomes round_half_even(x · 2^(g-e)), and the sum of these integers, converted to float64 and scaled
by 2^(e-g), is the result. |term| <= 2^(g+1), so the sum stays below 2^62 and no order of additions
and no number of threads can change it.
"""

from collections.abc import Sequence
from typing import Final

import torch

from exact_torch.arithmetic.bits import F64, I64, exponent_of, pow2

GRID_BITS: Final = 39
SUM_BITS: Final = 61


def grid_bits(terms: int) -> int:
    """Return g for this many terms."""
    return min(GRID_BITS, SUM_BITS - max(terms - 1, 0).bit_length())


def exact_sum(x: torch.Tensor, dims: Sequence[int], *, keepdim: bool = False) -> torch.Tensor:
    """Return the sum over `dims` as float64.

    A set with infinities of one sign gives that infinity; with NaN, or infinities of both signs,
    NaN. An empty set gives zero; no `dims` gives x itself.
    """
    x = x.to(F64)
    dims = sorted({d % x.dim() for d in dims}) if x.dim() else []
    if not dims:
        return x.clone()
    terms = 1
    for d in dims:
        terms *= x.shape[d]
    shape = [1 if d in dims else size for d, size in enumerate(x.shape)]
    if x.numel() == 0:
        total = torch.zeros(shape, dtype=F64, device=x.device)
    else:
        total = _sum(x, dims, grid_bits(terms))
    return total if keepdim else total.reshape([s for d, s in enumerate(x.shape) if d not in dims])


def _sum(x: torch.Tensor, dims: list[int], grid: int) -> torch.Tensor:
    finite = torch.isfinite(x)
    clean = torch.where(finite, x, torch.zeros_like(x))
    exponent = exponent_of(clean.abs().amax(dims, keepdim=True))
    terms = torch.round(clean * pow2(grid - exponent)).to(I64)
    total = terms.sum(dims, keepdim=True).to(F64) * pow2(exponent - grid)
    # adding infinities and NaN to each other is exact in any order
    special = torch.where(finite, torch.zeros_like(x), x)
    has_nan = _any(torch.isnan(special), dims)
    up, down = _any(special == float("inf"), dims), _any(special == -float("inf"), dims)
    nan = torch.full_like(total, float("nan"))
    total = torch.where(up, torch.full_like(total, float("inf")), total)
    total = torch.where(down, torch.full_like(total, -float("inf")), total)
    return torch.where(has_nan | (up & down), nan, total)


def _any(flags: torch.Tensor, dims: list[int]) -> torch.Tensor:
    return flags.to(torch.uint8).amax(dims, keepdim=True).bool()
