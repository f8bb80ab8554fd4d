"""The one table of op definitions.

The mode, the report and the documentation read it; a trace and a referee can read it later. An op
that is not in it is refused. Ops are named as in ATen, without overload and without the underscore
of the in-place form: the in-place and `out=` forms of a defined op are the op and then a copy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

Run = Callable[..., Any]
RunT = TypeVar("RunT", bound=Run)


class Rule(StrEnum):
    """Why an op's bits do not depend on the hardware."""

    MOVES = "moves"
    """Only copies, views or selects elements."""

    INTEGER = "integer"
    """Integer arithmetic, comparisons and logic."""

    IEEE = "ieee"
    """One correctly rounded IEEE-754 operation an element."""

    CONTRACTION = "contraction"
    """An exact integer sum of quantised products, rounded once."""

    SUM = "sum"
    """An exact integer sum on a shared grid, rounded once."""

    FUNCTION = "function"
    """A fixed sequence of float64 operations, rounded once."""

    ORDER = "order"
    """Comparisons with ties decided by position."""

    RANDOM = "random"
    """Philox4x32-10 in integer arithmetic."""

    COMPOSITION = "composition"
    """A fixed sequence of other defined ops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """How one op is computed.

    Attributes:
        name: ATen base name ("gelu"), or the full name of a function ("torch.dropout").
        rule: why its bits are the same everywhere.
        meaning: the formula, for the documentation and the report.
        run: computes it with torch's arguments; None where torch's own op is exact already.
    """

    name: str
    rule: Rule
    meaning: str
    run: Run | None


OPS: Final[dict[str, Definition]] = {}
"""Ops below autograd, by ATen base name."""

FUNCTIONS: Final[dict[Any, Definition]] = {}
"""Functions above autograd whose decomposition differs between devices or torch versions."""


def define(*names: str, rule: Rule, meaning: str) -> Callable[[RunT], RunT]:
    """Register the decorated function as the definition of these ATen ops."""

    def register(run: RunT) -> RunT:
        for name in names:
            _add(OPS, name, Definition(name=name, rule=rule, meaning=meaning, run=run))
        return run

    return register


def replace(*functions: Any, rule: Rule, meaning: str) -> Callable[[RunT], RunT]:
    """Register the decorated function in place of these torch functions.

    It runs under the mode, above autograd: what it calls is looked up in the table again.
    """

    def register(run: RunT) -> RunT:
        for function in functions:
            name = _full_name(function)
            _add(FUNCTIONS, function, Definition(name=name, rule=rule, meaning=meaning, run=run))
        return run

    return register


def trust(*names: str, rule: Rule, meaning: str) -> None:
    """Register ATen ops for which torch's own kernel is exact by nature on every device."""
    for name in names:
        _add(OPS, name, Definition(name=name, rule=rule, meaning=meaning, run=None))


def _add(table: dict[Any, Definition], key: Any, definition: Definition) -> None:
    assert key not in table, f"{definition.name} has two definitions"
    table[key] = definition


def _full_name(function: Any) -> str:
    module = getattr(function, "__module__", None) or "torch"
    name = getattr(function, "__qualname__", None) or function.__name__
    return f"{module.replace('torch._C._nn', 'torch.nn.functional')}.{name}"
