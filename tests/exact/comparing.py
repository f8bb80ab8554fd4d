"""What tests of definitions share: bits, float64 references, gradients, floats of all kinds."""

from collections.abc import Callable, Sequence

import torch
from hypothesis import settings
from hypothesis import strategies as st

import exact_torch

EXAMPLES = settings(max_examples=25, deadline=None)

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-45, -3e-39, 3e38, float("inf"), -float("inf"), float("nan"))
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-100, 100, width=32)
ANY = st.one_of(st.sampled_from(SPECIAL), st.floats(width=32))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether type, shape and bits are equal; every NaN counts as the same."""
    if a.dtype is not b.dtype or a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    nan = torch.isnan(a)
    return (
        torch.equal(nan, torch.isnan(b))
        and torch.equal(a[~nan], b[~nan])
        and torch.equal(torch.signbit(a)[~nan], torch.signbit(b)[~nan])
    )


def error(a: torch.Tensor, b: torch.Tensor, *, least: float = 1e-30) -> float:
    """Return the largest difference, relative to the largest magnitude in b (or `least`)."""
    if a.numel() == 0:
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).abs().max() / b.abs().max().clamp(min=least))


def with_gradients(
    function: Callable[..., torch.Tensor], *inputs: torch.Tensor
) -> list[torch.Tensor]:
    """Return the result and the gradients of a weighted sum of its elements."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    weights = torch.arange(1.0, result.numel() + 1).reshape(result.shape)
    loss = (result * torch.remainder(weights * 0.37, 1.0).to(result.dtype)).sum()
    return [result.detach(), *torch.autograd.grad(loss, leaves)]


def agrees(
    function: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], tolerance: float
) -> None:
    """Assert that result and gradients under the mode are those of float64 outside it."""
    expected = with_gradients(function, *(x.double() for x in inputs))
    with exact_torch.mode("E21"):
        got = with_gradients(function, *inputs)
    for ours, reference in zip(got, expected, strict=True):
        assert ours.shape == reference.shape
        assert error(ours, reference) <= tolerance


def lattice(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return float32 in [-1, 1) that no generator and no mode changes."""
    count = int(torch.tensor(shape).prod()) if shape else 1
    index = torch.arange(count, dtype=torch.int64) + 7919 * (seed + 1)
    pattern = (index * 2654435761) & 0xFFFFFFFF
    pattern = ((pattern ^ (pattern >> 15)) * 2246822519) & 0xFFFFFFFF
    return (pattern.double() * 2.0**-31 - 1.0).float().reshape(shape)
