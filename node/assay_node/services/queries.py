"""Public documents about jobs and providers, as the HTTP API, the CLI and scripts see them.

Nothing here is secret: orders, offers and settlements are public by design.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay_node.ports import JobEventRecord, JobRecord, LeaseRecord, SchedulerStore, Settlement
from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.lease import JOB_ENDS, LEASE_ACTIVE, LEASE_RUNS, JobState, LeaseState
from assay_node.services.membership import Membership

JOBS_LISTED_MAX: Final = 200

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Builds documents from the store."""

    store: SchedulerStore
    membership: Membership
    proofs_of: Callable[[Address], list[Document]] = lambda _operator: []

    async def jobs(self, requester: Address | None) -> Document:
        """Return the newest jobs, of one requester or of all, a line each."""
        found = await self.store.jobs(requester=requester, limit=JOBS_LISTED_MAX)
        return {"jobs": [_line(job) for job in found]}

    async def job(self, job_id: Digest, *, after_event: int = 0) -> Document:
        """Return one job, with its replicas and its history after an event.

        Raises:
            Refused: no such job.
        """
        job = await self._job(job_id)
        history = await self.store.events(job_id, after=after_event)
        return {**job_document(job), "events": [_event_document(event) for event in history]}

    async def explain(self, job_id: Digest) -> Document:
        """Return why a job is where it is: every provider considered, with its reasons.

        Raises:
            Refused: no such job.
        """
        job = await self._job(job_id)
        decision = await self.store.decision(job_id)
        return {
            **_line(job),
            "why": why(job),
            "decision": None if decision is None else json.loads(decision),
            "replicas": [_replica_document(lease, job) for lease in job.leases],
            "settlement": None if job.settlement is None else settlement_document(job.settlement),
        }

    async def commit_set(self, job_id: Digest) -> Document:
        """Return the commit set of a job's present round, with which it can go to the chain."""
        job = await self._job(job_id)
        committed = await self.store.commit_set(job_id, job.round_number)
        if committed is None:
            raise Refused("not all replicas have committed yet")
        return {"job": to_hex(job_id), "commit_set": to_hex(codec.encode(committed))}

    def providers(self) -> Document:
        """Return every provider known, with its offer and whether it can be reached."""
        views = self.membership.views(())
        return {
            "providers": [
                {
                    "operator": view.operator,
                    "peer_id": view.offer.peer_id,
                    "connected": view.connected,
                    "last_heard": view.last_heard,
                    "price_microusd_per_second": view.offer.price_microusd_per_second,
                    "slots": view.offer.slots,
                    "slots_free": self.membership.slots_free(view.operator),
                    "stake_microusd": view.stake_free_microusd,
                    "wins": view.wins,
                    "faults": view.faults,
                    "tiers": list(view.offer.tiers),
                    "runtimes": list(view.offer.runtimes),
                    "gpus": [gpu.model for gpu in view.offer.gpus],
                    "cpu_model": view.offer.cpu_model,
                    "hardware_class": to_hex(view.offer.hardware_class),
                    "software_digest": to_hex(view.offer.software_digest),
                    "exact_modes": list(view.offer.exact_modes),
                    "hardware": {
                        "state": view.hardware.state.value,
                        "text": view.hardware.text,
                        "asked_at": view.hardware.asked_at,
                        "being_asked": view.hardware.being_asked,
                    },
                    "proofs": self.proofs_of(view.operator),
                }
                for view in views
            ]
        }

    async def _job(self, job_id: Digest) -> JobRecord:
        job = await self.store.job(job_id)
        if job is None:
            raise Refused(f"no job {to_hex(job_id)} here")
        return job


def job_document(job: JobRecord) -> Document:
    """Return everything about a job but its history."""
    order = job.order
    return {
        **_line(job),
        "scheduler": order.scheduler,
        "comparison": job.spec.comparison,
        "exact": job.spec.exact,
        "quorum": order.quorum,
        "seed_block": order.seed_block,
        "expiry": order.expiry,
        "max_rate_microusd": order.max_rate_microusd,
        "max_seconds": order.max_seconds,
        "bond_microusd": order.bond_microusd,
        "fee_microusd": order.fee_microusd,
        "round": job.round_number,
        "spec": to_hex(order.spec),
        "output": job.output,
        "verdict": job.verdict or None,
        "replica_records": [_replica_document(lease, job) for lease in job.leases],
        "settlement": None if job.settlement is None else settlement_document(job.settlement),
    }


