"""What a run leaves behind for comparison: its output, or a canonical record of its failure.

Replicas of a job that fails must agree on the failure as they would on a result, or honest runs
would go unpaid. So the record holds what the job and its limits determine and nothing of the
machine: no times, no logs, no peak memory.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from assay_node.protocol.job_spec import Resources
from assay_provider.runtime.sandbox import RunLimits, RunResult, Verdict

FAILURE_FILE: Final = "failure.json"

LOG_BYTES: Final = 64 * 1024
"""The end of a log says why a job failed; one block carries it."""

AT_LIMIT: Final = frozenset(
    {Verdict.TIMEOUT, Verdict.OUT_OF_MEMORY, Verdict.DISK_FULL, Verdict.OUTPUT_TOO_LARGE}
)
"""Verdicts that another machine might not have reached."""


def run_limits(resources: Resources, *, wall_seconds: int) -> RunLimits:
    """Return the sandbox's limits: exactly the spec's, so that all replicas meet the same."""
    return RunLimits(
        memory_bytes=resources.memory_bytes,
        cpus=resources.cpus_milli / 1000,
        pids_max=resources.pids_max,
        scratch_bytes=resources.scratch_bytes,
        output_bytes=resources.output_bytes,
        output_files_max=resources.output_files_max,
        wall_seconds=wall_seconds,
        log_bytes=LOG_BYTES,
    )


def failure_record(result: RunResult, limits: RunLimits) -> bytes:
    """Return the canonical JSON that stands for a failed run: sorted keys, no spaces, a newline.

    An exit code counts only for `error`; at a limit it is an accident of who noticed first.
    """
    record: dict[str, object] = {"verdict": result.verdict.value}
    if result.verdict is Verdict.ERROR:
        record["exit_code"] = result.exit_code
    else:
        record["limits"] = _limits_hit(result.verdict, limits)
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def write_failure(directory: Path, result: RunResult, limits: RunLimits) -> Path:
    """Write the record of a failed run into a new directory below `directory`; return it."""
    outcome = directory / "failure"
    outcome.mkdir()
    (outcome / FAILURE_FILE).write_bytes(failure_record(result, limits))
    return outcome


def _limits_hit(verdict: Verdict, limits: RunLimits) -> Mapping[str, int]:
    match verdict:
        case Verdict.TIMEOUT:
            return {"wall_seconds": limits.wall_seconds}
        case Verdict.OUT_OF_MEMORY:
            return {"memory_bytes": limits.memory_bytes}
        case Verdict.DISK_FULL:
            return {"scratch_bytes": limits.scratch_bytes}
        case Verdict.OUTPUT_TOO_LARGE:
            return {
                "output_bytes": limits.output_bytes,
                "output_files_max": limits.output_files_max,
            }
        case Verdict.OK | Verdict.ERROR | Verdict.KILLED_BY_OWNER:
            raise AssertionError(f"{verdict} is not the end at a limit")
