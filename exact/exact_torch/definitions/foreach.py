"""Ops on lists of tensors: the op on each."""

from collections.abc import Sequence
from typing import Any, Final

import torch

from exact_torch.errors import UnsupportedOp
from exact_torch.table import OPS, Rule, define

_NAMES: Final = [
    "abs",
    "add",
    "addcdiv",
    "addcmul",
    "ceil",
    "clamp_max",
    "clamp_min",
    "clone",
    "cos",
    "div",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "frac",
    "lerp",
    "log",
    "log10",
    "log1p",
    "log2",
    "max",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "norm",
    "pow",
    "reciprocal",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "sin",
    "sqrt",
    "sub",
    "tan",
    "tanh",
    "trunc",
]

_RENAMED: Final = {"norm": "linalg_vector_norm", "max": "amax"}
_LIMITS: Final = {"maximum": "clamp_min", "minimum": "clamp_max"}
"""What these are of a tensor and a number."""

_SCALED: Final = ("addcdiv", "addcmul")
"""Ops whose scalar is positional for lists and the keyword `value` otherwise."""

Tensors = Sequence[torch.Tensor]


def _each(name: str, lists: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """Apply the op to the elements of the lists; what is no list is the same for all."""
    count = next(len(a) for a in lists if isinstance(a, (list, tuple)))
    if name in _SCALED and len(lists) > 3:
        *lists_, value = lists
        values = value.tolist() if isinstance(value, torch.Tensor) else value
        return [
            _one(name, row, {"value": values[i] if isinstance(values, (list, tuple)) else values})
            for i, row in enumerate(zip(*lists_, strict=True))
        ]
    columns = [a if isinstance(a, (list, tuple)) else [a] * count for a in lists]
    return [_one(name, row, kwargs) for row in zip(*columns, strict=True)]


def _one(name: str, arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    name = _RENAMED.get(name, name)
    if name in _LIMITS and not isinstance(arguments[1], torch.Tensor):
        name = _LIMITS[name]
    if name == "linalg_vector_norm" and len(arguments) == 3:
        *arguments_, dtype = arguments
        arguments, kwargs = tuple(arguments_), {"dtype": dtype}
    definition = OPS.get(name)
    if definition is None:
        raise UnsupportedOp(f"aten::_foreach_{name}", f"{name} has no definition", arguments)
    run = definition.run or getattr(torch.ops.aten, name)
    return run(*arguments, **kwargs)  # type: ignore[no-any-return]


def _define(name: str) -> None:
    @define(f"_foreach_{name}", rule=Rule.COMPOSITION, meaning=f"{name} of each tensor")
    def run(*lists: Any, **kwargs: Any) -> list[torch.Tensor]:
        return _each(name, lists, kwargs)

    @define(f"_foreach_{name}_", rule=Rule.COMPOSITION, meaning=f"{name} of each tensor, in place")
    def run_in_place(tensors: Tensors, *lists: Any, **kwargs: Any) -> None:
        for target, result in zip(tensors, _each(name, (tensors, *lists), kwargs), strict=True):
            target.copy_(result)


for _name in _NAMES:
    _define(_name)


@define("_foreach_zero_", rule=Rule.MOVES, meaning="zero in each tensor")
def zero_each(tensors: Tensors) -> None:
    """Set every element to zero."""
    for tensor in tensors:
        tensor.zero_()


@define("_foreach_copy_", rule=Rule.MOVES, meaning="copies of elements, tensor by tensor")
def copy_each(tensors: Tensors, sources: Tensors, non_blocking: bool = False) -> None:
    """Copy each tensor over its partner."""
    for tensor, source in zip(tensors, sources, strict=True):
        tensor.copy_(source)


# ---- loss scaling -------------------------------------------------------------------------------


@define(
    "_amp_foreach_non_finite_check_and_unscale_",
    rule=Rule.IEEE,
    meaning="g·scale of each, rounded; found is 1 if any g was infinite or NaN",
)
def unscale(gradients: Tensors, found: torch.Tensor, scale: torch.Tensor) -> None:
    """Undo the scale of a loss in its gradients."""
    for gradient in gradients:
        if not bool(torch.isfinite(gradient).all()):
            found.fill_(1.0)
        gradient.copy_(OPS["mul"].run(gradient, scale))  # type: ignore[misc]


@define(
    "_amp_update_scale_",
    rule=Rule.IEEE,
    meaning="scale·backoff if something was not finite; scale·growth after an interval without",
)
def update_scale(
    scale: torch.Tensor,
    tracker: torch.Tensor,
    found: torch.Tensor,
    growth: float,
    backoff: float,
    interval: int,
) -> torch.Tensor:
    """Change the scale of a loss for the next step."""
    if bool(found != 0):
        tracker.zero_()
        return scale.copy_(OPS["mul"].run(scale, backoff))  # type: ignore[misc]
    if int(tracker) + 1 == interval:
        grown = OPS["mul"].run(scale, growth)  # type: ignore[misc]
        if bool(torch.isfinite(grown)):
            scale.copy_(grown)
        tracker.zero_()
    else:
        tracker.add_(1)
    return scale
