"""Matrix products against the definition in exact rationals, and engines against each other."""

import functools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exact_torch import EngineRefused, Precision
from exact_torch.arithmetic import contraction
from exact_torch.engines import ENGINES
from exact_torch.kernels import TorchKernels
from exact_torch.self_test import check_kernels

CPU = torch.device("cpu")
ENGINE_NAMES = ("native", "int8")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SMALL_EXAMPLES = settings(max_examples=60, deadline=None)


@functools.cache
def engine(name: str) -> TorchKernels:
    try:
        kernels = ENGINES[name]()
        if name == "int8":  # wrong by nature on processors without VNNI; the others may not be
            check_kernels(kernels, CPU)
    except EngineRefused as refusal:
        pytest.skip(f"engine {name} is not to be had here: {refusal}")
    if name != "int8":
        check_kernels(kernels, CPU)
    return kernels


def matrix(rows: int, columns: int, seed: int, *, spread: float = 1.0) -> torch.Tensor:
    """Return values whose rows and columns differ in magnitude by e^spread."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator)
    return x * torch.exp(spread * torch.randn(rows, 1, generator=generator))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype is b.dtype and torch.equal(a.view(torch.int32), b.view(torch.int32))


def to_float32(value: Fraction) -> float:
    """Round a rational to float64, then to float32, half to even each."""
    numerator, denominator = value.numerator, value.denominator
    with np.errstate(over="ignore"):
        return float(np.float32(numerator / denominator)) if denominator else float("nan")


def rational_dot(a: list[float], b: list[float], bits: int) -> float:
    """Return one element of the product by the definition, in integers and rationals."""

    def quantised(row: list[float]) -> tuple[list[int], Fraction]:
        largest = max((abs(Fraction(x)) for x in row), default=Fraction(0))
        if not largest:
            return [0] * len(row), Fraction(1)
        exponent = 0
        while Fraction(2) ** (exponent + 1) <= largest:
            exponent += 1
        while Fraction(2) ** exponent > largest:
            exponent -= 1
        unit = Fraction(2) ** (exponent - (bits - 1))
        return [round(Fraction(x) / unit) for x in row], unit

    (left, left_unit), (right, right_unit) = quantised(a), quantised(b)
    total = sum(x * y for x, y in zip(left, right, strict=True))
    return to_float32(Fraction(float(total)) * left_unit * right_unit)


@pytest.mark.parametrize("precision", [Precision.E14, Precision.E21])
@SMALL_EXAMPLES
@given(pairs=st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=12))
def test_one_element_is_what_the_definition_says(
    precision: Precision, pairs: list[tuple[float, float]]
) -> None:
    a, b = ([pair[i] for pair in pairs] for i in (0, 1))
    expected = rational_dot(a, b, contraction.BITS[precision])
    for kernels in (TorchKernels(), engine("native")):
        got = kernels.contract(torch.tensor([a]), torch.tensor(b).unsqueeze(1), precision)
        assert float(got) == expected or (expected != expected and bool(torch.isnan(got)))


@SMALL_EXAMPLES
@given(
    a=st.floats(width=32, allow_nan=False, allow_infinity=False),
    b=st.floats(width=32, allow_nan=False, allow_infinity=False),
    c=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
def test_the_fused_step_rounds_once(a: float, b: float, c: float) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    got = float(contraction.fused_multiply_add(*(torch.tensor(x) for x in (a, b, c))))
    assert got == _nearest_float32(exact)


def _nearest_float32(exact: Fraction) -> float:
    """Return the float32 nearest to a rational, ties to even, by trying its neighbours."""
    with np.errstate(over="ignore"):
        guess = np.float32(float(exact)) if abs(exact) < 10**300 else np.float32(np.inf)
    if not np.isfinite(guess):
        limit = Fraction(2) ** 128 - Fraction(2) ** 103  # half a unit above the largest
        return (
            float(guess) if abs(exact) >= limit else float(np.copysign(np.finfo("f4").max, guess))
        )
    near = [np.nextafter(guess, np.float32(s), dtype=np.float32) for s in (-np.inf, np.inf)]
    candidates = [x for x in (guess, *near) if np.isfinite(x)]
    return float(min(candidates, key=lambda x: (abs(Fraction(float(x)) - exact), x.view("i4") & 1)))


SHAPES = [
    (1, 1, 1),
    (3, 7, 5),
    (12, 32, 32),
    (13, 255, 33),
    (97, 513, 130),
    (5, 1025, 2),
    (1, 300, 700),
    (130, 17, 1),
    (2, 9000, 3),
]


@pytest.mark.parametrize("name", ENGINE_NAMES)
@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_engines_give_the_same_bits(
    name: str, precision: Precision, shape: tuple[int, int, int]
) -> None:
    rows, inner, columns = shape
    if precision is Precision.FMA and inner > 1100:
        inner = 1100  # the reference chain takes a dozen torch ops a step
    a, b = matrix(rows, inner, 1, spread=3.0), matrix(columns, inner, 2, spread=3.0).t()
    expected = TorchKernels().contract(a, b, precision)
    kernels = engine(name)
    assert same_bits(kernels.contract(a, b, precision), expected)
    assert same_bits(kernels.contract(a.t().contiguous().t(), b.contiguous(), precision), expected)


@pytest.mark.parametrize("precision", list(Precision))
def test_addend_alpha_and_beta(precision: Precision) -> None:
    a, b = matrix(14, 40, 3), matrix(40, 35, 4)
    native = engine("native")
    for addend in (matrix(14, 35, 5), matrix(1, 35, 6), matrix(14, 1, 7), torch.tensor(0.3)):
        args = {"addend": addend, "alpha": 0.7, "beta": -1.3}
        expected = TorchKernels().contract(a, b, precision, **args)
        assert same_bits(native.contract(a, b, precision, **args), expected)


@pytest.mark.parametrize("precision", list(Precision))
def test_batches_are_their_products(precision: Precision) -> None:
    a, b = matrix(6 * 5, 33, 8).reshape(6, 5, 33), matrix(6 * 33, 19, 9).reshape(6, 33, 19)
    native = engine("native")
    together = native.contract(a, b, precision)
    for i in range(6):
        assert same_bits(together[i], TorchKernels().contract(a[i], b[i], precision))
    shared = native.contract(a, b[:1].expand(6, 33, 19), precision)
    assert same_bits(shared[3], TorchKernels().contract(a[3], b[0], precision))


@pytest.mark.parametrize("precision", list(Precision))
def test_a_row_does_not_see_its_batch(precision: Precision) -> None:
    weight, rows = matrix(64, 48, 10), matrix(50, 48, 11, spread=5.0)
    alone = engine("native").contract(rows[17:18], weight.t(), precision)
    for batch in (rows, rows[:18], rows.flip(0), torch.cat([rows * 1e20, rows])):
        place = next(i for i, row in enumerate(batch) if torch.equal(row, rows[17]))
        together = engine("native").contract(batch, weight.t(), precision)
        assert same_bits(together[place], alone[0])


@pytest.mark.parametrize("precision", [Precision.E14, Precision.E21])
def test_long_sums_are_exact(precision: Precision) -> None:
    """Longer than a float64 accumulator is exact for: whole rows of the largest integers."""
    length = 3 * contraction.chunk_length(20) + 1
    a = torch.full((2, length), 1.99999988079071044921875)
    a[1, ::2] = -1.0
    expected = TorchKernels().contract(a, a.t(), precision)
    assert same_bits(engine("native").contract(a, a.t(), precision), expected)
    bits = contraction.BITS[precision]
    unit = 2.0 ** -(bits - 1)
    assert float(expected[0, 0]) == np.float32(length * (2.0**bits * unit) ** 2)


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("special", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_spoils_only_itself(precision: Precision, special: float) -> None:
    a, b = matrix(20, 30, 12), matrix(30, 40, 13)
    clean = engine("native").contract(a, b, precision)
    spoiled = a.clone()
    spoiled[7, 3] = special
    got = engine("native").contract(spoiled, b, precision)
    assert same_bits(got, TorchKernels().contract(spoiled, b, precision))
    if precision is not Precision.FMA:
        assert bool(torch.isnan(got[7]).all())
    kept = torch.arange(20) != 7
    assert same_bits(got[kept], clean[kept])


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty_shapes(precision: Precision, shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    for kernels in (TorchKernels(), engine("native"), engine("int8")):
        got = kernels.contract(torch.ones(rows, inner), torch.ones(inner, columns), precision)
        assert torch.equal(got, torch.zeros(rows, columns))


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_magnitudes_at_the_ends_of_float32(scale: float) -> None:
    a, b = matrix(9, 21, 14) * scale, matrix(21, 9, 15)
    for precision in Precision:
        got = engine("native").contract(a, b, precision)
        assert same_bits(got, TorchKernels().contract(a, b, precision))


@pytest.mark.parametrize(("precision", "bits"), [(Precision.E21, 20), (Precision.E14, 13)])
def test_the_documented_error(precision: Precision, bits: int) -> None:
    """|error| <= 2·K·2^-bits·max|row|·max|column|, and one rounding."""
    a, b = matrix(40, 600, 16, spread=2.0), matrix(600, 40, 17)
    got = engine("native").contract(a, b, precision).double()
    exact = a.double() @ b.double()
    largest = a.abs().amax(1, keepdim=True).double() * b.abs().amax(0, keepdim=True).double()
    bound = 2 * 600 * 2.0**-bits * largest + exact.abs() * 2.0**-24
    assert bool(((got - exact).abs() <= bound).all())


def test_an_engine_with_a_wrong_bit_is_refused() -> None:
    class Saturating(TorchKernels):
        def _integer_product(self, a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
            return super()._integer_product(a, b, bits).clamp(max=2.0**40)

    with pytest.raises(EngineRefused, match="is not exact"):
        check_kernels(Saturating(), CPU)
