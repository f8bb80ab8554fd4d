"""Tries what T0 promises, with a module for each promise.

The first promise is that a module gives the same bits on every machine: one that adds up all that
could differ (NaNs, the clock, randomness, the order of a directory) has to give the digest below.
It fails with another version of wasmtime, whose instructions are counted otherwise.
"""

import hashlib
import importlib.metadata
import importlib.resources
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from assay_node.protocol.job_spec import WASM, Tier
from assay_node.protocol.units import KIB, MIB
from assay_provider.runtime.sandbox import (
    Grade,
    RunLimits,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxUnavailable,
    SelfTestItem,
    SelfTestReport,
    Verdict,
)

LIMITS: Final = RunLimits(
    memory_bytes=4 * MIB,
    cpus=1.0,
    pids_max=1,
    scratch_bytes=256 * KIB,
    output_bytes=64 * KIB,
    output_files_max=4,
    wall_seconds=20,
    log_bytes=4 * KIB,
)

SAME_BITS: Final = "3a4cb4281e8e54348dc48100df3ec113dcb06cc12c7c46a2933dc68f4190134f"
"""SHA-256 of what `same_bits.wat` leaves in /output/bits."""

_INSTALL: Final = "install assay again, with the version of wasmtime that it names"


@dataclass(frozen=True, slots=True, kw_only=True)
class WasmProbe:
    """A module that tries one promise, and how to see that it was kept."""

    name: str
    module: str
    """A file beside this one, in `wasm/probes`."""
    kept: Callable[[RunResult, bytes], bool]
    """Asked with the result and what was left as /output/bits."""
    promise: str
    remedy: str = _INSTALL
    wall_seconds: int = LIMITS.wall_seconds


PROBES: Final = (
    WasmProbe(
        name="start",
        module="nothing",
        kept=lambda result, _: result.verdict is Verdict.OK,
        promise="modules start",
    ),
    WasmProbe(
        name="same bits",
        module="same_bits",
        kept=lambda _, bits: hashlib.sha256(bits).hexdigest() == SAME_BITS,
        promise="NaNs, clock, randomness and directories are the same as on every machine",
    ),
    WasmProbe(
        name="memory limit",
        module="memory",
        kept=lambda result, _: result.verdict is Verdict.OUT_OF_MEMORY,
        promise="a module's memory is bounded, and its excess is noticed",
    ),
    WasmProbe(
        name="time limit",
        module="loop",
        kept=lambda result, _: result.verdict is Verdict.TIMEOUT,
        promise="a module that does not end is ended",
        wall_seconds=1,
    ),
    WasmProbe(
        name="scratch limit",
        module="scratch",
        kept=lambda result, _: result.verdict is Verdict.DISK_FULL,
        promise="scratch space is bounded",
    ),
    WasmProbe(
        name="output limit",
        module="output",
        kept=lambda result, _: result.verdict is Verdict.OUTPUT_TOO_LARGE,
        promise="output is bounded",
    ),
    WasmProbe(
        name="no way out",
        module="escape",
        kept=lambda result, _: result.verdict is Verdict.OK,
        promise="paths lead nowhere but to /input, /output and /tmp",
    ),
    WasmProbe(
        name="no threads",
        module="threads",
        kept=lambda result, _: (result.verdict, result.exit_code) == (Verdict.ERROR, 126),
        promise="modules with threads are refused",
    ),
    WasmProbe(
        name="no relaxed instructions",
        module="relaxed",
        kept=lambda result, _: (result.verdict, result.exit_code) == (Verdict.ERROR, 126),
        promise="modules with relaxed instructions are refused",
    ),
)


async def run_wasm_self_test(sandbox: Sandbox) -> SelfTestReport:
    """Run every probe in slot 0 and say what is kept."""
    items: list[SelfTestItem] = []
    with tempfile.TemporaryDirectory(prefix="assay-self-test-") as folder:
        for number, probe in enumerate(PROBES):
            items.append(await _try(sandbox, probe, Path(folder) / str(number)))
            if not items[0].enforced:
                break
    kept = all(item.enforced for item in items)
    return SelfTestReport(
        tier=Tier.T0.value,
        grade=Grade.ENFORCED if kept else Grade.FAILED,
        means=f"wasmtime {importlib.metadata.version('wasmtime')} inside of t1",
        items=tuple(items),
    )


def module_text(name: str) -> bytes:
    """Return a probe's module, in the text format."""
    probes = importlib.resources.files("assay_provider.runtime.wasm").joinpath("probes")
    return probes.joinpath(f"{name}.wat").read_bytes()


async def _try(sandbox: Sandbox, probe: WasmProbe, folder: Path) -> SelfTestItem:
    for name in ("input", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "input" / "probe.wat").write_bytes(module_text(probe.module))
    for name in ("b", "a", "B"):
        (folder / "input" / name).write_bytes(b"")
    try:
        result = await sandbox.run(_request(probe, folder), 0)
    except SandboxUnavailable as error:
        return _item(probe, enforced=False, detail=str(error))
    bits = folder / "output" / "bits"
    if probe.kept(result, bits.read_bytes() if bits.exists() else b""):
        return _item(probe, enforced=True, detail=probe.promise)
    detail = f"not so: {probe.promise} (a probe ended with {result.verdict}: {result.detail})"
    return _item(probe, enforced=False, detail=detail)


def _request(probe: WasmProbe, folder: Path) -> RunRequest:
    return RunRequest(
        command=("/input/probe.wat",),
        environment={"A": "b"},
        input_directory=folder / "input",
        output_directory=folder / "output",
        limits=replace(LIMITS, wall_seconds=probe.wall_seconds),
        runtime=WASM,
        tier=Tier.T0.value,
    )


def _item(probe: WasmProbe, *, enforced: bool, detail: str) -> SelfTestItem:
    return SelfTestItem(
        name=probe.name,
        enforced=enforced,
        detail=detail,
        remedy="" if enforced else probe.remedy,
    )
