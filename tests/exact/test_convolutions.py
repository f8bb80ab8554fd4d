"""Convolutions of every geometry: exact on integers, bounded elsewhere, blind to their batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import exact_torch
from exact_torch import engines
from exact_torch.definitions import convolutions
from exact_torch.kernels import Int8Kernels, TorchKernels
from tests.exact.float64_reference import both, close_to_largest, run, same_bits, seeded, whole

PLAIN = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
PRECISIONS = ("E21", "E14", "FMA")
CHECKED = settings(max_examples=25, deadline=None)
REFERENCES = (TorchKernels(), Int8Kernels())
E21_ALLOWED = 2.0**-18
"""Of the largest result: 2^-21 of the largest operand each, summed over up to a few dozen terms."""


@contextmanager
def computing_with(kernels: TorchKernels) -> Iterator[None]:
    """Compute with these kernels inside, without the seconds that a self-test takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(engines._chosen, "cpu", kernels)
        yield


@dataclass(frozen=True)
class Case:
    """A convolution's geometry, with what its operands are made from."""

    dims: int
    transposed: bool
    images: int
    groups: int
    channels: int
    outs: int
    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    extra: tuple[int, ...]
    bias: bool
    seed: int

    def operands(
        self, make: Callable[..., torch.Tensor] = whole
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        wide, narrow = self.groups * self.channels, self.groups * self.outs
        shape = (wide, self.outs) if self.transposed else (narrow, self.channels)
        return (
            make(self.images, wide, *self.sizes, seed=self.seed),
            make(*shape, *self.kernel, seed=self.seed + 1),
            make(narrow, seed=self.seed + 2),
        )

    def __call__(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        added = bias if self.bias else None
        if self.transposed:
            return TRANSPOSED[self.dims](
                x, weight, added, self.stride, self.padding, self.extra, self.groups, self.dilation
            )
        return PLAIN[self.dims](
            x, weight, added, self.stride, self.padding, self.dilation, self.groups
        )


@st.composite
def cases(draw: st.DrawFn, *, dims: st.SearchStrategy[int]) -> Case:
    count = draw(dims)

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))

    transposed = draw(st.booleans())
    kernel, stride, dilation = each(1, 4), each(1, 4), each(1, 3)
    reach = [by * (taps - 1) + 1 for taps, by in zip(kernel, dilation, strict=True)]
    if transposed:
        # padding cuts the result, of which something must be left
        sizes = each(1, 4)
        padding = tuple(
            draw(st.integers(0, (size - 1) * step + far - 1)) // 2
            for size, step, far in zip(sizes, stride, reach, strict=True)
        )
        extra = tuple(
            draw(st.integers(0, max(step, by) - 1))
            for step, by in zip(stride, dilation, strict=True)
        )
    else:
        padding, extra = each(0, 5), (0,) * count
        sizes = tuple(
            draw(st.integers(max(1, far - 2 * pad), max(1, far - 2 * pad) + 4))
            for far, pad in zip(reach, padding, strict=True)
        )
    return Case(
        dims=count,
        transposed=transposed,
        images=draw(st.integers(1, 3)),
        groups=draw(st.integers(1, 3)),
        channels=draw(st.integers(1, 3)),
        outs=draw(st.integers(1, 3)),
        sizes=sizes,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        extra=extra,
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 2**31)),
    )


ANY = cases(dims=st.sampled_from([1, 2, 2, 3]))
FLAT = cases(dims=st.sampled_from([1, 2]))


@pytest.mark.parametrize("precision", PRECISIONS)
@CHECKED
@given(case=ANY)
def test_small_integers_are_exact_in_every_mode(precision: str, case: Case) -> None:
    """Small integers quantise to themselves, so values and gradients equal float64's."""
    found, expected = both(case, *case.operands(), precision=precision)
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert part.shape == wanted.shape
        assert torch.equal(part.double(), wanted)


@CHECKED
@given(case=ANY)
def test_floats_are_within_the_error_of_e21(case: Case) -> None:
    found, expected = both(case, *case.operands(seeded))
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert close_to_largest(part, wanted, E21_ALLOWED)


@CHECKED
@given(case=FLAT, kernels=st.sampled_from(REFERENCES), precision=st.sampled_from(PRECISIONS))
def test_engines_agree(case: Case, kernels: TorchKernels, precision: str) -> None:
    operands = case.operands(seeded)
    with exact_torch.mode(precision):
        expected = run(case, *operands)
    with computing_with(kernels), exact_torch.mode(precision):
        found = run(case, *operands)
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert same_bits(part, wanted)


@CHECKED
@given(case=FLAT, most=st.integers(1, 200))
def test_cutting_columns_into_pieces_changes_no_bit(case: Case, most: int) -> None:
    operands = case.operands(seeded)
    with exact_torch.mode(), pytest.MonkeyPatch.context() as patch:
        whole_pieces = run(case, *operands)
        patch.setattr(convolutions, "COLUMN_ELEMENTS_MAX", most)
        cut = run(case, *operands)
    for part, wanted in zip(cut.tensors(), whole_pieces.tensors(), strict=True):
        assert same_bits(part, wanted)


