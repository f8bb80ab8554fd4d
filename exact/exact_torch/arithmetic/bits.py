"""Powers of two, exponents and NaN, by bit patterns."""

from typing import Final

import torch

F32: Final = torch.float32
F64: Final = torch.float64
I64: Final = torch.int64

_MANTISSA_BITS: Final = 52
_BIAS: Final = 1023
_EXPONENT_MASK: Final = 0x7FF

EXPONENT_MIN: Final = -400
"""Exponent of a set of zeros: below every float32's, and 2^(39+400) is still a float64."""


def pow2(exponent: torch.Tensor) -> torch.Tensor:
    """Return 2^exponent as float64, for int64 exponents in [-1022, 1023]."""
    return ((exponent + _BIAS) << _MANTISSA_BITS).view(F64)


def exponent_of(x: torch.Tensor) -> torch.Tensor:
    """Return floor(log2|x|) as int64 for finite float64 x, at least `EXPONENT_MIN` (zeros too)."""
    found = ((x.view(I64) >> _MANTISSA_BITS) & _EXPONENT_MASK) - _BIAS
    return found.clamp(min=EXPONENT_MIN)


def constant(value: float, like: torch.Tensor) -> torch.Tensor:
    """Return a 0-d float64 tensor on the device of `like`.

    CUDA divides by a Python number by multiplying with its reciprocal; by a tensor it divides.
    """
    return torch.full((), value, dtype=F64, device=like.device)


def canonical_nan(x: torch.Tensor) -> torch.Tensor:
    """Return x with every NaN replaced by the positive quiet one without payload."""
    return torch.where(torch.isnan(x), torch.full((), float("nan"), dtype=x.dtype).to(x.device), x)
