"""Single IEEE-754 operations, and short fixed sequences of them.

Half precisions compute in float32, where their operands are exact, and round once to their type. A
Python number becomes the type that torch computes in: float32, or float64 for float64 tensors.
"""

from collections.abc import Callable
from typing import Any

import torch

from exact_torch.arithmetic import functions
from exact_torch.arithmetic.bits import F32, F64
from exact_torch.arithmetic.functions import to_type
from exact_torch.errors import UnsupportedOp
from exact_torch.table import Rule, define, trust

Number = float | int | bool
Operand = torch.Tensor | Number

_HALF = (torch.bfloat16, torch.float16)

trust(
    *[
        "neg",
        "abs",
        "sign",
        "floor",
        "ceil",
        "trunc",
        "round",
        "frac",
        "positive",
        "nan_to_num",
        "sgn",
    ],
    rule=Rule.IEEE,
    meaning="one correctly rounded operation an element",
)
trust("result_type", rule=Rule.MOVES, meaning="the type that promotion gives")


def elementwise(
    compute: Callable[..., torch.Tensor], *operands: Operand, result: torch.dtype | None = None
) -> torch.Tensor:
    """Apply `compute` in the type that these operands compute in; round to the one they promote to.

    Half precisions compute in float32. Python numbers become 0-d tensors of the computing type, so
    that no device replaces a division by a multiplication.
    """
    kind = result or _promoted(operands)
    wide = F32 if kind in _HALF else kind
    device = next(o.device for o in operands if isinstance(o, torch.Tensor))
    for operand in operands:
        if isinstance(operand, torch.Tensor) and operand.device.type != "cpu":
            device = operand.device
    prepared = [
        _prepared(operand, wide, device)
        if isinstance(operand, torch.Tensor)
        else torch.full((), operand, dtype=wide, device=device)
        for operand in operands
    ]
    computed = compute(*prepared)
    return computed if computed.dtype is kind else computed.to(kind)


