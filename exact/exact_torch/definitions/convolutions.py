"""Convolutions, as contractions over the elements that meet.

An element of a result is a contraction over the channels and the source positions that reach it,
in that order and ascending; a source position outside the input is a zero. So each row and column
is quantised over what it holds, whatever the batch around it is.

Terms: the *wide* side of a convolution is its input, the *narrow* one its output; position n of the
narrow side meets position n·stride + tap·dilation - padding of the wide one. A transposed
convolution goes from narrow to wide, as the gradient of a plain one does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod

import torch

from exact_torch.arithmetic.functions import to_type
from exact_torch.definitions.contractions import contract
from exact_torch.definitions.reductions import sum64
from exact_torch.table import Rule, define

COLUMN_ELEMENTS_MAX = 1 << 22
"""Elements copied for one contraction: 16 MiB of float32, a few times that inside engines."""

_MEANING = "a contraction over channels and taps (transposed: those that reach a place), plus bias"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Geometry:
    """How the two sides meet, a number a spatial dimension each."""

    taps: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def narrow_size(self, wide: Sequence[int]) -> list[int]:
        """Return the shape of the narrow side."""
        return [
            (size + 2 * pad - by * (taps - 1) - 1) // step + 1
            for size, pad, by, taps, step in zip(
                wide, self.padding, self.dilation, self.taps, self.stride, strict=True
            )
        ]

    def wide_size(self, narrow: Sequence[int], extra: Sequence[int]) -> list[int]:
        """Return the shape of the wide side, `extra` places longer than the least that fits."""
        return [
            (size - 1) * step - 2 * pad + by * (taps - 1) + more + 1
            for size, pad, by, taps, step, more in zip(
                narrow, self.padding, self.dilation, self.taps, self.stride, extra, strict=True
            )
        ]


@define("convolution", rule=Rule.CONTRACTION, meaning=_MEANING)
def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """Convolve (N, C, ...) with (O, C/groups, ...), or transposed with (C, O/groups, ...)."""
    geometry = _geometry(weight, stride, padding, dilation, groups)
    if transposed:
        extra = _each(output_padding, x.dim() - 2)
        return _to_wide(x, weight, bias, geometry, geometry.wide_size(x.shape[2:], extra))
    return _to_narrow(x, weight, bias, geometry, geometry.narrow_size(x.shape[2:]))


@define(
    "convolution_backward",
    rule=Rule.CONTRACTION,
    meaning="x: the transposed contraction of g; weight: one over batch and places; bias: sums",
)
def convolution_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Differentiate convolution with respect to x, weight and bias."""
    geometry = _geometry(weight, stride, padding, dilation, groups)
    dx = dweight = dbias = None
    if wanted[0] and transposed:
        # extra places can make g as long as that of a longer x
        dx = _to_narrow(g, weight, None, geometry, list(x.shape[2:]))
    elif wanted[0]:
        dx = _to_wide(g, weight, None, geometry, list(x.shape[2:]))
    if wanted[1]:
        narrow, wide = (x, g) if transposed else (g, x)
        dweight = _weight_gradient(narrow, wide, geometry).reshape(weight.shape)
    if wanted[2]:
        dbias = to_type(sum64(g, (0, *range(2, g.dim()))), g.dtype)
    return dx, dweight, dbias


