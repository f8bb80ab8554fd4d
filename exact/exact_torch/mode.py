"""The mode: every op of the program is looked up in the table, computed exactly, or refused."""

import functools
import importlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ContextDecorator, ExitStack, contextmanager
from typing import Any, Final, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from exact_torch import definitions, state
from exact_torch.arithmetic.contraction import Precision
from exact_torch.bodies import body_of
from exact_torch.definitions.leaving import LEAVING, canonicalise_in_place
from exact_torch.engines import kernels_for
from exact_torch.errors import UnsupportedOp, UntestedTorch
from exact_torch.host_math import exact_host_math
from exact_torch.python_functions import exact_python_functions
from exact_torch.table import FUNCTIONS, OPS, Definition, Run

TESTED_TORCH: Final = ("2.7", "2.13")
"""Releases whose op sequences gave the committed digests over the whole corpus."""

_IGNORED_KEYWORDS: Final = frozenset({"layout", "pin_memory", "memory_format", "non_blocking"})
_IGNORED_NAMESPACES: Final = frozenset({"profiler"})


class mode(ContextDecorator):  # noqa: N801 - used like torch.no_grad
    """Run PyTorch code so that its bits do not depend on the hardware.

    `with exact_torch.mode("E21"):` or `@exact_torch.mode("E21")`. Inside, every tensor op has a
    definition of its own, or stops the program with `UnsupportedOp`. Modes nest; the inner one
    counts. Threads that the program starts inside run under the mode too.

    Args:
        precision: "E21" (about float32), "E14" (faster; better than bfloat16) or "FMA".

    Raises:
        ValueError: the precision is none of these.
        EngineRefused: no engine on this machine passes its self-test (on entering).
        UntestedTorch: this torch was never compared with the tested ones (on entering).
    """

    def __init__(self, precision: str = Precision.E21) -> None:
        try:
            self._precision = Precision(precision)
        except ValueError:
            known = ", ".join(Precision)
            raise ValueError(f"precision {precision!r} is none of {known}") from None
        self._stacks: list[ExitStack] = []

    def __enter__(self) -> Self:
        _check_torch()
        kernels_for(torch.device("cpu"))
        with ExitStack() as stack:
            stack.enter_context(state.precision(self._precision))
            stack.enter_context(_PROCESS)
            stack.enter_context(_lookups())
            self._stacks.append(stack.pop_all())
        return self

    def __exit__(self, *error: object) -> None:
        self._stacks.pop().__exit__(*error)  # type: ignore[arg-type]


