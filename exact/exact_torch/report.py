"""Which ops a program uses, through which rule each is defined, and which would be refused."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from exact_torch.arithmetic.contraction import Precision
from exact_torch.errors import UnsupportedOp
from exact_torch.mode import Functions, find, mode
from exact_torch.python_functions import observed
from exact_torch.table import FUNCTIONS, Definition, Rule

_MEANING_WIDTH: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An op that the program uses and that is defined.

    Attributes:
        name: ATen name or the full name of a function.
        rule: why its bits are the same everywhere.
        meaning: the formula.
        count: how often it was called.
    """

    name: str
    rule: Rule
    meaning: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An op that would stop the program under a mode.

    Attributes:
        op: its name.
        reason: why it is refused, and what to write instead.
        shapes: dtype and shape of each tensor argument of the first call.
        line: the program's source line of the first call.
        count: how often it was called.
    """

    op: str
    reason: str
    shapes: tuple[str, ...]
    line: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a program uses.

    Attributes:
        precision: the mode that it ran under.
        used: the defined ops, by name.
        refused: the others, in the order in which the program first called them.
    """

    precision: Precision
    used: tuple[Use, ...]
    refused: tuple[Refusal, ...]

    def to_json(self) -> str:
        """Return the report as a JSON object with the same fields."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        rows = [("op", "calls", "rule", "meaning")]
        rows += [(u.name, str(u.count), str(u.rule), _cut(u.meaning)) for u in self.used]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"{name:<{widths[0]}}  {count:>{widths[1]}}  {rule:<{widths[2]}}  {meaning}".rstrip()
            for name, count, rule, meaning in rows
        ]
        for refusal in self.refused:
            shown = ", ".join(refusal.shapes) or "no tensors"
            lines.append(f"refused: {refusal.op}({shown}), {refusal.count} calls")
            lines.append(f"  {refusal.reason}")
            lines.append(f"  first at {refusal.line}")
        verdict = "is refused" if self.refused else "runs"
        lines.append(
            f"{len(self.used)} defined ops, {len(self.refused)} refused: "
            f"the program {verdict} under {self.precision}"
        )
        return "\n".join(lines)


def report(program: Callable[[], object], precision: str = Precision.E21) -> Report:
    """Run a program and list the ops that it uses, through which rule, and which are refused.

    Refused ops run as plain torch here, so that all of them are found; the program's results are
    worth nothing then. Ops of threads that the program starts are looked up but not listed.

    Args:
        program: called without arguments; what it raises is not caught.
        precision: of the mode that it runs under.
    """
    found = _Found()
    with mode(precision), observed(found.use), _RecordingFunctions(found), _RecordingOps(found):
        program()
    return found.report(Precision(precision))


class _Found:
    """What has been used and refused so far."""

    def __init__(self) -> None:
        self._used: dict[str, list[Any]] = {}
        self._refused: dict[tuple[str, str], list[Any]] = {}

    def use(self, definition: Definition) -> None:
        """Count a defined op."""
        self._used.setdefault(definition.name, [definition, 0])[1] += 1

    def refuse(self, refusal: UnsupportedOp) -> None:
        """Count a refused op."""
        self._refused.setdefault((refusal.op, refusal.reason), [refusal, 0])[1] += 1

    def report(self, precision: Precision) -> Report:
        """Return what has been found."""
        used = tuple(
            Use(name=name, rule=definition.rule, meaning=definition.meaning, count=count)
            for name, (definition, count) in sorted(self._used.items())
        )
        refused = tuple(
            Refusal(op=r.op, reason=r.reason, shapes=r.shapes, line=r.line, count=count)
            for r, count in self._refused.values()
        )
        return Report(precision=precision, used=used, refused=refused)


class _RecordingOps(TorchDispatchMode):
    """Hands each op to the mode below and records what became of it."""

    def __init__(self, found: _Found) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found = found

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        definition, _ = find(func)
        try:
            result = func(*args, **(kwargs or {}))
        except UnsupportedOp as refusal:
            self._found.refuse(refusal)
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                return func(*args, **(kwargs or {}))
        if definition is not None:
            self._found.use(definition)
        return result


class _RecordingFunctions(Functions):
    """The replacement of functions, recorded."""

    def __init__(self, found: _Found) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        definition = FUNCTIONS.get(func)
        if definition is None:
            return super().__torch_function__(func, types, args, kwargs)
        try:
            result = super().__torch_function__(func, types, args, kwargs)
        except UnsupportedOp as refusal:
            self._found.refuse(refusal)
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                return func(*args, **(kwargs or {}))
        self._found.use(definition)
        return result


def _cut(meaning: str) -> str:
    return meaning if len(meaning) <= _MEANING_WIDTH else meaning[: _MEANING_WIDTH - 1] + "…"
