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
from assay_node.protocol.errors import AssayError, ChainError, LocalError, Refused
from assay_node.protocol.ids import ZERO_ADDRESS, Address, Digest
from assay_node.protocol.messages import HAND_BACK, Ack, HandBack
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease
from assay_provider.execution import inputs_owner, output_owner
from assay_provider.lease_book import RETRY_S, LeaseBook
from assay_provider.lease_machine import Event, State
from assay_provider.outage import Outage
from assay_provider.owner.limits import DAY_S, seconds_taken
from assay_provider.supply import Supply
from assay_provider.timekeeping import Deadlines

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
"""How late an overdue lease may be noticed: the second is the unit of every deadline."""
HISTORY_S: Final = 90 * 86_400
"""Closed leases are forgotten after a quarter: what they earned is on chain."""
FORGET_EVERY_S: Final = 3600.0
DEBT_S: Final = 86_400
"""For how long after an order's expiry its scheduler is still told that the lease was given up."""
CHAIN_RETRY_S: Final = 15.0
"""Between questions to a chain that does not answer."""
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
    deadlines: Deadlines
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
        await self._count(job, taken)
        await self._unpin(inputs_owner(job))
        if closed.keep_until == now:  # nothing is kept
            await self._let_go(closed)
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

        All of it ends something for good, so the chain has to agree that it is time.

        Args:
            stop: ends a lease's task and frees its slot.

        Raises:
            ChainError: something seems due, and the chain cannot be asked.
            StoreUnavailable: the database cannot be used.
        """
        now = self.clock.now()
        forgets = not 0 <= now - self._forgot_at < FORGET_EVERY_S
        store = self.book.store
        if not (forgets or await store.overdue(now) or await store.kept_before(now)):
            return
        now = await self.deadlines.now()
        for lease in await store.overdue(now):
            await stop(lease.job)
            await self.close(lease.job, "the order expired")
        for lease in await store.kept_before(now):
            await self._let_go(lease)
        if forgets:
            self._forgot_at = self.clock.now()
            await self._forget(now)

    async def sweep_for_ever(self, stop: Callable[[Digest], Awaitable[None]]) -> None:
        """Sweep every `SWEEP_S` seconds, more rarely while the chain or the database is away."""
        chain = Outage(what="ending what is overdue", logger=logger, clock=self.clock)
        while True:
            wait_s = SWEEP_S
            try:
                await self.sweep(stop)
                chain.over()
            except ChainError as error:
                chain.failed(error)
                wait_s = CHAIN_RETRY_S
            except StoreUnavailable as error:
                self.book.outage.failed(error)
                wait_s = RETRY_S
            await asyncio.sleep(wait_s)

    async def _forget(self, now: float) -> None:
        for lease in await self.book.store.owing_hand_back():
            if lease.expiry + DEBT_S < now:  # its scheduler never came back; nobody waits for it
                await self._note(lease, "not_handed_back", hand_back_owed=False)
        await self.book.store.forget_closed_before(now - HISTORY_S)
        await self.book.store.usage.forget_before(now - 2 * DAY_S)

    async def _count(self, job: Digest, seconds: int) -> None:
        """Note what a run took of its requester's day; without, it counts as its longest."""
        try:
            await self.book.store.usage.ran(job, seconds=seconds)
        except StoreUnavailable as error:
            self.book.outage.failed(error)

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

    async def _let_go(self, lease: ProviderLease) -> None:
        # both again: a crash may have come between closing and unpinning, and it is idempotent
        owners = (inputs_owner(lease.job), output_owner(lease.job))
        if all([await self._unpin(owner) for owner in owners]):
            await self._note(lease, "let_go", keep_until=None)

    async def _unpin(self, owner: str) -> bool:
        """Unpin; False if the artifact store cannot be written now, which is tried again later."""
        try:
            await self.artifacts.unpin(owner=owner)
        except (LocalError, OSError) as error:
            logger.warning("not let go of %s yet: %s", owner[:12], error)
            return False
        return True

    async def _note(self, lease: ProviderLease, event: str, **changes: Any) -> None:
        """Change a closed lease's debts; closed is no state to move from, so not through `book`."""
        current: ProviderLease | None = lease
        while current is not None:
            after = dataclasses.replace(current, **changes)
            saved = await self.book.store.save(current, after, event=event, now=self.clock.now())
            if saved is not None:
                return
            current = await self.book.get(lease.job)
