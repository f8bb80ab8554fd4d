"""Resizing: nearest elements, and weighted sums of neighbours, one dimension at a time.

Positions and weights are float64 (float32 for nearest elements, as torch's are, so that the same
ones are chosen); the value of an element is rounded once, after all dimensions.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from exact_torch.arithmetic.bits import F32, F64, I64
from exact_torch.arithmetic.functions import to_type
from exact_torch.definitions.places import Places, sums
from exact_torch.errors import UnsupportedOp
from exact_torch.table import Rule, define

CUBIC = -0.75
"""Slope of the cubic kernel at 1 (Keys, IEEE TASSP 29(6), 1981), as torch's."""

CUBIC_SMOOTH = -0.5
"""The same in torch's anti-aliased form, which follows Pillow."""

_REMEMBERED = 256

_NEAREST = "the element floor(i·scale) (exact: floor((i + ½)·scale)), i·scale in float32"
_NEAREST_BACKWARD = "sums of g in float64 over the results that took a place, ascending"
_SUM = "sums of weight·x in float64, ascending, the last dimension first; rounded once"
_SUM_BACKWARD = "sums of weight·g in float64 over the results that took a place, ascending"


# ---- nearest -------------------------------------------------------------------------------------


@lru_cache(_REMEMBERED)
def _nearest(size: int, results: int, scale: float | None, shift: float) -> Places:
    ratio = _float32(1.0 / scale) if scale else _float32(size) / _float32(results)
    index = torch.arange(results, dtype=I64).to(F32) + shift
    positions = torch.floor(index * ratio).to(I64).clamp(max=size - 1)
    return Places(size, positions.unsqueeze(0))


def _shape(
    x: torch.Tensor, shape: Sequence[int] | None, factors: Sequence[float] | None
) -> Sequence[int]:
    """Return the shape that is given, or that the factors give."""
    if shape is not None:
        return shape
    assert factors is not None, "torch gives one of the two"
    sizes = x.shape[-len(factors) :]
    return [int(size * factor) for size, factor in zip(sizes, factors, strict=True)]


def _float32(value: float) -> torch.Tensor:
    return torch.full((), value, dtype=F32)


def _define_nearest(name: str, dims: int, shift: float) -> None:
    def places(
        sizes: Sequence[int], shape: Sequence[int], scales: tuple[float | None, ...]
    ) -> list[Places]:
        every = scales or (None,) * dims
        return [
            _nearest(size, results, scale, shift)
            for size, results, scale in zip(sizes[-dims:], shape, every, strict=True)
        ]

    @define(name, rule=Rule.MOVES, meaning=_NEAREST)
    def forward(x: torch.Tensor, shape: Sequence[int], *scales: float | None) -> torch.Tensor:
        for dim, chosen in zip(range(-dims, 0), places(x.shape, shape, scales), strict=True):
            x = x.index_select(dim, chosen.positions[0].to(x.device))
        return x

    @define(f"{name}.vec", rule=Rule.MOVES, meaning=_NEAREST)
    def by_factors(
        x: torch.Tensor, shape: Sequence[int] | None, factors: Sequence[float] | None
    ) -> torch.Tensor:
        return forward(x, _shape(x, shape, factors), *(factors or ()))

    @define(f"{name}_backward", rule=Rule.FUNCTION, meaning=_NEAREST_BACKWARD)
    def backward(
        g: torch.Tensor, shape: Sequence[int], sizes: Sequence[int], *scales: float | None
    ) -> torch.Tensor:
        return _summed(g, [chosen.transposed for chosen in places(sizes, shape, scales)])


for _dims in (1, 2, 3):
    _define_nearest(f"upsample_nearest{_dims}d", _dims, 0.0)
    _define_nearest(f"_upsample_nearest_exact{_dims}d", _dims, 0.5)


# ---- weighted sums -------------------------------------------------------------------------------


def _summed(x: torch.Tensor, places: list[Places]) -> torch.Tensor:
    total = x.to(F64)
    for dim, chosen in zip(range(-1, -1 - len(places), -1), reversed(places), strict=True):
        total = sums(total, dim, chosen)
    return to_type(total, x.dtype)


def _centres(size: int, results: int, scale: float | None, *, corners: bool) -> torch.Tensor:
    """Return where each result lies among the elements, float64."""
    index = torch.arange(results, dtype=I64).to(F64)
    if corners:
        return index * ((size - 1) / (results - 1) if results > 1 else 0.0)
    return (index + 0.5) * _ratio(size, results, scale) - 0.5


def _ratio(size: int, results: int, scale: float | None) -> float:
    """Return how many elements a result stands for."""
    return 1.0 / scale if scale else size / results


def _weighted(size: int, positions: torch.Tensor, weights: torch.Tensor) -> Places:
    """Return places without those of weight zero, whose elements could be infinite."""
    return Places(size, torch.where(weights == 0, -1, positions.clamp(0, size - 1)), weights)


