"""Sorting, extremes and distinct values against sorted lists, with ties of every kind."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import exact_torch
from exact_torch.definitions.ordering import low_keys, order_keys, values_of_keys
from tests.exact.comparing import ANY, EXAMPLES, same_bits, with_gradients

FEW = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, math.inf, -math.inf, math.nan, 1e-45])
ROWS = st.lists(st.one_of(FEW, ANY), min_size=1, max_size=12)
TYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])


def rank(x: float) -> tuple[bool, float]:
    """Sort key: NaN above everything, the two zeros equal."""
    return (True, 0.0) if math.isnan(x) else (False, x + 0.0)


def ranks(x: torch.Tensor) -> list[tuple[bool, float]]:
    return [rank(v) for v in x.tolist()]


def order_of(x: torch.Tensor, *, descending: bool = False) -> list[int]:
    """Positions by value, equal ones by position: Python's sort is stable both ways."""
    return sorted(range(len(x)), key=ranks(x).__getitem__, reverse=descending)


def picks(
    values: torch.Tensor, indices: torch.Tensor, x: torch.Tensor, expected: list[int]
) -> None:
    assert indices.tolist() == expected
    assert same_bits(values, x[expected])


@EXAMPLES
@given(row=ROWS, kind=TYPES)
def test_keys_compare_as_elements_do_and_lead_back_to_them(
    row: list[float], kind: torch.dtype
) -> None:
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    keys, found = order_keys(x).tolist(), ranks(x)
    low = low_keys(x)
    for i in range(len(row)):
        for j in range(len(row)):
            assert (keys[i] < keys[j]) == (found[i] < found[j])
            assert (keys[i] == keys[j]) == (found[i] == found[j])
    assert bool((low[torch.isnan(x)] <= low.min()).all())
    assert same_bits(values_of_keys(order_keys(x), kind), torch.where(x == 0, 0.0, x).to(kind))


@EXAMPLES
@given(row=ROWS, descending=st.booleans(), kind=TYPES)
def test_sorting_keeps_equal_elements_in_order(
    row: list[float], descending: bool, kind: torch.dtype
) -> None:
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    expected = order_of(x, descending=descending)
    with exact_torch.mode("E21"):
        picks(*torch.sort(x, descending=descending), x, expected)
        picks(*torch.sort(x, stable=False, descending=descending), x, expected)
        assert torch.argsort(x, descending=descending).tolist() == expected
        values, indices = torch.empty(0, dtype=kind), torch.empty(0, dtype=torch.int64)
        torch.sort(x, descending=descending, out=(values, indices))
    picks(values, indices, x, expected)


@EXAMPLES
@given(row=ROWS, largest=st.booleans(), share=st.floats(0, 1), kind=TYPES)
def test_topk_is_the_beginning_of_the_order(
    row: list[float], largest: bool, share: float, kind: torch.dtype
) -> None:
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    k = round(share * len(row))
    with exact_torch.mode("E21"):
        picks(*torch.topk(x, k, largest=largest), x, order_of(x, descending=largest)[:k])
        with pytest.raises(RuntimeError, match="topk"):
            torch.topk(x, len(row) + 1)


@EXAMPLES
@given(row=ROWS, kind=TYPES)
def test_extremes_are_the_first_and_nan_wins(row: list[float], kind: torch.dtype) -> None:
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    nan = [i for i, v in enumerate(x.tolist()) if math.isnan(v)][:1]
    high = order_of(x, descending=True)[:1]
    low = nan or order_of(x)[:1]
    with exact_torch.mode("E21"):
        picks(*torch.max(x, 0, keepdim=True), x, high)
        picks(*torch.min(x, 0, keepdim=True), x, low)
        assert torch.argmax(x).tolist() == high[0]
        assert torch.argmin(x).tolist() == low[0]
        assert torch.argmax(x.reshape(1, -1), keepdim=True).tolist() == [high]
        smallest, largest = torch.aminmax(x)
        values, indices = torch.empty(0, dtype=kind), torch.empty(0, dtype=torch.int64)
        torch.max(x, 0, keepdim=True, out=(values, indices))
    picks(values, indices, x, high)
    assert same_bits(largest, torch.where(x == 0, 0.0, x).to(kind)[high[0]])
    assert same_bits(smallest, torch.where(x == 0, 0.0, x).to(kind)[low[0]])


@EXAMPLES
@given(row=ROWS, kind=TYPES)
def test_running_extremes_take_the_last_of_equal_ones(row: list[float], kind: torch.dtype) -> None:
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    found = ranks(x)
    highest, lowest = [0], [0]
    for i in range(1, len(row)):
        before = lowest[-1]
        highest.append(i if found[i] >= found[highest[-1]] else highest[-1])
        wins = found[i][0] or (not found[before][0] and found[i] <= found[before])
        lowest.append(i if wins else before)
    with exact_torch.mode("E21"):
        picks(*torch.cummax(x, 0), x, highest)
        picks(*torch.cummin(x, 0), x, lowest)


