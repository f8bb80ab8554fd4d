"""Matching: load a snapshot, let the pure scheduler decide, apply its plan."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay_node.ports import (
    ChainReader,
    Clock,
    JobChange,
    JobRecord,
    LeaseChange,
    NewEvent,
    NewLease,
)
from assay_node.ports import SchedulerStore as Store
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Address
from assay_node.protocol.lease import JobEvent, LeaseEvent
from assay_node.services.lifecycle import active_leases
from assay_node.services.membership import Membership
from assay_scheduler.decide import decide
from assay_scheduler.plan import Decision, Placement
from assay_scheduler.snapshot import JobView, LeaseView, Snapshot, first_tickets

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
        tickets = await self._tickets(job)
        if tickets is None:
            return False
        order = job.order
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

    async def redraw(self, job: JobRecord) -> bool:
        """Replace a draw that the chain gives no longer, as after a reorganisation.

        Replicas whose operators the new draw holds go on in the next round, at their new tickets;
        the others are lost. True when anything was replaced.
        """
        tickets = await self._tickets(job) if job.draw is not None else None
        if tickets is None or tickets == job.draw:
            return False
        now_at = first_tickets(tickets)
        reason = f"the chain replaced block {job.order.seed_block}, which had drawn this operator"
        changes = [
            LeaseChange(
                operator=lease.operator,
                expected=lease.state,
                event=LeaseEvent.NEXT_ROUND if lease.operator in now_at else LeaseEvent.LOSE,
                reason="" if lease.operator in now_at else reason,
                ticket=now_at.get(lease.operator),
            )
            for lease in active_leases(job)
        ]
        kept = sum(change.event is LeaseEvent.NEXT_ROUND for change in changes)
        event = NewEvent(
            kind="redrawn",
            text=f"the chain replaced block {job.order.seed_block}: drawn anew; {kept} of "
            f"{len(changes)} replicas go on",
            data={"draw": list(tickets)},
        )
        change = JobChange(
            job=job.job,
            expected=job.state,
            generation=job.generation,
            event=JobEvent.REDRAWN,
            round_number=job.round_number + 1,
            draw=tickets,
            lease_changes=changes,
            events=(event,),
        )
        await self.store.apply(change, now=self.clock.now())
        return True  # also where another change came first: whoever asked must look again

    async def _tickets(self, job: JobRecord) -> tuple[Address | None, ...] | None:
        order = job.order
        try:
            return await self.chain.draw(
                order.hardware_class, order.seed_block, job.job, max_ticket=order.max_ticket
            )
        except ChainUnavailable:
            raise
        except ChainError as error:  # the seed block is not mined, or too old to be replaced
            logger.debug("no draw for %s: %s", job.job.hex(), error)
            return None

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
            if await self.redraw(job):
                return
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
