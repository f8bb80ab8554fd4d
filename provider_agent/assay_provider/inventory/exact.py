"""Finds out which modes of exact_torch this machine runs: its self-test, run as jobs are run.

The self-test is a job like any other, in the sandbox, with the variables that exact jobs get. So it
fails where a job would fail: without torch, with an engine that is not exact on this processor, or
with a package that the sandbox does not show. Kernels are compiled outside, by the owner's
compiler, and only if the self-test did not find them. Whatever engine it passes with, jobs get.
"""

import asyncio
import dataclasses
import importlib.util
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.job_spec import EXACT_MODES, EXACT_SPECIFICATION
from assay_node.protocol.units import MIB
from assay_provider.runtime.environment import HOST_PYTHON, exact_kernels, exact_torch_package
from assay_provider.runtime.exact import ExactRun, ExactSetup, instruction_set_variables
from assay_provider.runtime.sandbox import (
    RunLimits,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxUnavailable,
    Verdict,
)

SELF_TEST_S: Final = 180
"""It takes seconds; a machine that starts several providers at once takes longer."""
BUILD_S: Final = 900
"""Compiling takes a quarter of a minute on an idle core; other daemons may be first."""
REASON_CHARACTERS_MAX: Final = 300
"""What a job is refused with, so it stays a sentence."""
_COMPILED: Final = ("auto", "native")
"""Engines that want kernels."""
_MODES: Final = tuple(sorted(mode.value for mode in EXACT_MODES))
_SCRIPT: Final = "self_test.py"
_SCRIPT_TEXT: Final = f"""
import json
import exact_torch

found = exact_torch.self_test()
for mode in {_MODES!r}:
    with exact_torch.mode(mode):
        pass
with open("/output/found.json", "w") as file:
    json.dump(
        {{
            "specification": exact_torch.SPEC_VERSION,
            "engine": found.engine,
            "reason": found.reason,
        }},
        file,
    )
"""

_BUILD_TEXT: Final = """
import fcntl, os, sys
from exact_torch.native import build

with open(os.path.join(os.environ["EXACT_TORCH_KERNELS"], ".lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        build.library(build.chosen_isa())
    except build.EngineRefused as refusal:
        sys.exit(str(refusal))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSupport:
    """What the self-test found.

    `modes` are those that passed, all or none; `engine` is what they passed with, empty if none
    did. `remark` says why there are no modes, or which faster engine was passed over; it may be
    empty.
    """

    modes: tuple[str, ...] = ()
    engine: str = ""
    remark: str = "exact_torch was not tried"
    setup: ExactSetup = field(default_factory=ExactSetup)


async def try_exact(
    sandbox: Sandbox, setup: ExactSetup, *, memory_bytes: int, cpus: float
) -> ExactSupport:
    """Run the self-test in slot 0, which must be free, within what a slot has.

    The engine of the setup returned is the one that passed: "auto" has been decided.
    """
    missing = _missing()
    if missing:
        return ExactSupport(remark=missing, setup=setup)
    found = await _self_test(sandbox, setup, memory_bytes=memory_bytes, cpus=cpus)
    if setup.engine not in _COMPILED or found.engine == "native":
        return found
    complaint = await _build_kernels(setup)
    if complaint:
        return dataclasses.replace(found, remark=complaint)
    return await _self_test(sandbox, setup, memory_bytes=memory_bytes, cpus=cpus)


async def _self_test(
    sandbox: Sandbox, setup: ExactSetup, *, memory_bytes: int, cpus: float
) -> ExactSupport:
    limits = RunLimits(
        memory_bytes=memory_bytes,
        cpus=cpus,
        pids_max=256,
        scratch_bytes=16 * MIB,
        output_bytes=MIB,
        output_files_max=4,
        wall_seconds=SELF_TEST_S,
        log_bytes=16 << 10,
    )
    with tempfile.TemporaryDirectory(prefix="assay-exact-") as folder:
        request = _request(Path(folder), setup, limits)
        try:
            result = await sandbox.run(request, 0)
        except SandboxUnavailable as error:
            return ExactSupport(remark=str(error), setup=setup)
        found = request.output_directory / "found.json"
        if result.verdict is not Verdict.OK:
            return ExactSupport(remark=_complaint(result), setup=setup)
        return _support(json.loads(found.read_text(encoding="utf-8")), setup)


async def _build_kernels(setup: ExactSetup) -> str:
    """Compile exact_torch's kernels for what jobs may use; return why that failed, or nothing."""
    environment = {**os.environ, "EXACT_TORCH_KERNELS": str(exact_kernels())}
    environment |= instruction_set_variables(setup, platform.machine())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _BUILD_TEXT),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BUILD_S):
            _, said = await process.communicate()
    except TimeoutError:
        return f"its kernels were not compiled within {BUILD_S} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "" if process.returncode == 0 else _short(_last_line(said) or "no kernels")


def _missing() -> str:
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    return "" if exact_torch_package() else "exact_torch is not installed"


def _request(folder: Path, setup: ExactSetup, limits: RunLimits) -> RunRequest:
    for name in ("input", "output"):
        (folder / name).mkdir()
    (folder / "input" / _SCRIPT).write_text(_SCRIPT_TEXT, encoding="utf-8")
    return RunRequest(
        command=("python", f"/input/{_SCRIPT}"),
        environment={"CXX": "/bin/false"},  # what a job compiles is gone with it
        input_directory=folder / "input",
        output_directory=folder / "output",
        limits=limits,
        runtime=HOST_PYTHON,
        exact=ExactRun(mode=_MODES[0], setup=setup),
    )


def _support(found: Mapping[str, Any], setup: ExactSetup) -> ExactSupport:
    specification = found["specification"]
    if specification != EXACT_SPECIFICATION:
        return ExactSupport(
            remark=f"exact_torch here implements version {specification} of its specification; "
            f"jobs are ordered in version {EXACT_SPECIFICATION}",
            setup=setup,
        )
    return ExactSupport(
        modes=_MODES,
        engine=found["engine"],
        remark=_short(found["reason"]),
        setup=dataclasses.replace(setup, engine=found["engine"]),
    )


def _complaint(result: RunResult) -> str:
    said = _last_line(result.log_tail) or result.detail
    return f"the self-test of exact_torch failed: {_short(said)}"


def _last_line(log: bytes) -> str:
    """Return where Python names its error."""
    lines = log.decode("ascii", "backslashreplace").strip().splitlines()
    return lines[-1] if lines else ""


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:REASON_CHARACTERS_MAX])
