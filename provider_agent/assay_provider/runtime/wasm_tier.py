"""Tier T0: a WebAssembly module in wasmtime, in a process of its own inside T1's sandbox.

wasmtime bounds the module and keeps it from everything; T1 around it bounds wasmtime, so that a
fault in its compiler reaches neither the daemon nor its keys. The price is T1's start and an
interpreter's. The module sees /input, and /output and /tmp in memory, and a clock and randomness
that are the same on every machine (see `wasm`): what it computes is.
"""

import asyncio
import dataclasses
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.job_spec import HOST_PYTHON, WASM, Tier
from assay_node.protocol.units import KIB, MIB
from assay_provider.runtime import verdict
from assay_provider.runtime.arguments import WASM_INSIDE, check_variables
from assay_provider.runtime.launch import SCRATCH_FILES_MAX
from assay_provider.runtime.memory_budget import output_tmpfs_bytes
from assay_provider.runtime.sandbox import (
    RunLimits,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxUnavailable,
    SelfTestReport,
    Verdict,
)
from assay_provider.runtime.wasm.clock import INSTRUCTIONS_PER_SECOND
from assay_provider.runtime.wasm.task import FILES, REPORT, Limits, Report
from assay_provider.runtime.wasm_self_test import run_wasm_self_test

RUNTIME_BYTES: Final = 256 * MIB
"""What the interpreter and wasmtime may take beside the module's own memory and files: they need 45
MiB, and compiling takes some fifty times the module's size."""

RUNTIME_PIDS: Final = 8
"""The interpreter, its watch, and some to spare; a module has no threads."""

