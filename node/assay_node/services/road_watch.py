"""A scheduler's jobs on the on-chain road: noticed there, and ended as the chain ends them.

Such a job needs nothing more of its scheduler. Where all of its replicas have revealed to it, the
receipt ends the job at once; else the providers do, step by step.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from assay_node.ports import (
    Clock,
    Head,
    JobChange,
    JobRecord,
    NewEvent,
    RoadState,
    SchedulerChain,
    SchedulerStore,
)
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.lease import JOB_ENDS, JobEvent, JobState
from assay_node.protocol.receipt import Receipt
from assay_node.services.lifecycle import active_leases
from assay_node.services.policy import Policy
from assay_node.services.road import Holdings, plan
from assay_node.services.settlement import receipt_of

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the chain is looked at; nothing happens unless there is a new block."""

REORG_BLOCKS: Final = 64
"""How far back each look reads again, for jobs that a reorg moved; deeper ones are unheard of."""


@dataclass(slots=True, kw_only=True)
class RoadWatch:
    """Follows the road for one scheduler."""

    chain: SchedulerChain
    store: SchedulerStore
    clock: Clock
    policy: Policy
    sending: Callable[[], None]
    """Called when a transaction is on its way: somebody else pursues it."""
    on_ended: Callable[[Sequence[JobRecord]], None]
    _looked_at: int = -1
    _next_block: int | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.look()
            except ChainError as error:
                logger.warning("the on-chain road is not in sight: %s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Note what was taken to the road since the last look, and what ended there.

        Raises:
            ChainUnavailable: the endpoint does not answer; look again later.
        """
        head = await self.chain.head()
        if head.number == self._looked_at:
            return
        unfinished = {job.job: job for job in await self.store.unfinished_jobs()}
        if self._next_block is None:
            blocks = (job.order.seed_block for job in unfinished.values())
            self._next_block = min(blocks, default=head.number)
        for job in await self.chain.taken_to_road(self._next_block, head.number):
            if job in unfinished:
                await self.taken(job)
        self._next_block = max(self._next_block, head.number - REORG_BLOCKS)
        for record in await self.store.unfinished_jobs():
            if record.state is JobState.ON_ROAD:
                await self._follow(record, head)
        self._looked_at = head.number

    async def taken(self, job: Digest) -> None:
        """Note that a job is on the road."""
        while True:  # its replicas may move at the same time; each try sees a newer record
            record = await self.store.job(job)
            if record is None or record.state in JOB_ENDS or record.state is JobState.ON_ROAD:
                return
            text = "somebody took the job to the on-chain road"
            change = JobChange(
                job=job,
                expected=record.state,
                generation=record.generation,
                event=JobEvent.TAKEN,
                events=(NewEvent(kind="on_road", text=text, data={}),),
            )
            if await self.store.apply(change, now=self.clock.now()):
                logger.info("job %s was taken to the on-chain road", to_hex(job))
                return

    async def _follow(self, job: JobRecord, head: Head) -> None:
        settlement = await self.chain.settlement_of(job.job, from_block=job.order.seed_block)
        if settlement is not None:
            if head.number + 1 - settlement.block_number >= self.policy.confirmations:
                await self.store.settled_elsewhere(settlement, now=self.clock.now())
                await self._tell(job)
            return
        road = await self.chain.road_of(job.job, from_block=job.order.seed_block)
        if road.state is RoadState.ABSENT:
            await self._fail_if_expired(job, head)
            return
        if job.transaction is not None:
            return
        held = Holdings(signed_order=job.signed_order, receipt=_complete_receipt(job))
        window_s = await self.chain.road_window_s()
        found = plan(road, held, now=head.timestamp, window_s=window_s)
        if held.receipt is None or found.step is None:
            return
        try:
            if await self.chain.start_step(job.job, found.step):
                self.sending()
        except ChainUnavailable:
            raise
        except ChainError as error:  # a provider was faster, or gas is too dear for now
            logger.info("job %s: %s", to_hex(job.job), error)

    async def _fail_if_expired(self, job: JobRecord, head: Head) -> None:
        """End a job that a reorg took off the road, once nobody can take it there again."""
        if head.timestamp <= job.order.expiry:
            return
        reason = "a reorganisation of the chain took the job off the on-chain road"
        change = JobChange(
            job=job.job,
            expected=JobState.ON_ROAD,
            generation=job.generation,
            event=JobEvent.FAILED,
            reason=reason,
            events=(NewEvent(kind="failed", text=reason, data={}),),
        )
        if await self.store.apply(change, now=self.clock.now()):
            await self._tell(job)

    async def _tell(self, job: JobRecord) -> None:
        ended = await self.store.job(job.job)
        assert ended is not None, "jobs are never forgotten"
        self.on_ended([ended])


def _complete_receipt(job: JobRecord) -> Receipt | None:
    leases = active_leases(job)
    if len(leases) < job.order.replicas or any(lease.reveal is None for lease in leases):
        return None
    return receipt_of(job)
