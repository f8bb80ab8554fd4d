"""From what was observed of a run to its verdict. Pure.

The order of the rules is the order of causes: an out-of-memory kill explains a later timeout or a
clean exit of the parent, so it is asked first; a full disk only explains a run that failed.
"""

from dataclasses import dataclass

from assay_provider.runtime.sandbox import RunLimits, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Facts about a finished run, before its output is looked at."""

    exit_code: int | None
    """As the sandbox program reported it: 128 + signal for a job killed by a signal of its own."""
    timed_out: bool
    """The launcher killed it at its wall-clock limit."""
    oom_kills: int
    """The cgroup's counter; 0 where there is no cgroup."""
    scratch_full: bool
    output_full: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its reason."""

    verdict: Verdict
    detail: str


def decide(seen: Observation, limits: RunLimits) -> Decision:
    """Return the verdict on a run; `OK` still depends on its output being acceptable."""
    if seen.oom_kills > 0:
        return Decision(
            verdict=Verdict.OUT_OF_MEMORY,
            detail=f"a process was killed at the memory limit of {limits.memory_bytes} bytes",
        )
    if seen.timed_out:
        return Decision(
            verdict=Verdict.TIMEOUT,
            detail=f"still running after the wall-clock limit of {limits.wall_seconds} s",
        )
    if seen.exit_code is None:
        return Decision(
            verdict=Verdict.KILLED_BY_OWNER, detail="the sandbox was killed from outside"
        )
    if seen.exit_code == 0:
        return Decision(verdict=Verdict.OK, detail="the command exited with code 0")
    return _decide_failure(seen, limits)


def _decide_failure(seen: Observation, limits: RunLimits) -> Decision:
    if seen.output_full:
        return Decision(
            verdict=Verdict.OUTPUT_TOO_LARGE,
            detail=(
                f"the command failed with code {seen.exit_code} and /output was full "
                f"({limits.output_bytes} bytes, {limits.output_files_max} files)"
            ),
        )
    if seen.scratch_full:
        return Decision(
            verdict=Verdict.DISK_FULL,
            detail=(
                f"the command failed with code {seen.exit_code} and scratch space was full "
                f"({limits.scratch_bytes} bytes)"
            ),
        )
    return Decision(verdict=Verdict.ERROR, detail=f"the command exited with code {seen.exit_code}")
