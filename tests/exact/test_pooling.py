"""Pooling: defined ties, exact means, gradients that no order of additions changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

import exact_torch
from tests.exact.float64_reference import Outcome, both, close, run, same_bits, seeded, whole

Pool = Callable[..., torch.Tensor]

MAX: dict[int, Pool] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
MEAN: dict[int, Pool] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}
ADAPTIVE_MAX: dict[int, Pool] = {
    1: functional.adaptive_max_pool1d,
    2: functional.adaptive_max_pool2d,
    3: functional.adaptive_max_pool3d,
}
ADAPTIVE_MEAN: dict[int, Pool] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
CHECKED = settings(max_examples=40, deadline=None)


@st.composite
def windows(draw: st.DrawFn, *, dilated: bool) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """Return dimensions, sizes and the arguments of a pool, as torch allows them."""
    dims = draw(st.sampled_from([1, 2, 2, 3]))

    def each(strategy: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(strategy) for _ in range(dims))

    kernel = each(st.integers(1, 4))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    dilation = each(st.integers(1, 3)) if dilated else (1,) * dims
    sizes = tuple(
        draw(st.integers(by * (k - 1) + 1, by * (k - 1) + 7))
        for k, by in zip(kernel, dilation, strict=True)
    )
    arguments: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": draw(st.one_of(st.none(), st.just(each(st.integers(1, 5))))),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
    }
    if dilated:
        arguments["dilation"] = dilation
    return dims, sizes, arguments


def agree(found: Outcome, expected: Outcome) -> None:
    """Compare exact values and gradients."""
    assert found.value.shape == expected.value.shape
    assert torch.equal(found.value.double(), expected.value.float().double())
    assert close(found.gradients[0], expected.gradients[0], absolute=2.0**-24)


@CHECKED
@given(windows(dilated=True), st.integers(0, 2**31), st.sampled_from([2, 4, 1000]))
def test_max_pools(
    shape: tuple[int, tuple[int, ...], dict[str, Any]], seed: int, below: int
) -> None:
    """With few different values most windows have ties: indices are those of the first."""
    dims, sizes, arguments = shape
    x = whole(2, 2, *sizes, seed=seed, below=below)
    agree(*both(lambda v: MAX[dims](v, **arguments), x))
    expected = MAX[dims](x, **arguments, return_indices=True)[1]
    with exact_torch.mode():
        found = MAX[dims](x, **arguments, return_indices=True)[1]
    assert torch.equal(found, expected)


@CHECKED
@given(
    windows(dilated=False),
    st.integers(0, 2**31),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 9)),
)
def test_mean_pools(
    shape: tuple[int, tuple[int, ...], dict[str, Any]],
    seed: int,
    count_include_pad: bool,
    divisor: int | None,
) -> None:
    """Sums of small integers are exact, so the quotient is the correctly rounded one."""
    dims, sizes, arguments = shape
    arguments = arguments | {"count_include_pad": count_include_pad}
    if divisor is not None and dims > 1:
        arguments["divisor_override"] = divisor
    agree(*both(lambda v: MEAN[dims](v, **arguments), whole(2, 2, *sizes, seed=seed)))


@CHECKED
@given(
    st.sampled_from([1, 2, 3]),
    st.lists(st.integers(1, 9), min_size=6, max_size=6),
    st.integers(0, 2**31),
)
def test_adaptive_pools(dims: int, numbers: list[int], seed: int) -> None:
    """Windows that overlap, divide evenly, or repeat because results outnumber elements."""
    sizes, results = numbers[:dims], numbers[3 : 3 + dims]
    x = whole(2, 3, *sizes, seed=seed, below=4)
    # torch replaces a pool to one element by a mean, in another order
    assume(any(result != 1 for result in results))
    agree(*both(lambda v: ADAPTIVE_MEAN[dims](v, results), x))
    agree(*both(lambda v: ADAPTIVE_MAX[dims](v, results), x))
    expected = ADAPTIVE_MAX[dims](x, results, True)[1]
    with exact_torch.mode():
        found = ADAPTIVE_MAX[dims](x, results, True)[1]
    assert torch.equal(found, expected)


@CHECKED
@given(st.integers(0, 2**31), st.sampled_from([1e-30, 1.0, 1e30]))
def test_gradients_of_overlapping_maxima_are_exact_sums(seed: int, spread: float) -> None:
    x = whole(1, 2, 9, 9, seed=seed, below=3)
    weight = seeded(1, 2, 9, 9, seed=seed + 1, spread=spread)

    def pooled(v: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(v, 3, 1, 1) * weight.to(v.dtype)

    found, expected = both(pooled, x)
    bound = float(expected.gradients[0].abs().max()) * 2.0**-24
    assert close(found.gradients[0], expected.gradients[0], absolute=bound)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_no_image_or_channel_depends_on_its_neighbours(dims: int) -> None:
    x = seeded(3, 2, *(7, 6, 5)[:dims], seed=1)
    x[1] *= 1e20
    pools = [
        lambda v: MAX[dims](v, 3, 2, 1),
        lambda v: MEAN[dims](v, 3, 2, 1),
        lambda v: ADAPTIVE_MEAN[dims](v, 3),
        lambda v: ADAPTIVE_MAX[dims](v, 4),
    ]
    with exact_torch.mode():
        for pool in pools:
            together = run(lambda v, pool=pool: (pool(v) * 0.7).sum(), x)
            for i in range(len(x)):
                alone = run(lambda v, pool=pool: (pool(v) * 0.7).sum(), x[i : i + 1])
                assert same_bits(together.gradients[0][i : i + 1], alone.gradients[0])
                assert same_bits(pool(x)[i : i + 1], pool(x[i : i + 1]))


def test_edges_of_maxima() -> None:
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[[nan, 1.0, -0.0, 0.0, 0.0, -0.0, -inf, -inf, 2.0, nan, nan, nan]]])
    with exact_torch.mode():
        values, indices = functional.max_pool1d(x, 2, return_indices=True)
        best, where = functional.adaptive_max_pool1d(x, 1, return_indices=True)
    expected = torch.tensor([[[nan, -0.0, 0.0, -inf, nan, nan]]])
    assert same_bits(values, expected)
    assert indices.tolist() == [[[0, 2, 4, 6, 9, 10]]]
    assert best.isnan().all()
    assert where.tolist() == [[[0]]]


def test_padding_is_never_the_largest() -> None:
    x = torch.full((1, 1, 3, 3), float("-inf"))
    with exact_torch.mode():
        values, indices = functional.max_pool2d(x, 3, 1, 1, return_indices=True)
    assert same_bits(values, x)
    assert indices.tolist() == [[[[0, 0, 1], [0, 0, 1], [3, 3, 4]]]]


def test_infinities_in_means() -> None:
    x = torch.tensor([[[float("inf"), 1.0, float("-inf"), float("inf"), float("nan"), 0.0]]])
    with exact_torch.mode():
        found = functional.avg_pool1d(x, 2)
    assert same_bits(found, torch.tensor([[[float("inf"), float("nan"), float("nan")]]]))


def test_empty_batches() -> None:
    x = torch.zeros(0, 2, 6, 6)
    for pool in (
        lambda v: functional.max_pool2d(v, 2),
        lambda v: functional.max_pool2d(v, 3, 1, 1),
        lambda v: functional.avg_pool2d(v, 2),
        lambda v: functional.adaptive_avg_pool2d(v, 3),
    ):
        found, expected = both(pool, x)
        assert found.value.shape == expected.value.shape
        assert found.gradients[0].shape == x.shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types(dtype: torch.dtype) -> None:
    x = seeded(1, 2, 8, 8, seed=2).to(dtype)
    with exact_torch.mode():
        for pool in (
            lambda v: functional.max_pool2d(v, 3, 1, 1),
            lambda v: functional.avg_pool2d(v, 3, 1, 1),
            lambda v: functional.adaptive_avg_pool2d(v, 5),
        ):
            narrow, wide = run(pool, x, dtype=dtype), run(pool, x)
            assert same_bits(narrow.value, wide.value.to(dtype))
            assert same_bits(narrow.gradients[0], wide.gradients[0].to(dtype))


def test_float64_keeps_float64() -> None:
    x = seeded(1, 2, 8, 8, seed=3).double() / 3
    expected = run(lambda v: functional.max_pool2d(v, 2), x, dtype=torch.float64)
    with exact_torch.mode():
        found = run(lambda v: functional.max_pool2d(v, 2), x, dtype=torch.float64)
    assert torch.equal(found.value, expected.value)
    assert torch.equal(found.gradients[0], expected.gradients[0])


def test_inference_mode_takes_the_same_road() -> None:
    x = seeded(2, 3, 9, seed=4)
    with exact_torch.mode():
        expected = functional.max_pool1d(x, 3, 2, 1)
        with torch.inference_mode():
            found = functional.max_pool1d(x, 3, 2, 1)
    assert same_bits(found, expected)
