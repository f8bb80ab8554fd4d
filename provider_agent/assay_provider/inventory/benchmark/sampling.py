"""How a rate is measured: warm up, then the median of several windows. Pure but for the clock.

The median, not the best: what is sold is what a job of an hour gets, after the turbo is spent and
the machine is warm.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Clock = Callable[[], float]
"""A clock that does not jump, in seconds."""
Calls = Callable[[int], None]
"""Does one thing so many times, and returns when it is done."""

_CALLS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long is measured, and over how much."""

    warm_up_s: float
    window_s: float
    windows: int
    memory_bytes_max: int
    disk_bytes: int


FULL: Final = Effort(
    warm_up_s=3.0, window_s=1.0, windows=7, memory_bytes_max=1 << 50, disk_bytes=2 << 30
)
"""Ten seconds for each figure: longer than any processor's turbo on a heavy load holds."""
QUICK: Final = Effort(
    warm_up_s=0.1, window_s=0.1, windows=3, memory_bytes_max=64 << 20, disk_bytes=64 << 20
)
"""For a look: it flatters a machine that throttles, so it is neither kept nor offered."""


def sustained(run: Calls, effort: Effort, clock: Clock) -> float:
    """Return how many calls a second `run` sustains.

    Args:
        run: what is measured.
        effort: for how long.
        clock: in seconds.
    """
    calls = _warm_up(run, effort, clock)
    return statistics.median(_window(run, calls, effort, clock) for _ in range(effort.windows))


def _warm_up(run: Calls, effort: Effort, clock: Clock) -> int:
    """Run for a while; return how many calls at once take about a tenth of a window."""
    calls, began = 1, clock()
    while True:
        started = clock()
        run(calls)
        ended = clock()
        if ended - started < effort.window_s / 10 and calls < _CALLS_MAX:
            calls *= 2
        elif ended - began >= effort.warm_up_s:
            return calls


def _window(run: Calls, calls: int, effort: Effort, clock: Clock) -> float:
    done, started = 0, clock()
    while True:
        run(calls)
        done += calls
        elapsed = clock() - started
        if elapsed >= effort.window_s:
            return done / elapsed
