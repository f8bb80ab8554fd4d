"""Following the chain's head: closely while a job waits for a block, at leisure otherwise."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from assay_node.ports import ChainReader, Head
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Digest

logger = logging.getLogger(__name__)

IDLE_S: Final = 1.0
"""How often the head is read while no job waits for a block."""
BLOCKS_PER_S_ASSUMED: Final = 4.0
"""Until blocks have been seen: a fast L2's pace, so that no seed is forgotten."""


class ChainHead:
    """The newest block seen, and who waits for which."""

    def __init__(self, chain: ChainReader, *, poll_interval_s: float) -> None:
        self._chain = chain
        self._poll_interval_s = poll_interval_s
        self._awaited: dict[Digest, int] = {}
        self._wanted = asyncio.Event()
        self._first: Head | None = None
        self.newest: Head | None = None

    @property
    def blocks_per_s(self) -> float:
        """The chain's pace since the first block seen."""
        if self._first is None or self.newest is None:
            return BLOCKS_PER_S_ASSUMED
        seconds = self.newest.timestamp - self._first.timestamp
        blocks = self.newest.number - self._first.number
        return blocks / seconds if seconds > 0 else BLOCKS_PER_S_ASSUMED

    def wait_for(self, job: Digest, number: int) -> None:
        """Have `run` announce the job when this block is there."""
        self._awaited[job] = number
        self._wanted.set()

    async def run(self, announce: Callable[[Digest], None]) -> None:
        """Follow the head until cancelled."""
        while True:
            self._wanted.clear()
            try:
                head = await self._chain.head()
            except ChainError as error:
                logger.warning("no new blocks: %s", error)
                await asyncio.sleep(IDLE_S)
                continue
            self._first, self.newest = self._first or head, head
            for job in [j for j, number in self._awaited.items() if head.number >= number]:
                del self._awaited[job]
                announce(job)
            await wait(self._wanted, self._poll_interval_s if self._awaited else IDLE_S)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set or the time is over, whichever comes first."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
