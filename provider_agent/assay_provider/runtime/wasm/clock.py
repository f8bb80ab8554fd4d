"""Time and randomness as a module sees them: the same on every machine.

The clock runs with the instructions that were executed, so a module that measures itself finds the
same figures everywhere, and one that waits for a moment to come does not wait for ever. A sleep
passes at once.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

INSTRUCTIONS_PER_SECOND: Final = 10_000_000_000
"""What a second of an order buys, and how fast the module's clock runs. All but the tightest loops
are slower on today's cores, so it is the wall clock that ends them; a machine that is faster gets
no further than any other."""

BIRTH_NS: Final = 1_000_000_000 * 10**9
"""The time of day at the start of every run: a billion seconds of Unix time, in September 2001."""

_NS: Final = 10**9
_SEED: Final = b"assay t0 random 1"


@dataclass(slots=True, kw_only=True)
class Clock:
    """`instructions` returns how many were executed so far."""

    instructions: Callable[[], int]
    _slept_ns: int = 0

    def running_ns(self) -> int:
        """Return the time since the start."""
        return self.instructions() * _NS // INSTRUCTIONS_PER_SECOND + self._slept_ns

    def sleep(self, nanoseconds: int) -> None:
        """Let time pass."""
        self._slept_ns += nanoseconds


@dataclass(slots=True)
class Randomness:
    """A stream of bytes that depends on nothing but what was drawn from it before."""

    _drawn: int = 0

    def draw(self, count: int) -> bytes:
        """Return the next bytes."""
        self._drawn += 1
        return hashlib.shake_256(_SEED + self._drawn.to_bytes(8, "big")).digest(count)
