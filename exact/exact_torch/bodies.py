"""The bodies of torch's Python functions, without the step that hands them to a mode.

`F.multi_head_attention_forward` or `Tensor.backward` first ask whether a function mode is active
and hand themselves to it. Called back by the mode, they run with the mode off, and what they call
would no longer be looked up: dropout inside attention, or a forward pass that checkpointing repeats
during the backward pass. The body runs with the mode on.
"""

import functools
from types import FunctionType
from typing import Any, Final

_CHECKS: Final = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def body_of(function: Any) -> Any:
    """Return a Python function without its check for modes, and anything else as None."""
    return _copy(function) if type(function) is FunctionType else None


@functools.cache
def _copy(function: FunctionType) -> FunctionType | None:
    called = [name for name in _CHECKS if name in function.__code__.co_names]
    if not any(name in function.__globals__ for name in called):
        return None  # it never asks, or asks through a module: its check stays
    if "super" in function.__code__.co_names:
        return None  # the method of C++ that it extends comes back to the mode under its own name
    names = {**function.__globals__, **dict.fromkeys(_CHECKS, _no_mode)}
    copy = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _no_mode(*_: object) -> bool:
    return False