def _prepared(operand: torch.Tensor, wide: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an operand in the computing type; a number that lies on the CPU goes to the others."""
    return operand.to(wide) if operand.dim() else operand.to(device=device, dtype=wide)


def _promoted(operands: tuple[Operand, ...]) -> torch.dtype:
    first = operands[0]
    if len(operands) == 1:
        assert isinstance(first, torch.Tensor)
        return first.dtype
    found = torch.result_type(first, operands[1])
    for other in operands[2:]:
        found = torch.result_type(torch.empty((1,), dtype=found), other)
    return found


def _plain(a: Operand, b: Operand) -> bool:
    """Whether torch's own kernel is one IEEE operation: two tensors of one full type."""
    return (
        isinstance(a, torch.Tensor)
        and isinstance(b, torch.Tensor)
        and a.dtype is b.dtype
        and a.dtype not in _HALF
    )


@define("add", rule=Rule.IEEE, meaning="a + (alpha·b), each rounded")
def add(a: Operand, b: Operand, alpha: Number = 1) -> torch.Tensor:
    """Add; alpha is multiplied and rounded first, never fused."""
    if alpha == 1 and _plain(a, b):
        return torch.add(a, b)
    if alpha == 1:
        return elementwise(torch.add, a, b)
    return elementwise(lambda x, y, z: x + y * z, a, b, alpha, result=_promoted((a, b)))


@define("sub", rule=Rule.IEEE, meaning="a - (alpha·b), each rounded")
def sub(a: Operand, b: Operand, alpha: Number = 1) -> torch.Tensor:
    """Subtract."""
    if alpha == 1 and _plain(a, b):
        return torch.sub(a, b)
    if alpha == 1:
        return elementwise(torch.sub, a, b)
    return elementwise(lambda x, y, z: x - y * z, a, b, alpha, result=_promoted((a, b)))


@define("rsub", rule=Rule.IEEE, meaning="b - (alpha·a), each rounded")
def rsub(a: Operand, b: Operand, alpha: Number = 1) -> torch.Tensor:
    """Subtract the other way round."""
    return sub(b, a, alpha)


@define("mul", rule=Rule.IEEE, meaning="a·b, rounded")
def mul(a: Operand, b: Operand) -> torch.Tensor:
    """Multiply."""
    return torch.mul(a, b) if _plain(a, b) else elementwise(torch.mul, a, b)


@define(
    "div", "true_divide", rule=Rule.IEEE, meaning="a/b, rounded; modes round the quotient further"
)
def div(a: Operand, b: Operand, *, rounding_mode: str | None = None) -> torch.Tensor:
    """Divide; float32 through float64, which a device without IEEE division also rounds rightly."""
    kind = _promoted((a, b))
    if not kind.is_floating_point:
        if rounding_mode is not None:
            return torch.div(a, b, rounding_mode=rounding_mode)
        return elementwise(_quotient, a, b, result=torch.get_default_dtype())
    if rounding_mode == "floor":
        return elementwise(_floor_quotient, a, b)
    if rounding_mode == "trunc":
        return elementwise(lambda x, y: torch.trunc(_quotient(x, y)), a, b)
    return elementwise(_quotient, a, b)


def _quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.dtype is F32 and (a.device.type != "cpu" or b.device.type != "cpu"):
        # innocuous: 53 >= 2·24 + 2 (Figueroa, "When is double rounding innocuous?", 1995)
        return torch.div(a.to(F64), b.to(F64)).to(F32)
    return torch.div(a, b)


def _floor_quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return floor(a/b) by the exact remainder, as Python does."""
    remainder = torch.fmod(a, b)
    quotient = _quotient(a - remainder, b)
    quotient = torch.where((remainder != 0) & ((b < 0) != (remainder < 0)), quotient - 1, quotient)
    floor = torch.floor(quotient)
    floor = torch.where(quotient - floor > 0.5, floor + 1, floor)
    plain = _quotient(a, b)
    floor = torch.where(quotient == 0, torch.copysign(torch.zeros_like(plain), plain), floor)
    return torch.where(b == 0, plain, floor)


@define("floor_divide", rule=Rule.IEEE, meaning="floor(a/b) by the exact remainder")
def floor_divide(a: Operand, b: Operand) -> torch.Tensor:
    """Divide and floor."""
    return div(a, b, rounding_mode="floor")


@define("remainder", rule=Rule.IEEE, meaning="a - b·floor(a/b), exact but for the last addition")
def remainder(a: Operand, b: Operand) -> torch.Tensor:
    """Return the remainder with the divisor's sign."""
    if not _promoted((a, b)).is_floating_point:
        return torch.remainder(a, b)  # type: ignore[arg-type]

    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        rest = torch.fmod(x, y)
        return torch.where((rest != 0) & ((y < 0) != (rest < 0)), rest + y, rest)

    return elementwise(compute, a, b)


@define("fmod", rule=Rule.IEEE, meaning="the exact remainder with the dividend's sign")
def fmod(a: Operand, b: Operand) -> torch.Tensor:
    """Return the remainder with the dividend's sign."""
    if not _promoted((a, b)).is_floating_point:
        return torch.fmod(a, b)  # type: ignore[arg-type]
    return elementwise(torch.fmod, a, b)


@define("reciprocal", rule=Rule.IEEE, meaning="1/x, rounded")
def reciprocal(x: torch.Tensor) -> torch.Tensor:
    """Invert."""
    return div(1.0, x)


@define("sqrt", rule=Rule.IEEE, meaning="the square root, rounded")
def sqrt(x: torch.Tensor) -> torch.Tensor:
    """Take the root, through float64 where a device's float32 root need not be IEEE's."""
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if x.device.type == "cpu" and x.dtype in (F32, F64):
        return torch.sqrt(x)
    return to_type(torch.sqrt(x.to(F64)), x.dtype)


@define("rsqrt", rule=Rule.FUNCTION, meaning="1/sqrt(x) in float64, rounded once")
def rsqrt(x: torch.Tensor) -> torch.Tensor:
    """Take the inverse root."""
    root = torch.sqrt(x.to(F64))
    return to_type(torch.ones_like(root) / root, x.dtype)


@define("square", rule=Rule.IEEE, meaning="x·x, rounded")
def square(x: torch.Tensor) -> torch.Tensor:
    """Square."""
    return mul(x, x)


@define("addcmul", rule=Rule.IEEE, meaning="s + value·(a·b), each rounded")
def addcmul(
    s: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, value: Number = 1
) -> torch.Tensor:
    """Add a scaled product."""
    return add(s, mul(a, b), value)


@define("addcdiv", rule=Rule.IEEE, meaning="s + value·(a/b), each rounded")
def addcdiv(
    s: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, value: Number = 1
) -> torch.Tensor:
    """Add a scaled quotient."""
    return add(s, div(a, b), value)


@define("lerp", rule=Rule.IEEE, meaning="a + weight·(b - a), each rounded")
def lerp(a: torch.Tensor, b: torch.Tensor, weight: Operand) -> torch.Tensor:
    """Interpolate."""
    return add(a, mul(sub(b, a), weight))


@define(
    "pow",
    rule=Rule.FUNCTION,
    meaning="x, x·x, x·x·x, x·x·x·x and their inverses by products, else e^(y·ln|x|); in float64",
)
def power(x: Operand, y: Operand) -> torch.Tensor:
    """Raise; integer tensors to whole powers stay integers."""
    kind = _promoted((x, y))
    if not kind.is_floating_point:
        return torch.pow(x, y)  # type: ignore[arg-type]
    if isinstance(x, torch.Tensor) and isinstance(y, (int, float)):
        fast = _simple_power(x.to(F64), float(y))
        if fast is not None:
            return to_type(fast, kind)
    return to_type(elementwise(functions.power, x, y, result=F64), kind)


def _simple_power(x: torch.Tensor, y: float) -> torch.Tensor | None:
    if y == 1:
        return x
    if y in (2, 3, 4):
        result = x
        for _ in range(int(y) - 1):
            result = result * x
        return result
    if y == 0.5:
        return torch.where(
            x == -float("inf"), torch.full_like(x, float("inf")), torch.sqrt(x) + 0.0
        )
    return None


# ---- selections ----------------------------------------------------------------------------------


@define(
    "maximum", "max.other", "fmax", rule=Rule.ORDER, meaning="a where a > b or a is NaN, else b"
)
def maximum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Take the larger; of two zeros, b: machines differ."""
    return _selected(a, b, torch.gt)


@define(
    "minimum", "min.other", "fmin", rule=Rule.ORDER, meaning="a where a < b or a is NaN, else b"
)
def minimum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Take the smaller; of two zeros, b."""
    return _selected(a, b, torch.lt)


def _selected(
    a: torch.Tensor, b: torch.Tensor, before: Callable[..., torch.Tensor]
) -> torch.Tensor:
    kind = torch.result_type(a, b)
    a, b = a.to(kind), b.to(kind)
    if not kind.is_floating_point:
        return torch.maximum(a, b) if before is torch.gt else torch.minimum(a, b)
    return torch.where(before(a, b) | torch.isnan(a), a, b)


@define(
    "clamp",
    "clip",
    rule=Rule.ORDER,
    meaning="low where x < low, then high where that is > high; NaN stays",
)
def clamp(x: torch.Tensor, low: Any = None, high: Any = None) -> torch.Tensor:
    """Limit to [low, high]; the names of torch's arguments are min and max."""
    return _clamp(x, low, high)


@define("clamp_min", rule=Rule.ORDER, meaning="low where x < low")
def clamp_min(x: torch.Tensor, low: Operand) -> torch.Tensor:
    """Limit from below."""
    return _clamp(x, low, None)


@define("clamp_max", rule=Rule.ORDER, meaning="high where x > high")
def clamp_max(x: torch.Tensor, high: Operand) -> torch.Tensor:
    """Limit from above."""
    return _clamp(x, None, high)


def _clamp(x: torch.Tensor, low: Operand | None, high: Operand | None) -> torch.Tensor:
    operands = tuple(o for o in (x, low, high) if o is not None)
    x = x.to(_promoted(operands))
    if low is not None:
        x = torch.where(x < low, _like(low, x), x)
    if high is not None:
        x = torch.where(x > high, _like(high, x), x)
    return x


def _like(bound: Operand, x: torch.Tensor) -> torch.Tensor:
    if isinstance(bound, torch.Tensor):
        return bound.to(x.dtype)
    return torch.full((), bound, dtype=x.dtype, device=x.device)


@define("relu", rule=Rule.ORDER, meaning="0 where x <= 0, else x (NaN stays)")
def relu(x: torch.Tensor) -> torch.Tensor:
    """Rectify; -0 becomes +0 on every device."""
    return torch.where(x <= 0, torch.zeros((), dtype=x.dtype, device=x.device), x)


@define("threshold_backward", rule=Rule.ORDER, meaning="0 where x <= threshold, else g")
def threshold_backward(g: torch.Tensor, x: torch.Tensor, threshold: Number) -> torch.Tensor:
    """Differentiate relu."""
    return torch.where(x <= threshold, torch.zeros((), dtype=g.dtype, device=g.device), g)


@define("copysign", rule=Rule.IEEE, meaning="the magnitude of a with the sign of b")
def copysign(a: torch.Tensor, b: Operand) -> torch.Tensor:
    """Copy the sign."""
    return elementwise(torch.copysign, a, b)


@define("round.decimals", rule=Rule.IEEE, meaning="refused: it is not one operation")
def round_decimals(x: torch.Tensor, *, decimals: int) -> torch.Tensor:
    """Refuse; say how to write it."""
    raise UnsupportedOp("aten::round", "with decimals; write torch.round(x * s) / s", (x,))