def settlement_document(settlement: Settlement) -> Document:
    """Return what the chain did with a job's receipt."""
    return {
        "transaction": to_hex(settlement.transaction),
        "block": settlement.block_number,
        "agreed": settlement.agreed,
        "seconds": settlement.seconds,
        "paid": [{"operator": p.operator, "microusd": p.amount_microusd} for p in settlement.paid],
        "slashed": [
            {"operator": s.operator, "microusd": s.amount_microusd, "reason": s.reason}
            for s in settlement.slashed
        ],
        "fee_microusd": settlement.fee_microusd,
        "cost_microusd": settlement.cost_microusd,
        "gas": settlement.gas_used,
        "receipts_in_batch": settlement.receipts_in_batch,
    }


def _line(job: JobRecord) -> Document:
    order = job.order
    return {
        "job": to_hex(job.job),
        "name": job.spec.name,
        "requester": order.requester,
        "state": job.state.value,
        "ended": job.state in JOB_ENDS,
        "reason": job.reason,
        "replicas": order.replicas,
        "max_cost_microusd": order.max_cost_microusd,
        "cost_microusd": None if job.settlement is None else job.settlement.cost_microusd,
        "admitted_at": job.admitted_at,
        "updated_at": job.updated_at,
    }


def _replica_document(lease: LeaseRecord, job: JobRecord) -> Document:
    reveal = lease.reveal
    shown = reveal if job.state not in (JobState.RUNNING, JobState.REVEALING) else None
    return {
        "operator": lease.operator,
        "ticket": lease.ticket,
        "state": lease.state.value,
        "counts": lease.state in LEASE_ACTIVE or lease.state is LeaseState.CLOSED,
        "stage": (lease.state in LEASE_RUNS and lease.stage) or lease.state.value,
        "reason": lease.reason,
        "rate_microusd": lease.rate_microusd,
        "seconds": None if shown is None else shown.seconds,
        "verdict": None if shown is None else shown.verdict,
        "detail": None if shown is None else shown.detail,
        "output": None if shown is None else shown.output,
        "log": None if shown is None else shown.log,
    }


def _event_document(event: JobEventRecord) -> Document:
    return {
        "id": event.id,
        "at": event.at,
        "kind": event.kind,
        "text": event.text,
        "data": dict(event.data),
    }


def why(job: JobRecord) -> str:
    """Return in one sentence why the job is in its state."""
    waiting = [lease for lease in job.leases if lease.state in LEASE_ACTIVE]
    match job.state:
        case JobState.ADMITTED:
            return job.reason or f"waiting for seed block {job.order.seed_block}"
        case JobState.RUNNING:
            running = _operators(waiting, (LeaseState.OFFERED, LeaseState.ACCEPTED))
            missing = job.order.replicas - len(waiting)
            text = f"waiting for {', '.join(running)} to commit" if running else ""
            if missing:
                text += ("; " if text else "") + f"looking for {missing} more: {job.reason}"
            return text or "all replicas have committed"
        case JobState.REVEALING:
            return (
                f"waiting for {', '.join(_operators(waiting, (LeaseState.COMMITTED,)))} to reveal"
            )
        case JobState.SETTLING:
            return "waiting for the settlement to be mined"
        case JobState.ON_ROAD:
            return "it was taken to the on-chain road, which ends it; see `assay job advance`"
        case JobState.SETTLED:
            return "a quorum agreed and was paid"
        case JobState.NO_QUORUM:
            return _no_quorum(job)
        case JobState.FAILED:
            return f"{job.reason}; nothing was charged"


def _no_quorum(job: JobRecord) -> str:
    answers = {lease.reveal.output for lease in job.leases if lease.reveal is not None}
    cost = 0 if job.settlement is None else job.settlement.cost_microusd
    return (
        f"{job.order.replicas} replicas gave {len(answers)} different outputs and the quorum is "
        f"{job.order.quorum}: there is no result, the revealers were paid their effort share of "
        f"{cost} micro-USD, and the rest stayed with the requester"
    )


def _operators(leases: Sequence[LeaseRecord], states: tuple[LeaseState, ...]) -> list[str]:
    return [lease.operator for lease in leases if lease.state in states]
