"""What a scheduler asks of a lease: reveal over a commit set, and release.

Lease offers are answered in `lease_acceptance`.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from assay_node.ports import Clock, OrderSigner
from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import Address, Digest, PeerId
from assay_node.protocol.messages import (
    Ack,
    CommitSet,
    Output,
    OutputRequest,
    Release,
    Reveal,
)
from assay_node.protocol.typed_data import Domain
from assay_node.store.provider_leases import ProviderLease
from assay_provider.commitment import check_commit_set, signed_reveal
from assay_provider.evidence import EvidenceKeeper
from assay_provider.lease_book import LeaseBook, order_of
from assay_provider.lease_closing import SETTLED, LeaseClosing
from assay_provider.lease_machine import HAS_OUTPUT, Event, State
from assay_provider.personas import Conduct
from assay_provider.runtime.sandbox import Verdict
from assay_provider.supply import Supply


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerRequests:
    """Answers COMMIT_SET and RELEASE. `stop` ends a lease's task and frees its slot."""

    book: LeaseBook
    closing: LeaseClosing
    evidence: EvidenceKeeper
    supply: Supply
    domain: Domain
    signer: OrderSigner
    clock: Clock
    conduct: Conduct
    scheduler_of: Callable[[PeerId], Awaitable[Address | None]]
    stop: Callable[[Digest], Awaitable[None]]

    async def reveal(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Answer one COMMIT_SET request with this provider's reveal, the same for the same set.

        Raises:
            MalformedMessage: the bytes are no commit set.
            Refused: the set is not one this provider can sign over.
        """
        committed = codec.decode(CommitSet, payload)
        if not self.conduct.reveals:
            raise Refused("this provider keeps silent")
        while True:
            lease = await self._lease(peer_id, committed.job)
            await self.evidence.note_set(lease, committed)
            signed = await self._sign(lease, committed)
            if signed is not None:
                return codec.encode(signed)
            # the lease moved between reading and writing: judge the set by its new state

    async def release(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Answer one RELEASE request: stop the run, free the slot, close the lease.

        Raises:
            MalformedMessage: the bytes are no release.
            Refused: the lease is another scheduler's.
        """
        message = codec.decode(Release, payload)
        async with self.book.exclusively(message.job):
            lease = await self.book.get(message.job)
            if lease is not None:
                await self._check_scheduler(peer_id, lease)
                await self.stop(message.job)
                await self.closing.close(message.job, _plain(message.reason))
        return codec.encode(Ack())

    async def output(self, _peer: PeerId, payload: bytes) -> bytes:
        """Answer one OUTPUT request, for what this provider has revealed on the chain.

        Raises:
            MalformedMessage: the bytes are no such request.
            Refused: there is no such output, or it is not public yet.
        """
        request = codec.decode(OutputRequest, payload)
        lease = await self.book.get(request.job)
        if lease is None or lease.output is None or lease.closed_reason != SETTLED:
            raise Refused("this provider has no settled output of that job")
        return codec.encode(Output(output=lease.output, verdict=lease.verdict or Verdict.OK.value))

    async def _sign(self, lease: ProviderLease, committed: CommitSet) -> Reveal | None:
        commits = check_commit_set(
            committed,
            lease,
            order_of(lease),
            operator=self.supply.operator,
            domain=self.domain,
        )
        # the set is durable before the signature exists, so that no crash lets us sign two
        revealed = await self.book.store.sign_set(
            lease,
            dataclasses.replace(lease, state=State.REVEALED.value),
            commits=commits,
            commit_set=codec.encode(committed),
            event=Event.REVEAL.value,
            now=self.clock.now(),
        )
        if revealed is None:
            return None
        return signed_reveal(revealed, commits=commits, domain=self.domain, signer=self.signer)

    async def _lease(self, peer_id: PeerId, job: Digest) -> ProviderLease:
        lease = await self.book.get(job)
        if lease is None:
            raise Refused("this provider has no lease for that job")
        await self._check_scheduler(peer_id, lease)
        if lease.closed_at is not None:
            raise Refused(f"this lease is over: {lease.closed_reason}")
        if State(lease.state) not in HAS_OUTPUT:
            raise Refused("this provider has not committed yet")
        return lease

    async def _check_scheduler(self, peer_id: PeerId, lease: ProviderLease) -> None:
        if await self.scheduler_of(peer_id) != lease.scheduler:
            raise Refused("this lease belongs to another scheduler")


def _plain(reason: str) -> str:
    """Return a peer's words fit for a log line or a terminal."""
    return "".join(c if c.isprintable() else "?" for c in reason) or "released"
