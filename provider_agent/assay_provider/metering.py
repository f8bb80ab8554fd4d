"""From a metered run to the seconds a provider may bill. Pure."""

import math
from typing import Final

BILLABLE_SECONDS_MIN: Final = 1
"""A run that happened costs something: starting it did, and free runs invite floods."""


def billable_seconds(wall_seconds: float, *, wall_seconds_max: int) -> int:
    """Return the whole seconds to bill for one run.

    Billed is the wall time of the job's own run, from the start of its sandbox to its exit, rounded
    up: never the fetch of inputs, the preparation of the environment or the hashing of outputs,
    which a provider could stretch at will. At least `BILLABLE_SECONDS_MIN`, at most the limit the
    order set, because killing a job at its limit takes a moment that the requester must not pay.

    Args:
        wall_seconds: metered monotonic seconds, not negative.
        wall_seconds_max: the order's wall-clock limit in seconds, at least 1.
    """
    assert math.isfinite(wall_seconds), "a metered time is finite"
    assert wall_seconds >= 0, "a monotonic clock does not run backwards"
    assert wall_seconds_max >= BILLABLE_SECONDS_MIN, "orders with no time are refused earlier"
    return min(max(math.ceil(wall_seconds), BILLABLE_SECONDS_MIN), wall_seconds_max)
