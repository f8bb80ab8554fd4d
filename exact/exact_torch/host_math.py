"""Host mathematics under a mode: Python's `math` by the formulas of `arithmetic.functions`.

Learning-rate schedules, initial values and position encodings call `math.cos`, `math.log` and the
like, whose last bits come from the host's C library. While a mode is active these functions are the
package's own. What is out of reach: `from math import cos` before the mode is entered, `x ** y` of
two Python floats, NumPy, and the functions that are not in `EXACT`. Optimizers therefore round
learning rates to float32.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from exact_torch.arithmetic.functions import (
    COS_TERMS,
    EXP_MAX,
    EXP_MIN,
    EXP_TERMS,
    INV_LN2,
    LN2_HIGH,
    LN2_LOW,
    LOG_TERMS,
    PI_2_HIGH,
    PI_2_LOW,
    PI_2_MIDDLE,
    SIN_TERMS,
    SQRT_2,
    TANH_SMALL,
    TRIGONOMETRIC_LIMIT,
    TWO_OVER_PI,
)
from exact_torch.arithmetic.steps import whole_power
from exact_torch.errors import UnsupportedOp

LN2: Final = float.fromhex("0x1.62e42fefa39efp-1")
LN10: Final = float.fromhex("0x1.26bb1bbb55516p+1")

WHOLE_POWER_MAX: Final = 1024
"""Powers with whole exponents up to here are products; their error grows with the exponent."""


@contextmanager
def exact_host_math() -> Iterator[None]:
    """Put the functions of `EXACT` in place of `math`'s, and of `random`'s copies of them."""
    before: list[tuple[Any, str, Any]] = []
    for name, compute in EXACT.items():
        original = getattr(math, name, None)
        if original is None:
            continue
        exact = _replacement(name, original, compute)
        for module, attribute in ((math, name), (random, f"_{name}")):
            if getattr(module, attribute, None) is original:
                before.append((module, attribute, original))
                setattr(module, attribute, exact)
    try:
        yield
    finally:
        for module, attribute, original in before:
            setattr(module, attribute, original)


def _replacement(
    name: str, original: Callable[..., float], compute: Callable[..., float]
) -> Callable[..., float]:
    """Return `compute`, with the original's errors, infinities and NaN."""

    def exact(*arguments: Any) -> float:
        usual = original(*arguments)
        if not math.isfinite(usual):
            return usual
        return compute(*arguments)

    exact.__name__ = exact.__qualname__ = name
    exact.__doc__ = original.__doc__
    return exact


def _horner(terms: tuple[float, ...], x: float) -> float:
    total = terms[-1]
    for term in reversed(terms[:-1]):
        total = total * x + term
    return total


def exp(x: float) -> float:
    """Return e^x; results outside normal numbers by squaring e^(x/2)."""
    x = float(x)
    if not EXP_MIN <= x <= EXP_MAX:
        half = exp(max(x, -2000.0) * 0.5)
        return half * half
    k = float(round(x * INV_LN2))
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    return math.ldexp(_horner(EXP_TERMS, r), int(k))


def log(x: float, base: float | None = None) -> float:
    """Return ln x, or ln x / ln base."""
    k, series = _log_parts(x)
    value = k * LN2_HIGH + (k * LN2_LOW + series)
    return value if base is None else value / log(base)


def _log_parts(x: float) -> tuple[float, float]:
    """Return k and ln m of x = 2^k·m, m in [1/√2, √2]."""
    shift = 0
    if isinstance(x, int) and x.bit_length() > 1000:  # beyond floats, which math.log takes too
        shift = x.bit_length() - 100
        x >>= shift
    mantissa, exponent = math.frexp(float(x))
    mantissa, k = mantissa * 2.0, exponent - 1 + shift
    if mantissa > SQRT_2:
        mantissa, k = mantissa * 0.5, k + 1
    f = (mantissa - 1.0) / (mantissa + 1.0)
    return float(k), (f + f) * _horner(LOG_TERMS, f * f)


