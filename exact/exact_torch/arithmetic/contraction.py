"""Contractions: matrix products of quantised operands, exact in integers, rounded once.

Each row of A and each column of B is quantised by itself: e = floor(log2 max|x|),
q = round_half_even(x · 2^(b-1-e)) with b = 20 (E21) or 13 (E14), so |q| <= 2^b. The integer product
is exact; converted to float64 and scaled by the two powers of two it is the value. A row or column
with a NaN or an infinity gives NaN. `FMA` instead adds a_k·b_k to a float32 accumulator with one
rounding each, k ascending from +0.
"""

from enum import StrEnum
from typing import Final

import torch

from exact_torch.arithmetic.bits import F32, F64, I64, exponent_of, pow2


class Precision(StrEnum):
    """How contractions are computed."""

    E21 = "E21"
    """21 signed bits: about float32."""

    E14 = "E14"
    """14 signed bits: better than bfloat16."""

    FMA = "FMA"
    """float32 fused multiply-adds in a fixed order."""


BITS: Final = {Precision.E21: 20, Precision.E14: 13}
"""b of the definition: |q| <= 2^b."""

EXACT_FLOAT64_BITS: Final = 53


def chunk_length(bits: int) -> int:
    """Return the longest K whose integer product is exact in a float64 accumulator."""
    return 1 << (EXACT_FLOAT64_BITS - 2 * bits)


def quantise(x: torch.Tensor, dim: int, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise along `dim`, the contracted one.

    Returns:
        The integers as float64, of x's shape, and the value of one unit, a power of two, with size
        1 in `dim`; it is NaN where the set holds a NaN or an infinity.
    """
    x = x.to(F64)
    largest = x.abs().amax(dim, keepdim=True)
    valid = torch.isfinite(largest)
    exponent = exponent_of(torch.where(valid, largest, torch.ones_like(largest)))
    scaled = torch.round(x * pow2(bits - 1 - exponent))
    integers = torch.where(valid, scaled, torch.zeros_like(scaled))
    unit = torch.where(valid, pow2(exponent - (bits - 1)), torch.full_like(largest, float("nan")))
    return integers, unit


def product_float64(a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the exact integer product, rounded to float64 once, by float64 matrix products.

    Args:
        a: integers as float64, (..., M, K).
        b: integers as float64, (..., K, N).
        bits: |integer| <= 2^bits.
    """
    length = chunk_length(bits)
    inner = a.shape[-1]
    if inner <= length:
        # a sum of -0 alone is -0 in some matrix products, and integers have none
        return (a @ b).add_(0.0)
    total = torch.zeros((), dtype=I64, device=a.device)
    for start in range(0, inner, length):
        stop = min(start + length, inner)
        total = total + (a[..., start:stop] @ b[..., start:stop, :]).to(I64)
    return total.to(F64)


def fused_chain(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the FMA product of float32 (..., M, K) and (..., K, N): k ascending, from +0."""
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = torch.zeros((*shape, a.shape[-2], b.shape[-1]), dtype=F32, device=a.device)
    for k in range(a.shape[-1]):
        total = fused_multiply_add(a[..., k : k + 1], b[..., k : k + 1, :], total)
    return total


def fused_multiply_add(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Return float32 a·b + c with a single rounding, as fmaf does.

    The product of two float32 is exact in float64. The sum is rounded to odd there, which makes the
    second rounding to float32 innocuous (Boldo and Melquiond, "Emulation of FMA and correctly
    rounded sums", IEEE TC 57(4), 2008).
    """
    product = a.to(F64) * b.to(F64)
    addend = c.to(F64)
    total = product + addend
    # TwoSum (Knuth, TAOCP 2, 4.2.2): total + error is the exact sum
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    pattern = total.view(I64)
    inexact_even = (error != 0) & ((pattern & 1) == 0) & torch.isfinite(total)
    away = (error > 0) == (total > 0)  # the exact sum lies further from zero than `total`
    odd = pattern + torch.where(away, 1, -1)
    return torch.where(inexact_even, odd, pattern).view(F64).to(F32)
