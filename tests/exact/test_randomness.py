"""Random numbers: whose they are, what they cost a generator, how they are distributed."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import exact_torch
from exact_torch import generators
from exact_torch.arithmetic import philox
from exact_torch.arithmetic.inverse_erf import erfinv
from tests.exact.comparing import EXAMPLES, error, lattice, same_bits, with_gradients

SEEDS = st.integers(0, 2**32 - 1)
MANY = 20_000


def key_of(seed: int) -> int:
    """The first key after manual_seed: two outputs of NumPy's MT19937, the high word first."""
    high, low = np.random.RandomState(seed).randint(0, 2**32, 2, dtype=np.uint32).tolist()
    return high << 32 | low


# ---- keys ---------------------------------------------------------------------------------------


@EXAMPLES
@given(seed=SEEDS, draws=st.integers(1, 5))
def test_keys_are_consecutive_outputs_of_the_generators_mt19937(seed: int, draws: int) -> None:
    words = np.random.RandomState(seed).randint(0, 2**32, 2 * draws, dtype=np.uint32).tolist()
    generator = torch.Generator().manual_seed(seed)
    got = [generators.next_key(generator) for _ in range(draws)]
    assert got == [high << 32 | low for high, low in zip(words[::2], words[1::2], strict=True)]


@EXAMPLES
@given(seed=SEEDS, order=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_keys_of_cuda_generators_depend_on_seed_and_offset_alone(
    seed: int, order: list[int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = [generators.next_key(generator) for _ in range(10)]
    for index in order:
        assert generators._key_of_draw(seed, index) == keys[index]


class Counter:
    """The part of a CUDA generator that keys are taken from."""

    device = torch.device("cuda")

    def __init__(self) -> None:
        self.offset = 0

    def initial_seed(self) -> int:
        return 5

    def get_offset(self) -> int:
        return self.offset

    def set_offset(self, offset: int) -> None:
        self.offset = offset


def test_draws_of_a_cuda_generator_move_its_offset() -> None:
    generator, other = Counter(), torch.Generator().manual_seed(5)
    for draw in range(3):
        assert generators.next_key(generator) == generators.next_key(other)  # type: ignore[arg-type]
        assert generator.offset == 4 * (draw + 1)
    generator.set_offset(0)
    assert generators.next_key(generator) == key_of(5)  # type: ignore[arg-type]


DRAWS: dict[str, Callable[[int], torch.Tensor]] = {
    "rand": lambda n: torch.rand(n),
    "randn": lambda n: torch.randn(n),
    "randint": lambda n: torch.randint(0, 9, (n,)),
    "randperm": lambda n: torch.randperm(n),
    "uniform_": lambda n: torch.empty(n).uniform_(-1, 1),
    "normal_": lambda n: torch.empty(n).normal_(1, 2),
    "bernoulli_": lambda n: torch.empty(n).bernoulli_(0.3),
    "exponential_": lambda n: torch.empty(n).exponential_(),
    "random_": lambda n: torch.empty(n, dtype=torch.int64).random_(),
    "log_normal_": lambda n: torch.empty(n).log_normal_(),
    "rand_like": lambda n: torch.rand_like(torch.empty(n)),
    "randn_like": lambda n: torch.randn_like(torch.empty(n)),
    "randint_like": lambda n: torch.randint_like(torch.empty(n), 7),
    "normal": lambda n: torch.normal(torch.zeros(n), 1.0),
    "bernoulli": lambda n: torch.bernoulli(torch.full((n,), 0.5)),
    "multinomial": lambda n: torch.multinomial(torch.ones(5), n, replacement=True),
    "dropout": lambda n: functional.dropout(torch.ones(n), 0.5),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_costs_one_key_and_states_bring_it_back(name: str) -> None:
    draw = DRAWS[name]
    with exact_torch.mode("E21"):
        torch.manual_seed(11)
        first, after_one = draw(1000), torch.get_rng_state()
        torch.manual_seed(11)
        short, after_short = draw(3), torch.get_rng_state()
        assert torch.equal(after_one, after_short)
        torch.set_rng_state(after_one)
        second = draw(1000)
        assert not same_bits(first, second)
        torch.set_rng_state(after_short)
        assert same_bits(draw(1000), second)
        with torch.random.fork_rng():
            draw(5)
        assert same_bits(draw(1000), draw_after(11, 2, draw))
    assert len(short) == 3


def draw_after(seed: int, skipped: int, draw: Callable[[int], torch.Tensor]) -> torch.Tensor:
    torch.manual_seed(seed)
    for _ in range(skipped):
        draw(2)
    return draw(1000)


def test_generators_are_independent_of_each_other() -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        one = torch.rand(5, generator=torch.Generator().manual_seed(4))
        assert torch.equal(state, torch.get_rng_state())
        other = torch.empty(5).uniform_(generator=torch.Generator().manual_seed(4))
        assert same_bits(one, other)


# ---- values -------------------------------------------------------------------------------------


@EXAMPLES
@given(seed=SEEDS, count=st.integers(0, 40))
def test_uniform_numbers_are_the_upper_bits_of_philox_words(seed: int, count: int) -> None:
    words = philox.words(key_of(seed), 2 * count, "cpu")
    with exact_torch.mode("E21"):
        torch.manual_seed(seed)
        single = torch.rand(count)
        torch.manual_seed(seed)
        double = torch.rand(count, dtype=torch.float64)
    assert same_bits(single, ((words[:count] >> 8).double() / 2**24).float())
    both = (words[::2] << 21) | (words[1::2] >> 11)
    assert same_bits(double, both.double() / 2**53)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_uniform_numbers_stay_below_one_in_every_type(kind: torch.dtype) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(2)
        x = torch.rand(MANY, dtype=kind)
    assert float(x.max()) < 1
    assert float(x.min()) >= 0
    assert abs(float(x.double().mean()) - 0.5) < 0.01
    assert abs(float(x.double().var()) - 1 / 12) < 0.002


@EXAMPLES
@given(
    low=st.floats(-1e6, 1e6, width=32),
    width=st.floats(0, 1e6, width=32),
    kind=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_uniform_stays_below_its_upper_end(low: float, width: float, kind: torch.dtype) -> None:
    high = low + width
    with exact_torch.mode("E21"):
        torch.manual_seed(3)
        x = torch.empty(300, dtype=kind).uniform_(low, high)
    first = torch.tensor(low, dtype=torch.float64).to(kind)
    assert bool(((x.double() < high) | (x == first)).all())
    assert bool((x.double() >= first.double()).all())


def test_uniform_takes_its_lower_end_where_it_would_round_up_to_its_upper_end() -> None:
    high = 1.0 + 2.0**-7  # the next bfloat16
    with exact_torch.mode("E21"):
        torch.manual_seed(3)
        x = torch.empty(300, dtype=torch.bfloat16).uniform_(1.0, high)
    assert x.unique().tolist() == [1.0]


def normal_quantile(share: float) -> float:
    return float(erfinv(torch.tensor([2 * share - 1], dtype=torch.float64))) * math.sqrt(2)


def test_normal_numbers_have_normal_quantiles() -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(4)
        x = torch.randn(MANY + 1)
        shifted = torch.empty(MANY).normal_(3.0, 0.5)
        wide = torch.normal(torch.tensor([1e3, -1e3]), torch.tensor([1e-3, 10.0]))
        scalars = torch.normal(2.0, 1.0, (4,))
    assert len(x) == MANY + 1
    assert scalars.shape == (4,)
    ordered = x.sort().values
    for share in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        assert abs(float(ordered[int(share * MANY)]) - normal_quantile(share)) < 0.06
    assert abs(float(shifted.mean()) - 3) < 0.02
    assert abs(float(shifted.std()) - 0.5) < 0.01
    assert abs(float(wide[0]) - 1e3) < 0.01
    assert torch.isfinite(x).all()


def test_negative_deviations_and_bad_chances_are_errors() -> None:
    with exact_torch.mode("E21"):
        with pytest.raises(RuntimeError, match="std"):
            torch.normal(torch.zeros(2), torch.tensor([1.0, -1.0]))
        with pytest.raises(RuntimeError, match=r"\[0, 1\]"):
            torch.bernoulli(torch.tensor([0.5, 1.5]))
        with pytest.raises(RuntimeError, match="lambda"):
            torch.empty(2).exponential_(0.0)
        with pytest.raises(RuntimeError, match="low"):
            torch.randint(5, 5, (2,))
        with pytest.raises(ValueError, match="between 0 and 1"):
            functional.dropout(torch.ones(2), 1.5)


@pytest.mark.parametrize("chance", [0.0, 0.003, 0.4, 1.0])
def test_bernoulli_is_one_as_often_as_it_should(chance: float) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(5)
        draws = (
            torch.bernoulli(torch.full((MANY,), chance)),
            torch.empty(MANY).bernoulli_(chance),
            torch.empty(MANY, dtype=torch.bool).bernoulli_(torch.tensor(chance)).float(),
        )
    for x in draws:
        assert set(x.unique().tolist()) <= {0.0, 1.0}
        assert abs(float(x.mean()) - chance) <= 5 * math.sqrt(chance * (1 - chance) / MANY)


@EXAMPLES
@given(seed=SEEDS)
def test_bernoulli_is_one_below_its_chance_and_not_at_it(seed: int) -> None:
    word = int(philox.words(key_of(seed), 1, "cpu"))
    for chance, expected in ((word / 2**32, 0.0), ((word + 1) / 2**32, 1.0)):
        with exact_torch.mode("E21"):
            torch.manual_seed(seed)
            assert float(torch.empty(1).bernoulli_(chance)) == expected


def test_exponential_numbers_are_positive_with_the_right_mean() -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(6)
        x = torch.empty(MANY).exponential_(0.5)
        gumbel = -torch.empty(MANY).exponential_().log()
    assert float(x.min()) > 0
    assert abs(float(x.mean()) - 2) < 0.06
    assert torch.isfinite(gumbel).all()
    assert abs(float(gumbel.mean()) - 0.5772) < 0.04


@EXAMPLES
@given(low=st.integers(-(2**40), 2**40), span=st.integers(1, 2**41))
def test_integers_stay_in_their_range(low: int, span: int) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(7)
        x = torch.randint(low, low + span, (200,))
        y = torch.empty(200, dtype=torch.int64).random_(low, low + span)
    for drawn in (x, y):
        assert int(drawn.min()) >= low
        assert int(drawn.max()) < low + span


def test_integers_are_evenly_distributed_and_fill_their_types() -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(8)
        counts = torch.bincount(torch.randint(7, (7 * 3000,)))
        small = torch.empty(4000, dtype=torch.uint8).random_()
        full = torch.empty(1000, dtype=torch.int64).random_(-(2**63), None)
        floats = torch.empty(1000).random_()
        floating = torch.randint(3, (50,), dtype=torch.float32)
    assert bool((counts - 3000).abs().max() < 250)
    assert len(small.unique()) == 256
    assert bool((full < 0).any())
    assert bool((full > 2**62).any())
    assert float(floats.max()) <= 2**24
    assert torch.equal(floats, floats.round())
    assert floating.dtype is torch.float32
    assert set(floating.tolist()) == {0.0, 1.0, 2.0}


@EXAMPLES
@given(seed=SEEDS, n=st.integers(0, 60))
def test_permutations_hold_every_number_once(seed: int, n: int) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(seed)
        assert sorted(torch.randperm(n).tolist()) == list(range(n))


def test_permutations_put_every_number_everywhere() -> None:
    counts = torch.zeros(4, 4)
    with exact_torch.mode("E21"):
        torch.manual_seed(9)
        for _ in range(400):
            counts[torch.arange(4), torch.randperm(4)] += 1
    assert bool((counts > 60).all())


# ---- categories ---------------------------------------------------------------------------------


def test_categories_are_drawn_by_weight_and_never_without() -> None:
    weights = torch.tensor([[1.0, 0.0, 3.0, 0.0], [0.0, 1e-30, 1e-30, 0.0]])
    with exact_torch.mode("E21"):
        torch.manual_seed(10)
        drawn = torch.multinomial(weights, 8000, replacement=True)
    first, second = (torch.bincount(row, minlength=4).tolist() for row in drawn)
    assert first[1] == first[3] == second[0] == second[3] == 0
    assert abs(first[0] - 2000) < 250
    assert abs(second[1] - 4000) < 300


def test_without_replacement_no_category_comes_twice() -> None:
    weights = torch.tensor([1.0, 2.0, 0.0, 5.0])
    with exact_torch.mode("E21"):
        torch.manual_seed(11)
        draws = [torch.multinomial(weights, 3).tolist() for _ in range(500)]
        single = torch.multinomial(weights.expand(4000, 4), 1).reshape(-1)
        with pytest.raises(RuntimeError, match="multinomial"):
            torch.multinomial(weights, 4)
    assert all(sorted(d) == [0, 1, 3] for d in draws)
    shares = torch.bincount(single, minlength=4) / 4000
    assert bool((shares - weights / 8).abs().max() < 0.04)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [1.0, -1.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_bad_weights_are_errors(bad: list[float]) -> None:
    with exact_torch.mode("E21"), pytest.raises(RuntimeError, match="multinomial"):
        torch.multinomial(torch.tensor(bad), 1)


# ---- dropout ------------------------------------------------------------------------------------


@EXAMPLES
@given(p=st.floats(0, 0.99), seed=SEEDS)
def test_dropout_keeps_scaled_elements_and_their_gradients(p: float, seed: int) -> None:
    x = lattice(60) + 2
    with exact_torch.mode("E21"):
        torch.manual_seed(seed)
        y, gradient = with_gradients(lambda t: functional.dropout(t, p), x)
        torch.manual_seed(seed)
        in_place = x.clone()
        functional.dropout(in_place, p, inplace=True)
        torch.manual_seed(seed)
        module = nn.Dropout(p)(x)
    kept = y != 0
    scale = torch.tensor(1 / (1 - p), dtype=torch.float32)
    assert same_bits(y[kept], (x * scale)[kept])
    assert torch.equal(
        gradient != 0, kept & (torch.remainder(torch.arange(1.0, 61) * 0.37, 1) != 0)
    )
    assert same_bits(y, in_place)
    assert same_bits(y, module)


def test_dropout_outside_training_or_of_nothing_draws_nothing() -> None:
    x = lattice(5)
    with exact_torch.mode("E21"):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        assert same_bits(functional.dropout(x, 0.5, training=False), x)
        assert same_bits(nn.Dropout(0.5).eval()(x), x)
        assert same_bits(functional.dropout(x, 0.0), x)
        assert torch.equal(state, torch.get_rng_state())
        assert same_bits(functional.dropout(x, 1.0), torch.zeros(5))


def test_dropped_infinities_are_zero() -> None:
    x = torch.full((200,), math.inf)
    with exact_torch.mode("E21"):
        torch.manual_seed(1)
        assert set(functional.dropout(x, 0.5).unique().tolist()) == {0.0, math.inf}


@pytest.mark.parametrize(
    ("name", "shape", "channels"),
    [
        ("dropout1d", (40, 5), 40),
        ("dropout1d", (4, 10, 5), 40),
        ("dropout2d", (4, 10, 3, 3), 40),
        ("dropout3d", (40, 3, 3, 2), 40),
        ("dropout3d", (4, 10, 3, 3, 2), 40),
    ],
)
def test_channels_drop_whole(name: str, shape: tuple[int, ...], channels: int) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(2)
        y = getattr(functional, name)(torch.ones(shape), 0.5, training=True)
    rows = y.reshape(channels, -1)
    assert all(len(row.unique()) == 1 for row in rows)
    assert set(y.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name: str) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(3)
        x = torch.randn(200, 100)
        y = getattr(functional, name)(x, 0.3, training=True)
    assert abs(float(y.mean())) < 0.03
    assert abs(float(y.std()) - 1) < 0.03
    assert not same_bits(x, y)


# ---- initial values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("kaiming_uniform_", math.sqrt(2 / 60)),
        ("kaiming_normal_", math.sqrt(2 / 60)),
        ("xavier_uniform_", math.sqrt(2 / 160)),
        ("xavier_normal_", math.sqrt(2 / 160)),
    ],
)
def test_initial_values_have_the_deviation_they_promise(name: str, deviation: float) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(4)
        weight = getattr(nn.init, name)(torch.empty(100, 60))
    assert abs(float(weight.std()) - deviation) < 0.03 * deviation
    assert abs(float(weight.mean())) < 0.05 * deviation


@pytest.mark.parametrize(
    ("low", "high", "mean"),
    [(-2.0, 2.0, 0.0), (-0.5, 0.1, -0.193), (1.0, 3.0, 1.51), (-9.0, 9.0, 0.0)],
)
def test_truncated_normal_numbers_stay_between_their_bounds(
    low: float, high: float, mean: float
) -> None:
    with exact_torch.mode("E21"):
        torch.manual_seed(5)
        x = nn.init.trunc_normal_(torch.empty(MANY), 0.0, 1.0, low, high)
        with pytest.raises(exact_torch.UnsupportedOp, match="too far"):
            nn.init.trunc_normal_(torch.empty(3), 0.0, 1.0, 8.0, 9.0)
    assert float(x.min()) >= low
    assert float(x.max()) <= high
    assert abs(float(x.mean()) - mean) < 0.03


@EXAMPLES
@given(x=st.floats(-1, 1).filter(lambda x: 1e-300 < abs(x) < 1))
def test_erfinv_inverts_erf(x: float) -> None:
    y = float(erfinv(torch.tensor([x], dtype=torch.float64)))
    slope = 2 / math.sqrt(math.pi) * math.exp(-y * y)
    missed = (1 - abs(x)) - math.erfc(abs(y)) if abs(x) > 0.5 else math.erf(abs(y)) - abs(x)
    assert abs(missed / slope) <= 4e-15 * abs(y)


def test_erfinv_at_its_ends_and_its_gradient() -> None:
    with exact_torch.mode("E21"):
        ends = torch.erfinv(torch.tensor([1.0, -1.0, 1.5, 0.0, math.nan]))
        got = with_gradients(torch.erfinv, torch.tensor([0.3, -0.7]))
    assert ends[:2].tolist() == [math.inf, -math.inf]
    assert float(ends[3]) == 0
    assert bool(torch.isnan(ends[[2, 4]]).all())
    expected = with_gradients(torch.erfinv, torch.tensor([0.3, -0.7], dtype=torch.float64))
    assert all(error(a, b) < 3e-7 for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", ["geometric_", "cauchy_"])
def test_what_is_refused_says_what_to_write(name: str) -> None:
    with exact_torch.mode("E21"), pytest.raises(exact_torch.UnsupportedOp, match="write"):
        getattr(torch.empty(3), name)(0.5)