def log2(x: float) -> float:
    """Return log₂ x: whole for powers of two."""
    k, series = _log_parts(x)
    return k + series / LN2


def log10(x: float) -> float:
    """Return log₁₀ x: whole for powers of ten that are whole."""
    value = log(x) / LN10
    whole = round(value)
    return float(whole) if 0 <= whole <= 22 and 10**whole == x else value


def log1p(x: float) -> float:
    """Return ln(1 + x), by the rounding error of 1 + x."""
    x = float(x)
    y = 1.0 + x
    return log(y) + (x - (y - 1.0)) / y


def expm1(x: float) -> float:
    """Return e^x - 1."""
    x = float(x)
    return x * (1.0 + x * 0.5) if abs(x) < TANH_SMALL else exp(x) - 1.0


def power(x: float, y: float) -> float:
    """Return x^y: whole exponents by products, ½ by the root, else e^(y·ln x)."""
    x, y = float(x), float(y)
    negative = math.copysign(1.0, x) < 0 and math.isfinite(y) and math.fmod(y, 2.0) in (1.0, -1.0)
    if y == 0.5:
        return math.sqrt(x)
    if y == 0 or abs(x) == 1.0:
        size = 1.0
    elif x == 0.0 or math.isinf(x) or math.isinf(y):
        size = 0.0  # infinite results are the original's
    elif y == int(y) and abs(y) <= WHOLE_POWER_MAX:
        half = int(abs(y)) // 2  # a whole inverse may be a subnormal number's, beyond floats
        first, second = whole_power(abs(x), half), whole_power(abs(x), int(abs(y)) - half)
        size = first * second if y >= 0 else 1.0 / first / second
    else:
        size = exp(y * log(abs(x)))
    return -size if negative else size


def sin(x: float) -> float:
    """Return sin x, for |x| <= 2^20."""
    return _sine_cosine("math.sin", x)[0]


def cos(x: float) -> float:
    """Return cos x, for |x| <= 2^20."""
    return _sine_cosine("math.cos", x)[1]


def tan(x: float) -> float:
    """Return tan x, for |x| <= 2^20."""
    sine, cosine = _sine_cosine("math.tan", x)
    return sine / cosine


def _sine_cosine(name: str, x: float) -> tuple[float, float]:
    x = float(x)
    if abs(x) > TRIGONOMETRIC_LIMIT:
        raise UnsupportedOp(name, f"of {x}; beyond 2^20, reduce the angle first")
    k = round(x * TWO_OVER_PI)
    r = (x - k * PI_2_HIGH) - k * PI_2_MIDDLE
    r = r - k * PI_2_LOW
    square = r * r
    s, c = r * _horner(SIN_TERMS, square), _horner(COS_TERMS, square)
    return ((s, c), (c, -s), (-s, -c), (-c, s))[k & 3]


def tanh(x: float) -> float:
    """Return tanh x."""
    x = float(x)
    a = abs(x)
    if a < TANH_SMALL:
        return math.copysign(a * (1.0 - (a * a) * (1.0 / 3.0)), x)
    e = exp(-(a + a))
    return math.copysign((1.0 - e) / (1.0 + e), x)


def sinh(x: float) -> float:
    """Return sinh x."""
    x = float(x)
    if abs(x) < TANH_SMALL:
        return x * (1.0 + (x * x) * (1.0 / 6.0))
    half = exp(abs(x) * 0.5)
    return math.copysign((half * 0.5) * half - 0.5 / half / half, x)


def cosh(x: float) -> float:
    """Return cosh x."""
    half = exp(abs(float(x)) * 0.5)
    return (half * 0.5) * half + 0.5 / half / half


EXACT: Final[dict[str, Callable[..., float]]] = {
    "exp": exp,
    "exp2": lambda x: power(2.0, x),
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "log2": log2,
    "log10": log10,
    "pow": power,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
}
"""What replaces the functions of `math`, by name."""
