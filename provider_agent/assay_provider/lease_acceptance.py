"""Answers lease offers: verified, bound to a slot, stored, and only then accepted."""

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import Clock
from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest, PeerId
from assay_node.protocol.messages import LeaseAnswer, LeaseOffer
from assay_node.protocol.order import job_id
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import UINT32_MAX
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease
from assay_provider.disk_room import DiskRoom
from assay_provider.evidence import EvidenceKeeper
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import Event, State
from assay_provider.lease_verification import LeaseVerifier
from assay_provider.owner.gate import Gate
from assay_provider.owner.limits import RequesterLimits
from assay_provider.slots import Slots

logger = logging.getLogger(__name__)

LEASES_OPEN_MAX: Final = 1024
"""Each may hold an output on disk until its order expires; a scheduler that forgets to release
leases is refused before they fill the disk."""


def new_salt() -> Digest:
    """Return 32 bytes nobody can guess; without them a commitment would show the answer."""
    return Digest(secrets.token_bytes(DIGEST_BYTES))


@dataclass(slots=True, kw_only=True)
class LeaseAcceptance:
    """Takes leases while a slot is free. `start` begins work on a stored lease."""

    book: LeaseBook
    verifier: LeaseVerifier
    evidence: EvidenceKeeper
    slots: Slots
    gate: Gate
    limits: RequesterLimits
    domain: Domain
    clock: Clock
    scheduler_of: Callable[[PeerId], Awaitable[Address | None]]
    start: Callable[[Digest], None]
    disk: DiskRoom = field(default_factory=DiskRoom)
    closed_for: str | None = None
    _storing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def handle(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Answer one LEASE request.

        Raises:
            MalformedMessage: the bytes are no lease offer.
            ChainError: the chain cannot be asked now, or has not seen the seed block yet. That is
                no refusal: the scheduler asks again.
        """
        offer = codec.decode(LeaseOffer, payload)
        job = job_id(offer.signed_order.order, self.domain)
        asking = await self.scheduler_of(peer_id)
        async with self.book.exclusively(job):
            try:
                rate = await self._take(job, offer, asking)
            except Refused as error:
                logger.info("refused lease of job %s: %s", job.hex()[:12], error)
                answer = LeaseAnswer(accepted=False, reason=str(error), rate_microusd=0)
            else:
                answer = LeaseAnswer(accepted=True, reason="", rate_microusd=rate)
        return codec.encode(answer)

    async def close(self, reason: str) -> None:
        """Take no more leases; returns when none is half taken."""
        self.closed_for = reason
        await self.none_half_taken()

    async def none_half_taken(self) -> None:
        """Return when every lease that was let in is stored."""
        async with self._storing:
            return

    async def _take(self, job: Digest, offer: LeaseOffer, asking: Address | None) -> int:
        known = await self.book.get(job)
        if known is not None:
            return await self._take_again(known, offer, asking)
        self.check_room()
        promised = await self.book.promised_microusd()
        rate = await self.verifier.verify(offer, asking=asking, promised_microusd=promised)
        if len(await self.book.store.unfinished()) >= LEASES_OPEN_MAX:
            raise Refused(f"this provider holds {LEASES_OPEN_MAX} unfinished leases")
        async with self._storing:
            await self._store(job, offer, rate)
        self.start(job)
        return rate

    def check_room(self) -> None:
        """Refuse whatever is new while this provider cannot take it.

        Raises:
            Refused: it is closed by its owner, full, or short of disk.
        """
        reason = self.closed_for or self.gate.refusal()
        if reason is not None:
            raise Refused(reason)
        if self.slots.free == 0:
            raise Refused("every slot of this provider is busy")
        shortage = self.disk.shortage()
        if shortage is not None:
            raise Refused(shortage)

    async def _store(self, job: Digest, offer: LeaseOffer, rate: int) -> None:
        await self.limits.reserve(job, offer.signed_order.order)
        self.check_room()  # again: others took slots while the chain was asked
        slot = self.slots.take(job)
        assert slot is not None, "a slot was free a moment ago"
        order = offer.signed_order.order
        lease = ProviderLease(
            job=job,
            scheduler=order.scheduler,
            signed_order=codec.encode(offer.signed_order),
            ticket=offer.ticket,
            round_number=offer.round_number,
            rate_microusd=rate,
            slot=slot,
            state=State.ACCEPTED.value,
            expiry=order.expiry,
            accepted_at=self.clock.now(),
        )
        try:
            stored = await self.book.add(lease, offer.assign)
        except StoreUnavailable:
            self.slots.release(job)  # not promised: the scheduler gets no answer
            raise
        assert stored, "the job is held exclusively and was not known"

    async def _take_again(
        self, lease: ProviderLease, offer: LeaseOffer, asking: Address | None
    ) -> int:
        """Answer for a job that is known: as before, or move its lease to a later round."""
        if asking != lease.scheduler:
            raise Refused("the order names another scheduler than the one that asks")
        await self.evidence.check_assign(lease, offer.assign)
        if lease.closed_at is not None:
            raise Refused(f"this lease is over: {lease.closed_reason}")
        if offer.round_number > UINT32_MAX:
            raise Refused(f"rounds are numbered to {UINT32_MAX}")
        if offer.round_number < lease.round_number:
            raise Refused(f"this lease is in round {lease.round_number} already")
        self.verifier.check_assign(offer, lease.job)
        if offer.ticket != lease.ticket:
            if offer.round_number == lease.round_number:
                raise Refused(f"in this round the lease stands at ticket {lease.ticket}")
            # drawn anew after a reorganisation of the chain, the scheduler says
            await self.verifier.verify(offer, asking=asking)
        if offer.round_number > lease.round_number:
            await self.book.store.keep_assign(offer.assign)
            moved = await self.book.apply(
                lease.job,
                Event.NEXT_ROUND,
                lambda now: in_round(now, offer.round_number, ticket=offer.ticket),
                detail=f"round {offer.round_number}, ticket {offer.ticket}",
            )
            if moved is None:
                raise Refused("this lease is over")
            self.start(lease.job)
        return lease.rate_microusd


def in_round(lease: ProviderLease, round_number: int, *, ticket: int) -> ProviderLease:
    """Return the lease in a later round; what was executed gets a fresh commitment with it."""
    return dataclasses.replace(lease, round_number=round_number, ticket=ticket)
