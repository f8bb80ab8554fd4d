"""Running sums, sums and copies by index: against rationals, in any order of additions."""

import math
from fractions import Fraction
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import exact_torch
from exact_torch.arithmetic.scattered_sums import exact_sum_at
from tests.exact.comparing import (
    ANY,
    EXAMPLES,
    FINITE,
    MODERATE,
    agrees,
    error,
    lattice,
    same_bits,
    with_gradients,
)

MIXED = st.one_of(MODERATE, FINITE)


def close_to_exact(got: float, terms: list[float]) -> bool:
    """Within one rounding to float32 and the grid's half unit a term: 2^-40 of the largest."""
    exact = sum((Fraction(t) for t in terms), Fraction(0))
    largest = max((abs(Fraction(t)) for t in terms), default=Fraction(0))
    if math.isinf(got):
        return abs(exact) >= Fraction(2) ** 127
    bound = len(terms) * largest / 2**40 + abs(exact) / 2**24 + Fraction(1, 2**150)
    return abs(Fraction(got) - exact) <= bound


def sum_of_specials(terms: list[float]) -> float:
    """What any order of IEEE additions gives where a term is infinite or NaN."""
    up, down = math.inf in terms, -math.inf in terms
    if any(math.isnan(t) for t in terms) or (up and down):
        return math.nan
    return math.inf if up else -math.inf


def check_sum(got: float, terms: list[float]) -> None:
    if all(math.isfinite(t) for t in terms):
        assert close_to_exact(got, terms)
    else:
        expected = sum_of_specials(terms)
        assert got == expected or (math.isnan(got) and math.isnan(expected))


# ---- running sums and products ------------------------------------------------------------------


@EXAMPLES
@given(row=st.lists(st.one_of(MIXED, ANY), min_size=1, max_size=20))
def test_running_sums_are_exact_on_the_grid_of_their_row(row: list[float]) -> None:
    x = torch.tensor(row)
    with exact_torch.mode("E21"):
        got = torch.cumsum(x, 0)
        in_place = x.clone().cumsum_(0)
        column = torch.cumsum(x.reshape(-1, 1), 0)
    finite = [v if math.isfinite(v) else 0.0 for v in x.tolist()]
    largest = max(abs(Fraction(v)) for v in finite)
    for i, value in enumerate(got.tolist()):
        terms = x.tolist()[: i + 1]
        if all(math.isfinite(t) for t in terms):
            exact = sum((Fraction(t) for t in terms), Fraction(0))
            bound = len(row) * largest / 2**40 + abs(exact) / 2**24 + Fraction(1, 2**150)
            assert math.isinf(value) or abs(Fraction(value) - exact) <= bound
        else:
            check_sum(value, terms)
    assert same_bits(got, in_place)
    assert same_bits(got, column.reshape(-1))


@EXAMPLES
@given(row=st.lists(st.integers(-1000, 1000), min_size=1, max_size=50))
def test_running_sums_of_integers_are_exact(row: list[int]) -> None:
    total, expected = 0, []
    for value in row:
        total += value
        expected.append(total)
    with exact_torch.mode("E21"):
        assert torch.cumsum(torch.tensor(row), 0).tolist() == expected
        assert torch.cumsum(torch.tensor(row, dtype=torch.float32), 0).tolist() == expected


@EXAMPLES
@given(row=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=12))
def test_running_products_and_log_sums(row: list[float]) -> None:
    x = torch.tensor(row)
    with exact_torch.mode("E21"):
        product = torch.cumprod(x, 0)
        log_sum = torch.logcumsumexp(x * 100, 0)
    expected = torch.cumprod(x.double(), 0)
    assert bool(((product.double() - expected).abs() <= 1e-7 * expected.abs() + 1e-45).all())
    reference = torch.logcumsumexp((x * 100).double(), 0)
    assert bool(((log_sum - reference).abs() <= 1e-6 * reference.abs() + 1e-7).all())


def test_running_log_sums_of_infinities() -> None:
    x = torch.tensor([-math.inf, -math.inf, 1.0, math.inf, 0.0, math.nan, 1.0])
    with exact_torch.mode("E21"):
        got = torch.logcumsumexp(x, 0).tolist()
    assert got[:5] == [-math.inf, -math.inf, 1.0, math.inf, math.inf]
    assert math.isnan(got[5])
    assert math.isnan(got[6])


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp"])
def test_gradients_of_running_reductions(name: str) -> None:
    agrees(lambda x: getattr(torch, name)(x, 1), [lattice(3, 6) + 2], 3e-6)


