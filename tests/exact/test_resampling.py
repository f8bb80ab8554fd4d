"""Resizing against float64: every mode, sizes and factors, gradients, edges."""

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

import exact_torch
from exact_torch.definitions.places import Places, sums
from tests.exact.float64_reference import both, close_to_largest, run, same_bits, seeded, whole

NEAREST = ("nearest", "nearest-exact")
WEIGHTED = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
CHECKED = settings(max_examples=25, deadline=None)
ALLOWED = 2.0**-18
"""Of the largest element: torch finds positions in the type of the elements."""


def sizes_of(draw: st.DrawFn, dims: int) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 8), min_size=dims, max_size=dims)))


@st.composite
def resizings(draw: st.DrawFn, mode: str, dims: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """Return an input and the arguments of `interpolate`."""
    x = seeded(2, 2, *sizes_of(draw, dims), seed=draw(st.integers(0, 2**31)))
    arguments: dict[str, Any] = {"mode": mode}
    if draw(st.booleans()):
        arguments["size"] = sizes_of(draw, dims)
    else:
        factors = [draw(st.sampled_from([0.5, 0.75, 1.0, 1.7, 2.0, 3.0])) for _ in range(dims)]
        assume(all(int(n * f) >= 1 for n, f in zip(x.shape[2:], factors, strict=True)))
        arguments["scale_factor"] = tuple(factors)
        arguments["recompute_scale_factor"] = draw(st.booleans())
    if mode in WEIGHTED:
        arguments["align_corners"] = draw(st.booleans())
    return x, arguments


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("mode", NEAREST)
@CHECKED
@given(data=st.data())
def test_nearest_elements_are_torchs_own(mode: str, dims: int, data: st.DataObject) -> None:
    x, arguments = data.draw(resizings(mode, dims))
    expected = run(lambda v: functional.interpolate(v, **arguments), x)
    with exact_torch.mode():
        found = run(lambda v: functional.interpolate(v, **arguments), x)
    # gradients are sums of small integers
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert torch.equal(part, wanted)


@pytest.mark.parametrize("mode", WEIGHTED)
@CHECKED
@given(data=st.data())
def test_weighted_sums_are_those_of_float64(mode: str, data: st.DataObject) -> None:
    x, arguments = data.draw(resizings(mode, WEIGHTED[mode]))
    found, expected = both(lambda v: functional.interpolate(v, **arguments), x)
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert close_to_largest(part, wanted, ALLOWED)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@CHECKED
@given(data=st.data())
def test_anti_aliased_sums_are_those_of_float64(mode: str, data: st.DataObject) -> None:
    x, arguments = data.draw(resizings(mode, 2))
    # with one column left torch repeats the first row
    assume(arguments.get("size", (2, 2))[1] > 1)
    assume(int(x.shape[3] * arguments.get("scale_factor", (2, 2))[1]) > 1)
    found, expected = both(lambda v: functional.interpolate(v, antialias=True, **arguments), x)
    for part, wanted in zip(found.tensors(), expected.tensors(), strict=True):
        assert close_to_largest(part, wanted, ALLOWED)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@CHECKED
@given(data=st.data())
def test_gradients_are_the_transposed_map(mode: str, antialias: bool, data: st.DataObject) -> None:
    """<g, Ax> = <Aᵀg, x>, also where torch's own forward and backward differ."""
    x, arguments = data.draw(resizings(mode, 2))

    def resized(v: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(v, antialias=antialias, **arguments)

    with exact_torch.mode():
        found = run(resized, x)
        g = run(lambda v: v * 1, torch.zeros_like(found.value)).gradients[0]
    left = (g.double() * found.value.double()).sum()
    right = (found.gradients[0].double() * x.double()).sum()
    scale = g.abs().sum().double() * x.abs().max().double() + 1e-30
    assert abs(left - right) <= 2.0**-21 * scale


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_constant_stays_constant(mode: str) -> None:
    with exact_torch.mode():
        for antialias in (False, True):
            found = functional.interpolate(
                torch.full((1, 1, 5, 7), 0.7), size=(9, 4), mode=mode, antialias=antialias
            )
            assert same_bits(found, torch.full((1, 1, 9, 4), 0.7))


def test_elements_of_weight_zero_take_no_part() -> None:
    """Aligned corners fall on elements; an infinity beside them is not multiplied by zero."""
    x = torch.tensor([[[1.0, float("inf"), 2.0]]])
    with exact_torch.mode():
        found = functional.interpolate(x, size=3, mode="linear", align_corners=True)
    assert same_bits(found, x)


def test_nearest_copies_bits() -> None:
    x = torch.tensor([[[0.0, -0.0, float("inf"), float("nan"), 1e-45]]])
    with exact_torch.mode():
        found = functional.interpolate(x, scale_factor=2)
        integers = functional.interpolate(whole(1, 1, 4, 4, seed=1).to(torch.uint8), size=2)
    assert same_bits(found, x.repeat_interleave(2, 2))
    assert integers.dtype is torch.uint8


@pytest.mark.parametrize("results", [82, 94, 98, 110, 122])
def test_nearest_positions_are_found_in_float32(results: int) -> None:
    """At these sizes float64 would choose another element."""
    x = torch.tensor([[[1.0, 2.0]]])
    expected = functional.interpolate(x, size=results)
    with exact_torch.mode():
        assert same_bits(functional.interpolate(x, size=results), expected)


def test_weighted_sums_of_integers_are_refused() -> None:
    x = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    with exact_torch.mode(), pytest.raises(exact_torch.UnsupportedOp, match="float32"):
        functional.interpolate(x, size=2, mode="bilinear")


def test_no_image_depends_on_its_batch_and_types_round_once() -> None:
    x = seeded(3, 2, 5, 6, seed=2)
    x[1] *= 1e20
    narrow = x.bfloat16()
    with exact_torch.mode():
        together = functional.interpolate(x, size=(8, 3), mode="bilinear")
        for i in range(3):
            alone = functional.interpolate(x[i : i + 1], size=(8, 3), mode="bilinear")
            assert same_bits(together[i : i + 1], alone)
        wide = functional.interpolate(narrow.float(), size=(8, 3), mode="bilinear")
        assert same_bits(
            functional.interpolate(narrow, size=(8, 3), mode="bilinear"), wide.bfloat16()
        )


@pytest.mark.parametrize("arguments", [{"size": (8, 3)}, {"scale_factor": (1.5, 0.5)}])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_inference_mode_takes_the_same_road(mode: str, arguments: dict[str, Any]) -> None:
    x = seeded(1, 2, 5, 6, seed=3)
    with exact_torch.mode():
        expected = functional.interpolate(x, mode=mode, **arguments)
        with torch.inference_mode():
            found = functional.interpolate(x, mode=mode, **arguments)
    assert same_bits(found, expected)


def test_empty_batches() -> None:
    with exact_torch.mode():
        found = run(
            lambda v: functional.interpolate(v, size=(3, 9), mode="bilinear"),
            torch.zeros(0, 2, 4, 5),
        )
    assert found.value.shape == (0, 2, 3, 9)
    assert found.gradients[0].shape == (0, 2, 4, 5)


@CHECKED
@given(
    st.lists(st.lists(st.integers(-1, 5), min_size=3, max_size=3), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_sums_over_any_places(rows: list[list[int]], seed: int) -> None:
    """Against the sums written out, and the transposed ones against the matrix's transpose."""
    places = Places(6, torch.tensor(rows).t().contiguous())
    matrix = torch.zeros(len(rows), 6, dtype=torch.float64)
    for result, row in enumerate(rows):
        for place in row:
            if place >= 0:
                matrix[result, place] += 1
    x, g = whole(4, 6, seed=seed).double(), whole(4, len(rows), seed=seed).double()
    assert torch.equal(sums(x, -1, places), x @ matrix.t())
    assert torch.equal(sums(g, -1, places.transposed), g @ matrix)


def test_sums_go_by_ascending_index() -> None:
    """In float64 10^30 + 1 - 10^30 is 0, and 1 in another order."""
    terms = torch.tensor([1e30, 1.0, -1e30], dtype=torch.float64)
    taken = Places(3, torch.tensor([[0], [1], [2]]))
    other = Places(3, torch.tensor([[0], [2], [1]]))
    assert sums(terms, -1, taken).tolist() == [0.0]
    assert sums(terms, -1, other).tolist() == [1.0]
    # the gradient of one element that all three results take
    thrice = Places(2, torch.tensor([[1, 1, 1]])).transposed
    assert sums(terms, -1, thrice).tolist() == [0.0, 0.0]
    assert sums(terms[[0, 2, 1]], -1, thrice).tolist() == [0.0, 1.0]
    assert thrice.positions.tolist() == [[-1, 0], [-1, 1], [-1, 2]]
    mixed = Places(2, torch.tensor([[1, 1, 1], [0, -1, 1]])).transposed
    assert mixed.positions.tolist() == [[0, 0], [-1, 1], [-1, 2], [-1, 2]]
