"""Python functions of torch that ask no mode: replaced by name while a mode is active."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from exact_torch.table import FUNCTIONS, Definition

_MODULES: Final = ("torch.optim", "torch.nn.init")
"""Where replaced functions are called from; their names are looked up there at each call."""

_CHOICES: Final = "_default_to_fused_or_foreach"
"""How optimizers choose between a loop, lists of tensors and a fused kernel, by device."""


@contextmanager
def exact_python_functions() -> Iterator[None]:
    """Put definitions in place of torch's functions; optimizers without one run their loop."""
    with _patched(_replacement):
        yield


@contextmanager
def observed(record: Callable[[Definition], None]) -> Iterator[None]:
    """Call `record` at each use of a replacement, inside `exact_python_functions`."""
    definitions = {id(d.run): d for d in FUNCTIONS.values()}

    def recording(_: str, value: Any) -> Any:
        definition = definitions.get(id(value))
        return None if definition is None else _recording(definition, record)

    with _patched(recording):
        yield


def _replacement(name: str, value: Any) -> Any:
    if name == _CHOICES:
        return _neither
    definition = FUNCTIONS.get(value) if type(value) is _FUNCTION else None
    return None if definition is None else definition.run


_FUNCTION: Final = type(_replacement)


def _neither(*_: Any, **__: Any) -> tuple[bool, bool]:
    """Choose neither lists of tensors nor a fused kernel."""
    return False, False


def _recording(definition: Definition, record: Callable[[Definition], None]) -> Any:
    run = definition.run
    assert run is not None, "torch's own function is no replacement"

    @functools.wraps(run)
    def call(*args: Any, **kwargs: Any) -> Any:
        record(definition)
        return run(*args, **kwargs)

    return call


@contextmanager
def _patched(replacement: Callable[[str, Any], Any]) -> Iterator[None]:
    """Replace attributes of `_MODULES`: by what is returned for a name and value, unless None."""
    before: list[tuple[Any, str, Any]] = []
    for module_name in sorted(n for n in sys.modules if n.startswith(_MODULES)):
        module = sys.modules[module_name]
        for name, value in list(vars(module).items()):
            new = replacement(name, value)
            if new is not None:
                before.append((module, name, value))
                setattr(module, name, new)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
