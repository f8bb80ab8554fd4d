"""The task behind each open lease: run the job, then commit until the scheduler has heard it.

What a task does next depends on the stored state alone, so it can be started again at any time:
after a crash, and whenever a handler has moved the lease.
"""

import asyncio
import dataclasses
import logging
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import Clock, OrderSigner
from assay_node.protocol.errors import AssayError, ChainError, Refused, RemoteError
from assay_node.protocol.ids import ZERO_ADDRESS, Digest
from assay_node.protocol.messages import COMMIT, Ack
from assay_node.protocol.order import Order
from assay_node.protocol.typed_data import Domain
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease
from assay_provider.commitment import signed_commit
from assay_provider.execution import Executed, Execution, fault
from assay_provider.lease_acceptance import new_salt
from assay_provider.lease_book import RETRY_S, LeaseBook, order_of
from assay_provider.lease_closing import LeaseClosing
from assay_provider.lease_machine import HOLDS_SLOT, Event, State
from assay_provider.scheduler_links import Backoff, SchedulerLinks
from assay_provider.slots import Slots
from assay_provider.supply import Supply
from assay_provider.timekeeping import Deadlines

logger = logging.getLogger(__name__)

COMMIT_REFUSALS_MAX: Final = 5
"""A commit can overtake the scheduler's note of our own acceptance, so one refusal is not final;
with the backoff between them five span several seconds."""

TEND_S: Final = 30.0
"""How long a lease may lie without a task: it happens only after a full disk."""


