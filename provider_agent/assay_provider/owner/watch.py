"""Attends to the owner's schedule and to drains for as long as the daemon runs."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from assay_node.ports import Clock
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.owner.drain import Afterwards, Drain
from assay_provider.owner.gate import Gate
from assay_provider.owner.schedule import Activity, Running, Schedule, Standing, standing

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How late a pause, a deadline or the end of a drain may be noticed."""
ACTIVITY_S: Final = 15.0
"""How often the machine is asked for signs of its owner: each look reads all of /proc."""
DEADLINE_PASSED: Final = "the deadline of this provider's drain passed"

HandBackAll = Callable[[str], Awaitable[None]]
"""Hands back every lease that holds a slot, with a reason; returns when all are told, or owed."""


class SeesOwner(Protocol):
    """Looks for signs of the owner; may block for moments."""

    def read(self, now: float) -> Activity:
        """Return what is seen."""
        ...


@dataclass(slots=True, kw_only=True)
class OwnerWatch:
    """Keeps `gate` as the owner wants it. `stop` ends the daemon, `announce` renews its offer."""

    gate: Gate
    schedule: Schedule
    activity: SeesOwner | None
    book: LeaseBook
    clock: Clock
    hand_back_all: HandBackAll
    announce: Callable[[], None]
    stop: Callable[[], None]
    _seen: Activity | None = None
    _seen_at: float = 0.0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self.gate.changed.wait()
            self.gate.changed.clear()

    async def look(self) -> None:
        """See whether jobs are let in now, and do what that asks for."""
        before = self.gate.refusal()
        was_open = self.gate.standing is None or self.gate.standing.is_open
        now = self.clock.now()
        found = standing(self.schedule, await self._activity(now), now, self.gate.standing)
        self.gate.standing = found
        if before != self.gate.refusal():
            self.announce()
        if was_open and not found.is_open:
            await self._paused(found)
        elif found.is_open and not was_open:
            logger.info("jobs are let in again")
        if self.gate.drain is not None:
            await self._drain(self.gate.drain, now)

    async def _activity(self, now: float) -> Activity:
        if self.activity is None:
            return Activity()
        # a clock that was set back must not stop the looks
        if self._seen is None or not 0 <= now - self._seen_at < ACTIVITY_S:
            self._seen = await asyncio.to_thread(self.activity.read, now)
            self._seen_at = now
        return self._seen

    async def _paused(self, found: Standing) -> None:
        logger.info("no new jobs are let in: %s", found.reason)
        if self.schedule.running is Running.HAND_BACK:
            await self.hand_back_all(f"this provider is {found.reason}")

    async def _drain(self, drain: Drain, now: float) -> None:
        unfinished = await self.book.store.unfinished()
        stops = drain.afterwards is Afterwards.STOP
        if not unfinished:
            if stops:
                logger.info("drained: every job is over; stopping")
                self.stop()
            return
        if drain.deadline is None or now < drain.deadline:
            return
        if any(State(lease.state) in HOLDS_SLOT for lease in unfinished):
            await self.hand_back_all(DEADLINE_PASSED)
        if stops:
            waiting = len(await self.book.store.unfinished())
            logger.warning("stopping at the drain's deadline; %s", unsettled_text(waiting))
            self.stop()


def unsettled_text(waiting: int) -> str:
    """Return in words what leases that have an output ask of an owner who stops the daemon."""
    if not waiting:
        return "nothing waits"
    return (
        f"{waiting} finished job(s) wait to be revealed or settled: start the daemon again soon, "
        "for who has committed and does not reveal loses the bond"
    )
