"""From a metered run to the seconds a provider may bill. Pure.

The log (`assay_node.store.provider_runs`) keeps what the meters said; what is billed follows from
it alone, so that anybody who holds the log works out the same.
"""

from typing import Final

from assay_node.store.provider_runs import LoggedRun, Metered
from assay_provider.runtime.sandbox import RunResult

BILLABLE_SECONDS_MIN: Final = 1
"""A run that happened costs something: starting it did, and free runs invite floods."""

NANOSECONDS: Final = 1_000_000_000

METER_UNKNOWN: Final = "runtime"
"""Of a runtime that says how long a run took, and not what it read that off."""


def billable_seconds(wall_ns: int, *, wall_seconds_max: int) -> int:
    """Return the whole seconds to bill for one run.

    Billed is the wall time of the job's own run, from the start of its sandbox to its exit, rounded
    up: never the fetch of inputs, the preparation of the environment or the hashing of outputs,
    which a provider could stretch at will. At least `BILLABLE_SECONDS_MIN`, at most the limit the
    order set, because killing a job at its limit takes a moment that the requester must not pay.

    Args:
        wall_ns: metered monotonic nanoseconds, not negative.
        wall_seconds_max: the order's wall-clock limit in seconds, at least 1.
    """
    assert wall_ns >= 0, "a monotonic clock does not run backwards"
    assert wall_seconds_max >= BILLABLE_SECONDS_MIN, "orders with no time are refused earlier"
    return min(max(-(-wall_ns // NANOSECONDS), BILLABLE_SECONDS_MIN), wall_seconds_max)


def seconds_of(run: LoggedRun) -> int | None:
    """Return the seconds that a logged run bills, worked out from its meters; None for no end."""
    if run.metered is None:
        return None
    wall_ns = run.metered.exited_ns - run.metered.started_ns
    return billable_seconds(wall_ns, wall_seconds_max=run.seconds_max)


def metered(result: RunResult, *, seconds_max: int) -> Metered:
    """Return what the log keeps of a run that has ended under an order's limit of seconds."""
    meter = result.meter
    started_ns = meter.started_ns if meter else 0
    exited_ns = meter.exited_ns if meter else round(result.wall_seconds * NANOSECONDS)
    return Metered(
        meter=meter.source if meter else METER_UNKNOWN,
        started_ns=started_ns,
        exited_ns=exited_ns,
        cpu_ns=round(result.cpu_seconds * NANOSECONDS),
        memory_peak_bytes=result.memory_peak_bytes,
        memory_anonymous_bytes=meter.memory_anonymous_bytes if meter else None,
        oom_kills=meter.oom_kills if meter else None,
        pids_refused=meter.pids_refused if meter else None,
        verdict=result.verdict.value,
        billable_seconds=billable_seconds(exited_ns - started_ns, wall_seconds_max=seconds_max),
    )
