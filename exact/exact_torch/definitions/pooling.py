"""Pooling: the first largest of a window, or its mean."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from exact_torch.arithmetic.bits import F64, I64
from exact_torch.arithmetic.functions import to_type
from exact_torch.arithmetic.scattered_sums import exact_sum_at
from exact_torch.definitions.places import Places, largest, sums
from exact_torch.table import Rule, define

Sizes = int | Sequence[int]

_REMEMBERED = 256
"""Geometries kept: a network has a few, and one costs less than a millisecond to find again."""

_MAX_MEANING = "the first of the largest in row-major order; NaN above all; padding never"
_MAX_BACKWARD = "exact sums of g at the indices"
_MEAN_MEANING = "sums in float64, the last dimension first, over the size of the window"
_MEAN_BACKWARD = "sums of g/size in float64 over the windows that hold a place, ascending"


# ---- windows that slide --------------------------------------------------------------------------


@lru_cache(_REMEMBERED)
def _sliding(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> Places:
    """Return the places of sliding windows; places in the padding are none."""
    reach = dilation * (kernel - 1) + 1
    span = size + 2 * padding - reach
    results = (span + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (results - 1) * stride >= size + padding:
        results -= 1  # the last window must start inside, not in the padding behind
    taps = torch.arange(kernel, dtype=I64).unsqueeze(1) * dilation
    positions = torch.arange(max(results, 0), dtype=I64) * stride - padding + taps
    return Places(size, torch.where((positions < 0) | (positions >= size), -1, positions))


@lru_cache(_REMEMBERED)
def _window_lengths(
    size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, count_padding: bool
) -> torch.Tensor:
    """Return how many places each window counts: those beyond the padding never."""
    results = _sliding(size, kernel, stride, padding, 1, ceil_mode).results
    start = torch.arange(results, dtype=I64) * stride - padding
    stop = (start + kernel).clamp(max=size + padding)
    if not count_padding:
        start, stop = start.clamp(min=0), stop.clamp(max=size)
    return stop - start


def _each(values: Sizes, dims: int) -> list[int]:
    given = [values] if isinstance(values, int) else list(values)
    return given if len(given) == dims else given * dims


def _windows(
    x: torch.Tensor,
    dims: int,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> list[Places]:
    """Return the places of each of the last `dims` dimensions; no stride means the kernel's."""
    return [
        _sliding(size, k, s, p, by, ceil_mode)
        for size, k, s, p, by in zip(
            x.shape[-dims:],
            _each(kernel, dims),
            _each(stride or kernel, dims),
            _each(padding, dims),
            _each(dilation, dims),
            strict=True,
        )
    ]


@define("max_pool2d_with_indices", rule=Rule.ORDER, meaning=_MAX_MEANING)
def max_pool2d(
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest of windows of the last two dimensions, and their indices."""
    return _max_pool(x, _windows(x, 2, kernel, stride, padding, dilation, ceil_mode))


@define("max_pool3d_with_indices", rule=Rule.ORDER, meaning=_MAX_MEANING)
def max_pool3d(
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest of windows of the last three dimensions, and their indices."""
    return _max_pool(x, _windows(x, 3, kernel, stride, padding, dilation, ceil_mode))


def _max_pool(x: torch.Tensor, windows: list[Places]) -> tuple[torch.Tensor, torch.Tensor]:
    values, indices, stride = x, None, 1
    for dim, places in zip(range(-1, -1 - len(windows), -1), reversed(windows), strict=True):
        values, indices = largest(values, indices, dim, places, stride)
        stride *= places.size
    assert indices is not None, "a pool has dimensions"
    return values, indices


@define("max_pool2d_with_indices_backward", rule=Rule.SUM, meaning=_MAX_BACKWARD)
def max_pool2d_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    indices: torch.Tensor,
) -> torch.Tensor:
    """Differentiate max_pool2d."""
    apart = _apart(kernel, stride, dilation, 2)
    return _sum_at(g, x, indices, 2, apart=apart)


