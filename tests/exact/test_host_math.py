"""Python's mathematics under a mode: accurate, of the documented formulas, and gone afterwards."""

import math
import random
import struct
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import exact_torch
from exact_torch import host_math
from exact_torch.arithmetic import functions
from tests.exact.comparing import EXAMPLES

ORIGINAL = {name: getattr(math, name) for name in host_math.EXACT if hasattr(math, name)}

DOMAINS: dict[str, st.SearchStrategy[float]] = {
    "exp": st.floats(-700, 709),
    "expm1": st.floats(-700, 709),
    "log": st.floats(1e-300, 1e300),
    "log1p": st.floats(-0.999999, 1e300),
    "log2": st.floats(1e-300, 1e300),
    "log10": st.floats(1e-300, 1e300),
    "sin": st.floats(-1000, 1000),
    "cos": st.floats(-1000, 1000),
    "tan": st.floats(-1.5, 1.5),
    "sinh": st.floats(-700, 700),
    "cosh": st.floats(-700, 700),
    "tanh": st.floats(-50, 50),
}


@pytest.mark.parametrize("name", DOMAINS)
@EXAMPLES
@given(data=st.data())
def test_functions_are_accurate(name: str, data: st.DataObject) -> None:
    x = data.draw(DOMAINS[name])
    with exact_torch.mode("E21"):
        got = getattr(math, name)(x)
    expected = ORIGINAL[name](x)
    # the trigonometric functions are as accurate as their reduction: absolutely, near their zeros
    absolute = 1e-15 if name in ("sin", "cos") else 0.0
    assert got == pytest.approx(expected, rel=3e-11, abs=absolute)


TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": functions.exp64,
    "expm1": functions.expm1,
    "log": functions.log,
    "log1p": functions.log1p,
    "sin": lambda x: functions.sin_cos(x)[0],
    "cos": lambda x: functions.sin_cos(x)[1],
    "tanh": functions.tanh,
}


@pytest.mark.parametrize("name", TENSORS)
@EXAMPLES
@given(data=st.data())
def test_functions_have_the_bits_of_the_tensor_formulas(name: str, data: st.DataObject) -> None:
    x = data.draw(DOMAINS[name].filter(lambda x: x != 0))
    on_tensors = float(TENSORS[name](torch.tensor([x], dtype=torch.float64)))
    assert struct.pack("<d", host_math.EXACT[name](x)) == struct.pack("<d", on_tensors)


def test_round_arguments_give_round_results() -> None:
    with exact_torch.mode("E21"):
        assert [math.log2(2.0**k) for k in (-1074, -3, 0, 10, 1000)] == [-1074, -3, 0, 10, 1000]
        assert [math.log10(10**k) for k in range(23)] == list(range(23))
        assert (math.exp(0), math.cos(0), math.sin(0), math.cos(math.pi)) == (1, 1, 0, -1)
        assert (math.pow(10, 3), math.pow(-2, 3), math.pow(4, -2), math.pow(9, 0.5)) == (
            1000,
            -8,
            0.0625,
            3,
        )
        edges = [(0, 0), (0, 2.5), (1, math.inf), (-1, -math.inf), (0.5, math.inf), (-0.0, 3)]
        edges += [(-math.inf, -3), (math.inf, -0.5), (-1, 2**60), (-1, 3), (2, 1024 - 2048)]
        for edge in edges:
            expected = ORIGINAL["pow"](*edge)
            assert math.pow(*edge) == expected
            assert math.copysign(1, math.pow(*edge)) == math.copysign(1, expected)
        assert math.log2(8) == pytest.approx(3, rel=1e-15)
        assert math.log(10**400) == pytest.approx(400 * ORIGINAL["log"](10), rel=1e-14)
        assert math.log(torch.tensor(math.e)) == pytest.approx(1, rel=1e-7)


@EXAMPLES
@given(x=st.floats(1e-6, 1e6), y=st.floats(-20, 20))
def test_powers_are_accurate(x: float, y: float) -> None:
    with exact_torch.mode("E21"):
        assert math.pow(x, y) == pytest.approx(ORIGINAL["pow"](x, y), rel=1e-12)


def test_tiny_and_huge_exponentials() -> None:
    with exact_torch.mode("E21"):
        for x in (-745.0, -720.5, -708.3, 709.5, 709.78):
            assert math.exp(x) == pytest.approx(ORIGINAL["exp"](x), rel=1e-11, abs=1e-323)
        assert math.exp(-1000) == 0
        assert math.exp(-math.inf) == 0


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("log", (0.0,), ValueError),
        ("log", (-1.0,), ValueError),
        ("exp", (1000.0,), OverflowError),
        ("pow", (-2.0, 0.5), ValueError),
        ("cos", (math.inf,), ValueError),
        ("log1p", (-1.0,), ValueError),
        ("log", ("one",), TypeError),
    ],
)
def test_errors_are_pythons(
    name: str, arguments: tuple[float, ...], error: type[Exception]
) -> None:
    with exact_torch.mode("E21"), pytest.raises(error):
        getattr(math, name)(*arguments)


def test_infinities_and_nan_are_pythons() -> None:
    with exact_torch.mode("E21"):
        assert math.exp(math.inf) == math.inf
        assert math.log(math.inf) == math.inf
        assert math.tanh(-math.inf) == -1
        assert math.isnan(math.sin(math.nan))


def test_large_angles_are_refused() -> None:
    with exact_torch.mode("E21"), pytest.raises(exact_torch.UnsupportedOp, match="angle"):
        math.sin(2.0**21)


def test_pythons_own_functions_come_back() -> None:
    drawn = random.Random(1).gauss(0, 1)
    with exact_torch.mode("E21"):
        assert math.cos is not ORIGINAL["cos"]
        with exact_torch.mode("E14"):
            pass
        assert math.cos is not ORIGINAL["cos"]
        assert random.Random(1).gauss(0, 1) == pytest.approx(drawn, rel=1e-12)
    assert {name: getattr(math, name) for name in ORIGINAL} == ORIGINAL
    assert random._log is ORIGINAL["log"]  # type: ignore[attr-defined]