def _geometry(
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> _Geometry:
    dims = weight.dim() - 2
    return _Geometry(
        taps=tuple(weight.shape[2:]),
        stride=_each(stride, dims),
        padding=_each(padding, dims),
        dilation=_each(dilation, dims),
        groups=groups,
    )


def _each(values: Sequence[int], dims: int) -> tuple[int, ...]:
    """Return one value a spatial dimension; a single one stands for all."""
    return tuple(values) if len(values) == dims else (values[0],) * dims


def _to_narrow(
    wide: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    geometry: _Geometry,
    size: list[int],
) -> torch.Tensor:
    frame = _framed(wide, geometry.padding, _reach(size, geometry))
    grouped = weight.reshape(geometry.groups, -1, *weight.shape[1:])
    return _correlate(frame, grouped, bias, size, geometry.stride, geometry.dilation)


def _reach(narrow: Sequence[int], geometry: _Geometry) -> list[int]:
    """Return how much of the padded wide side the narrow one meets."""
    return [
        (size - 1) * step + (taps - 1) * by + 1
        for size, step, taps, by in zip(
            narrow, geometry.stride, geometry.taps, geometry.dilation, strict=True
        )
    ]


def _to_wide(
    narrow: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    geometry: _Geometry,
    size: list[int],
) -> torch.Tensor:
    """Return the wide side: places with equal remainders by the stride are plain correlations."""
    grouped = weight.reshape(geometry.groups, -1, *weight.shape[1:]).transpose(1, 2)
    channels = geometry.groups * grouped.shape[1]
    kind = torch.promote_types(narrow.dtype, weight.dtype)
    result = torch.zeros((narrow.shape[0], channels, *size), dtype=kind, device=narrow.device)
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(size))
    phases = [_phases(geometry, d, size[d]) for d in range(len(size))]
    for phase in product(*phases):
        taps = grouped
        for d, part in enumerate(phase):
            taps = taps.index_select(3 + d, torch.tensor(part.taps, device=taps.device))
        lengths = [part.length for part in phase]
        steps = [part.dilation for part in phase]
        reach = [part.length + part.dilation * (len(part.taps) - 1) for part in phase]
        frame = _framed(narrow, [-part.first for part in phase], reach)
        places = tuple(
            slice(part.remainder, None, step)
            for part, step in zip(phase, geometry.stride, strict=True)
        )
        result[(slice(None), slice(None), *places)] = _correlate(
            frame, taps, bias, lengths, [1] * len(size), steps
        )
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """The places remainder + stride·t, 0 <= t < length, of one dimension of a wide side.

    Place t meets the narrow positions first + t + i·dilation through taps[i].
    """

    remainder: int
    length: int
    taps: tuple[int, ...]
    first: int
    dilation: int


def _phases(geometry: _Geometry, d: int, size: int) -> Iterator[_Phase]:
    """Return the phases of dimension d that any tap reaches."""
    stride, pad, by = geometry.stride[d], geometry.padding[d], geometry.dilation[d]
    for remainder in range(min(stride, size)):
        # a later tap meets an earlier position: reversed, positions ascend
        taps = [k for k in range(geometry.taps[d]) if (remainder + pad - k * by) % stride == 0]
        if taps:
            yield _Phase(
                remainder=remainder,
                length=(size - remainder + stride - 1) // stride,
                taps=tuple(reversed(taps)),
                first=(remainder + pad - taps[-1] * by) // stride,
                dilation=by // gcd(stride, by),
            )


def _framed(x: torch.Tensor, before: Sequence[int], size: Sequence[int]) -> torch.Tensor:
    """Return x with `before` zeros put first in each spatial dimension, and then of this size.

    A negative `before` cuts; zeros are put, or elements cut, at the end.
    """
    pads: list[int] = []
    cuts = [slice(None), slice(None)]
    for low, wanted, present in zip(before, size, x.shape[2:], strict=True):
        start = max(-low, 0)
        pads = [max(low, 0), max(start + wanted - present - max(low, 0), 0), *pads]
        cuts.append(slice(start, start + wanted))
    return torch.constant_pad_nd(x, pads)[tuple(cuts)] if any(pads) else x[tuple(cuts)]