@define("max_pool3d_with_indices_backward", rule=Rule.SUM, meaning=_MAX_BACKWARD)
def max_pool3d_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    indices: torch.Tensor,
) -> torch.Tensor:
    """Differentiate max_pool3d."""
    apart = _apart(kernel, stride, dilation, 3)
    return _sum_at(g, x, indices, 3, apart=apart)


def _apart(kernel: Sizes, stride: Sizes, dilation: Sizes, dims: int) -> bool:
    """Whether no two windows share a place."""
    return all(
        step >= by * (size - 1) + 1
        for size, step, by in zip(
            _each(kernel, dims), _each(stride or kernel, dims), _each(dilation, dims), strict=True
        )
    )


def _sum_at(
    g: torch.Tensor, x: torch.Tensor, indices: torch.Tensor, dims: int, *, apart: bool
) -> torch.Tensor:
    """Return gradients summed at indices into the last `dims` dimensions of x.

    Where windows lie apart each sum has one term: copied, with +0 for -0, it is the same number.
    """
    if apart and g.dtype is not F64 and x.numel():
        flat = torch.zeros_like(x).flatten(-dims)
        return flat.scatter(-1, indices.flatten(-dims), g.flatten(-dims) + 0.0).reshape(x.shape)
    if x.numel() == 0:
        return torch.zeros_like(x)
    places = x[(0,) * (x.dim() - dims)].numel()
    planes = x.numel() // places
    offsets = torch.arange(planes, dtype=I64, device=x.device).unsqueeze(1) * places
    where = (indices.reshape(planes, -1) + offsets).reshape(-1)
    total = exact_sum_at(g.reshape(-1, 1), where, planes * places)
    return to_type(total, x.dtype).reshape(x.shape)