@dataclass(slots=True, kw_only=True)
class LeaseWork:
    """Owns one task per lease that has something to do."""

    group: asyncio.TaskGroup
    book: LeaseBook
    execution: Execution
    links: SchedulerLinks
    closing: LeaseClosing
    slots: Slots
    supply: Supply
    domain: Domain
    signer: OrderSigner
    clock: Clock
    deadlines: Deadlines
    _tasks: dict[Digest, asyncio.Task[None]] = field(default_factory=dict)
    _again: set[Digest] = field(default_factory=set)

    def start(self, job: Digest) -> None:
        """Begin, or have another look at, whatever a lease's state asks for."""
        running = self._tasks.get(job)
        if running is not None and not running.done():
            self._again.add(job)
            return
        task = self.group.create_task(self._work(job), name=f"lease {job.hex()}")
        self._tasks[job] = task
        # a callback, because a task cancelled before its first step runs no `finally`
        task.add_done_callback(lambda done: self._ended(job, done))

    async def stop(self, job: Digest) -> None:
        """Cancel a lease's task; returns when its sandbox is gone and its slot free."""
        task = self._tasks.get(job)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            self._ended(job, task)

    async def hand_back(self, job: Digest, reason: str) -> None:
        """Give a lease up, however long the database takes to write it."""
        await self.book.insist(lambda: self.closing.hand_back(job, reason))

    async def stop_all(self) -> None:
        """Cancel every task; returns when no sandbox runs."""
        for job in tuple(self._tasks):
            await self.stop(job)

    async def tend_for_ever(self) -> None:
        """Tend every `TEND_S` seconds."""
        while True:
            await asyncio.sleep(TEND_S)
            try:
                await self.tend()
            except StoreUnavailable as error:
                self.book.outage.failed(error)

    async def tend(self) -> None:
        """Take up leases that have something to do and no task.

        A full disk can cut a release or a hand-back in two: its task is stopped, its lease open.
        """
        for lease in await self.book.store.unfinished():
            async with self.book.exclusively(lease.job):
                current = await self.book.get(lease.job)
                if current is not None and lease.job not in self._tasks:
                    await self._take_up(current)

    async def _take_up(self, lease: ProviderLease) -> None:
        if lease.state == State.EXECUTED:
            self.start(lease.job)
        elif State(lease.state) in HOLDS_SLOT and lease.slot is not None:
            if self.slots.hold(lease.job, lease.slot):
                self.start(lease.job)
            else:
                await self.closing.hand_back(lease.job, "its slot was given to another job")

    def _ended(self, job: Digest, task: asyncio.Task[None]) -> None:
        if self._tasks.get(job) is task:
            del self._tasks[job]
            self._again.discard(job)
            self.slots.release(job)

    async def _work(self, job: Digest) -> None:
        while True:
            self._again.discard(job)
            try:
                await self._look(job)
            except StoreUnavailable as error:  # as before: what is stored says where to go on
                self.book.outage.failed(error)
                await asyncio.sleep(RETRY_S)
                continue
            except Exception:  # a stranger's job must not end the daemon, whatever it found
                logger.exception("the lease of job %s failed; handing it back", job.hex()[:12])
                await self.hand_back(job, "internal error of the provider")
            if job not in self._again:
                return

    async def _look(self, job: Digest) -> None:
        lease = await self.book.get(job)
        if lease is None:
            return
        if State(lease.state) in HOLDS_SLOT:
            await self._run(lease)
        if self.execution.conduct.works and lease.scheduler != ZERO_ADDRESS:
            await self._commit(job)  # a panel's commits go to the chain: see `CourtWatch`

    async def _run(self, lease: ProviderLease) -> None:
        try:
            if not self.execution.conduct.works:
                await asyncio.Event().wait()  # a staller, until it is released or time is up
            await self._execute(lease)
        finally:
            if lease.slot is not None and self.execution.gpus.is_faulty(lease.slot):
                self.slots.retire(lease.slot)
        self.slots.release(lease.job)

    async def _execute(self, lease: ProviderLease) -> None:
        if await self._is_too_late(order_of(lease)):
            reason = "too little time was left to run the job (again) after a restart"
            await self.hand_back(lease.job, reason)
            return
        if await self.book.apply(lease.job, Event.START) is None:
            return
        try:
            executed = await self.execution.run(lease)
        except StoreUnavailable:
            raise
        except (AssayError, OSError) as error:
            logger.warning("handing back job %s: %s", lease.job.hex()[:12], error)
            await self.hand_back(lease.job, fault(error))
            return
        # Insisted on: a run whose end cannot be written yet is not thrown away, and not repeated.
        await self.book.insist(
            lambda: self.book.apply(
                lease.job,
                Event.EXECUTE,
                lambda now: _executed(now, executed),
                detail=executed.verdict.value,
            )
        )
        await self.book.store.usage.ran(lease.job, seconds=executed.seconds)

    async def _is_too_late(self, order: Order) -> bool:
        last_start = order.expiry - order.max_seconds
        if self.clock.now() <= last_start:
            return False
        try:
            return await self.deadlines.now() > last_start
        except ChainError:
            return True  # this machine's word is all there is, and a slot is at stake, no bond

    async def _commit(self, job: Digest) -> None:
        """Send the commitment until it is acknowledged, refused for good, or no longer wanted."""
        backoff = Backoff()
        refusals = 0
        while (lease := await self.book.get(job)) is not None and lease.state == State.EXECUTED:
            await self.links.peer_of(lease.scheduler)
            commit = signed_commit(
                lease, operator=self.supply.operator, domain=self.domain, signer=self.signer
            )
            try:
                await self.links.ask(lease.scheduler, COMMIT, commit, Ack)
            except Refused as refusal:
                refusals += 1
                if refusals == COMMIT_REFUSALS_MAX:
                    await self.closing.close(job, f"the scheduler refused to commit: {refusal}")
                    return
            except RemoteError as error:
                logger.info("committing job %s: %s; trying again", job.hex()[:12], error)
            else:
                await self._acknowledged(job, lease.round_number)
                continue
            await asyncio.sleep(backoff.next_wait_s())

    async def _acknowledged(self, job: Digest, round_number: int) -> None:
        lease = await self.book.get(job)
        if lease is None or lease.round_number != round_number:
            return  # a later round has begun; its commitment is still owed
        await self.book.apply(job, Event.COMMIT)


def _executed(lease: ProviderLease, executed: Executed) -> ProviderLease:
    return dataclasses.replace(
        lease,
        slot=None,
        stage="",
        output=executed.output,
        log=executed.log,
        verdict=executed.verdict.value,
        detail=executed.detail,
        seconds=executed.seconds,
        salt=new_salt(),
    )
