"""Notices when a scheduler contradicts itself, and keeps both of what it signed.

What is kept here takes the scheduler's bond: see `assay_node.protocol.evidence`.
"""

import logging
from dataclasses import dataclass

from assay_node.ports import Clock
from assay_node.protocol import codec
from assay_node.protocol.assignment import SignedAssign, contradict, signer_of_assign
from assay_node.protocol.errors import Refused
from assay_node.protocol.evidence import AssignEvidence, CommitSetEvidence, signer_of_set
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.typed_data import Domain
from assay_node.store.provider_leases import ProviderLease
from assay_provider.lease_book import LeaseBook

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceKeeper:
    """Compares what a scheduler signs with what it signed for the same job before."""

    book: LeaseBook
    domain: Domain
    clock: Clock

    async def check_assign(self, lease: ProviderLease, signed: SignedAssign) -> None:
        """Refuse an assignment that contradicts one that this provider took the lease with.

        Raises:
            Refused: it does; both are kept.
        """
        if signer_of_assign(signed, self.domain) != lease.scheduler:
            return  # no word of the scheduler's: whoever takes leases says so
        for held in await self.book.store.assigns(lease.job):
            if contradict(held.assign, signed.assign):
                await self._keep(lease, AssignEvidence(first=held, second=signed))
                raise Refused(
                    f"this assignment contradicts number {held.assign.sequence} of the same job, "
                    "which its scheduler signed too; both are kept as evidence"
                )

    async def note_set(self, lease: ProviderLease, shown: CommitSet) -> None:
        """Keep a commit set that its scheduler signed for a round in which it had another one."""
        held = await self.book.store.signed_set(lease.job)
        if held is None:
            return
        first = codec.decode(CommitSet, held)
        if first.round_number != shown.round_number:
            return
        if first.commits != shown.commits and self._signed_by(lease.scheduler, first, shown):
            await self._keep(lease, CommitSetEvidence(first=first, second=shown))

    def _signed_by(self, scheduler: Address, *sets: CommitSet) -> bool:
        return all(signer_of_set(one, self.domain) == scheduler for one in sets)

    async def _keep(self, lease: ProviderLease, found: AssignEvidence | CommitSetEvidence) -> None:
        body = codec.encode(found)
        if await self.book.store.keep_evidence(
            lease.job, lease.scheduler, body, now=self.clock.now()
        ):
            logger.warning(
                "scheduler %s contradicted itself in job %s: `assay provider evidence` shows what "
                "takes its bond",
                lease.scheduler,
                short(lease.job),
            )


def short(job: Digest) -> str:
    """Return the beginning of a job id, as log lines show it."""
    return job.hex()[:12]
