"""Activations beyond `functions`: piecewise linear ones, and smooth ones in float64.

Piecewise linear ones take single operations in the type that torch computes in. Smooth ones are
float64 formulas with one rounding; a NaN in any operand gives NaN.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from exact_torch.arithmetic import functions
from exact_torch.arithmetic.bits import F64, constant
from exact_torch.arithmetic.functions import to_type
from exact_torch.definitions.ieee import clamp, elementwise
from exact_torch.errors import UnsupportedOp
from exact_torch.state import kernels
from exact_torch.table import Rule, define, replace

Number = float | int

SOFTPLUS_LINEAR_FROM = 20
"""Beyond, ln(1 + e^x) - x < 2.1e-9: less than half a unit in the last place of a float32 x."""


def smooth(compute: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """Return compute(operands in float64), rounded to the first one's type; NaN stays NaN."""
    nan = torch.isnan(operands[0])
    for operand in operands[1:]:
        nan = nan | torch.isnan(operand)
    clean = [torch.where(nan, torch.zeros_like(o), o).to(F64) for o in operands]
    result = to_type(compute(*clean), operands[0].dtype)
    return torch.where(nan, torch.full_like(result, float("nan")), result)


# ---- piecewise linear ----------------------------------------------------------------------------


@define("leaky_relu", rule=Rule.IEEE, meaning="x where x > 0, else x·slope")
def leaky_relu(x: torch.Tensor, slope: Number = 0.01) -> torch.Tensor:
    """Rectify with a slope below zero."""
    return elementwise(lambda v, s: torch.where(v > 0, v, v * s), x, slope)


@define("leaky_relu_backward", rule=Rule.IEEE, meaning="g where x > 0, else g·slope")
def leaky_relu_backward(
    g: torch.Tensor, x: torch.Tensor, slope: Number, is_result: bool
) -> torch.Tensor:
    """Differentiate leaky_relu; the result has the argument's sign, so either serves."""
    return elementwise(lambda d, v, s: torch.where(v > 0, d, d * s), g, x, slope)