@EXAMPLES
@given(row=ROWS, share=st.floats(0, 1), kind=TYPES)
def test_order_statistics_are_of_the_stable_order(
    row: list[float], share: float, kind: torch.dtype
) -> None:
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    order = order_of(x)
    nan = [i for i in order if math.isnan(row[i]) or math.isnan(float(x[i]))]
    numbers = [i for i in order if i not in nan]
    k = 1 + round(share * (len(row) - 1))
    middle = nan[:1] or [order[(len(order) - 1) // 2]]
    middle_number = [numbers[(len(numbers) - 1) // 2]] if numbers else nan[:1]
    with exact_torch.mode("E21"):
        picks(*torch.kthvalue(x, k, keepdim=True), x, [order[k - 1]])
        picks(*torch.median(x, 0, keepdim=True), x, middle)
        picks(*torch.nanmedian(x, 0, keepdim=True), x, middle_number)
        assert same_bits(torch.median(x), x[middle[0]])
        assert same_bits(torch.nanmedian(x), x[middle_number[0]])
        value, index = torch.mode(x, 0)
    counts = [ranks(x).count(r) for r in ranks(x)]
    best = min(r for r, n in zip(ranks(x), counts, strict=True) if n == max(counts))
    assert int(index) == max(i for i, r in enumerate(ranks(x)) if r == best)
    assert same_bits(value, x[int(index)])


@EXAMPLES
@given(row=ROWS, kind=TYPES)
def test_distinct_elements(row: list[float], kind: torch.dtype) -> None:
    """Each NaN is distinct, the zeros are not; runs are of neighbours."""
    x = torch.tensor(row, dtype=torch.float64).to(kind)
    groups: list[list[int]] = []
    for i in order_of(x):
        same = groups and float(x[groups[-1][0]]) == float(x[i])
        groups = [*groups[:-1], [*groups[-1], i]] if same else [*groups, [i]]
    runs: list[list[int]] = []
    for i in range(len(row)):
        same = runs and float(x[runs[-1][0]]) == float(x[i])
        runs = [*runs[:-1], [*runs[-1], i]] if same else [*runs, [i]]
    with exact_torch.mode("E21"):
        found = torch.unique(x, return_inverse=True, return_counts=True)
        slices = torch.unique(x.reshape(-1, 1), return_inverse=True, return_counts=True, dim=0)
        consecutive = torch.unique_consecutive(x, return_inverse=True, return_counts=True)
    for (values, inverse, counts), expected in (
        (found, groups),
        ((slices[0].reshape(-1), *slices[1:]), groups),
        (consecutive, runs),
    ):
        assert same_bits(values, x[[g[0] for g in expected]])
        assert counts.tolist() == [len(g) for g in expected]
        assert all(int(inverse[i]) == n for n, g in enumerate(expected) for i in g)


def test_distinct_rows_are_in_lexicographic_order() -> None:
    x = torch.tensor([[1.0, 2.0], [0.0, 5.0], [1.0, -1.0], [-0.0, 5.0]])
    with exact_torch.mode("E21"):
        values, inverse = torch.unique(x, dim=0, return_inverse=True)
        columns = torch.unique(x.t().contiguous(), dim=1)
        runs = torch.unique_consecutive(x[[1, 3, 0, 0]], dim=0)
    assert values.tolist() == [[0, 5], [1, -1], [1, 2]]
    assert inverse.tolist() == [2, 0, 1, 0]
    assert same_bits(columns, values.t())
    assert runs.tolist() == [[0, 5], [1, 2]]


def test_every_dimension_of_integers_and_booleans() -> None:
    x = torch.tensor([[[3, 1], [3, 2]], [[0, 2], [5, 1]]])
    with exact_torch.mode("E21"):
        for dim in (0, 1, 2, -1):
            values, indices = torch.sort(x, dim=dim, stable=True)
            assert torch.equal(values, torch.gather(x, dim, indices))
            assert bool((values.diff(dim=dim) >= 0).all())
            assert torch.equal(torch.max(x, dim).values, values.select(dim, -1))
            assert torch.topk(x, 1, dim=dim).values.shape == values.narrow(dim, 0, 1).shape
        assert torch.sort(torch.tensor([True, False])).indices.tolist() == [1, 0]
        assert torch.argmax(x).item() == 6
        assert torch.argmax(x, dim=0).tolist() == [[0, 1], [1, 0]]


def test_empty_and_single_elements() -> None:
    scalar = torch.tensor(2.0)
    with exact_torch.mode("E21"):
        for function in (torch.sort, torch.median, torch.mode, torch.max):
            value, index = function(scalar, 0)
            assert float(value) == 2
            assert int(index) == 0
        assert torch.topk(scalar, 1).values.shape == ()
        assert torch.sort(torch.empty(0)).values.shape == (0,)
        assert torch.sort(torch.empty(2, 0)).indices.shape == (2, 0)
        assert torch.unique(torch.empty(0)).shape == (0,)
        assert torch.cummax(torch.empty(0), 0).values.shape == (0,)
        assert math.isnan(float(torch.median(torch.empty(0))))
        with pytest.raises(IndexError):
            torch.argmax(torch.empty(0, 2), dim=0)


GRADIENTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sort": lambda x: torch.sort(x, 0).values,
    "topk": lambda x: torch.topk(x, 2).values,
    "max": lambda x: torch.max(x, 1).values,
    "min": lambda x: torch.min(x, 0).values,
    "median": lambda x: torch.median(x, 1).values,
    "kthvalue": lambda x: torch.kthvalue(x, 2, 0).values,
    "cummax": lambda x: torch.cummax(x, 1).values,
    "mode": lambda x: torch.mode(x, 1).values,
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_go_to_the_chosen_elements(name: str) -> None:
    x = torch.tensor([[3.0, 1.0, 2.0], [0.5, 4.0, -1.0]])
    expected = with_gradients(GRADIENTS[name], x.double())
    with exact_torch.mode("E21"):
        got = with_gradients(GRADIENTS[name], x)
    for ours, reference in zip(got, expected, strict=True):
        assert torch.allclose(ours.double(), reference, rtol=1e-6)


def test_the_order_of_a_row_does_not_depend_on_its_batch() -> None:
    x = torch.tensor([[1.0, -0.0, 0.0, math.nan, 1.0]] * 40)
    x[::2, 0] = 7
    with exact_torch.mode("E21"):
        together = torch.sort(x, 1).indices
        for i in (0, 1, 39):
            assert torch.equal(torch.sort(x[i : i + 1], 1).indices[0], together[i])
