"""Guarded writes to a scheduler's database, each inside its caller's transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from assay_node.ports import (
    JobChange,
    LeaseChange,
    NewEvent,
    NewLease,
    Settlement,
)
from assay_node.protocol import codec
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.lease import (
    LEASE_ACTIVE,
    JobEvent,
    JobState,
    LeaseEvent,
    LeaseState,
    next_job_state,
    next_lease_state,
)
from assay_node.store.scheduler_rows import settlement_to_json
from assay_node.store.scheduler_schema import (
    commit_sets,
    events,
    jobs,
    leases,
)

CHAIN_ENDS = (JobState.SETTLING, JobState.ON_ROAD)
"""States from which only the chain ends a job."""

_ACTIVE = sorted(state.value for state in LEASE_ACTIVE)
_KEEPS_PROVIDER = frozenset(
    {LeaseEvent.ACCEPT, LeaseEvent.COMMIT, LeaseEvent.REVEAL, LeaseEvent.NEXT_ROUND}
)


class Stale(Exception):
    """The change no longer applies."""


def is_job(job: Digest) -> Any:
    """Return the condition that a row is this job's."""
    return jobs.c.job == to_hex(job)


async def change_job(connection: AsyncConnection, change: JobChange, now: float) -> None:
    """Make the job's own part of a change, or raise `Stale`."""
    values: dict[str, object] = {"generation": change.generation + 1, "updated_at": now}
    if change.event is not None:
        state = next_job_state(change.expected, change.event)
        if state is None:
            raise Stale
        values["state"] = state
    if change.event is JobEvent.COMMITTED:
        values["revealing_since"] = now
    if change.event is JobEvent.REDRAWN:
        values["tx"] = None  # its receipt was refused; the next round's gets a transaction anew
    changed = {
        "reason": change.reason,
        "round": change.round_number,
        "output": change.output,
        "verdict": change.verdict,
        "draw": None if change.draw is None else list(change.draw),
    }
    values |= {name: value for name, value in changed.items() if value is not None}
    done = await connection.execute(
        update(jobs)
        .where(
            is_job(change.job),
            jobs.c.state == change.expected,
            jobs.c.generation == change.generation,
        )
        .values(values)
    )
    if not done.rowcount:
        raise Stale
    if change.event is JobEvent.FAILED:
        await _close_leases(connection, change.job, now)
    if change.commit_set is not None:
        await connection.execute(
            insert(commit_sets).values(
                job=to_hex(change.job),
                round=change.commit_set.round_number,
                body=codec.encode(change.commit_set),
            )
        )


async def change_lease(
    connection: AsyncConnection, change: JobChange, lease: LeaseChange, now: float
) -> None:
    """Make one lease's move, or raise `Stale`."""
    state = next_lease_state(lease.expected, lease.event)
    if state is None:
        raise Stale
    values: dict[str, object] = {"state": state, "updated_at": now, "reason": lease.reason}
    if lease.event is LeaseEvent.NEXT_ROUND:
        values |= {"round": change.round_number, "commit": None, "reveal": None}
        values["offered_at"] = now
    if lease.ticket is not None:
        values["ticket"] = lease.ticket
    if lease.commit is not None:
        values["commit"] = codec.encode(lease.commit)
    if lease.reveal is not None:
        values["reveal"] = codec.encode(lease.reveal)
    if lease.event not in _KEEPS_PROVIDER:
        values["release_due"] = True
    done = await connection.execute(
        update(leases)
        .where(
            leases.c.job == to_hex(change.job),
            leases.c.operator == lease.operator,
            leases.c.state == lease.expected,
        )
        .values(values)
    )
    if not done.rowcount:
        raise Stale


async def insert_lease(
    connection: AsyncConnection, change: JobChange, lease: NewLease, now: float
) -> None:
    """Add a replica, or raise `Stale` when its operator had one, or its ticket has one."""
    clash = select(leases.c.job).where(
        leases.c.job == to_hex(change.job),
        (leases.c.operator == lease.operator)
        | (leases.c.ticket == lease.ticket) & leases.c.state.in_(_ACTIVE),
    )
    if (await connection.execute(clash)).first():
        raise Stale
    current = await connection.execute(select(jobs.c.round).where(is_job(change.job)))
    await connection.execute(
        insert(leases).values(
            job=to_hex(change.job),
            operator=lease.operator,
            peer_id=lease.peer_id,
            ticket=lease.ticket,
            round=current.scalar_one(),
            rate_microusd=lease.rate_microusd,
            software_digest=to_hex(lease.software_digest),
            state=LeaseState.OFFERED,
            stage="",
            reason="",
            offered_at=now,
            updated_at=now,
            release_due=False,
        )
    )


async def settle_job(connection: AsyncConnection, settlement: Settlement, now: float) -> None:
    """End a job that waits for the chain with what it did; once only."""
    event = JobEvent.SETTLED if settlement.agreed else JobEvent.NO_QUORUM
    document = settlement_to_json(settlement)
    moved = await end_job(connection, settlement.job_id, event, {"settlement": document}, now)
    if moved:
        text = "a quorum agreed and was paid" if settlement.agreed else "no quorum agreed"
        line = NewEvent(kind=event.value, text=text, data=document)
        await write_events(connection, settlement.job_id, (line,), now)


async def end_job(
    connection: AsyncConnection, job: Digest, event: JobEvent, values: dict[str, Any], now: float
) -> bool:
    """End a job that waits for the chain and close its leases; False when it has ended already."""
    state = next_job_state(JobState.SETTLING, event)
    assert state == next_job_state(JobState.ON_ROAD, event)
    done = await connection.execute(
        update(jobs)
        .where(is_job(job), jobs.c.state.in_(CHAIN_ENDS))
        .values(state=state, generation=jobs.c.generation + 1, updated_at=now, **values)
    )
    await _close_leases(connection, job, now)
    return bool(done.rowcount)


async def _close_leases(connection: AsyncConnection, job: Digest, now: float) -> None:
    await connection.execute(
        update(leases)
        .where(and_(leases.c.job == to_hex(job), leases.c.state.in_(_ACTIVE)))
        .values(state=LeaseState.CLOSED, release_due=True, updated_at=now)
    )


async def write_events(
    connection: AsyncConnection, job: Digest, new: Sequence[NewEvent], now: float
) -> None:
    """Add lines to a job's history."""
    if new:
        rows = [
            {"job": to_hex(job), "at": now, "kind": e.kind, "text": e.text, "data": dict(e.data)}
            for e in new
        ]
        await connection.execute(insert(events), rows)
