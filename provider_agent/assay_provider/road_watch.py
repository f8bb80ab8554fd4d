"""A provider's side of the on-chain road: answers in time, and takes there what hangs elsewhere.

Nothing of it is remembered but what the leases hold: the chain is asked again after each start, and
every look decides anew from what it says. At most one step of a job is on its way at a time.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from assay_node.chain.refusals import ContractRefusal
from assay_node.ports import (
    ROAD_ENDS,
    Clock,
    FinalizeRoad,
    OpenRoad,
    OrderSigner,
    RoadChain,
    RoadJob,
    RoadState,
    RoadStep,
)
from assay_node.protocol import codec
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.typed_data import Domain
from assay_node.services.road import Answer, Holdings, opening_alone, plan
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease, SignedSet
from assay_provider.commitment import answer_of
from assay_provider.lease_book import LeaseBook, order_of
from assay_provider.lease_closing import SETTLED, LeaseClosing
from assay_provider.outage import Outage
from assay_provider.personas import Conduct
from assay_provider.road_terms import RoadTerms, opens_at
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

REORG_BLOCKS: Final = 64
"""How far back each look reads again, for jobs that a reorg moved; deeper ones are unheard of."""

AFTER_EXPIRY_S: Final = 86_400.0
"""For how long after their orders' expiry jobs are looked for at the start: the road's windows are
over after a sixth of it."""

NO_QUORUM: Final = "ended on the on-chain road without a quorum"
NO_PLACE: Final = "ended on the on-chain road, where others had the places"


@dataclass(slots=True, kw_only=True)
class RoadWatch:
    """Looks at the road again and again. `stop` ends a lease's task and frees its slot."""

    road: RoadChain
    book: LeaseBook
    closing: LeaseClosing
    supply: Supply
    domain: Domain
    signer: OrderSigner
    clock: Clock
    conduct: Conduct
    terms: RoadTerms
    is_connected: Callable[[Address], bool]
    stop: Callable[[Digest], Awaitable[None]]
    _next_block: int | None = None
    _tracked: set[Digest] = field(default_factory=set)
    _spent: set[Digest] = field(default_factory=set)
    """Jobs that are settled or were taken to the road: there is nothing to take there."""
    _over: set[Digest] = field(default_factory=set)
    _possible_since: dict[tuple[Digest, type[RoadStep]], float] = field(default_factory=dict)
    _refused: dict[Digest, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Look until cancelled."""
        outage = Outage(what="the on-chain road", logger=logger, clock=self.clock)
        while True:
            try:
                await self.look()
                outage.over()
            except (ChainError, StoreUnavailable) as error:
                # The endpoint is away, gas too dear, or the disk full: the windows last.
                outage.failed(error)
            await asyncio.sleep(self.terms.poll_s)

    async def look(self) -> None:
        """Do whatever is due now.

        Raises:
            ChainError: the chain cannot be asked, or something cannot be sent; look again later.
        """
        if not self.conduct.reveals:
            return
        await self.road.pursue_steps()
        await self._find_new()
        for job in sorted(self._tracked):
            await self._whatever_it_is(job, self._answer(job))
        if self.terms.opens and self.conduct.works:
            await self._open_what_is_due()

    def track(self, job: Digest) -> None:
        """Answer on the road for a job of ours, although it was taken there before we had it."""
        self._tracked.add(job)

    async def _whatever_it_is(self, job: Digest, work: Awaitable[None]) -> None:
        """Do one job's part; what is wrong with it must not keep another from being revealed."""
        try:
            await work
        except (ChainUnavailable, StoreUnavailable):
            raise
        except ChainError as error:
            logger.warning("job %s on the on-chain road waits: %s", job.hex()[:12], error)
        except Exception:
            logger.exception("job %s on the on-chain road failed", job.hex()[:12])

    # Jobs that are on the road

    async def _find_new(self) -> None:
        """Track every job of ours that somebody took to the road since the last look."""
        newest = await self.road.head()
        head = newest.number
        if self._next_block is None:
            # The earlier of two clocks: one that runs ahead must not hide what was taken there.
            since = min(self.clock.now(), newest.timestamp) - AFTER_EXPIRY_S
            leases = await self.book.store.answerable(expiring_after=since)
            self._next_block = min((order_of(lease).seed_block for lease in leases), default=head)
        for job in await self.road.taken_to_road(self._next_block, head):
            if await self.book.get(job) is not None:
                self._tracked.add(job)
        self._next_block = max(self._next_block, head - REORG_BLOCKS)

    async def _answer(self, job: Digest) -> None:
        lease = await self.book.get(job)
        if lease is None:
            self._tracked.discard(job)
            return
        road = await self.road.road_of(job, from_block=order_of(lease).seed_block)
        if road.state is RoadState.ABSENT:  # a reorg took it off; it is found if it comes back
            self._tracked.discard(job)
            self._spent.discard(job)
        elif road.state in ROAD_ENDS:
            await self._close(lease, road)
        else:
            self._spent.add(job)
            await self._move_on(lease, road)

    async def _move_on(self, lease: ProviderLease, road: RoadJob) -> None:
        holdings = Holdings(
            signed_order=signed_order_of(lease),
            answer=self._own_answer(lease, road.round_number),
        )
        now = (await self.road.head()).timestamp
        found = plan(road, holdings, now=now, window_s=await self.road.road_window_s())
        step = found.step
        if step is None or not self._is_our_turn(road, step):
            return
        await self._take(lease.job, step)

    def _is_our_turn(self, road: RoadJob, step: RoadStep) -> bool:
        """Let those before us go first with what anybody can do."""
        operators = [entry.operator for entry in road.entries]
        mine = self.supply.operator
        if not isinstance(step, FinalizeRoad) or mine in road.silent:
            return True  # nobody else reveals or commits for us
        place = operators.index(mine) if mine in operators else len(operators)
        now = self.clock.now()
        since = min(self._possible_since.get((road.job, FinalizeRoad), now), now)
        self._possible_since[road.job, FinalizeRoad] = since
        return now >= since + place * self.terms.turn_s

    def _own_answer(self, lease: ProviderLease, round_number: int) -> Answer | None:
        if lease.output is None or lease.salt is None or lease.seconds is None:
            return None
        return answer_of(
            dataclasses.replace(lease, round_number=round_number),
            operator=self.supply.operator,
            domain=self.domain,
            signer=self.signer,
        )

    async def _close(self, lease: ProviderLease, road: RoadJob) -> None:
        reason = SETTLED if road.state is RoadState.SETTLED else NO_QUORUM
        if not any(entry.operator == self.supply.operator for entry in road.entries):
            reason = NO_PLACE
        async with self.book.exclusively(lease.job):
            await self.stop(lease.job)
            await self.closing.close(lease.job, reason)
        if lease.job not in self._over:  # for a while it is found, and looked at, again
            logger.info("job %s on the on-chain road: %s", lease.job.hex()[:12], road.state.value)
        self._over.add(lease.job)
        self._tracked.discard(lease.job)
        self._spent.add(lease.job)
        self._possible_since.pop((lease.job, FinalizeRoad), None)

    # Jobs whose scheduler fell silent

    async def _open_what_is_due(self) -> None:
        contacts = await self.book.store.contacts()
        heard = {c.scheduler: c.heard_at for c in reversed(contacts)}  # the latest of each stays
        # By the chain's clock: it is the one by which orders expire there.
        now = (await self.road.head()).timestamp
        for signed in await self.book.store.signed_sets(expiring_after=now):
            job, scheduler = signed.lease.job, signed.lease.scheduler
            connected = self.is_connected(scheduler)
            heard_at = self.clock.now() if connected else heard.get(scheduler, 0.0)
            if job not in self._spent:
                await self._whatever_it_is(job, self._open_if_due(signed, heard_at, now))

    async def _open_if_due(self, signed: SignedSet, heard_at: float, now: int) -> None:
        lease, order = signed.lease, order_of(signed.lease)
        first_at = opens_at(
            expiry=lease.expiry,
            reveal_window_s=order.reveal_window_s,
            revealed_at=signed.at,
            heard_at=heard_at,
            terms=self.terms,
        )
        if now < first_at:
            return
        committed = codec.decode(CommitSet, signed.commit_set)
        place = [entry.operator for entry in committed.entries].index(self.supply.operator)
        if now < first_at + place * self.terms.turn_s:
            return
        if await self.road.nonce_used(order.requester, order.nonce_number):
            self._spent.add(lease.job)
            return
        road = RoadJob(job=lease.job, state=RoadState.ABSENT, deadline=0, round_number=0)
        holdings = Holdings(signed_order=signed_order_of(lease), commit_set=committed)
        step = plan(road, holdings, now=now, window_s=await self.road.road_window_s()).step
        if isinstance(step, OpenRoad):
            logger.warning(
                "scheduler %s settles nothing for job %s; taking it to the on-chain road",
                lease.scheduler, lease.job.hex()[:12],
            )  # fmt: skip
            own = self._own_answer(lease, committed.round_number)
            if not await self._take(lease.job, step) and own is not None:
                await self._take(lease.job, opening_alone(step, own.commit))

    async def _take(self, job: Digest, step: RoadStep) -> bool:
        """Send a step; False if the contract refuses it as things are."""
        try:
            await self.road.start_step(job, step)
        except ContractRefusal as refusal:
            # Somebody was faster, or the chain moved on meanwhile: the next look sees how it is.
            if self._refused.get(job) != str(refusal):
                logger.info("job %s: %s", job.hex()[:12], refusal)
            self._refused[job] = str(refusal)
            return False
        self._refused.pop(job, None)
        return True


def signed_order_of(lease: ProviderLease) -> SignedOrder:
    """Return the signed order a lease was given for."""
    return codec.decode(SignedOrder, lease.signed_order)
