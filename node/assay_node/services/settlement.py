"""Settling receipts in batches: prepared, stored, sent, and followed until they are mined.

A transaction is signed and stored before it is sent, and sent again until its outcome is known, so
a crash at any point neither loses a payment nor makes it twice: on chain, the order's nonce counts
once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import (
    Clock,
    JobRecord,
    PreparedTransaction,
    SchedulerStore,
    SettlementChain,
    TransactionOutcome,
    TransactionRecord,
)
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.lease import JobState
from assay_node.protocol.receipt import Receipt
from assay_node.services.lifecycle import active_leases
from assay_node.services.policy import Policy
from assay_node.services.verification import replica

logger = logging.getLogger(__name__)

SETTLE: Final = "settle"
KEEP_SEED: Final = "keep_seed"
IDLE_S: Final = 1.0
"""How often a scheduler with nothing to settle looks again, should a wake-up be lost."""


@dataclass(slots=True, kw_only=True)
class Settlement:
    """Owns the scheduler's outgoing transactions."""

    chain: SettlementChain
    store: SchedulerStore
    clock: Clock
    policy: Policy
    redraw: Callable[[JobRecord], Awaitable[bool]]
    """Draws a job anew where its seed block was replaced; True when it did."""
    on_settled: Callable[[Sequence[JobRecord]], None]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _sent_at: dict[Digest, float] = field(default_factory=dict)

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
            prepared = await self.chain.prepare_keep_seed(order.hardware_class, order.seed_block)
        except ChainUnavailable:
            raise
        except ChainError as error:
            logger.warning("cannot keep the seed of %s: %s", to_hex(job.job), error)
            return
        await self._keep(prepared, KEEP_SEED, ())

    async def _step(self) -> float:
        """Do what is due; return after how many seconds to look again."""
        transactions = await self.store.open_transactions()
        for record in transactions:
            await self._follow(record)
        waiting = [
            job
            for job in await self.store.unfinished_jobs()
            if job.state is JobState.SETTLING and job.transaction is None
        ]
        if not waiting:
            return self.policy.poll_interval_s if transactions else IDLE_S
        ripe_at = min(job.updated_at for job in waiting) + self.policy.settle_wait_s
        left = ripe_at - self.clock.now()
        if left > 0 and len(waiting) < self.policy.settle_batch_max:
            return min(left, self.policy.poll_interval_s)
        await self._send_batch(waiting[: self.policy.settle_batch_max])
        return self.policy.poll_interval_s

    async def _send_batch(self, jobs: Sequence[JobRecord]) -> None:
        receipts = [receipt_of(job) for job in jobs]
        fitting = self.chain.receipts_fitting(receipts)
        prepared = await self.chain.prepare_settle(receipts[:fitting])
        record = await self._keep(prepared, SETTLE, tuple(job.job for job in jobs[:fitting]))
        if record is not None:
            await self._send(record)

    async def _keep(
        self, prepared: PreparedTransaction, kind: str, jobs: tuple[Digest, ...]
    ) -> TransactionRecord | None:
        record = TransactionRecord(
            hash=prepared.hash,
            kind=kind,
            raw=prepared.raw,
            nonce=prepared.nonce,
            jobs=jobs,
            created_at=self.clock.now(),
        )
        return record if await self.store.save_transaction(record) else None

    async def _send(self, record: TransactionRecord) -> None:
        prepared = PreparedTransaction(hash=record.hash, raw=record.raw, nonce=record.nonce)
        self._sent_at[record.hash] = self.clock.now()
        try:
            await self.chain.send(prepared)
        except ChainUnavailable:
            raise
        except ChainError as error:
            logger.warning("transaction %s was not taken: %s", to_hex(record.hash), error)

    async def _follow(self, record: TransactionRecord) -> None:
        outcome = await self.chain.outcome(record.hash)
        if outcome is None:
            last = self._sent_at.get(record.hash)
            if last is None or self.clock.now() - last > self.policy.resend_s:
                await self._send(record)
            return
        self._sent_at.pop(record.hash, None)
        await self._apply(record, outcome)

    async def _apply(self, record: TransactionRecord, outcome: TransactionOutcome) -> None:
        mine = set(record.jobs)
        settlements = [s for s in outcome.settlements if s.job_id in mine]
        failures: dict[Digest, str] = {}
        for skipped in outcome.skipped:
            job = await self.store.job(skipped.job_id)
            if job is None or job.transaction != record.hash:
                continue
            # the receipt may have been settled before, by this scheduler or anybody who held it
            earlier = await self.chain.settlement_of(job.job, from_block=job.order.seed_block)
            if earlier is not None:
                settlements.append(earlier)
            elif not await self.redraw(job):
                failures[job.job] = f"the contract refused the receipt: {skipped.reason}"
        await self.store.finish_transaction(
            record, settlements=settlements, failures=failures, now=self.clock.now()
        )
        if not outcome.succeeded:
            logger.warning("transaction %s failed; settling anew", to_hex(record.hash))
        ended = [job for job in [await self.store.job(j) for j in record.jobs] if job is not None]
        self.on_settled(ended)


def receipt_of(job: JobRecord) -> Receipt:
    """Return the receipt of a job all of whose replicas have revealed."""
    replicas = []
    for lease in active_leases(job) or job.leases:
        assert lease.reveal is not None
        replicas.append(replica(lease, lease.reveal))
    return Receipt(signed_order=job.signed_order, replicas=tuple(replicas))
