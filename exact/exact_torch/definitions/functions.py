"""Elementary functions of one argument, and their gradients, in float64 with one rounding."""

from collections.abc import Callable

import torch

from exact_torch.arithmetic import functions
from exact_torch.arithmetic.bits import F64, constant
from exact_torch.arithmetic.functions import to_type
from exact_torch.state import kernels
from exact_torch.table import Rule, define


def _floating(x: torch.Tensor) -> torch.Tensor:
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _engine(name: str, meaning: str) -> None:
    @define(name, rule=Rule.FUNCTION, meaning=meaning)
    def run(x: torch.Tensor) -> torch.Tensor:
        x = _floating(x)
        return kernels(x).unary(name, x)


_engine("exp", "e^x = 2^k·e^r, polynomial of degree 11")
_engine("log", "ln x by the atanh series, degree 19")
_engine("log1p", "ln(1 + x), with the rounding error of 1 + x")
_engine("expm1", "e^x - 1; x(1 + x/2) near 0")
_engine("sigmoid", "1/(1 + e^-|x|), times e^-|x| where x < 0")
_engine("tanh", "(1 - e)/(1 + e), e = e^-2|x|; x(1 - x²/3) near 0")
_engine("erf", "polynomial of degree 20 in x²/8 - 1, times x; 1 from 4 on")
_engine("silu", "x/(1 + e^-x)")


@define("gelu", rule=Rule.FUNCTION, meaning="x·½(1 + erf(x/√2)), or the tanh form")
def gelu(x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    """Apply the Gaussian error linear unit (Hendrycks and Gimpel, arXiv:1606.08415)."""
    if approximate == "none":
        return kernels(x).unary("gelu", x)
    return functions.rounded(_gelu_tanh, x)


@define("gelu_backward", rule=Rule.FUNCTION, meaning="g·(Φ(x) + x·φ(x)), or the tanh form's")
def gelu_backward(g: torch.Tensor, x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    """Differentiate gelu."""
    if approximate == "none":
        return kernels(x).binary("gelu_backward", g, x)
    return to_type(g.to(F64) * _gelu_tanh_slope(x.to(F64)), g.dtype)


_SQRT_2_OVER_PI = float.fromhex("0x1.9884533d43651p-1")
_CUBIC = 0.044715


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    one = torch.ones_like(x)
    return (x * 0.5) * (one + functions.tanh(_inner(x)))


def _inner(x: torch.Tensor) -> torch.Tensor:
    return (x + (x * x * x) * constant(_CUBIC, x)) * constant(_SQRT_2_OVER_PI, x)


def _gelu_tanh_slope(x: torch.Tensor) -> torch.Tensor:
    one = torch.ones_like(x)
    t = functions.tanh(_inner(x))
    slope = (one + (x * x) * constant(3 * _CUBIC, x)) * constant(_SQRT_2_OVER_PI, x)
    return (one + t) * 0.5 + ((x * 0.5) * (one - t * t)) * slope


for _name, _meaning in (
    ("silu_backward", "g·s(1 + x(1 - s)), s = sigmoid(x)"),
    ("tanh_backward", "g·(1 - y²)"),
    ("sigmoid_backward", "g·(1 - y)y"),
):

    def _gradient(name: str, meaning: str) -> None:
        @define(name, rule=Rule.FUNCTION, meaning=meaning)
        def run(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return kernels(g).binary(name, g, x)

    _gradient(_name, _meaning)


def _reference(name: str, meaning: str, compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
    @define(name, rule=Rule.FUNCTION, meaning=meaning)
    def run(x: torch.Tensor) -> torch.Tensor:
        return functions.rounded(compute, _floating(x))


_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_reference("exp2", "e^(x·ln 2)", lambda x: functions.exp64(x * constant(_LN2, x)))
_reference("log2", "ln x / ln 2", lambda x: functions.log(x) / constant(_LN2, x))
_reference(
    "log10",
    "ln x / ln 10",
    lambda x: functions.log(x) / constant(float.fromhex("0x1.26bb1bbb55516p+1"), x),
)
_reference(
    "sin", "Cody and Waite reduction, degree 15; NaN beyond 2^20", lambda x: functions.sin_cos(x)[0]
)
_reference("cos", "as sin, degree 16", lambda x: functions.sin_cos(x)[1])


def _tan(x: torch.Tensor) -> torch.Tensor:
    sine, cosine = functions.sin_cos(x)
    return sine / cosine


_reference("tan", "sin x / cos x", _tan)
_reference("erfc", "1 - erf x", lambda x: torch.ones_like(x) - functions.erf(x))
_reference("log_sigmoid", "-softplus(-x)", lambda x: -functions.softplus(-x))
