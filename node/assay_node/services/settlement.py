"""Settling receipts in batches, and following their transactions until they are final.

The chain keeps a transaction before it sends it and pursues it until it is final; its end and what
follows from it for jobs are written together. So a crash at any point neither loses a payment nor
makes it twice: on chain, the order's nonce counts once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import (
    Clock,
    JobRecord,
    RoadState,
    SchedulerChain,
    SchedulerStore,
    TransactionOutcome,
    TransactionState,
)
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.lease import JobState
from assay_node.protocol.receipt import Receipt
from assay_node.services.lifecycle import active_leases
from assay_node.services.policy import Policy
from assay_node.services.settlement_timing import WaitingReceipt, settle_in_s
from assay_node.services.verification import replica

logger = logging.getLogger(__name__)

IDLE_S: Final = 1.0
"""How often a scheduler with nothing to settle looks again, should a wake-up be lost."""


@dataclass(slots=True, kw_only=True)
class Settlement:
    """Owns the scheduler's outgoing transactions."""

    chain: SchedulerChain
    store: SchedulerStore
    clock: Clock
    policy: Policy
    redraw: Callable[[JobRecord], Awaitable[bool]]
    """Draws a job anew where its seed block was replaced; True when it did."""
    taken: Callable[[Digest], Awaitable[None]]
    """Notes that a job is on the on-chain road."""
    on_settled: Callable[[Sequence[JobRecord]], None]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """A receipt is complete."""
        self._wake.set()

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            self._wake.clear()
            try:
                pause = await self._step()
            except ChainError as error:  # the endpoint is away, or refuses for now
                logger.warning("settling waits: %s", error)
                await asyncio.sleep(self.policy.resend_s)
                continue
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def keep_seed(self, job: JobRecord) -> None:
        """Have the chain remember the job's seed for longer than its own history."""
        order = job.order
        try:
            await self.chain.keep_seed(order.hardware_class, order.seed_block)
        except ChainUnavailable:
            raise
        except ChainError as error:
            logger.warning("cannot keep the seed of %s: %s", to_hex(job.job), error)

    async def _step(self) -> float:
        """Do what is due; return after how many seconds to look again."""
        in_flight = bool(await self.store.open_transactions())
        if in_flight:
            for outcome in await self.chain.pursue():
                await self._apply(outcome)
        waiting = [
            job
            for job in await self.store.unfinished_jobs()
            if job.state is JobState.SETTLING and job.transaction is None
        ]
        if not waiting:
            return self.policy.poll_interval_s if in_flight else IDLE_S
        left = settle_in_s(
            [WaitingReceipt(ready_at=job.updated_at, expiry=job.order.expiry) for job in waiting],
            now=self.clock.now(),
            gas_price=await self.chain.gas_price(),
            terms=self.policy.settlement,
        )
        if left > 0:
            return min(left, self.policy.poll_interval_s if in_flight else IDLE_S)
        # Those whose orders expire first: they cannot wait for the next batch.
        by_expiry = sorted(waiting, key=lambda job: (job.order.expiry, job.job))
        await self._settle(by_expiry[: self.policy.settlement.batch_max])
        return self.policy.poll_interval_s

    async def _settle(self, jobs: Sequence[JobRecord]) -> None:
        receipts = [receipt_of(job) for job in jobs]
        fitting = self.chain.receipts_fitting(receipts)
        await self.chain.settle(receipts[:fitting], [job.job for job in jobs[:fitting]])

    async def _apply(self, outcome: TransactionOutcome) -> None:
        outgoing = outcome.outgoing
        mine = set(outgoing.jobs)
        settlements = [s for s in outcome.settlements if s.job_id in mine]
        failures: dict[Digest, str] = {}
        on_road: list[Digest] = []
        for skipped in outcome.skipped:
            job = await self.store.job(skipped.job_id)
            if job is None or job.transaction != outgoing.id:
                continue
            # the receipt may have been settled before, by this scheduler or anybody who held it
            earlier = await self.chain.settlement_of(job.job, from_block=job.order.seed_block)
            if earlier is not None:
                settlements.append(earlier)
            elif await self._is_on_road(job):
                on_road.append(job.job)
            elif not await self.redraw(job):
                failures[job.job] = f"the contract refused the receipt: {skipped.reason}"
        await self.store.finish_transaction(
            outgoing,
            outcome.state,
            settlements=settlements,
            failures=failures,
            now=self.clock.now(),
        )
        for taken in on_road:  # before its receipt is sent, and passed over, again
            await self.taken(taken)
        if outcome.state is not TransactionState.SUCCEEDED:
            logger.warning(
                "transaction %s (%s) was %s; what it was for is done anew",
                to_hex(outgoing.id), outgoing.kind, outcome.state.value,
            )  # fmt: skip
        ended = [job for job in [await self.store.job(j) for j in outgoing.jobs] if job is not None]
        self.on_settled(ended)

    async def _is_on_road(self, job: JobRecord) -> bool:
        road = await self.chain.road_of(job.job, from_block=job.order.seed_block)
        return road.state is not RoadState.ABSENT


def receipt_of(job: JobRecord) -> Receipt:
    """Return the receipt of a job all of whose replicas have revealed."""
    replicas = []
    for lease in active_leases(job) or job.leases:
        assert lease.reveal is not None
        replicas.append(replica(lease, lease.reveal))
    return Receipt(signed_order=job.signed_order, replicas=tuple(replicas))
