"""Wall-clock time as a port."""

from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, so that tests can stand still."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...
