"""Which time it is on a machine whose clock may be set, by hours, while jobs run.

What is measured (a run's seconds, a timeout) is measured by monotonic clocks and does not notice.
Deadlines are moments, though: orders expire by the chain's time, offers by everybody's. A daemon
that believed a clock set two hours ahead would close every lease as expired and lose its bonds; set
back, it would let its offer lapse and come to the on-chain road too late.

So time goes on at the pace of the clock that nobody can set, and a jump is followed at once only if
it is small. A larger one is doubted until a block of the chain shows which side of it is true; and
nothing is ended for good on this machine's word alone (see `Deadlines`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from assay_node.ports import ChainReader, Clock
from assay_node.protocol.errors import ChainError

logger = logging.getLogger(__name__)

JUMP_S_TOLD: Final = 5.0
"""A smaller step is time synchronisation at work."""
JUMP_S_DOUBTED: Final = 60.0
"""A jump below this is followed: no deadline of an order is so near that it would matter."""
LOOK_S: Final = 1.0
JUDGE_S: Final = 15.0
"""Between questions to the chain while there is doubt."""
BLOCK_AGE_S_MAX: Final = 600.0
"""A block further from both sides of a jump than this is no judge: its chain stands still."""


def boot_seconds() -> float:
    """Return seconds since boot, suspension included: a lid that was shut is no jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Wall time without the jumps that the chain has not confirmed. Implements `Clock`.

    Args:
        wall: Unix seconds, which people and programs set.
        elapsed: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = boot_seconds,
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._offset = wall() - elapsed()
        self._doubted: float | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether the machine's clock says another time than this one."""
        return self._doubted is not None

    def now(self) -> float:
        """Return Unix seconds."""
        self._look()
        return self._elapsed() + self._offset

    def judge(self, block_timestamp: float) -> None:
        """Settle a doubt by the time of the chain's newest block."""
        self._look()
        if self._doubted is None:
            return
        before, after = self._elapsed() + self._offset, self._elapsed() + self._doubted
        off_before, off_after = abs(before - block_timestamp), abs(after - block_timestamp)
        if min(off_before, off_after) > BLOCK_AGE_S_MAX:
            logger.warning(
                "the chain's newest block cannot tell which time it is; going by this machine's"
            )
            self._follow()
        elif off_after <= off_before:
            logger.warning("the chain confirms the time that the clock was set to")
            self._follow()

    def _look(self) -> None:
        offset = self._wall() - self._elapsed()
        jump_s = offset - (self._offset if self._doubted is None else self._doubted)
        if abs(jump_s) >= JUMP_S_TOLD:
            logger.warning("clock jumped by %+.0f s", jump_s)
        off_s = offset - self._offset
        if abs(off_s) < JUMP_S_DOUBTED:
            self._offset, self._doubted = offset, None
            return
        if self._doubted is None:
            logger.warning(
                "going on by the time before that until the chain says which is right; check this "
                "machine's time synchronisation"
            )
        self._doubted = offset

    def _follow(self) -> None:
        assert self._doubted is not None
        self._offset, self._doubted = self._doubted, None


async def watch_clock(clock: SteadyClock, chain: ChainReader) -> None:
    """Notice jumps soon, and ask the chain about them, for ever."""
    while True:
        clock.now()
        if not clock.in_doubt:
            await asyncio.sleep(LOOK_S)
            continue
        try:
            clock.judge((await chain.head()).timestamp)
        except ChainError as error:
            logger.debug("the chain cannot be asked for the time: %s", error)
        if clock.in_doubt:
            await asyncio.sleep(JUDGE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The time by which things may be ended for good: this machine and the chain both say so."""

    chain: ChainReader
    clock: Clock

    async def now(self) -> float:
        """Return the earlier of the machine's and the chain's time, in Unix seconds.

        The newest block is some seconds old, which only makes an end so much later.

        Raises:
            ChainError: the chain cannot be asked now; end nothing.
        """
        return min(self.clock.now(), float((await self.chain.head()).timestamp))