@CHECKED
@given(case=FLAT)
def test_no_image_depends_on_its_batch(case: Case) -> None:
    x, weight, bias = case.operands(seeded)
    x = torch.cat([x, x.flip(0) * 1e3, x[:1]])
    with exact_torch.mode():
        together = case(x, weight, bias)
        for i in range(len(x)):
            assert same_bits(together[i : i + 1], case(x[i : i + 1], weight, bias))


def test_threads_change_no_bit() -> None:
    x, weight = seeded(4, 6, 12, 12, seed=1), seeded(8, 6, 3, 3, seed=2)
    before = torch.get_num_threads()
    outcomes = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with exact_torch.mode():
                outcomes.append(run(lambda a, b: functional.conv2d(a, b, padding=1), x, weight))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*(outcome.tensors() for outcome in outcomes), strict=True):
        assert same_bits(one, two)


def test_memory_layout_changes_no_bit() -> None:
    x, weight = seeded(2, 6, 9, 9, seed=3), seeded(8, 6, 3, 3, seed=4)
    with exact_torch.mode():
        plain = functional.conv2d(x, weight)
        last = functional.conv2d(x.contiguous(memory_format=torch.channels_last), weight)
        strided = functional.conv2d(x.repeat_interleave(2, 3)[..., ::2], weight)
    assert same_bits(plain, last)
    assert same_bits(plain, strided)


def test_wide_magnitudes_keep_their_own_grids() -> None:
    """Each place has its grid: a bright image does not dim the one beside it."""
    x = torch.cat([seeded(1, 2, 5, 5, seed=5, spread=s) for s in (1e-35, 1e-20, 1.0, 1e20, 1e30)])
    found, expected = both(functional.conv2d, x, seeded(3, 2, 3, 3, seed=6))
    for value, wanted in zip(found.value, expected.value, strict=True):
        assert close_to_largest(value, wanted, E21_ALLOWED)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_where_its_windows_are(bad: float) -> None:
    x, weight = seeded(2, 2, 6, 6, seed=7), seeded(3, 2, 3, 3, seed=8)
    x[1, 0, 2, 3] = bad
    expected = functional.conv2d(x, weight).isfinite()
    with exact_torch.mode():
        found = functional.conv2d(x, weight)
    assert torch.equal(found.isfinite(), expected)
    assert found[~expected].isnan().all()


def test_zeros_are_positive_in_every_engine() -> None:
    """Of one element, float64 matrix products give -0 for -5·0."""
    x, weight = torch.zeros(1, 1, 3, 3), torch.full((1, 1, 1, 1), -5.0)
    with exact_torch.mode():
        found = [functional.conv2d(x, weight)]
    for kernels in REFERENCES:
        with computing_with(kernels), exact_torch.mode():
            found.append(functional.conv2d(x, weight))
    for zeros in found:
        assert same_bits(zeros, torch.zeros(1, 1, 3, 3))


@pytest.mark.parametrize("transposed", [False, True])
def test_empty_batches_and_single_places(transposed: bool) -> None:
    convolve = functional.conv_transpose2d if transposed else functional.conv2d
    for images, size in ((0, 4), (1, 1), (2, 1)):
        x, weight = whole(images, 2, size, size, seed=9), whole(2, 2, 1, 1, seed=10)
        found, expected = both(convolve, x, weight, whole(2, seed=11))
        for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
            assert torch.equal(part.double(), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_round_the_float32_result(dtype: torch.dtype) -> None:
    x, weight = seeded(2, 3, 6, 6, seed=12).to(dtype), seeded(4, 3, 3, 3, seed=13).to(dtype)
    bias = seeded(4, seed=14).to(dtype)
    with exact_torch.mode():
        narrow = run(functional.conv2d, x, weight, bias, dtype=dtype)
        wide = run(functional.conv2d, x, weight, bias)
    for part, wanted in zip(narrow.tensors(), wide.tensors(), strict=True):
        assert same_bits(part, wanted.to(dtype))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_padding_by_name_and_without_batch() -> None:
    x, weight = whole(3, 7, 6, seed=15), whole(4, 3, 4, 3, seed=16)
    found, expected = both(lambda a, b: functional.conv2d(a, b, padding="same"), x, weight)
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert torch.equal(part.double(), wanted)


def test_only_the_gradients_asked_for() -> None:
    x, weight = whole(2, 3, 5, 5, seed=17), whole(4, 3, 3, 3, seed=18).requires_grad_()
    with exact_torch.mode():
        functional.conv2d(x, weight).sum().backward()
        only = weight.grad
        everything = run(lambda a, b: functional.conv2d(a, b).sum() / -8, x, weight)
    assert only is not None
    assert torch.equal(only, everything.gradients[1])


def test_float64_is_refused() -> None:
    x = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    with exact_torch.mode(), pytest.raises(exact_torch.UnsupportedOp, match="float32"):
        functional.conv2d(x, x)
