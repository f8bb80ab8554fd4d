"""Which kernels compute: chosen once, tested before use, refused when a bit is wrong."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch

from exact_torch.errors import EngineRefused
from exact_torch.kernels import Int8Kernels, TorchKernels

ENGINE_VARIABLE: Final = "EXACT_TORCH_ENGINE"
AUTO: Final = "auto"

_chosen: dict[str, TorchKernels] = {}
_passed_over: dict[str, str] = {}
_requested: str | None = None


def _native() -> TorchKernels:
    from exact_torch.native.kernels import NativeKernels

    return NativeKernels()


def _cuda() -> TorchKernels:
    from exact_torch.cuda.kernels import CudaKernels

    return CudaKernels()


ENGINES: Final[dict[str, Callable[[], TorchKernels]]] = {
    "native": _native,
    "float64": TorchKernels,
    "int8": Int8Kernels,
    "cuda": _cuda,
}
"""Engines by the names that `EXACT_TORCH_ENGINE` takes, beside "auto"."""

ONLY_ON: Final = {"native": "cpu"}
"""Engines that compute on one type of device only."""

AUTO_ORDER: Final = {"cpu": ("native", "float64"), "cuda": ("cuda", "float64")}


def kernels_for(device: torch.device) -> TorchKernels:
    """Return the tested kernels for a device; the first call chooses and tests them.

    Raises:
        EngineRefused: the requested engine, or every one that could be, failed.
    """
    found = _chosen.get(device.type)
    if found is None:
        found = _chosen[device.type] = _choose(device)
    return found


def passed_over(device: torch.device) -> str:
    """Return which engines were refused before the one that was chosen, and why; may be empty."""
    return _passed_over.get(device.type, "")


def requested_engine() -> str:
    """Return the engine asked for: by `using`, else by the environment, else "auto"."""
    return _requested or os.environ.get(ENGINE_VARIABLE) or AUTO


@contextmanager
def using(engine: str) -> Iterator[None]:
    """Compute with this engine inside; for tests and benchmarks."""
    global _requested  # noqa: PLW0603 - one engine a process, as one mode a process
    before = (_requested, dict(_chosen))
    _requested = engine
    _chosen.clear()
    try:
        yield
    finally:
        _requested = before[0]
        _chosen.clear()
        _chosen.update(before[1])


def _choose(device: torch.device) -> TorchKernels:
    from exact_torch.self_test import check_kernels

    engine = requested_engine()
    if engine not in (AUTO, *ENGINES):
        known = ", ".join((AUTO, *ENGINES))
        raise EngineRefused(f"{ENGINE_VARIABLE}={engine}: there are {known}")
    candidates = AUTO_ORDER.get(device.type, ("float64",)) if engine == AUTO else (engine,)
    reasons = []
    for name in candidates:
        try:
            if ONLY_ON.get(name, device.type) != device.type:
                raise EngineRefused(f"it computes on {ONLY_ON[name]} only")
            kernels = ENGINES[name]()
            check_kernels(kernels, device)
        except EngineRefused as refusal:
            reasons.append(f"{name}: {refusal}")
        else:
            _passed_over[device.type] = "; ".join(reasons)
            return kernels
    raise EngineRefused(
        f"no engine is exact on {device.type}: " + "; ".join(reasons) + ". A job cannot run here "
        f"under exact_torch; unset {ENGINE_VARIABLE} to let one be chosen"
    )