class _Ops(TorchDispatchMode):
    """Looks up each op below autograd."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # what a definition computes with is not looked up again, neither as ops nor as functions
        with torch._C.DisableTorchFunction():
            return resolve(func)(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    """Replaces functions above autograd whose decomposition is not the same everywhere."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        definition = FUNCTIONS.get(func)
        if definition is not None:
            # calls inside the replacement are looked up again, but not this function itself
            with self:
                return definition.run(*args, **(kwargs or {}))  # type: ignore[misc]
        if func in LEAVING:
            canonicalise_in_place(args[0])
        body = body_of(func)
        if body is not None:
            with self:
                return body(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@functools.cache
def resolve(func: Any) -> Run:
    """Return what computes an OpOverload, found once for each."""
    if func.namespace in _IGNORED_NAMESPACES:
        return func  # type: ignore[no-any-return]
    name = func.overloadpacket.__name__
    definition, changes = find(func)
    if definition is None:
        return _decomposed(func) if _is_composite(func) else _refusal(f"{func.namespace}::{name}")
    if definition.run is None:
        return _guarded(func, func)
    run = _guarded(func, _without_layout(definition.run))
    if not changes:
        return run
    outputs = [a.name for a in func._schema.arguments if a.is_out]
    return _copied_to(run, outputs) if outputs else _copied_to_first(run)


def find(func: Any) -> tuple[Definition | None, bool]:
    """Return an OpOverload's definition, and whether its result is copied over an argument."""
    if func.namespace == "aten":
        for key, changes in _keys(func):
            if key in OPS:
                return OPS[key], changes and OPS[key].run is not None
    return None, False


_OUT_SUFFIX: Final = re.compile("_(out|max|min|values)$")
"""What names of `out=` overloads have and their functional forms have not: "dim_max" of "dim"."""


def _keys(func: Any) -> Iterator[tuple[str, bool]]:
    """Yield the names that define an OpOverload, and whether its result is copied then.

    A definition of the overload ("view.dtype") comes before one of the op; "add_" is found as
    itself first (moves such as "copy_" are), then as "add".
    """
    name, overload = func.overloadpacket.__name__, func._overloadname
    writes_out = any(a.is_out for a in func._schema.arguments)
    yield f"{name}.{overload}", False
    if writes_out:
        yield f"{name}.{_OUT_SUFFIX.sub('', overload)}", True
    yield name, writes_out
    base = name.removesuffix("_")
    if base != name and func._schema.is_mutable:
        yield f"{base}.{overload}", True
        yield base, True


def _is_composite(func: Any) -> bool:
    """Whether autograd takes the op apart before the mode sees it; inference mode does not."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")


def _decomposed(func: Any) -> Run:
    def call(*args: Any, **kwargs: Any) -> Any:
        with _Ops():  # type: ignore[no-untyped-call]
            return func.decompose(*args, **kwargs)

    return call


def _refusal(op: str) -> Run:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedOp(
            op,
            "no hardware-independent definition; write it with ops that docs/exact-torch.md lists",
            tree_leaves((args, kwargs)),
        )

    return refuse


def _guarded(func: Any, run: Run) -> Run:
    """Refuse complex tensors, which no definition knows."""
    op = f"aten::{func.overloadpacket.__name__}"

    def guarded(*args: Any, **kwargs: Any) -> Any:
        for argument in args:
            if isinstance(argument, torch.Tensor) and argument.is_complex():
                raise UnsupportedOp(op, "complex tensors have no definition", args)
        return run(*args, **kwargs)

    return guarded


def _without_layout(run: Run) -> Run:
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {k: v for k, v in kwargs.items() if k not in _IGNORED_KEYWORDS}
        return run(*args, **kwargs)

    return call


def _copied_to_first(run: Run) -> Run:
    def call(target: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return target.copy_(run(target, *args, **kwargs))

    return call


def _copied_to(run: Run, names: list[str]) -> Run:
    def call(*args: Any, **kwargs: Any) -> Any:
        targets = [kwargs.pop(name) for name in names]
        results = run(*args, **kwargs)
        if len(targets) == 1:
            results = (results,)
        for target, result in zip(targets, results, strict=True):
            target.resize_(result.shape).copy_(result)
        return targets[0] if len(targets) == 1 else tuple(targets)

    return call


def _check_torch() -> None:
    release = torch.__version__.partition("+")[0]
    if not release.startswith(tuple(f"{tested}." for tested in TESTED_TORCH)):
        known = " and ".join(TESTED_TORCH)
        raise UntestedTorch(
            f"torch {release} was never compared with the tested releases ({known}), so its "
            "gradients could be composed of other ops; install one of these"
        )


class _Process:
    """What a mode changes for the whole process, from the first that is entered to the last left.

    Modes belong to a thread, so threads started inside are given theirs. Host mathematics is
    replaced by the package's own. Subnormal numbers are numbers: flush-to-zero is turned off.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._stack = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._change()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._stack.close()

    def _change(self) -> None:
        # torch imports it at the first op or optimizer, and older releases try out tensors then
        importlib.import_module("torch._dynamo")
        self._stack.enter_context(exact_host_math())
        self._stack.enter_context(exact_python_functions())
        flushing = bool((torch.full((2,), 2.0**-140) * 0.5 == 0).any())
        torch.set_flush_denormal(False)
        self._stack.callback(torch.set_flush_denormal, flushing)
        fast_path = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        self._stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        original = threading.Thread.run

        def run(thread: threading.Thread) -> None:
            with _lookups():
                original(thread)

        threading.Thread.run = run  # type: ignore[method-assign, assignment]
        self._stack.callback(setattr, threading.Thread, "run", original)


_PROCESS: Final = _Process()


@contextmanager
def _lookups() -> Iterator[None]:
    with Functions(), _Ops():  # type: ignore[no-untyped-call]
        yield


def table() -> Mapping[str, Definition]:
    """Return every definition by name: ops, then functions."""
    functions = {definition.name: definition for definition in FUNCTIONS.values()}
    return {**OPS, **functions}


definitions.load()
