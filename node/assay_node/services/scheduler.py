"""The scheduler: serves requesters and providers, and keeps every job moving.

One loop looks at jobs that something happened to, asks `lifecycle.next_actions`, and performs what
it says. Network calls run as tasks of their own, one at a time for each lease.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, assert_never

from assay_node.ports import (
    Artifacts,
    Clock,
    Head,
    JobChange,
    JobRecord,
    LeaseRecord,
    Network,
    NewEvent,
    SchedulerStore,
    SettlementChain,
)
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, ChainUnavailable, Refused
from assay_node.protocol.ids import Address, Digest, PeerId, to_hex
from assay_node.protocol.lease import JOB_ENDS, JobEvent, JobState
from assay_node.protocol.messages import (
    COMMIT,
    HAND_BACK,
    HEARTBEAT,
    HELLO,
    OFFERS_TOPIC,
    PROGRESS,
    QUERY,
    RESULT,
    SUBMIT,
    TERMS,
    Ack,
    Admitted,
    Commit,
    Document,
    HandBack,
    Heartbeat,
    Hello,
    Progress,
    Query,
    Result,
    ResultRequest,
    Submit,
    Terms,
    TermsRequest,
    Welcome,
)
from assay_node.protocol.typed_data import Domain
from assay_node.services import lifecycle
from assay_node.services.admission import Admission
from assay_node.services.leases import Leases
from assay_node.services.lifecycle import active_leases, next_actions
from assay_node.services.matching import Matching
from assay_node.services.membership import Membership
from assay_node.services.policy import Policy
from assay_node.services.queries import Queries
from assay_node.services.settlement import Settlement, receipt_of
from assay_node.services.verification import tally_receipt

logger = logging.getLogger(__name__)

SWEEP_S: Final = 1.0
"""How often every unfinished job is looked at, for what no event announces: deadlines."""
QUERY_WAIT_S_MAX: Final = 30
"""How long a query may hold its answer back for news."""
IDLE_HEAD_S: Final = 1.0
"""How often the chain's head is read while no job waits for a block."""
BLOCKS_PER_S_ASSUMED: Final = 4.0
"""Until blocks have been seen: a fast L2's pace, so that no seed is forgotten."""

