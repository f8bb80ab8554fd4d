"""The scheduler: serves requesters and providers, and keeps every job moving.

One loop looks at jobs that something happened to, asks `lifecycle.next_actions`, and performs what
it says. Network calls run as tasks of their own, one at a time for each lease.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, assert_never

from assay_node.ports import Head, JobChange, JobRecord, LeaseRecord, NewEvent
from assay_node.protocol.errors import AssayError, ChainError
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.lease import JOB_ENDS, JobEvent, JobState
from assay_node.protocol.messages import OFFERS_TOPIC
from assay_node.protocol.typed_data import Domain
from assay_node.services import lifecycle
from assay_node.services.admission import Admission
from assay_node.services.assigning import Assigning
from assay_node.services.chain_head import ChainHead, wait
from assay_node.services.court_watch import CourtWatch
from assay_node.services.endpoints import Endpoints, News
from assay_node.services.leases import Leases
from assay_node.services.lifecycle import active_leases, next_actions
from assay_node.services.matching import Matching
from assay_node.services.membership import Membership
from assay_node.services.parts import SchedulerParts
from assay_node.services.proofs import Proofs
from assay_node.services.queries import Queries
from assay_node.services.results import Results
from assay_node.services.road_watch import RoadWatch
from assay_node.services.settlement import Settlement, receipt_of
from assay_node.services.verification import tally_receipt

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
"""How often every unfinished job is looked at, for what no event announces: deadlines."""


class Scheduler:
    """Runs one scheduler until it is cancelled."""

    def __init__(self, parts: SchedulerParts) -> None:
        self._parts = parts
        self._domain = Domain(parts.chain.chain_id, parts.chain.market)
        self.membership = Membership(
            network=parts.network,
            chain=parts.chain,
            store=parts.store,
            clock=parts.clock,
            domain=self._domain,
            heartbeat_s=parts.policy.heartbeat_s,
        )
        self.proofs = Proofs(parts, self.membership, self._domain)
        self.membership.hardware_of = self.proofs.view
        self.queries = Queries(
            store=parts.store, membership=self.membership, proofs_of=self.proofs.documents
        )
        self.results = Results(
            store=parts.store,
            membership=self.membership,
            chain=parts.chain,
            network=parts.network,
        )
        self._admission = Admission(
            scheduler=parts.signer.address,
            domain=self._domain,
            chain=parts.chain,
            artifacts=parts.artifacts,
            store=parts.store,
            clock=parts.clock,
            policy=parts.policy,
        )
        self._matching = Matching(
            chain=parts.chain, store=parts.store, membership=self.membership, clock=parts.clock
        )
        self._leases = Leases(
            network=parts.network,
            store=parts.store,
            membership=self.membership,
            clock=parts.clock,
            domain=self._domain,
            signer=parts.signer,
            policy=parts.policy,
            assigning=Assigning(store=parts.store, domain=self._domain, signer=parts.signer),
            redraw=self._matching.redraw,
        )
        self._road = RoadWatch(
            chain=parts.chain,
            store=parts.store,
            clock=parts.clock,
            policy=parts.policy,
            sending=self._sending,
            on_ended=self._settled,
        )
        self._court = CourtWatch(
            chain=parts.chain, store=parts.store, clock=parts.clock, sending=self._sending
        )
        self._settlement = Settlement(
            chain=parts.chain,
            store=parts.store,
            clock=parts.clock,
            policy=parts.policy,
            redraw=self._matching.redraw,
            taken=self._road.taken,
            on_settled=self._settled,
        )
        self._head = ChainHead(parts.chain, poll_interval_s=parts.policy.poll_interval_s)
        self._news = News()
        self._endpoints = Endpoints(
            parts=parts,
            membership=self.membership,
            queries=self.queries,
            results=self.results,
            admission=self._admission,
            leases=self._leases,
            news=self._news,
            touch=self._touch,
            slot_free=lambda: self._touch(*self._waiting),
        )
        self._touched: set[Digest] = set()
        self._waiting: set[Digest] = set()
        self._sweep_due = True
        self._release_due = asyncio.Event()
        self._wake = asyncio.Event()
        self._busy: set[tuple[Digest, Address]] = set()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled. `ready` is called once requests are answered."""
        await self.membership.restore()
        await self.proofs.restore()
        self.membership.on_change = self._sweep
        self.proofs.on_change = self._sweep
        self._parts.network.on_disconnect(self.membership.disconnected)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._endpoints.serve()
            tasks.create_task(self._advance_loop())
            tasks.create_task(self._sweep_loop())
            tasks.create_task(self._head.run(self._touch))
            tasks.create_task(self._gossip_loop())
            tasks.create_task(self._release_loop())
            tasks.create_task(self._settlement.run())
            tasks.create_task(self._road.run())
            tasks.create_task(self._court.run())
            tasks.create_task(self.proofs.run())
            ready()

    # Loops

    async def _advance_loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, set()
            sweep, self._sweep_due = self._sweep_due, False
            try:
                await self._advance(touched, sweep=sweep)
            except ChainError as error:
                logger.warning("jobs wait: %s", error)
                self._touched |= touched
                self._sweep_due |= sweep
            await self._news.tell()

    async def _advance(self, touched: set[Digest], *, sweep: bool) -> None:
        unfinished = await self._parts.store.unfinished_jobs()
        looked_at = [job for job in unfinished if sweep or job.job in touched]
        wanting = [job for job in looked_at if await self._perform_all(job)]
        self._waiting -= {job.job for job in looked_at}
        if wanting:
            await self.membership.refresh_accounts()
            await self._matching.place(wanting, await self._parts.store.unfinished_jobs())
            placed = [await self._parts.store.job(job.job) for job in wanting]
            for after, before in zip(placed, wanting, strict=True):
                if after is None or after.state in JOB_ENDS:
                    continue
                if (after.leases, after.draw) != (before.leases, before.draw):
                    self._touch(after.job)
                else:
                    self._waiting.add(after.job)

    async def _perform_all(self, job: JobRecord) -> bool:
        """Perform what the job needs; True when it needs providers."""
        away = self.membership.away_s(lease.operator for lease in active_leases(job))
        actions = next_actions(
            job, now=self._parts.clock.now(), away_s=away, timing=self._parts.policy.timing
        )
        if any(isinstance(action, lifecycle.FindProviders) for action in actions):
            return True
        for action in actions:
            await self._perform(job, action)
        return False

    async def _perform(self, job: JobRecord, action: lifecycle.Action) -> None:
        changed = False
        match action:
            case lifecycle.FailJob(reason):
                changed = await self._leases.fail(job, reason)
            case lifecycle.DrawProviders():
                changed = await self._draw(job)
            case lifecycle.FindProviders():
                raise AssertionError("gathered by _advance")
            case lifecycle.OfferLease(lease):
                self._start(job, lease, self._leases.offer(job, lease))
            case lifecycle.LoseLease(lease, reason):
                await self._leases.lose(lease, reason)
                changed = True
            case lifecycle.ReplaceAtLimit(leases):
                changed = await self._leases.replace_at_limit(job, leases)
            case lifecycle.FixCommitSet():
                changed = await self._redraw_if_known(job) or await self._leases.fix_commit_set(job)
            case lifecycle.AskReveal(lease):
                self._start(job, lease, self._leases.ask_reveal(job, lease))
            case lifecycle.NextRound(silent):
                changed = await self._leases.next_round(job, silent)
            case lifecycle.CompleteReceipt():
                changed = await self._complete(job)
            case _:
                assert_never(action)
        if changed:
            self._touch(job.job)

    async def _draw(self, job: JobRecord) -> bool:
        order = job.order
        head = self._head.newest
        if head is None or head.number < order.seed_block:
            return self._await_block(job, order.seed_block)
        if not await self._matching.draw(job):
            return self._await_block(job, head.number + 1)
        if self._outlives_history(job, head):
            await self._settlement.keep_seed(job)
        return True

    async def _redraw_if_known(self, job: JobRecord) -> bool:
        """Notice a replaced seed block before tickets are signed; the result waits for no chain."""
        try:
            return await self._matching.redraw(job)
        except ChainError:
            return False  # the contract looks again when the receipt is settled

    def _await_block(self, job: JobRecord, number: int) -> bool:
        self._head.wait_for(job.job, number)
        return False

    def _outlives_history(self, job: JobRecord, head: Head) -> bool:
        """Tell whether the chain may forget the seed block before the job can be settled."""
        blocks_left = (job.order.expiry - head.timestamp) * self._head.blocks_per_s
        return blocks_left > self._parts.policy.keep_seed_after_blocks

    async def _complete(self, job: JobRecord) -> bool:
        agreed = tally_receipt(receipt_of(job))
        text = "all replicas revealed; the receipt is complete"
        output, verdict = None, None
        if agreed.agreed:
            winner = active_leases(job)[agreed.winners[0]].reveal
            assert winner is not None
            output, verdict = winner.output, winner.verdict
            text += f": {len(agreed.winners)} of {job.order.replicas} agree"
        change = JobChange(
            job=job.job,
            expected=JobState.REVEALING,
            generation=job.generation,
            event=JobEvent.REVEALED,
            output=output,
            verdict=verdict,
            events=(NewEvent(kind="receipt", text=text, data={}),),
        )
        done = await self._parts.store.apply(change, now=self._parts.clock.now())
        self._settlement.wake()
        return done

    def _start(self, job: JobRecord, lease: LeaseRecord, call: Coroutine[Any, Any, None]) -> None:
        key = (job.job, lease.operator)
        if key in self._busy:
            call.close()
            return

        async def run() -> None:
            try:
                await call
            finally:
                self._busy.discard(key)
            current = await self._parts.store.job(job.job)
            if current is not None and current.generation != job.generation:
                self._touch(job.job)

        self._busy.add(key)
        assert self._tasks is not None
        self._tasks.create_task(run())

    async def _sweep_loop(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._sweep()

    async def _gossip_loop(self) -> None:
        async for message in self._parts.network.subscribe(OFFERS_TOPIC):
            await self.membership.hear(message)

    async def _release_loop(self) -> None:
        while True:
            for lease in await self._parts.store.releases_due():
                if lease.operator in self.membership.away_s([lease.operator]):
                    continue
                try:
                    await self._leases.release(lease)
                except AssayError as error:
                    logger.info("release of %s waits: %s", lease.operator, error)
            await wait(self._release_due, SWEEP_S)
            self._release_due.clear()

    # News

    def _touch(self, *jobs: Digest) -> None:
        self._touched.update(jobs)
        self._wake.set()

    def _sweep(self) -> None:
        self._sweep_due = True
        self._wake.set()

    def _sending(self) -> None:
        self._settlement.wake()

    def _settled(self, ended: Sequence[JobRecord]) -> None:
        for job in ended:
            logger.info("job %s is %s", to_hex(job.job), job.state.value)
        self._touch(*(job.job for job in ended), *self._waiting)
        self._release_due.set()
