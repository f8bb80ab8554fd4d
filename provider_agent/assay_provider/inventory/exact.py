"""Finds out which modes of exact_torch this machine runs: its self-test, run as jobs are run.

The self-test is a job like any other, in the sandbox, with the variables that exact jobs get. So it
fails where a job would fail: without torch, with an engine that is not exact on this processor, or
with a package that the sandbox does not show.
"""

import dataclasses
import importlib.util
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.job_spec import EXACT_MODES, EXACT_SPECIFICATION
from assay_node.protocol.units import MIB
from assay_provider.runtime.environment import HOST_PYTHON, exact_torch_package
from assay_provider.runtime.exact import ExactRun, ExactSetup
from assay_provider.runtime.sandbox import (
    RunLimits,
    RunRequest,
    RunResult,
    Sandbox,
    SandboxUnavailable,
    Verdict,
)

logger = logging.getLogger(__name__)

FILE_NAME: Final = "exact.json"
SELF_TEST_S: Final = 180
"""It takes seconds; a machine that starts several providers at once takes longer."""
REASON_CHARACTERS_MAX: Final = 300
"""What a job is refused with, so it stays a sentence."""
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
    """Run the self-test in slot 0, which must be free, within what a slot has."""
    missing = _missing()
    if missing:
        return ExactSupport(remark=missing, setup=setup)
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


def write_support(home: Path, support: ExactSupport) -> None:
    """Keep what was found where `assay provider status` finds it."""
    path = home / FILE_NAME
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(dataclasses.asdict(support), indent=1) + "\n")
    unfinished.rename(path)


def read_support(home: Path) -> Mapping[str, Any] | None:
    """Return what the newest start found, as `ExactSupport` in JSON; None before the first."""
    try:
        document: Mapping[str, Any] = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document


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
        environment={},
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
        modes=_MODES, engine=found["engine"], remark=_short(found["reason"]), setup=setup
    )


def _complaint(result: RunResult) -> str:
    """Return the last line that the self-test wrote: Python's own last line names the error."""
    lines = result.log_tail.decode("ascii", "backslashreplace").strip().splitlines()
    return f"the self-test of exact_torch failed: {_short(lines[-1] if lines else result.detail)}"


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:REASON_CHARACTERS_MAX])
