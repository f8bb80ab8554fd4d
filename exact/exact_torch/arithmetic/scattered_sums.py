"""Exact sums by destination: each has a grid of its own, so neither order nor neighbours matter.

A destination with n terms is the sum of `sums`: e = floor(log2 of their largest magnitude),
g = min(39, 61 - ceil(log2 n)), each term becomes round_half_even(x · 2^(g-e)), and the int64 sum of
these is scaled by 2^(e-g).
"""

import torch

from exact_torch.arithmetic.bits import EXPONENT_MIN, F64, I64, exponent_of, pow2
from exact_torch.arithmetic.sums import GRID_BITS, SUM_BITS


def exact_sum_at(terms: torch.Tensor, index: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the sums of terms (n, d) by destination row, float64 (rows, d).

    Args:
        terms: floating point, (n, d).
        index: int64 (n,) in [0, rows): the row that each term goes to.
        rows: how many destinations there are; one without terms is zero.
    """
    terms = terms.to(F64)
    if terms.numel() == 0:
        return torch.zeros((rows, terms.shape[1]), dtype=F64, device=terms.device)
    finite = torch.isfinite(terms)
    clean = torch.where(finite, terms, torch.zeros_like(terms))
    where = index.unsqueeze(1).expand(terms.shape)
    lowest = torch.full((rows, terms.shape[1]), EXPONENT_MIN, dtype=I64, device=terms.device)
    exponent = lowest.scatter_reduce(0, where, exponent_of(clean), "amax")
    scale = _grid_bits(torch.bincount(index, minlength=rows)).unsqueeze(1) - exponent
    integers = torch.round(clean * pow2(scale).index_select(0, index)).to(I64)
    total = torch.zeros_like(lowest).index_add(0, index, integers)
    result = total.to(F64) * pow2(-scale)
    return result if bool(finite.all()) else _with_special(result, terms, where)


def _grid_bits(counts: torch.Tensor) -> torch.Tensor:
    """Return g of each count; ceil(log2 n) is the bit length of n - 1."""
    before = (counts - 1).clamp(min=0)
    length = torch.where(before > 0, exponent_of(before.to(F64)) + 1, 0)
    return (SUM_BITS - length).clamp(max=GRID_BITS)


def _with_special(result: torch.Tensor, terms: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Replace sums that have NaN or infinities among their terms."""

    def hit(flags: torch.Tensor) -> torch.Tensor:
        none = torch.zeros(result.shape, dtype=I64, device=result.device)
        return none.scatter_add(0, where, flags.to(I64)) > 0

    up, down = hit(terms == float("inf")), hit(terms == -float("inf"))
    result = torch.where(up, torch.full_like(result, float("inf")), result)
    result = torch.where(down, torch.full_like(result, -float("inf")), result)
    nan = hit(torch.isnan(terms)) | (up & down)
    return torch.where(nan, torch.full_like(result, float("nan")), result)