@define("_prelu_kernel", rule=Rule.IEEE, meaning="x where x > 0, else weight·x")
def prelu(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Rectify with a trained slope below zero (He et al., arXiv:1502.01852)."""
    return elementwise(lambda v, w: torch.where(v > 0, v, w * v), x, weight)


@define(
    "_prelu_kernel_backward",
    rule=Rule.IEEE,
    meaning="g where x > 0, else weight·g; 0 where x > 0, else x·g",
)
def prelu_backward(
    g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Differentiate prelu with respect to x and, for each element, the weight."""
    dx = elementwise(lambda d, v, w: torch.where(v > 0, d, w * d), g, x, weight)
    dweight = elementwise(lambda d, v: torch.where(v > 0, torch.zeros_like(d), v * d), g, x)
    return dx, dweight


_RRELU = "leaky_relu with the slope (lower + upper)/2; refused in training"


@define("rrelu_with_noise", rule=Rule.IEEE, meaning=_RRELU)
def rrelu(
    x: torch.Tensor,
    noise: torch.Tensor,
    lower: Number = 0.125,
    upper: Number = 1 / 3,
    training: bool = False,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Rectify with the mean slope."""
    return leaky_relu(x, _mean_slope(x, lower, upper, training))


@define("rrelu_with_noise_backward", rule=Rule.IEEE, meaning=_RRELU)
def rrelu_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    noise: torch.Tensor,
    lower: Number,
    upper: Number,
    training: bool,
    is_result: bool,
) -> torch.Tensor:
    """Differentiate rrelu."""
    return leaky_relu_backward(g, x, _mean_slope(x, lower, upper, training), is_result)


def _mean_slope(x: torch.Tensor, lower: Number, upper: Number, training: bool) -> float:
    if training and lower != upper:
        raise UnsupportedOp(
            "aten::rrelu_with_noise", "random slopes; write x * torch.where(x > 0, 1, slopes)", (x,)
        )
    return (float(lower) + float(upper)) / 2


@define("hardtanh", rule=Rule.ORDER, meaning="x limited to [low, high]; NaN stays")
def hardtanh(x: torch.Tensor, low: Number = -1, high: Number = 1) -> torch.Tensor:
    """Limit; relu6 arrives here too."""
    return clamp(x, low, high).to(x.dtype)


@define("hardtanh_backward", rule=Rule.ORDER, meaning="0 where x <= low or x >= high, else g")
def hardtanh_backward(g: torch.Tensor, x: torch.Tensor, low: Number, high: Number) -> torch.Tensor:
    """Differentiate hardtanh."""
    return torch.where((x <= low) | (x >= high), torch.zeros_like(g), g)


@define("threshold", rule=Rule.ORDER, meaning="value where x <= threshold, else x")
def threshold(x: torch.Tensor, limit: Number, value: Number) -> torch.Tensor:
    """Replace what does not exceed a limit."""
    return torch.where(x <= limit, torch.full((), value, dtype=x.dtype, device=x.device), x)


@define("hardshrink", rule=Rule.ORDER, meaning="0 where -limit <= x <= limit, else x")
def hardshrink(x: torch.Tensor, limit: Number = 0.5) -> torch.Tensor:
    """Drop what is small."""
    return torch.where((x >= -limit) & (x <= limit), torch.zeros_like(x), x)


@define(
    "hardshrink_backward",
    "softshrink_backward",
    rule=Rule.ORDER,
    meaning="0 where -limit <= x <= limit, else g",
)
def shrink_backward(g: torch.Tensor, x: torch.Tensor, limit: Number) -> torch.Tensor:
    """Differentiate hardshrink and softshrink."""
    return torch.where((x >= -limit) & (x <= limit), torch.zeros_like(g), g)


@define(
    "softshrink",
    rule=Rule.IEEE,
    meaning="x - limit where x > limit, x + limit where x < -limit, else 0",
)
def softshrink(x: torch.Tensor, limit: Number = 0.5) -> torch.Tensor:
    """Move towards zero."""

    def compute(v: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        outside = torch.where(v < -by, v + by, v - by)
        return torch.where((v >= -by) & (v <= by), torch.zeros_like(v), outside)

    return elementwise(compute, x, limit)


# ---- hard forms of smooth ones -------------------------------------------------------------------


def _ramp(x: torch.Tensor) -> torch.Tensor:
    """Return x + 3 limited to [0, 6]."""
    return clamp(x + constant(3.0, x), 0.0, 6.0)


@define("hardswish", rule=Rule.FUNCTION, meaning="x·min(max(x + 3, 0), 6)/6 in float64")
def hardswish(x: torch.Tensor) -> torch.Tensor:
    """Apply the piecewise form of silu (Howard et al., arXiv:1905.02244)."""
    return smooth(lambda v: (v * _ramp(v)) / constant(6.0, v), x)


@define(
    "hardswish_backward",
    rule=Rule.FUNCTION,
    meaning="0 where x <= -3, g·(x/3 + ½) where x < 3, else g",
)
def hardswish_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate hardswish."""

    def compute(d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        inside = d * (v / constant(3.0, v) + constant(0.5, v))
        return torch.where(v <= -3, torch.zeros_like(d), torch.where(v < 3, inside, d))

    return smooth(compute, g, x)


@define("hardsigmoid", rule=Rule.FUNCTION, meaning="min(max(x + 3, 0), 6)/6 in float64")
def hardsigmoid(x: torch.Tensor) -> torch.Tensor:
    """Apply the piecewise form of sigmoid."""
    return smooth(lambda v: _ramp(v) / constant(6.0, v), x)


@define("hardsigmoid_backward", rule=Rule.FUNCTION, meaning="g/6 where -3 < x < 3, else 0")
def hardsigmoid_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate hardsigmoid."""

    def compute(d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.where((v > -3) & (v < 3), d / constant(6.0, d), torch.zeros_like(d))

    return smooth(compute, g, x)


# ---- smooth --------------------------------------------------------------------------------------


@define(
    "elu",
    rule=Rule.FUNCTION,
    meaning="scale·x where x > 0, else (alpha·scale)·(e^(input_scale·x) - 1), in float64",
)
def elu(
    x: torch.Tensor, alpha: Number = 1, scale: Number = 1, input_scale: Number = 1
) -> torch.Tensor:
    """Apply the exponential linear unit (arXiv:1511.07289); selu arrives here too."""

    def compute(v: torch.Tensor) -> torch.Tensor:
        below = functions.expm1(v * constant(float(input_scale), v))
        below = below * constant(float(alpha) * float(scale), v)
        return torch.where(v > 0, v * constant(float(scale), v), below)

    return smooth(compute, x)


@define("celu", rule=Rule.FUNCTION, meaning="elu with the input scale 1/alpha")
def celu(x: torch.Tensor, alpha: Number = 1.0) -> torch.Tensor:
    """Apply the continuously differentiable elu (arXiv:1704.07483)."""
    return elu(x, alpha, 1, 1.0 / float(alpha))


@define(
    "elu_backward",
    rule=Rule.FUNCTION,
    meaning="g·scale where x > 0, else g·input_scale·alpha·scale·e^(input_scale·x); "
    "from the result y, g·input_scale·(y + alpha·scale)",
)
def elu_backward(
    g: torch.Tensor,
    alpha: Number,
    scale: Number,
    input_scale: Number,
    is_result: bool,
    x: torch.Tensor,
) -> torch.Tensor:
    """Differentiate elu, from its argument or, after an in-place one, from its result."""
    factor = float(alpha) * float(scale)

    def compute(d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if is_result:
            slope = v + constant(factor, v)
        else:
            slope = functions.exp64(v * constant(float(input_scale), v)) * constant(factor, v)
        below = (d * constant(float(input_scale), d)) * slope
        return torch.where(v > 0, d * constant(float(scale), d), below)

    return smooth(compute, g, x)


@define(
    "softplus",
    rule=Rule.FUNCTION,
    meaning="x where beta·x > threshold, else ln(1 + e^(beta·x))/beta, in float64",
)
def softplus(
    x: torch.Tensor, beta: Number = 1, limit: Number = SOFTPLUS_LINEAR_FROM
) -> torch.Tensor:
    """Apply the smooth rectifier."""
    if beta == 1 and limit >= SOFTPLUS_LINEAR_FROM and x.dtype is not F64:
        return kernels(x).unary("softplus", x)  # the branch is the same float32: see the constant

    def compute(v: torch.Tensor) -> torch.Tensor:
        scaled = v * constant(float(beta), v)
        return torch.where(scaled > limit, v, functions.softplus(scaled) / constant(float(beta), v))

    return smooth(compute, x)


@define(
    "softplus_backward",
    rule=Rule.FUNCTION,
    meaning="g where beta·x > threshold, else g·sigmoid(beta·x)",
)
def softplus_backward(
    g: torch.Tensor, x: torch.Tensor, beta: Number, limit: Number
) -> torch.Tensor:
    """Differentiate softplus."""

    def compute(d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scaled = v * constant(float(beta), v)
        return torch.where(scaled > limit, d, d * functions.sigmoid(scaled))

    return smooth(compute, g, x)


@define("mish", rule=Rule.FUNCTION, meaning="x·tanh(ln(1 + e^x)) in float64; NaN at -inf")
def mish(x: torch.Tensor) -> torch.Tensor:
    """Apply mish (Misra, arXiv:1908.08681)."""

    def compute(v: torch.Tensor) -> torch.Tensor:
        result = v * functions.tanh(functions.softplus(v))
        # -inf times what has vanished
        return torch.where(v == -float("inf"), constant(float("nan"), v), result)

    return smooth(compute, x)


@define(
    "mish_backward",
    rule=Rule.FUNCTION,
    meaning="g·(t + x·sigmoid(x)·(1 - t²)), t = tanh(ln(1 + e^x))",
)
def mish_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Differentiate mish."""

    def compute(d: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        t = functions.tanh(functions.softplus(v))
        slope = (v * functions.sigmoid(v)) * (torch.ones_like(t) - t * t)
        return torch.where(v == -float("inf"), constant(float("nan"), v), d * (t + slope))

    return smooth(compute, g, x)


@define("log_sigmoid_forward", rule=Rule.FUNCTION, meaning="-ln(1 + e^-x) in float64")
def log_sigmoid(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ln sigmoid(x), and an empty buffer: the gradient needs none."""
    return smooth(lambda v: -functions.softplus(-v), x), x.new_empty(0)


@define("log_sigmoid_backward", rule=Rule.FUNCTION, meaning="g·sigmoid(-x)")
def log_sigmoid_backward(g: torch.Tensor, x: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
    """Differentiate log_sigmoid."""
    return smooth(lambda d, v: d * functions.sigmoid(-v), g, x)


@define("glu", rule=Rule.FUNCTION, meaning="a·sigmoid(b) of the two halves, in float64")
def glu(x: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Gate one half of a dimension by the other (Dauphin et al., arXiv:1612.08083)."""
    return smooth(lambda a, b: a * functions.sigmoid(b), *x.chunk(2, dim))


@define("glu_backward", rule=Rule.FUNCTION, meaning="g·s, and g·a·s(1 - s), s = sigmoid(b)")
def glu_backward(g: torch.Tensor, x: torch.Tensor, dim: int) -> torch.Tensor:
    """Differentiate glu."""
    first, second = x.chunk(2, dim)

    def gate(d: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        s = functions.sigmoid(b)
        return (d * a) * (s * (torch.ones_like(s) - s))

    dfirst = smooth(lambda d, b: d * functions.sigmoid(b), g, second)
    return torch.cat([dfirst, smooth(gate, g, first, second)], dim)


@replace(functional.softsign, rule=Rule.COMPOSITION, meaning="x/(1 + |x|), each rounded")
def softsign(x: torch.Tensor) -> torch.Tensor:
    """Divide by one more than the magnitude."""
    return x / (x.abs() + 1)


@replace(functional.tanhshrink, rule=Rule.COMPOSITION, meaning="x - tanh x, each rounded")
def tanhshrink(x: torch.Tensor) -> torch.Tensor:
    """Subtract the hyperbolic tangent."""
    return x - x.tanh()
