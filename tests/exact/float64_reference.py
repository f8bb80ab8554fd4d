"""Comparing a program under a mode with the same program in float64 outside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import exact_torch

Function = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Outcome:
    """What a function gives, and the gradients of its inputs that have one."""

    value: torch.Tensor
    gradients: tuple[torch.Tensor, ...]

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.value, *self.gradients


def run(function: Function, *inputs: torch.Tensor, dtype: torch.dtype = torch.float32) -> Outcome:
    """Run forward and backward with every floating input as `dtype`, all of them differentiated.

    The gradient of the value is a fixed pattern of small integers.
    """
    leaves = [
        x.detach().to(dtype).clone().requires_grad_() if x.is_floating_point() else x
        for x in inputs
    ]
    value = function(*leaves)
    value.backward(upstream(value.shape, value.dtype))
    gradients = [x.grad for x in leaves if x.is_floating_point() and x.grad is not None]
    return Outcome(value.detach(), tuple(gradients))


def upstream(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Return integers in [-8, 8], a different one for most neighbours."""
    count = 1
    for size in shape:
        count *= size
    return ((torch.arange(count) * 7919 % 17) - 8).reshape(tuple(shape)).to(dtype)


def both(
    function: Function,
    *inputs: torch.Tensor,
    precision: str = "E21",
    dtype: torch.dtype = torch.float32,
) -> tuple[Outcome, Outcome]:
    """Return the outcome under a mode, and that of float64 outside any."""
    with exact_torch.mode(precision):
        found = run(function, *inputs, dtype=dtype)
    rounded = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    return found, run(function, *rounded, dtype=torch.float64)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether type, shape and every bit agree; NaN is NaN."""
    if a.dtype is not b.dtype or a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    kind = kinds[a.element_size()]
    same = a.contiguous().view(kind) == b.contiguous().view(kind)
    return bool((same | (a.isnan() & b.isnan())).all())


def close(
    found: torch.Tensor,
    expected: torch.Tensor,
    *,
    relative: float = 2.0**-23,
    absolute: float = 2.0**-149,
) -> bool:
    """Whether found is expected, float64, rounded to its type, up to the allowed error.

    The allowance is relative to each element; infinities and NaN must be in the same places.
    """
    expected = expected.to(found.dtype).double()
    found = found.double()
    if found.shape != expected.shape:
        return False
    same = (found == expected) | (found.isnan() & expected.isnan())
    within = (found - expected).abs() <= relative * expected.abs() + absolute
    return bool((same | (within & expected.isfinite())).all())


def close_to_largest(found: torch.Tensor, expected: torch.Tensor, relative: float) -> bool:
    """Whether the error is within `relative` times the largest expected element."""
    if found.shape != expected.shape:
        return False
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return close(found, expected, relative=relative, absolute=relative * scale)


def seeded(*shape: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    """Return normal float32 values from a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread


def whole(*shape: int, seed: int, below: int = 9) -> torch.Tensor:
    """Return float32 integers in (-below, below) from a seed; products of few are exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1 - below, below, shape, generator=generator).float()
