"""How leases end: released, handed back, refused or overdue. Nothing waits for ever.

A closed lease owes at most two things, both noted with the closing itself: the scheduler's
acknowledgement of a hand-back, and letting go of what was pinned (`keep_until`).
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from assay_node.ports import Artifacts, Clock
from assay_node.protocol.errors import AssayError, Refused
from assay_node.protocol.ids import ZERO_ADDRESS, Address, Digest
from assay_node.protocol.messages import HAND_BACK, Ack, HandBack
from assay_node.store.provider_leases import ProviderLease
from assay_provider.execution import inputs_owner, output_owner
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import Event, State
from assay_provider.owner.limits import DAY_S, seconds_taken
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
"""How late an overdue lease may be noticed: the second is the unit of every deadline."""
HISTORY_S: Final = 90 * 86_400
"""Closed leases are forgotten after a quarter: what they earned is on chain."""
FORGET_EVERY_S: Final = 3600.0
SETTLED: Final = "settled"
"""The reason a scheduler gives when a lease's job was settled."""


class Asks(Protocol):
    """Sends one request to a connected scheduler, as `SchedulerLinks.ask` does."""

    async def ask(self, scheduler: Address, protocol: str, message: Any, answer: type[Ack]) -> Ack:
        """Return the scheduler's answer."""
        ...


@dataclass(slots=True, kw_only=True)
class LeaseClosing:
    """Closes leases and settles what closed leases owe."""

    book: LeaseBook
    artifacts: Artifacts
    links: Asks
    supply: Supply
    clock: Clock
    _forgot_at: float = 0.0

    async def close(self, job: Digest, reason: str, *, hand_back: bool = False) -> bool:
        """End a lease durably; False when it was over, or never was.

        The output stays for `result_keep_s` when the job was settled or may yet be: this provider
        has revealed, and the requester may come for it.
        """
        now = self.clock.now()
        taken = 0

        def end(lease: ProviderLease) -> ProviderLease:
            nonlocal taken
            taken = seconds_taken(lease, now)
            keeps = SETTLED in reason or lease.state == State.REVEALED
            return dataclasses.replace(
                lease,
                slot=None,
                stage="",
                closed_at=now,
                closed_reason=reason,
                hand_back_owed=hand_back,
                keep_until=now + (self.supply.result_keep_s if keeps else 0),
            )

        closed = await self.book.apply(job, Event.CLOSE, end, detail=reason)
        if closed is None:
            return False
        logger.info("lease of job %s closed: %s", job.hex()[:12], reason)
        await self.book.store.usage.ran(job, seconds=taken)
        await self.artifacts.unpin(owner=inputs_owner(job))
        await self._let_go_if_due(closed)
        return True

    async def hand_back(self, job: Digest, reason: str) -> None:
        """Give a lease up and tell its scheduler, now or when it is next connected."""
        lease = await self.book.get(job)
        if lease is None:
            return
        is_owed = lease.scheduler != ZERO_ADDRESS  # nobody waits for a seat on a panel
        if await self.close(job, reason, hand_back=is_owed) and is_owed:
            closed = await self.book.get(job)
            assert closed is not None
            await self._deliver(closed)

    async def deliver_owed(self, scheduler: Address) -> None:
        """Tell a scheduler of every lease given up that it has not acknowledged yet."""
        for lease in await self.book.store.owing_hand_back():
            if lease.scheduler == scheduler:
                await self._deliver(lease)

    async def sweep(self, stop: Callable[[Digest], Awaitable[None]]) -> None:
        """Close what is overdue, let go of what was kept long enough, forget what is old.

        Args:
            stop: ends a lease's task and frees its slot.
        """
        now = self.clock.now()
        for lease in await self.book.store.overdue(now):
            await stop(lease.job)
            await self.close(lease.job, "the order expired")
        for lease in await self.book.store.kept_before(now):
            await self._let_go_if_due(lease)
        if now >= self._forgot_at + FORGET_EVERY_S:
            self._forgot_at = now
            await self.book.store.forget_closed_before(now - HISTORY_S)
            await self.book.store.usage.forget_before(now - 2 * DAY_S)

    async def sweep_for_ever(self, stop: Callable[[Digest], Awaitable[None]]) -> None:
        """Sweep every `SWEEP_S` seconds."""
        while True:
            await self.sweep(stop)
            await asyncio.sleep(SWEEP_S)

    async def _deliver(self, lease: ProviderLease) -> None:
        message = HandBack(job=lease.job, reason=lease.closed_reason or "")
        try:
            await self.links.ask(lease.scheduler, HAND_BACK, message, Ack)
        except Refused as refusal:
            logger.info("hand-back of job %s: %s", lease.job.hex()[:12], refusal)
        except AssayError as error:
            logger.info("hand-back of job %s not told yet: %s", lease.job.hex()[:12], error)
            return
        await self._note(lease, "handed_back", hand_back_owed=False)

    async def _let_go_if_due(self, lease: ProviderLease) -> None:
        if lease.keep_until is None or lease.keep_until > self.clock.now():
            return
        # both again: a crash may have come between closing and unpinning, and it is idempotent
        await self.artifacts.unpin(owner=inputs_owner(lease.job))
        await self.artifacts.unpin(owner=output_owner(lease.job))
        await self._note(lease, "let_go", keep_until=None)

    async def _note(self, lease: ProviderLease, event: str, **changes: Any) -> None:
        """Change a closed lease's debts; closed is no state to move from, so not through `book`."""
        current: ProviderLease | None = lease
        while current is not None:
            after = dataclasses.replace(current, **changes)
            saved = await self.book.store.save(current, after, event=event, now=self.clock.now())
            if saved is not None:
                return
            current = await self.book.get(lease.job)