def test_running_sums_do_not_depend_on_their_batch() -> None:
    x = lattice(9, 33) * torch.logspace(-20, 20, 9).reshape(9, 1)
    with exact_torch.mode("E21"):
        together = torch.cumsum(x, 1)
        assert all(same_bits(torch.cumsum(x[i : i + 1], 1)[0], together[i]) for i in range(9))


# ---- sums by index ------------------------------------------------------------------------------

PLACED = st.lists(st.tuples(st.integers(0, 4), st.one_of(MIXED, ANY)), max_size=25)


@EXAMPLES
@given(placed=PLACED, start=st.lists(MIXED, min_size=5, max_size=5), order=st.randoms())
def test_sums_by_index_are_exact_in_any_order(
    placed: list[tuple[int, float]], start: list[float], order: Random
) -> None:
    shuffled = list(placed)
    order.shuffle(shuffled)
    x = torch.tensor(start)
    results = []
    with exact_torch.mode("E21"):
        for pairs in (placed, shuffled):
            index = torch.tensor([i for i, _ in pairs], dtype=torch.int64)
            terms = torch.tensor([t for _, t in pairs])
            results += [
                x.scatter_add(0, index, terms),
                x.clone().scatter_add_(0, index, terms),
                x.index_add(0, index, terms),
                x.index_put((index,), terms, accumulate=True),
                x.clone().put_(index, terms, accumulate=True),
                x.scatter_reduce(0, index, terms, "sum"),
            ]
    for result in results:
        assert same_bits(result, results[0])
    for i, got in enumerate(results[0].tolist()):
        terms = [float(torch.tensor(t)) for j, t in placed if j == i]
        if terms:
            check_sum(got, [float(x[i]), *terms])
        else:
            assert same_bits(results[0][i], x[i])


@EXAMPLES
@given(terms=st.lists(MODERATE, min_size=1, max_size=12), other=FINITE)
def test_a_destination_does_not_see_its_neighbours(terms: list[float], other: float) -> None:
    values = torch.tensor(terms).reshape(-1, 1)
    index = torch.zeros(len(terms), dtype=torch.int64)
    alone = exact_sum_at(values, index, 1)
    beside = torch.cat([values, torch.full((3, 1), other)])
    both = exact_sum_at(beside, torch.cat([index, torch.ones(3, dtype=torch.int64)]), 2)
    assert same_bits(both[:1], alone)
    check_sum(float(both[1]), [float(torch.tensor(other))] * 3)


def test_float64_elements_that_nothing_is_added_to_keep_all_their_bits() -> None:
    x = torch.tensor([1.0 + 2.0**-52, 1.0], dtype=torch.float64)
    with exact_torch.mode("E21"):
        y = x.index_add(0, torch.tensor([1]), torch.ones(1, dtype=torch.float64))
    assert same_bits(y, torch.tensor([1.0 + 2.0**-52, 2.0], dtype=torch.float64))


