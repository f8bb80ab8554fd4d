"""Elementary functions: a fixed sequence of float64 operations each, for float32 results.

Multiplications and additions are separate (never contracted to a fused one), divisions and square
roots are IEEE. The relative error before the final rounding is below 2e-11, so a float32 result is
the correctly rounded one in all but about one case in a thousand, and never off by more than one
unit in the last place; float64 arguments get that relative error.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch

from exact_torch.arithmetic.bits import F64, I64, constant, pow2

INV_LN2: Final = float.fromhex("0x1.71547652b82fep+0")
LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
"""ln 2 in two parts; the high one has 32 bits, so k · LN2_HIGH is exact for |k| < 2^20."""

EXP_MIN, EXP_MAX = -708.0, 709.0
EXP_TERMS: Final = tuple(
    1.0 / f for f in (1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800)
)
"""1/n!, n = 0..11: the remainder of exp on |r| <= ln2/2 is below 7e-15."""

LOG_TERMS: Final = tuple(1.0 / n for n in range(1, 20, 2))
"""2·atanh(f) = 2f·sum(f^2k / (2k+1)), |f| <= 0.1716: the remainder is below 1e-16."""

SQRT_2: Final = float.fromhex("0x1.6a09e667f3bcdp+0")
SQRT_HALF: Final = float.fromhex("0x1.6a09e667f3bcdp-1")
INV_SQRT_2PI: Final = float.fromhex("0x1.9884533d43651p-2")

ERF_LIMIT: Final = 4.0
"""From here on erf is 1 in float32: 1 - erf(4) = 1.5e-8 is below half a unit in the last place."""

ERF_TERMS: Final = (
    float.fromhex("0x1.6a040781a7b93p-2"),
    float.fromhex("-0x1.69a0ccd72c7a0p-3"),
    float.fromhex("0x1.0dabaf00335a8p-3"),
    float.fromhex("-0x1.b92e978107473p-4"),
    float.fromhex("0x1.717efe4bdb51ap-4"),
    float.fromhex("-0x1.3215b3394805fp-4"),
    float.fromhex("0x1.ea97b8b023d5bp-5"),
    float.fromhex("-0x1.76eb44e737b7dp-5"),
    float.fromhex("0x1.0ed6ed17cecdfp-5"),
    float.fromhex("-0x1.701600c4fea37p-6"),
    float.fromhex("0x1.d614c3ae5d952p-7"),
    float.fromhex("-0x1.1aca00f2f26f7p-7"),
    float.fromhex("0x1.3ecee816d1155p-8"),
    float.fromhex("-0x1.4ba8ad17e1eb5p-9"),
    float.fromhex("0x1.4d883b405ce8cp-10"),
    float.fromhex("-0x1.60e425b460c9ep-11"),
    float.fromhex("0x1.39b6c9a411acbp-12"),
    float.fromhex("-0x1.2f519e0508093p-14"),
    float.fromhex("0x1.04abbb495ab20p-15"),
    float.fromhex("-0x1.33faef130d5f3p-15"),
    float.fromhex("0x1.bcc815ff99fc8p-17"),
)
"""erf(x)/x on (0, 4] as a polynomial in u = x²/8 - 1: Chebyshev interpolation, degree 20, in powers
of u. Relative error 1.5e-11."""

TANH_SMALL: Final = 1e-5
"""Below, tanh x = x(1 - x²/3) and expm1 x = x(1 + x/2) to better than 1e-11."""

TWO_OVER_PI: Final = float.fromhex("0x1.45f306dc9c883p-1")
PI_2_HIGH: Final = float.fromhex("0x1.921fb54400000p+0")
PI_2_MIDDLE: Final = float.fromhex("0x1.0b4611a600000p-34")
PI_2_LOW: Final = float.fromhex("0x1.3198a2e037073p-69")
"""pi/2 in three parts of 33, 33 and 53 bits: k times the first two is exact for |k| < 2^20."""

TRIGONOMETRIC_LIMIT: Final = 2.0**20
"""Beyond, sin and cos are NaN: their reduction would lose the promised accuracy."""

SIN_TERMS: Final = tuple(
    s / f
    for s, f in zip(
        (1, -1, 1, -1, 1, -1, 1, -1),
        (1, 6, 120, 5040, 362880, 39916800, 6227020800, 1307674368000),
        strict=True,
    )
)
COS_TERMS: Final = tuple(
    s / f
    for s, f in zip(
        (1, -1, 1, -1, 1, -1, 1, -1, 1),
        (1, 2, 24, 720, 40320, 3628800, 479001600, 87178291200, 20922789888000),
        strict=True,
    )
)


def horner(terms: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    """Return sum(terms[i]·x^i), highest power first, one rounding an operation."""
    total = torch.full_like(x, terms[-1])
    for term in reversed(terms[:-1]):
        total = total * x + constant(term, x)
    return total


def exp64(x: torch.Tensor) -> torch.Tensor:
    """Return e^x for float64 without NaN, clamped to [-708, 709]."""
    x = x.clamp(EXP_MIN, EXP_MAX)
    k = torch.round(x * constant(INV_LN2, x))
    r = (x - k * constant(LN2_HIGH, x)) - k * constant(LN2_LOW, x)
    return horner(EXP_TERMS, r) * pow2(k.to(I64))


def log64(x: torch.Tensor) -> torch.Tensor:
    """Return ln x for positive, finite, normal float64."""
    pattern = x.view(I64)
    exponent = ((pattern >> 52) & 0x7FF) - 1023
    mantissa = ((pattern & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000).view(F64)
    above = mantissa > SQRT_2
    mantissa = torch.where(above, mantissa * 0.5, mantissa)
    k = (exponent + above.to(I64)).to(F64)
    one = torch.ones_like(mantissa)
    f = (mantissa - one) / (mantissa + one)
    series = (f + f) * horner(LOG_TERMS, f * f)
    return k * constant(LN2_HIGH, x) + (k * constant(LN2_LOW, x) + series)


def log1p64(x: torch.Tensor) -> torch.Tensor:
    """Return ln(1 + x) for float64 x in (-1, huge), by the rounding error of 1 + x."""
    one = torch.ones_like(x)
    y = one + x
    safe = torch.where(y > 0, y, one)
    return log64(safe) + (x - (y - one)) / safe


def log(x: torch.Tensor) -> torch.Tensor:
    """Return ln x for any float64: -inf at 0, NaN below."""
    return _log_like(x, x, log64)


def log1p(x: torch.Tensor) -> torch.Tensor:
    """Return ln(1 + x) for any float64: -inf at -1, NaN below."""
    y = x + torch.ones_like(x)
    result = _log_like(x, y, log64)
    inside = (x > -1) & (x < 1e300)
    return torch.where(inside, log1p64(torch.where(inside, x, torch.zeros_like(x))), result)


def _log_like(
    x: torch.Tensor, argument: torch.Tensor, inner: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    usable = (argument >= torch.finfo(F64).smallest_normal) & torch.isfinite(argument)
    result = inner(torch.where(usable, argument, torch.ones_like(argument)))
    result = torch.where(usable, result, torch.full_like(x, float("nan")))
    # float64 subnormals, which no float32 becomes, count as zero
    tiny = (argument >= 0) & (argument < torch.finfo(F64).smallest_normal)
    result = torch.where(tiny, torch.full_like(x, -float("inf")), result)
    return torch.where(argument == float("inf"), argument, result)


def expm1(x: torch.Tensor) -> torch.Tensor:
    """Return e^x - 1."""
    one = torch.ones_like(x)
    small = x * (one + x * constant(0.5, x))
    return torch.where(x.abs() < TANH_SMALL, small, exp64(x) - one)


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    """Return 1/(1 + e^-x)."""
    e = exp64(-x.abs())
    one = torch.ones_like(x)
    return torch.where(x >= 0, one, e) / (one + e)


def tanh(x: torch.Tensor) -> torch.Tensor:
    """Return tanh x."""
    a = x.abs()
    e = exp64(-(a + a))
    one = torch.ones_like(x)
    small = a * (one - (a * a) * constant(1.0 / 3.0, x))
    return torch.copysign(torch.where(a < TANH_SMALL, small, (one - e) / (one + e)), x)


def erf(x: torch.Tensor) -> torch.Tensor:
    """Return erf x."""
    a = x.abs()
    inside = a < ERF_LIMIT
    z = torch.where(inside, a, torch.zeros_like(a))
    value = z * horner(ERF_TERMS, (z * z) * constant(0.125, x) - torch.ones_like(x))
    return torch.copysign(torch.where(inside, value, torch.ones_like(x)), x)


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    """Return the standard normal distribution function."""
    half, one = constant(0.5, x), torch.ones_like(x)
    return half * (one + erf(x * constant(SQRT_HALF, x)))


def normal_pdf(x: torch.Tensor) -> torch.Tensor:
    """Return the standard normal density."""
    return exp64((x * x) * constant(-0.5, x)) * constant(INV_SQRT_2PI, x)


def softplus(x: torch.Tensor) -> torch.Tensor:
    """Return ln(1 + e^x)."""
    return torch.where(x > 0, x, torch.zeros_like(x)) + log1p64(exp64(-x.abs()))


def sin_cos(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sin x and cos x; NaN for |x| > 2^20."""
    inside = x.abs() <= TRIGONOMETRIC_LIMIT
    z = torch.where(inside, x, torch.zeros_like(x))
    k = torch.round(z * constant(TWO_OVER_PI, x))
    r = (z - k * constant(PI_2_HIGH, x)) - k * constant(PI_2_MIDDLE, x)
    r = r - k * constant(PI_2_LOW, x)
    square = r * r
    s = r * horner(SIN_TERMS, square)
    c = horner(COS_TERMS, square)
    quadrant = k.to(I64) & 3
    sine = torch.where((quadrant & 1) == 1, c, s)
    cosine = torch.where((quadrant & 1) == 1, s, c)
    sine = torch.where(quadrant >= 2, -sine, sine)
    cosine = torch.where((quadrant == 1) | (quadrant == 2), -cosine, cosine)
    nan = torch.full_like(x, float("nan"))
    return torch.where(inside, sine, nan), torch.where(inside, cosine, nan)