_Request = TypeVar("_Request")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerParts:
    """What a scheduler is made of."""

    address: Address
    network: Network
    artifacts: Artifacts
    chain: SettlementChain
    store: SchedulerStore
    clock: Clock
    policy: Policy


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
        self.queries = Queries(store=parts.store, membership=self.membership)
        self._admission = Admission(
            scheduler=parts.address,
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
            policy=parts.policy,
        )
        self._settlement = Settlement(
            chain=parts.chain,
            store=parts.store,
            clock=parts.clock,
            policy=parts.policy,
            on_settled=self._settled,
        )
        self._head: Head | None = None
        self._first_head: Head | None = None
        self._blocks_per_s = BLOCKS_PER_S_ASSUMED
        self._head_wanted = asyncio.Event()
        self._touched: set[Digest] = set()
        self._waiting: set[Digest] = set()
        self._sweep_due = True
        self._release_due = asyncio.Event()
        self._wake = asyncio.Event()
        self._news = asyncio.Condition()
        self._busy: set[tuple[Digest, Address]] = set()
        self._seeds: dict[Digest, int] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, *, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until cancelled. `ready` is called once requests are answered."""
        await self.membership.restore()
        self.membership.on_change = self._sweep
        self._parts.network.on_disconnect(self.membership.disconnected)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._serve()
            tasks.create_task(self._advance_loop())
            tasks.create_task(self._sweep_loop())
            tasks.create_task(self._head_loop())
            tasks.create_task(self._gossip_loop())
            tasks.create_task(self._release_loop())
            tasks.create_task(self._settlement.run())
            ready()

    # Requests

    def _serve(self) -> None:
        self._answer(TERMS, TermsRequest, self._terms)
        self._answer(SUBMIT, Submit, self._submit)
        self._answer(QUERY, Query, self._query)
        self._answer(RESULT, ResultRequest, self._result)
        self._answer(HELLO, Hello, self._hello)
        self._answer(HEARTBEAT, Heartbeat, self._heartbeat)
        self._answer(COMMIT, Commit, self._commit)
        self._answer(HAND_BACK, HandBack, self._hand_back)
        self._answer(PROGRESS, Progress, self._progress)

    def _answer(
        self,
        protocol: str,
        kind: type[_Request],
        handler: Callable[[PeerId, _Request], Awaitable[object]],
    ) -> None:
        async def handle(peer: PeerId, data: bytes) -> bytes:
            return codec.encode(await handler(peer, codec.decode(kind, data)))

        self._parts.network.serve_requests(protocol, handle)

    async def _terms(self, _peer: PeerId, _request: TermsRequest) -> Terms:
        policy = self._parts.policy
        return Terms(
            scheduler=self._parts.address,
            chain_id=self._parts.chain.chain_id,
            market=self._parts.chain.market,
            fee_microusd=policy.fee_microusd,
            seconds_max=policy.seconds_max,
            input_bytes_max=policy.input_bytes_max,
            seed_blocks_ahead_max=policy.seed_blocks_ahead_max,
            expiry_s_max=policy.expiry_s_max,
            settle_margin_s=int(policy.timing.settle_margin_s),
        )

    async def _submit(self, peer: PeerId, submit: Submit) -> Admitted:
        admitted = await self._admission.submit(peer, submit)
        self._touch(admitted.job)
        return admitted

    async def _query(self, _peer: PeerId, query: Query) -> Document:
        if query.kind == "jobs":
            return Document(json=json.dumps(await self.queries.jobs(query.requester)))
        if query.kind == "providers":
            return Document(json=json.dumps(self.queries.providers()))
        if query.job is None or query.kind not in ("job", "explain"):
            raise Refused("ask for jobs, providers, or a job or explain with its id")
        if query.kind == "explain":
            return Document(json=json.dumps(await self.queries.explain(query.job)))
        await self._wait_for_news(query)
        document = await self.queries.job(query.job, after_event=query.after_event)
        return Document(json=json.dumps(document))

    async def _result(self, _peer: PeerId, request: ResultRequest) -> Result:
        return await self.queries.result(request.job)

    async def _hello(self, peer: PeerId, hello: Hello) -> Welcome:
        offer = await self.membership.hello(peer, hello)
        return Welcome(
            scheduler=self._parts.address,
            heartbeat_s=self._parts.policy.heartbeat_s,
            active_jobs=await self._leases.active_jobs_of(offer.operator),
        )

    async def _heartbeat(self, peer: PeerId, heartbeat: Heartbeat) -> Ack:
        self.membership.heartbeat(peer, heartbeat.slots_free)
        return Ack()

    async def _commit(self, peer: PeerId, commit: Commit) -> Ack:
        ack = await self._leases.commit(peer, commit)
        self._touch(commit.job, *self._waiting)  # a slot is free
        return ack

    async def _hand_back(self, peer: PeerId, message: HandBack) -> Ack:
        ack = await self._leases.hand_back(peer, message)
        self._touch(message.job, *self._waiting)
        return ack

    async def _progress(self, peer: PeerId, message: Progress) -> Ack:
        ack = await self._leases.progress(peer, message)
        await self._tell()
        return ack

    async def _wait_for_news(self, query: Query) -> None:
        assert query.job is not None
        job = query.job
        wait_s = min(max(query.wait_s, 0), QUERY_WAIT_S_MAX)
        try:
            async with asyncio.timeout(wait_s or None):
                while wait_s and not await self._parts.store.events(job, after=query.after_event):
                    found = await self._parts.store.job(job)
                    if found is None or found.state in JOB_ENDS:
                        return
                    async with self._news:
                        await self._news.wait()
        except TimeoutError:
            pass

    # Loops

    async def _advance_loop(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            touched, self._touched = self._touched, set()
            sweep, self._sweep_due = self._sweep_due, False
            try:
                await self._advance(touched, sweep=sweep)
            except ChainUnavailable as error:
                logger.warning("jobs wait: %s", error)
                self._touched |= touched
                self._sweep_due |= sweep
            await self._tell()

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
                if after.leases != before.leases:
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
                await self._leases.lose(job, lease, reason)
                changed = True
            case lifecycle.ReplaceAtLimit(leases):
                changed = await self._leases.replace_at_limit(job, leases)
            case lifecycle.FixCommitSet():
                changed = await self._leases.fix_commit_set(job)
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
        head = self._head
        if head is None or head.number < order.seed_block:
            return self._await_block(job, order.seed_block)
        if not await self._matching.draw(job):
            return self._await_block(job, head.number + 1)
        if self._outlives_history(job, head):
            await self._settlement.keep_seed(job)
        return True

    def _await_block(self, job: JobRecord, number: int) -> bool:
        self._seeds[job.job] = number
        self._head_wanted.set()
        return False

    def _outlives_history(self, job: JobRecord, head: Head) -> bool:
        """Tell whether the chain may forget the seed block before the job can be settled."""
        blocks_left = (job.order.expiry - head.timestamp) * self._blocks_per_s
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

    async def _head_loop(self) -> None:
        while True:
            try:
                head = await self._parts.chain.head()
            except ChainUnavailable as error:
                logger.warning("no new blocks: %s", error)
                await asyncio.sleep(IDLE_HEAD_S)
                continue
            self._follow(head)
            self._head_wanted.clear()
            for job, seed in list(self._seeds.items()):
                if head.number >= seed:
                    del self._seeds[job]
                    self._touch(job)
            await _wait(
                self._head_wanted,
                self._parts.policy.poll_interval_s if self._seeds else IDLE_HEAD_S,
            )

    def _follow(self, head: Head) -> None:
        first, self._head = self._first_head or head, head
        self._first_head = first
        seconds = head.timestamp - first.timestamp
        if seconds > 0:
            self._blocks_per_s = (head.number - first.number) / seconds

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
            await _wait(self._release_due, SWEEP_S)
            self._release_due.clear()

    # News

    def _touch(self, *jobs: Digest) -> None:
        self._touched.update(jobs)
        self._wake.set()

    def _sweep(self) -> None:
        self._sweep_due = True
        self._wake.set()

    def _settled(self, ended: Sequence[JobRecord]) -> None:
        for job in ended:
            logger.info("job %s is %s", to_hex(job.job), job.state.value)
        self._touch(*(job.job for job in ended), *self._waiting)
        self._release_due.set()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