def test_sums_along_every_dimension_match_float64() -> None:
    x, source = lattice(4, 5, 3), lattice(3, 6, 2, seed=1)
    index = (torch.arange(3 * 4 * 2) * 7 % 3).reshape(3, 4, 2)
    rows = torch.tensor([2, 0, 2])
    with exact_torch.mode("E21"):
        scattered = [x.scatter_add(d, index, source) for d in (0, 1, 2)]
        added = x.index_add(1, rows, lattice(4, 3, 3, seed=2), alpha=0.3)
        placed = x.index_put((rows, torch.tensor([1, 1, 1])), lattice(3, 3), accumulate=True)
    for d in (0, 1, 2):
        assert error(scattered[d], x.double().scatter_add(d, index, source.double())) < 2e-7
    wide = x.double().index_add(1, rows, lattice(4, 3, 3, seed=2).double(), alpha=0.3)
    assert error(added, wide) < 2e-7
    expected = x.double().index_put(
        (rows, torch.tensor([1, 1, 1])), lattice(3, 3).double(), accumulate=True
    )
    assert error(placed, expected) < 2e-7


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "mean", "amax", "amin"])
def test_every_reduction_by_index(reduce: str, include_self: bool) -> None:
    def combine(x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        index = torch.tensor([[0, 2, 2], [0, 0, 2], [0, 2, 0], [0, 2, 2]])
        return x.scatter_reduce(0, index, source, reduce, include_self=include_self)

    agrees(combine, [lattice(5, 3), lattice(4, 3, seed=1)], 3e-7)


def test_extremes_by_index_of_nan_and_zeros() -> None:
    index = torch.tensor([0, 0, 1, 1, 2, 2])
    source = torch.tensor([-0.0, 0.0, math.nan, 5.0, -math.inf, 3.0])
    start = torch.full((4,), 1.0)
    with exact_torch.mode("E21"):
        high = start.scatter_reduce(0, index, source, "amax", include_self=False)
        low = start.scatter_reduce(0, index, source, "amin", include_self=False)
    assert same_bits(high, torch.tensor([0.0, math.nan, 3.0, 1.0]))
    assert same_bits(low, torch.tensor([0.0, math.nan, -math.inf, 1.0]))


@EXAMPLES
@given(words=st.lists(st.integers(0, 6), min_size=1, max_size=20), padded=st.booleans())
def test_gradients_of_embeddings(words: list[int], padded: bool) -> None:
    index = torch.tensor(words)

    def embed(table: torch.Tensor) -> torch.Tensor:
        return functional.embedding(index, table, padding_idx=3 if padded else None)

    expected = with_gradients(embed, lattice(7, 4).double())
    with exact_torch.mode("E21"):
        got = with_gradients(embed, lattice(7, 4))
        by_frequency = with_gradients(
            lambda t: functional.embedding(index, t, scale_grad_by_freq=True), lattice(7, 4)
        )
    assert error(got[1], expected[1], least=1e-3) < 2e-7
    counts = torch.bincount(index, minlength=7).clamp(min=1).unsqueeze(1)
    unpadded = with_gradients(lambda t: functional.embedding(index, t), lattice(7, 4).double())[1]
    assert error(by_frequency[1], unpadded / counts, least=1e-3) < 2e-7


def test_gradients_of_indexing() -> None:
    rows = torch.tensor([0, 2, 2, -1])
    for function in (
        lambda x: x[rows],
        lambda x: x[:, torch.tensor([1, 1])],
        lambda x: x[rows, torch.tensor([0, 1, 1, 0])],
        lambda x: x.index_select(0, rows % 4),
        lambda x: x.take(torch.tensor([1, 1, 5])),
        lambda x: x.gather(1, torch.tensor([[0, 0], [1, 2]])),
        lambda x: x.unfold(0, 2, 1),
        lambda x: x.repeat_interleave(2, 0),
        lambda x: x[x > 0],
        lambda x: torch.zeros_like(x).masked_scatter(x > 0, x),
        lambda x: x.trace().reshape(1),
    ):
        agrees(function, [lattice(4, 4)], 3e-7)


@EXAMPLES
@given(pairs=st.lists(st.tuples(st.integers(0, 5), MIXED), max_size=15))
def test_weighted_counts(pairs: list[tuple[int, float]]) -> None:
    numbers = torch.tensor([n for n, _ in pairs], dtype=torch.int64)
    weights = torch.tensor([w for _, w in pairs])
    with exact_torch.mode("E21"):
        got = torch.bincount(numbers, weights, minlength=6)
        plain = torch.bincount(numbers, minlength=6)
    for i in range(6):
        check_sum(
            float(got[i]), [w for n, w in zip(numbers, weights.tolist(), strict=True) if n == i]
        )
    assert plain.tolist() == [numbers.tolist().count(i) for i in range(6)]


def test_histograms() -> None:
    x = torch.tensor([0.0, 0.25, 0.5, 0.99, 1.0, 1.5, -0.1])
    with exact_torch.mode("E21"):
        assert torch.histc(x, bins=4, min=0, max=1).tolist() == [1, 1, 1, 2]
        assert torch.histc(x, bins=2).tolist() == [4, 3]
        assert torch.histc(torch.ones(3), bins=2).tolist() == [0, 3]


# ---- copies by index ----------------------------------------------------------------------------


@EXAMPLES
@given(writes=st.lists(st.tuples(st.integers(0, 4), st.floats(width=32)), max_size=20))
def test_the_last_write_counts(writes: list[tuple[int, float]]) -> None:
    index = torch.tensor([i for i, _ in writes], dtype=torch.int64)
    values = torch.tensor([v for _, v in writes])
    expected = torch.arange(5.0)
    for i, value in zip(index.tolist(), values, strict=True):
        expected[i] = value
    with exact_torch.mode("E21"):
        x = torch.arange(5.0)
        assigned = x.clone()
        assigned[index] = values
        for got in (
            x.scatter(0, index, values),
            x.clone().scatter_(0, index, values),
            x.index_copy(0, index, values),
            x.index_put((index,), values),
            x.put(index, values),
            assigned,
        ):
            assert same_bits(got, expected)


def test_assignments_of_many_kinds() -> None:
    def assign(x: torch.Tensor) -> torch.Tensor:
        x[x > 0.5] = 1
        x[torch.tensor([1, 2])] = lattice(2, 6, seed=5)
        x[:, torch.tensor([3, 1])] = lattice(4, 2, seed=6)
        x[x < -0.5] = lattice(24, seed=7)[: int((x < -0.5).sum())]
        x[..., 2] = 0
        x[None, 0] = 3
        x[torch.tensor([True, False, False, True]), 4] = torch.tensor([7.0, 8.0])
        return x

    expected = assign(lattice(4, 6))
    with exact_torch.mode("E21"):
        assert same_bits(assign(lattice(4, 6)), expected)


def test_scatter_of_constants_and_additions() -> None:
    x, index = lattice(3, 4), torch.tensor([[0, 0, 1], [2, 2, 2]])
    with exact_torch.mode("E21"):
        constant = x.scatter(1, index, 2.5)
        added = x.clone().scatter_(1, index, 2.5, reduce="add")
    assert same_bits(constant, x.scatter(1, index, 2.5))
    expected = x.double().scatter_add(1, index, torch.full((2, 3), 2.5, dtype=torch.float64))
    assert error(added, expected) < 2e-7


def test_products_by_index_and_reductions_without_definition_are_refused() -> None:
    x, index = torch.ones(3), torch.tensor([0, 0])
    with exact_torch.mode("E21"):
        with pytest.raises(exact_torch.UnsupportedOp, match="logarithms"):
            x.scatter_reduce(0, index, torch.ones(2), "prod")
        with pytest.raises(exact_torch.UnsupportedOp, match="scatter_reduce"):
            x.index_reduce(0, index, torch.ones(2), "mean")
        with pytest.raises(exact_torch.UnsupportedOp, match="segment"):
            torch.segment_reduce(torch.ones(2), "sum", lengths=torch.tensor([2]))


def test_nothing_to_do() -> None:
    nowhere = torch.empty(0, dtype=torch.int64)
    with exact_torch.mode("E21"):
        for got in (
            torch.ones(3).scatter_add(0, nowhere, torch.empty(0)),
            torch.ones(3).index_add(0, nowhere, torch.empty(0)),
            torch.ones(3).index_put((nowhere,), torch.empty(0), accumulate=True),
            torch.ones(3).scatter(0, nowhere, torch.empty(0)),
        ):
            assert same_bits(got, torch.ones(3))
        assert torch.cumsum(torch.empty(0), 0).shape == (0,)
        assert float(torch.cumsum(torch.tensor(3.0), 0)) == 3
        assert functional.embedding(nowhere, torch.ones(2, 3)).shape == (0, 3)


# ---- bags and bilinear maps ---------------------------------------------------------------------


@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings(mode: str, padding: int | None) -> None:
    words, starts = torch.arange(12) * 7 % 10, torch.tensor([0, 3, 3, 7])

    def bag(table: torch.Tensor) -> torch.Tensor:
        return functional.embedding_bag(words, table, starts, mode=mode, padding_idx=padding)

    agrees(bag, [lattice(10, 4)], 5e-7)


def test_bags_with_weights_and_last_offsets() -> None:
    words = (torch.arange(12) * 7 % 10).reshape(3, 4)
    agrees(
        lambda t, w: functional.embedding_bag(words, t, mode="sum", per_sample_weights=w),
        [lattice(10, 4), lattice(3, 4, seed=1)],
        5e-7,
    )
    ends = torch.tensor([0, 5, 12])
    agrees(
        lambda t: functional.embedding_bag(
            words.reshape(-1), t, ends, mode="mean", include_last_offset=True
        ),
        [lattice(10, 4)],
        5e-7,
    )
    with exact_torch.mode("E21"), pytest.raises(exact_torch.UnsupportedOp, match="max_norm"):
        functional.embedding_bag(words, lattice(10, 4), max_norm=1.0)


def test_bilinear_maps() -> None:
    tensors = [lattice(2, 6, 3), lattice(2, 6, 4, seed=1), lattice(5, 3, 4, seed=2), lattice(5)]
    agrees(functional.bilinear, tensors, 2e-5)