@define("avg_pool2d", rule=Rule.FUNCTION, meaning=_MEAN_MEANING)
def avg_pool2d(
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Return the means of windows of the last two dimensions."""
    shape = (2, kernel, stride, padding, ceil_mode)
    return _mean_pool(x, *_mean_windows(x, shape, count_include_pad, divisor_override))


@define("avg_pool3d", rule=Rule.FUNCTION, meaning=_MEAN_MEANING)
def avg_pool3d(
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes = (),
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Return the means of windows of the last three dimensions."""
    shape = (3, kernel, stride, padding, ceil_mode)
    return _mean_pool(x, *_mean_windows(x, shape, count_include_pad, divisor_override))


@define("avg_pool2d_backward", rule=Rule.FUNCTION, meaning=_MEAN_BACKWARD)
def avg_pool2d_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> torch.Tensor:
    """Differentiate avg_pool2d."""
    shape = (2, kernel, stride, padding, ceil_mode)
    return _mean_pool_backward(g, *_mean_windows(x, shape, count_include_pad, divisor_override))


@define("avg_pool3d_backward", rule=Rule.FUNCTION, meaning=_MEAN_BACKWARD)
def avg_pool3d_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> torch.Tensor:
    """Differentiate avg_pool3d."""
    shape = (3, kernel, stride, padding, ceil_mode)
    return _mean_pool_backward(g, *_mean_windows(x, shape, count_include_pad, divisor_override))


def _mean_windows(
    x: torch.Tensor,
    shape: tuple[int, Sizes, Sizes, Sizes, bool],
    count_include_pad: bool,
    divisor_override: int | None,
) -> tuple[list[Places], torch.Tensor]:
    """Return the windows and, float64, how many places each counts."""
    dims, kernel, stride, padding, ceil_mode = shape
    windows = _windows(x, dims, kernel, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        return windows, torch.full((), float(divisor_override), dtype=F64, device=x.device)
    sides = zip(
        x.shape[-dims:],
        _each(kernel, dims),
        _each(stride or kernel, dims),
        _each(padding, dims),
        strict=True,
    )
    lengths = [
        _window_lengths(size, k, s, p, ceil_mode, count_include_pad) for size, k, s, p in sides
    ]
    return windows, _product(lengths, x)


def _product(lengths: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Return the sizes of windows from their lengths in each dimension, float64."""
    total = torch.ones((), dtype=I64)
    for length in lengths:
        total = total.unsqueeze(-1) * length
    return total.to(F64).to(like.device)


def _mean_pool(x: torch.Tensor, windows: list[Places], counts: torch.Tensor) -> torch.Tensor:
    total = x.to(F64)
    for dim, places in zip(range(-1, -1 - len(windows), -1), reversed(windows), strict=True):
        total = sums(total, dim, places)
    return to_type(total / counts, x.dtype)


def _mean_pool_backward(
    g: torch.Tensor, windows: list[Places], counts: torch.Tensor
) -> torch.Tensor:
    share = g.to(F64) / counts
    for dim, places in zip(range(-1, -1 - len(windows), -1), reversed(windows), strict=True):
        share = sums(share, dim, places.transposed)
    return to_type(share, g.dtype)


# ---- windows that divide the input ---------------------------------------------------------------


@lru_cache(_REMEMBERED)
def _dividing(size: int, results: int) -> Places:
    """Return the windows floor(i·size/results) to ceil((i + 1)·size/results)."""
    index = torch.arange(results, dtype=I64)
    start = (index * size) // results
    stop = ((index + 1) * size + results - 1) // results
    most = int((stop - start).max()) if results else 0
    positions = start + torch.arange(most, dtype=I64).unsqueeze(1)
    return Places(size, torch.where(positions < stop, positions, -1))


def _divided(x: torch.Tensor, shape: Sequence[int]) -> tuple[list[Places], torch.Tensor]:
    """Return the windows that divide x's last dimensions, and their sizes, float64."""
    windows = [
        _dividing(size, results)
        for size, results in zip(x.shape[-len(shape) :], shape, strict=True)
    ]
    return windows, _product([(w.positions != -1).sum(0) for w in windows], x)


@define("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", rule=Rule.FUNCTION, meaning=_MEAN_MEANING)
def adaptive_avg_pool(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the means of windows that divide the last dimensions."""
    return _mean_pool(x, *_divided(x, shape))


@define("_adaptive_avg_pool2d_backward", rule=Rule.FUNCTION, meaning=_MEAN_BACKWARD)
def adaptive_avg_pool2d_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate adaptive_avg_pool2d."""
    return _mean_pool_backward(g, *_divided(x, g.shape[-2:]))


@define("_adaptive_avg_pool3d_backward", rule=Rule.FUNCTION, meaning=_MEAN_BACKWARD)
def adaptive_avg_pool3d_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate adaptive_avg_pool3d."""
    return _mean_pool_backward(g, *_divided(x, g.shape[-3:]))


@define("adaptive_max_pool2d", "adaptive_max_pool3d", rule=Rule.ORDER, meaning=_MAX_MEANING)
def adaptive_max_pool(x: torch.Tensor, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest of windows that divide the last dimensions, and their indices."""
    return _max_pool(x, _divided(x, shape)[0])


@define("adaptive_max_pool2d_backward", rule=Rule.SUM, meaning=_MAX_BACKWARD)
def adaptive_max_pool2d_backward(
    g: torch.Tensor, x: torch.Tensor, indices: torch.Tensor
) -> torch.Tensor:
    """Differentiate adaptive_max_pool2d."""
    return _sum_at(g, x, indices, 2, apart=_divides(x, g, 2))


@define("adaptive_max_pool3d_backward", rule=Rule.SUM, meaning=_MAX_BACKWARD)
def adaptive_max_pool3d_backward(
    g: torch.Tensor, x: torch.Tensor, indices: torch.Tensor
) -> torch.Tensor:
    """Differentiate adaptive_max_pool3d."""
    return _sum_at(g, x, indices, 3, apart=_divides(x, g, 3))


def _divides(x: torch.Tensor, g: torch.Tensor, dims: int) -> bool:
    """Whether all windows have one size, so that they lie apart."""
    sizes = zip(x.shape[-dims:], g.shape[-dims:], strict=True)
    return all(results > 0 and size % results == 0 for size, results in sizes)