_REPORT_BYTES_MAX: Final = 16 * KIB
_RUNNER_SCRATCH_BYTES: Final = 1 * MIB
_RUNNER: Final = (
    *("/opt/environment/bin/python", "-S", "-s", "-P", "-B"),
    *("-m", "assay_provider.runtime.wasm.runner"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WasmSandbox:
    """Implements `Sandbox` for T0; `around` is T1's, which knows where wasmtime lies."""

    around: Sandbox

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """See `Sandbox`."""
        _check(request)
        # Beside the output, so that files are moved there and not copied once more.
        # In the loop, where no cancellation can come between the folder and its removal.
        folder = Path(tempfile.mkdtemp(dir=request.output_directory.parent))
        try:
            result = await self.around.run(_around(request, folder), slot)
            return await asyncio.to_thread(_judge, result, request, folder)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        """See `Sandbox`."""
        return (await run_wasm_self_test(self),)


def _check(request: RunRequest) -> None:
    if request.runtime != WASM:
        raise LocalError(f"tier t0 runs modules, and the runtime is {request.runtime[:64]!a}")
    if request.exact is not None or request.gpus is not None or request.root is not None:
        raise LocalError("a module has no GPU, no environment and no mode of exact_torch")
    if not request.command or any("\0" in word for word in request.command):
        raise LocalError("the command needs at least one word, and none with a NUL byte")
    check_variables(request.environment)


def _around(request: RunRequest, folder: Path) -> RunRequest:
    """Return the run of the runner: T1's, with room for what is kept in memory."""
    limits = request.limits
    task = Limits(
        memory_bytes=limits.memory_bytes,
        scratch_bytes=limits.scratch_bytes,
        scratch_files_max=SCRATCH_FILES_MAX,
        output_room_bytes=output_tmpfs_bytes(limits),
        output_bytes=limits.output_bytes,
        output_files_max=limits.output_files_max,
        wall_seconds=limits.wall_seconds,
        deadline=time.monotonic() + limits.wall_seconds,
    )
    words = [json.dumps(dataclasses.asdict(task)), str(len(request.command)), *request.command]
    variables = [f"{name}={value}" for name, value in request.environment.items()]
    return RunRequest(
        command=(*_RUNNER, *words, *variables),
        environment={"PYTHONPATH": WASM_INSIDE},
        input_directory=request.input_directory,
        output_directory=folder,
        limits=_limits_around(limits),
        runtime=HOST_PYTHON,
        tier=Tier.T0.value,
    )


def _limits_around(limits: RunLimits) -> RunLimits:
    return RunLimits(
        memory_bytes=limits.memory_bytes
        + limits.scratch_bytes
        + output_tmpfs_bytes(limits)
        + RUNTIME_BYTES,
        cpus=limits.cpus,
        pids_max=RUNTIME_PIDS,
        scratch_bytes=_RUNNER_SCRATCH_BYTES,
        output_bytes=limits.output_bytes + _REPORT_BYTES_MAX,
        output_files_max=limits.output_files_max + 2,  # the report, and the folder of the files
        wall_seconds=limits.wall_seconds,
        log_bytes=limits.log_bytes,
    )


def _judge(result: RunResult, request: RunRequest, folder: Path) -> RunResult:
    """Return the module's result from the runner's, and take its output over."""
    match result.verdict:
        case Verdict.OK:
            report = _read_report(folder / REPORT)
        case Verdict.OUT_OF_MEMORY:
            detail = (
                f"compiling and running the module took more than its {request.limits.memory_bytes}"
                f" bytes, its files and {RUNTIME_BYTES} bytes"
            )
            return dataclasses.replace(result, detail=detail)
        case Verdict.TIMEOUT | Verdict.KILLED_BY_OWNER:
            return result
        case Verdict.ERROR | Verdict.DISK_FULL | Verdict.OUTPUT_TOO_LARGE:
            # The runner catches what a module does; this is wasmtime's fault or ours.
            said = ascii(result.log_tail[-500:].decode(errors="replace"))
            raise SandboxUnavailable(f"wasmtime failed: {result.detail}; it said {said}")
    decision = _decide(report, request.limits)
    if decision.verdict is Verdict.OK:
        _hand_over(folder / FILES, request.output_directory)
    return dataclasses.replace(
        result,
        verdict=decision.verdict,
        exit_code=report.exit_code,
        detail=decision.detail,
    )


def _decide(report: Report, limits: RunLimits) -> verdict.Decision:
    if report.timed_out:
        detail = (
            f"still running after {limits.wall_seconds} s, or as many times "
            f"{INSTRUCTIONS_PER_SECOND} instructions"
        )
        return verdict.Decision(verdict=Verdict.TIMEOUT, detail=detail)
    if report.output_too_large:
        detail = (
            f"more than {limits.output_bytes} bytes or {limits.output_files_max} files in /output"
        )
        return verdict.Decision(verdict=Verdict.OUTPUT_TOO_LARGE, detail=detail)
    if report.refused:
        return verdict.Decision(verdict=Verdict.ERROR, detail=ascii(report.refused)[1:-1])
    seen = verdict.Observation(
        exit_code=report.exit_code,
        timed_out=False,
        oom_kills=report.memory_refused,
        scratch_full=report.scratch_full,
        output_full=report.output_full,
    )
    return verdict.decide(seen, limits)


def _read_report(path: Path) -> Report:
    """Read what the runner left. It was written inside the sandbox: believed in form only."""
    try:
        fields: Any = json.loads(path.read_bytes()[:_REPORT_BYTES_MAX])
        report = Report(**fields)
        wanted = dataclasses.asdict(Report(exit_code=0))
        for name, value in dataclasses.asdict(report).items():
            if name == "exit_code" and value is None and report.timed_out:
                continue
            if type(value) is not type(wanted[name]):
                raise TypeError(f"{name} is {type(value).__name__}")
    except (OSError, ValueError, TypeError) as error:
        raise SandboxUnavailable(f"the runner of modules left no good report: {error}") from error
    return report


def _hand_over(files: Path, output: Path) -> None:
    try:
        for path in sorted(files.iterdir()):
            path.rename(output / path.name)
    except OSError as error:
        raise SandboxUnavailable(f"the output could not be taken over: {error}") from error
