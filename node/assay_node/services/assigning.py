"""Assigning: a scheduler's signed word on who runs a job, one row of them for each job.

Two that contradict each other cost the bond, so each is kept before anybody sees it, and only while
the job still stands as the assignment says.
"""

import dataclasses
from dataclasses import dataclass

from assay_node.ports import JobRecord, LeaseRecord, OrderSigner, SchedulerStore
from assay_node.protocol.assignment import Assign, SignedAssign, assign_digest
from assay_node.protocol.typed_data import Domain
from assay_node.services.lifecycle import active_leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigning:
    """Signs assignments."""

    store: SchedulerStore
    domain: Domain
    signer: OrderSigner

    async def naming(self, lease: LeaseRecord) -> SignedAssign | None:
        """Return the newest assignment of a lease's job, kept; None when the lease has moved on."""
        while True:
            job = await self.store.job(lease.job)
            if job is None or not _holds(job, lease):
                return None
            newest = await self.store.newest_assign(lease.job)
            wanted = next_assign(job, None if newest is None else newest.assign)
            if newest is not None and wanted == newest.assign:
                return newest
            signature = self.signer.sign_digest(assign_digest(wanted, self.domain))
            signed = SignedAssign(assign=wanted, signature=signature)
            if await self.store.add_assign(signed, generation=job.generation):
                return signed
            # the job has changed, or another of its leases was quicker: look again


def next_assign(job: JobRecord, newest: Assign | None) -> Assign:
    """Return the assignment that says how a job stands: `newest` itself where nothing changed.

    Leases are never forgotten, so everybody whom an earlier one named is named again.
    """
    active = active_leases(job)
    held = {lease.operator for lease in active}
    stands = Assign(
        job=job.job,
        round_number=job.round_number,
        sequence=0 if newest is None else newest.sequence,
        operators=tuple(lease.operator for lease in active),
        tickets=tuple(lease.ticket for lease in active),
        replaced=tuple(sorted(one.operator for one in job.leases if one.operator not in held)),
    )
    if newest is None or stands == newest:
        return stands
    return dataclasses.replace(stands, sequence=newest.sequence + 1)


def _holds(job: JobRecord, lease: LeaseRecord) -> bool:
    seen = (lease.operator, lease.state, lease.round_number)
    return any(seen == (one.operator, one.state, one.round_number) for one in job.leases)