def _correlate(
    frame: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Slide a weight over a frame that holds all it meets.

    Args:
        frame: (N, groups·C, ...).
        weight: (groups, O, C, taps...).
        bias: (groups·O,).
        size: spatial shape of the result, (N, groups·O, size...).
        stride: places between neighbouring results.
        dilation: places between neighbouring taps.
    """
    groups, outs = weight.shape[:2]
    windows = _windows(frame, groups, size, weight.shape[3:], stride, dilation)
    kind = torch.promote_types(frame.dtype, weight.dtype)
    result = torch.empty((frame.shape[0], groups, outs, *size), dtype=kind, device=frame.device)
    if result.numel() == 0:
        return result.reshape(-1, groups * outs, *size)
    rows = weight.reshape(groups, outs, -1)
    addend = None if bias is None else bias.reshape(groups, outs, 1)
    if groups == 1:
        rows, addend = rows[0], None if addend is None else addend[0]
    each = prod(windows.shape[1:])
    for images, lines in _pieces(frame.shape[0], size[0], each):
        piece = windows[images][(slice(None),) * (3 + len(size)) + (lines,)]
        # one group after another: channels and taps down, images and places across
        columns = piece.movedim(0, 3 + len(size) - 1).reshape(groups, rows.shape[-1], -1)
        values = contract(rows, columns[0] if groups == 1 else columns, addend=addend, dtype=kind)
        shape = (groups, outs, piece.shape[0], *piece.shape[3 + len(size) :])
        result[images, :, :, lines] = values.reshape(shape).movedim(2, 0)
    return result.reshape(-1, groups * outs, *size)


def _windows(
    frame: torch.Tensor,
    groups: int,
    size: Sequence[int],
    taps: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """Return a view (N, groups, C, taps..., size...) of what each place meets."""
    strides = frame.stride()
    spatial = strides[2:]
    channels = frame.shape[1] // groups
    return frame.as_strided(
        (frame.shape[0], groups, channels, *taps, *size),
        (
            strides[0],
            strides[1] * channels,
            strides[1],
            *(step * by for step, by in zip(spatial, dilation, strict=True)),
            *(step * by for step, by in zip(spatial, stride, strict=True)),
        ),
    )


def _pieces(images: int, lines: int, elements_of_image: int) -> Iterator[tuple[slice, slice]]:
    """Cut images, and within large images lines, so that a piece's columns stay bounded."""
    together = max(COLUMN_ELEMENTS_MAX // max(elements_of_image, 1), 1)
    at_once = max(lines * COLUMN_ELEMENTS_MAX // max(elements_of_image, 1), 1)
    for image in range(0, images, together):
        for line in range(0, lines, min(at_once, lines)):
            yield slice(image, image + together), slice(line, line + at_once)


def _weight_gradient(narrow: torch.Tensor, wide: torch.Tensor, geometry: _Geometry) -> torch.Tensor:
    """Return (groups, narrow channels, wide channels, taps...): contractions over (n, place)."""
    groups, size = geometry.groups, list(narrow.shape[2:])
    frame = _framed(wide, geometry.padding, _reach(size, geometry))
    windows = _windows(frame, groups, size, geometry.taps, geometry.stride, geometry.dilation)
    outs, channels = narrow.shape[1] // groups, windows.shape[2]
    kind = torch.promote_types(narrow.dtype, wide.dtype)
    result = torch.zeros((groups, outs, channels, *geometry.taps), dtype=kind, device=wide.device)
    if narrow.numel() == 0 or wide.numel() == 0:
        return result
    # one group after another: images and places down, channels across
    right = narrow.reshape(narrow.shape[0], groups, outs, -1).permute(1, 0, 3, 2)
    right = right.reshape(groups, -1, outs)
    each = windows.numel() // (groups * channels)
    together = max(COLUMN_ELEMENTS_MAX // each, 1)
    for group in range(0, groups, max(together // channels, 1)):
        some = slice(group, group + max(together // channels, 1))
        for channel in range(0, channels, together):
            part = slice(channel, channel + together)
            piece = windows[:, some, part].movedim(0, 3 + len(size) - 1)
            left = piece.reshape(piece.shape[0], -1, right.shape[1])
            if left.shape[0] == 1:
                values = contract(left[0], right[some][0], dtype=kind).unsqueeze(0)
            else:
                values = contract(left, right[some], dtype=kind)
            shape = (left.shape[0], outs, -1, *geometry.taps)
            result[some, :, part] = values.transpose(1, 2).reshape(shape)
    return result