def power(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return x^y for float64: |y| <= 4 whole by multiplication, else e^(y ln|x|)."""
    whole = torch.round(y) == y
    odd = whole & (torch.round(y * 0.5) * 2 != y)
    a = x.abs()
    usable = (a >= torch.finfo(F64).smallest_normal) & torch.isfinite(a) & torch.isfinite(y)
    base = torch.where(usable, a, torch.ones_like(a))
    exponent = torch.where(usable, y, torch.zeros_like(y))
    result = exp64(exponent * log64(base))
    result = torch.where(usable, result, _power_at_edges(a, y))
    for n in (1, 2, 3, 4):
        small = base
        for _ in range(n - 1):
            small = small * base
        result = torch.where(usable & (y == n), small, result)
        result = torch.where(usable & (y == -n), torch.ones_like(small) / small, result)
    result = torch.where(odd & (torch.copysign(torch.ones_like(x), x) < 0), -result, result)
    nan = torch.full_like(result, float("nan"))
    result = torch.where((x < 0) & ~whole & torch.isfinite(x), nan, result)
    result = torch.where(torch.isnan(x) | torch.isnan(y), nan, result)
    return torch.where((y == 0) | (x == 1), torch.ones_like(result), result)


def _power_at_edges(a: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return a^y where a is 0 or infinite, or y infinite, as IEEE-754 section 9.2.1 has it."""
    zero, inf = torch.zeros_like(a), torch.full_like(a, float("inf"))
    grows = ((a > 1) & (y > 0)) | ((a < 1) & (y < 0))
    result = torch.where(grows, inf, zero)
    return torch.where(a == 1, torch.ones_like(a), result)


def rounded(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return function(x in float64) rounded to x's type; NaN stays NaN."""
    nan = torch.isnan(x)
    clean = torch.where(nan, torch.zeros_like(x), x).to(F64)
    result = to_type(function(clean), x.dtype)
    return torch.where(nan, torch.full_like(result, float("nan")), result)


def to_type(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round float64 to a type; to half precisions through float32, as every engine can."""
    if dtype in (torch.bfloat16, torch.float16):
        return x.to(torch.float32).to(dtype)
    return x.to(dtype)
