"""Matching: load a snapshot, let the pure scheduler decide, apply its plan."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay_node.ports import ChainReader, Clock, JobChange, JobRecord, NewEvent, NewLease
from assay_node.ports import SchedulerStore as Store
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.lease import JobEvent
from assay_node.services.membership import Membership
from assay_scheduler.decide import decide
from assay_scheduler.plan import Decision, Placement
from assay_scheduler.snapshot import JobView, LeaseView, Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Draws and places replicas."""

    chain: ChainReader
    store: Store
    membership: Membership
    clock: Clock

    async def draw(self, job: JobRecord) -> bool:
        """Read and store the job's draw if its seed block is there; True when it is stored."""
        order = job.order
        try:
            tickets = await self.chain.draw(
                order.hardware_class, order.seed_block, job.job, max_ticket=order.max_ticket
            )
        except ChainUnavailable:
            raise
        except ChainError as error:  # the seed block is not mined, or nobody has a seat
            logger.debug("no draw yet for %s: %s", job.job.hex(), error)
            return False
        drawn = len({operator for operator in tickets if operator is not None})
        event = NewEvent(
            kind="drawn",
            text=f"block {order.seed_block} drew {drawn} operators for {order.replicas} replicas",
            data={"draw": list(tickets)},
        )
        change = JobChange(
            job=job.job,
            expected=job.state,
            generation=job.generation,
            draw=tickets,
            events=(event,),
        )
        return await self.store.apply(change, now=self.clock.now())

    async def place(self, wanting: Sequence[JobRecord], unfinished: Sequence[JobRecord]) -> None:
        """Place what replicas can be placed.

        Args:
            wanting: jobs with a draw that lack replicas.
            unfinished: all unfinished jobs; their leases hold slots and stake.
        """
        if not wanting:
            return
        now = self.clock.now()
        held = [(lease, j.order.bond_microusd) for j in unfinished for lease in j.leases]
        snapshot = Snapshot(
            jobs=tuple(_view(job) for job in wanting), providers=self.membership.views(held)
        )
        plan = decide(snapshot, now, b"")
        by_id = {job.job: job for job in wanting}
        for decision in plan.decisions:
            job = by_id[decision.job]
            placements = [p for p in plan.placements if p.job == decision.job]
            await self.store.save_decision(job.job, json.dumps(decision_document(decision, now)))
            await self._apply(job, decision, placements, now)

    async def _apply(
        self, job: JobRecord, decision: Decision, placements: Sequence[Placement], now: float
    ) -> None:
        if placements:
            await self.store.apply(self._placed(job, decision, placements), now=now)
        elif decision.impossible:
            await self._change(job, JobEvent.FAILED, decision.summary, "failed", now)
        elif job.reason != decision.summary:
            await self._change(job, None, decision.summary, "waiting", now)

    def _placed(
        self, job: JobRecord, decision: Decision, placements: Sequence[Placement]
    ) -> JobChange:
        new = []
        for placement in placements:
            offer = self.membership.offer_of(placement.operator)
            assert offer is not None  # the snapshot came from the same membership, without a pause
            new.append(
                NewLease(
                    operator=placement.operator,
                    peer_id=offer.peer_id,
                    ticket=placement.ticket,
                    rate_microusd=offer.price_microusd_per_second,
                    software_digest=offer.software_digest,
                )
            )
        operators = [lease.operator for lease in new]
        event = NewEvent(
            kind="placed",
            text=f"leased to {', '.join(operators)} ({decision.summary})",
            data={"operators": operators},
        )
        return JobChange(
            job=job.job,
            expected=job.state,
            generation=job.generation,
            event=JobEvent.PLACED,
            reason="",
            new_leases=new,
            events=(event,),
        )

    async def _change(
        self, job: JobRecord, event: JobEvent | None, reason: str, kind: str, now: float
    ) -> None:
        change = JobChange(
            job=job.job,
            expected=job.state,
            generation=job.generation,
            event=event,
            reason=reason,
            events=(NewEvent(kind=kind, text=reason, data={}),),
        )
        await self.store.apply(change, now=now)


def decision_document(decision: Decision, now: float) -> dict[str, Any]:
    """Return a decision as `explain` shows it."""
    return {
        "decided_at": now,
        "wanted": decision.wanted,
        "placed": decision.placed,
        "summary": decision.summary,
        "relaxations": list(decision.relaxations),
        "providers": [
            {
                "operator": verdict.operator,
                "chosen": verdict.chosen,
                "ticket": verdict.ticket,
                "reasons": [
                    {"code": str(code.value), "text": text} for code, text in verdict.reasons
                ],
            }
            for verdict in decision.verdicts
        ],
    }


def _view(job: JobRecord) -> JobView:
    assert job.draw is not None
    return JobView(
        job=job.job,
        order=job.order,
        spec=job.spec,
        round_number=job.round_number,
        admitted_at=job.admitted_at,
        draw=job.draw,
        leases=tuple(
            LeaseView(
                operator=lease.operator,
                ticket=lease.ticket,
                state=lease.state,
                software_digest=lease.software_digest,
            )
            for lease in job.leases
        ),
    )
