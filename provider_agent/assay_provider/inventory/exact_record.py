"""Remembers what the self-test of exact_torch found, for other daemons and for the next start.

The test takes seconds, which a daemon that comes back after a crash does not have. It is repeated
whenever something changed that it could depend on; and exact_torch tests its engine at the start of
each job anyway, so a wrong memory costs a job, not a wrong result.
"""

import asyncio
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.job_spec import EXACT_SPECIFICATION
from assay_provider.inventory.exact import ExactSupport, try_exact
from assay_provider.runtime.environment import exact_kernels, exact_torch_package
from assay_provider.runtime.exact import ExactSetup
from assay_provider.runtime.sandbox import Sandbox

STATUS_FILE: Final = "exact.json"
_LOCK_POLL_S: Final = 0.1
_PROCESSOR_KEYS: Final = ("vendor_id", "model name", "flags", "microcode", "Features", "CPU part")


async def exact_support(
    sandbox: Sandbox, setup: ExactSetup, *, memory_bytes: int, cpus: float
) -> ExactSupport:
    """Return what is remembered for this machine as it is, else what the self-test finds now.

    Daemons with the same setup wait for the first of them. Only what leaves nothing to be desired
    is remembered: a compiler may be installed before the next start.
    """
    folder = exact_kernels()
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    except OSError:  # nothing can be remembered or kept here
        return await try_exact(sandbox, setup, memory_bytes=memory_bytes, cpus=cpus)
    path = folder / f"self-test-{_digest(dataclasses.asdict(setup))}.json"
    async with _locked(path.with_suffix(".lock")):
        known = await asyncio.to_thread(_remembered, path)
        if known is not None:
            return known
        support = await try_exact(sandbox, setup, memory_bytes=memory_bytes, cpus=cpus)
        if support.modes and not support.remark:
            await asyncio.to_thread(_remember, path, support)
        return support


def write_status(home: Path, support: ExactSupport) -> None:
    """Keep what counts for a provider where `assay provider status` finds it."""
    _write(home / STATUS_FILE, dataclasses.asdict(support))


def read_status(home: Path) -> Mapping[str, Any] | None:
    """Return what counted at the newest start, as `ExactSupport` in JSON; None before the first."""
    return _read(home / STATUS_FILE)


def _remembered(path: Path) -> ExactSupport | None:
    document = _read(path)
    if document is None or document.get("machine") != _machine():
        return None
    found = document["support"]
    return ExactSupport(
        modes=tuple(found["modes"]),
        engine=found["engine"],
        remark=found["remark"],
        setup=ExactSetup(**found["setup"]),
    )


def _remember(path: Path, support: ExactSupport) -> None:
    _write(path, {"machine": _machine(), "support": dataclasses.asdict(support)})


def _machine() -> str:
    """Return a digest of whatever the self-test could depend on, beside the setup."""
    package = Path(exact_torch_package() or "/nonexistent")
    facts = {
        "specification": EXACT_SPECIFICATION,
        "python": platform.python_version(),
        "libc": platform.libc_ver(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "processor": _processor(),
        "package": {str(p.relative_to(package)): _digest_of(p) for p in _files(package)},
        "kernels": sorted(path.name for path in exact_kernels().glob("*.so")),
    }
    return _digest(facts)


def _files(package: Path) -> list[Path]:
    found = (path for path in package.rglob("*") if path.is_file())
    return sorted(path for path in found if "__pycache__" not in path.parts)


def _processor() -> dict[str, str]:
    """Return what /proc/cpuinfo says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {"machine": platform.machine()}
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in _PROCESSOR_KEYS:
            found.setdefault(key.strip(), value.strip())
    return found


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digest(facts: object) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, document: Mapping[str, Any]) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.rename(path)


def _read(path: Path) -> Mapping[str, Any] | None:
    with suppress(OSError, ValueError):
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document
    return None


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a file's lock; the kernel lets go of it when the holder dies."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_LOCK_POLL_S)
            else:
                break
        yield