@lru_cache(_REMEMBERED)
def _linear(size: int, results: int, scale: float | None, corners: bool) -> Places:
    centre = _centres(size, results, scale, corners=corners).clamp(min=0.0)
    low = torch.floor(centre).clamp(max=size - 1)
    beyond = centre - low
    # past the last element its two neighbours are the same one
    beyond = torch.where(low >= size - 1, torch.zeros_like(beyond), beyond)
    positions = torch.stack([low, low + 1]).to(I64)
    return _weighted(size, positions, torch.stack([1.0 - beyond, beyond]))


@lru_cache(_REMEMBERED)
def _cubic(size: int, results: int, scale: float | None, corners: bool) -> Places:
    centre = _centres(size, results, scale, corners=corners)
    low = torch.floor(centre)
    taps = torch.arange(-1, 3, dtype=I64).unsqueeze(1)
    weights = _cubic_kernel(taps.to(F64) - (centre - low), CUBIC)
    return _weighted(size, low.to(I64) + taps, weights)


def _cubic_kernel(distance: torch.Tensor, slope: float) -> torch.Tensor:
    d = distance.abs()
    near = ((slope + 2) * d - (slope + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * slope - 4 * slope
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def _linear_kernel(distance: torch.Tensor) -> torch.Tensor:
    return (1.0 - distance.abs()).clamp(min=0.0)


@lru_cache(_REMEMBERED)
def _smooth_linear(size: int, results: int, scale: float | None, corners: bool) -> Places:
    return _smooth(size, results, scale, corners, 1, _linear_kernel)


@lru_cache(_REMEMBERED)
def _smooth_cubic(size: int, results: int, scale: float | None, corners: bool) -> Places:
    return _smooth(size, results, scale, corners, 2, lambda d: _cubic_kernel(d, CUBIC_SMOOTH))


def _smooth(
    size: int,
    results: int,
    scale: float | None,
    corners: bool,
    reach: int,
    kernel: Callable[[torch.Tensor], torch.Tensor],
) -> Places:
    """Return places of a kernel as wide as a result, its weights divided by their sum."""
    if corners:
        ratio = (size - 1) / (results - 1) if results > 1 else 0.0
    else:
        ratio = _ratio(size, results, scale)
    width = max(ratio, 1.0)
    centre = (torch.arange(results, dtype=I64).to(F64) + 0.5) * ratio
    first = torch.trunc(centre - reach * width + 0.5).clamp(min=0.0)
    last = torch.trunc(centre + reach * width + 0.5).clamp(max=float(size))
    most = int((last - first).max()) if results else 0
    taps = first + torch.arange(most, dtype=I64).to(F64).unsqueeze(1)
    distance = (taps - centre + 0.5) / torch.full((), width, dtype=F64)
    weights = torch.where(taps < last, kernel(distance), torch.zeros_like(distance))
    total = torch.zeros(results, dtype=F64)
    for row in weights:
        total = total + row
    return _weighted(size, taps.to(I64), weights / total)


Neighbours = Callable[[int, int, float | None, bool], Places]


def _define_sum(name: str, dims: int, neighbours: Neighbours) -> None:
    def places(
        sizes: Sequence[int],
        shape: Sequence[int],
        corners: bool,
        scales: tuple[float | None, ...],
    ) -> list[Places]:
        every = scales or (None,) * dims
        return [
            neighbours(size, results, scale, corners)
            for size, results, scale in zip(sizes[-dims:], shape, every, strict=True)
        ]

    @define(name, rule=Rule.FUNCTION, meaning=_SUM)
    def forward(
        x: torch.Tensor, shape: Sequence[int], corners: bool, *scales: float | None
    ) -> torch.Tensor:
        if not x.is_floating_point():
            raise UnsupportedOp(f"aten::{name}", "of integers; convert to float32", (x,))
        return _summed(x, places(x.shape, shape, corners, scales))

    @define(f"{name}.vec", rule=Rule.FUNCTION, meaning=_SUM)
    def by_factors(
        x: torch.Tensor,
        shape: Sequence[int] | None,
        corners: bool,
        factors: Sequence[float] | None,
    ) -> torch.Tensor:
        return forward(x, _shape(x, shape, factors), corners, *(factors or ()))

    @define(f"{name}_backward", rule=Rule.FUNCTION, meaning=_SUM_BACKWARD)
    def backward(
        g: torch.Tensor,
        shape: Sequence[int],
        sizes: Sequence[int],
        corners: bool,
        *scales: float | None,
    ) -> torch.Tensor:
        chosen = places(sizes, shape, corners, scales)
        return _summed(g, [place.transposed for place in chosen])


_define_sum("upsample_linear1d", 1, _linear)
_define_sum("upsample_bilinear2d", 2, _linear)
_define_sum("upsample_trilinear3d", 3, _linear)
_define_sum("upsample_bicubic2d", 2, _cubic)
_define_sum("_upsample_bilinear2d_aa", 2, _smooth_linear)
_define_sum("_upsample_bicubic2d_aa", 2, _smooth_cubic)
