"""The scheduler's repository: guarded changes with their history, in one transaction each."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import RowMapping, Select, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from assay_node.ports import (
    JobChange,
    JobEventRecord,
    JobRecord,
    LeaseChange,
    LeaseRecord,
    NewEvent,
    NewLease,
    Paid,
    Settlement,
    Slashed,
    TransactionRecord,
)
from assay_node.protocol import codec, job_spec
from assay_node.protocol.ids import Address, Cid, Digest, PeerId, digest_from_hex, to_hex
from assay_node.protocol.job_spec import JobSpec
from assay_node.protocol.lease import (
    JOB_ENDS,
    LEASE_ACTIVE,
    LEASE_RUNS,
    JobEvent,
    JobState,
    LeaseEvent,
    LeaseState,
    next_job_state,
    next_lease_state,
)
from assay_node.protocol.messages import Commit, CommitSet, Reveal
from assay_node.protocol.offer import SignedOffer
from assay_node.protocol.order import SignedOrder
from assay_node.store.database import Database
from assay_node.store.scheduler_schema import (
    commit_sets,
    events,
    jobs,
    leases,
    offers,
    transactions,
)
from assay_node.store.undisturbed import undisturbed

_ENDED = sorted(state.value for state in JOB_ENDS)
_ACTIVE = sorted(state.value for state in LEASE_ACTIVE)
_RUNS = sorted(state.value for state in LEASE_RUNS)
_KEEPS_PROVIDER = frozenset(
    {LeaseEvent.ACCEPT, LeaseEvent.COMMIT, LeaseEvent.REVEAL, LeaseEvent.NEXT_ROUND}
)
_Message = TypeVar("_Message")

DECODED_MAX = 20_000
"""Decoded messages kept: those of about 2,500 jobs, some 50 MB at most."""


class _Stale(Exception):
    """The change no longer applies."""


class SchedulerJobs:
    """Implements `assay_node.ports.SchedulerStore` on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @undisturbed
    async def admit(
        self, job: Digest, signed_order: SignedOrder, spec: JobSpec, *, now: float, event: NewEvent
    ) -> bool:
        """Store a new job durably; False when it is there already."""
        async with self._database.write() as connection:
            if (await connection.execute(select(jobs.c.job).where(_is(job)))).first():
                return False
            await connection.execute(
                insert(jobs).values(
                    job=to_hex(job),
                    requester=signed_order.order.requester,
                    state=JobState.ADMITTED,
                    generation=0,
                    round=0,
                    reason="",
                    signed_order=codec.encode(signed_order),
                    spec=job_spec.encode(spec)[1],
                    admitted_at=now,
                    updated_at=now,
                    verdict="",
                )
            )
            await _write_events(connection, job, (event,), now)
            return True

    @undisturbed
    async def job(self, job: Digest) -> JobRecord | None:
        """Return one job."""
        found = await self._load(select(jobs).where(_is(job)))
        return found[0] if found else None

    @undisturbed
    async def unfinished_jobs(self) -> Sequence[JobRecord]:
        """Return every job that has not ended, oldest first."""
        return await self._load(
            select(jobs).where(jobs.c.state.not_in(_ENDED)).order_by(jobs.c.admitted_at, jobs.c.job)
        )

    @undisturbed
    async def jobs(self, *, requester: Address | None, limit: int) -> Sequence[JobRecord]:
        """Return jobs, newest first."""
        query = select(jobs).order_by(jobs.c.admitted_at.desc(), jobs.c.job).limit(limit)
        if requester is not None:
            query = query.where(jobs.c.requester == requester)
        return await self._load(query)

    @undisturbed
    async def apply(self, change: JobChange, *, now: float) -> bool:
        """Make a change; False, and nothing written, when it no longer applies."""
        try:
            async with self._database.write() as connection:
                await _change_job(connection, change, now)
                for lease_change in change.lease_changes:
                    await _change_lease(connection, change, lease_change, now)
                for lease in change.new_leases:
                    await _insert_lease(connection, change, lease, now)
                await _write_events(connection, change.job, change.events, now)
        except _Stale:
            return False
        return True

    @undisturbed
    async def set_stage(self, job: Digest, operator: Address, stage: str, *, now: float) -> bool:
        """Note what an accepted lease is doing."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(leases)
                .where(
                    leases.c.job == to_hex(job),
                    leases.c.operator == operator,
                    leases.c.state.in_(_RUNS),
                    leases.c.stage != stage,
                )
                .values(stage=stage, updated_at=now)
            )
            if done.rowcount:
                event = NewEvent(
                    kind=stage, text=f"{operator} is {stage}", data={"operator": operator}
                )
                await _write_events(connection, job, (event,), now)
            return bool(done.rowcount)

    @undisturbed
    async def commit_set(self, job: Digest, round_number: int) -> CommitSet | None:
        """Return the commit set that was fixed for a round."""
        query = select(commit_sets.c.body).where(
            commit_sets.c.job == to_hex(job), commit_sets.c.round == round_number
        )
        async with self._database.read() as connection:
            body = (await connection.execute(query)).scalar()
        return None if body is None else codec.decode(CommitSet, body)

    @undisturbed
    async def events(self, job: Digest, *, after: int = 0) -> Sequence[JobEventRecord]:
        """Return a job's history in order."""
        query = (
            select(events)
            .where(events.c.job == to_hex(job), events.c.id > after)
            .order_by(events.c.id)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            JobEventRecord(
                id=row["id"],
                job=job,
                at=row["at"],
                kind=row["kind"],
                text=row["text"],
                data=row["data"],
            )
            for row in rows
        ]

    @undisturbed
    async def save_decision(self, job: Digest, document: str) -> None:
        """Keep the newest matching decision, as JSON, for `explain`."""
        async with self._database.write() as connection:
            await connection.execute(update(jobs).where(_is(job)).values(decision=document))

    @undisturbed
    async def decision(self, job: Digest) -> str | None:
        """Return the newest matching decision."""
        async with self._database.read() as connection:
            return (await connection.execute(select(jobs.c.decision).where(_is(job)))).scalar()

    @undisturbed
    async def releases_due(self) -> Sequence[LeaseRecord]:
        """Return leases whose providers have yet to be told that they are free."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(leases).where(leases.c.release_due))
            return [_lease(row) for row in rows.mappings()]

    @undisturbed
    async def released(self, job: Digest, operator: Address) -> None:
        """Note that the provider has been told."""
        async with self._database.write() as connection:
            await connection.execute(
                update(leases)
                .where(leases.c.job == to_hex(job), leases.c.operator == operator)
                .values(release_due=False)
            )

    @undisturbed
    async def save_offer(self, operator: Address, offer: SignedOffer, *, now: float) -> None:
        """Keep an operator's newest offer."""
        values = {"body": offer.body, "signature": offer.signature, "heard_at": now}
        async with self._database.write() as connection:
            done = await connection.execute(
                update(offers).where(offers.c.operator == operator).values(values)
            )
            if not done.rowcount:
                await connection.execute(insert(offers).values(operator=operator, **values))

    @undisturbed
    async def offers(self) -> Sequence[tuple[SignedOffer, float]]:
        """Return all offers with the time each was heard."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(offers).order_by(offers.c.operator))).mappings()
            return [
                (SignedOffer(body=row["body"], signature=row["signature"]), row["heard_at"])
                for row in rows
            ]

    @undisturbed
    async def save_transaction(self, record: TransactionRecord) -> bool:
        """Keep a signed transaction and bind its jobs to it; False if a job is bound already."""
        names = [to_hex(job) for job in record.jobs]
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    insert(transactions).values(
                        hash=to_hex(record.hash),
                        kind=record.kind,
                        raw=record.raw,
                        nonce=record.nonce,
                        jobs=names,
                        created_at=record.created_at,
                        finished=False,
                    )
                )
                bound = await connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.job.in_(names),
                        jobs.c.tx.is_(None),
                        jobs.c.state == JobState.SETTLING,
                    )
                    .values(tx=to_hex(record.hash), generation=jobs.c.generation + 1)
                )
                if bound.rowcount != len(names):
                    raise _Stale
        except _Stale:
            return False
        return True

    @undisturbed
    async def open_transactions(self) -> Sequence[TransactionRecord]:
        """Return transactions whose outcome is not applied yet, oldest first."""
        query = (
            select(transactions)
            .where(transactions.c.finished.is_(False))
            .order_by(transactions.c.nonce)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            TransactionRecord(
                hash=digest_from_hex(row["hash"]),
                kind=row["kind"],
                raw=row["raw"],
                nonce=row["nonce"],
                jobs=tuple(digest_from_hex(name) for name in row["jobs"]),
                created_at=row["created_at"],
            )
            for row in rows
        ]

    @undisturbed
    async def finish_transaction(
        self,
        record: TransactionRecord,
        *,
        settlements: Sequence[Settlement],
        failures: Mapping[Digest, str],
        now: float,
    ) -> None:
        """Apply a mined transaction: settled jobs, failed jobs with reasons; the rest unbound."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(transactions)
                .where(
                    transactions.c.hash == to_hex(record.hash), transactions.c.finished.is_(False)
                )
                .values(finished=True)
            )
            if not done.rowcount:
                return
            for settlement in settlements:
                await _settle_job(connection, settlement, now)
            for job, reason in failures.items():
                await _end_job(connection, job, JobEvent.FAILED, {"reason": reason}, now)
                event = NewEvent(kind="failed", text=reason, data={})
                await _write_events(connection, job, (event,), now)
            # whatever this transaction was to settle and did not may go into another one
            await connection.execute(
                update(jobs)
                .where(jobs.c.tx == to_hex(record.hash), jobs.c.state == JobState.SETTLING)
                .values(tx=None, generation=jobs.c.generation + 1)
            )

    @undisturbed
    async def counts(self) -> Mapping[JobState, int]:
        """Return how many jobs are in each state."""
        query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        found = {JobState(state): count for state, count in rows}
        return {state: found.get(state, 0) for state in JobState}

    async def _load(self, query: Select[Any]) -> list[JobRecord]:
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
            if not rows:
                return []
            names = [row["job"] for row in rows]
            found = await connection.execute(
                select(leases).where(leases.c.job.in_(names)).order_by(leases.c.ticket)
            )
            by_job: dict[str, list[LeaseRecord]] = {name: [] for name in names}
            for lease_row in found.mappings():
                by_job[lease_row["job"]].append(_lease(lease_row))
        return [_job(row, by_job[row["job"]]) for row in rows]


def _is(job: Digest) -> Any:
    return jobs.c.job == to_hex(job)


async def _change_job(connection: AsyncConnection, change: JobChange, now: float) -> None:
    values: dict[str, object] = {"generation": change.generation + 1, "updated_at": now}
    if change.event is not None:
        state = next_job_state(change.expected, change.event)
        if state is None:
            raise _Stale
        values["state"] = state
    if change.event is JobEvent.COMMITTED:
        values["revealing_since"] = now
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
            _is(change.job),
            jobs.c.state == change.expected,
            jobs.c.generation == change.generation,
        )
        .values(values)
    )
    if not done.rowcount:
        raise _Stale
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


async def _change_lease(
    connection: AsyncConnection, change: JobChange, lease: LeaseChange, now: float
) -> None:
    state = next_lease_state(lease.expected, lease.event)
    if state is None:
        raise _Stale
    values: dict[str, object] = {"state": state, "updated_at": now, "reason": lease.reason}
    if lease.event is LeaseEvent.NEXT_ROUND:
        values |= {"round": change.round_number, "commit": None, "reveal": None}
        values["offered_at"] = now
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
        raise _Stale


async def _insert_lease(
    connection: AsyncConnection, change: JobChange, lease: NewLease, now: float
) -> None:
    clash = select(leases.c.job).where(
        leases.c.job == to_hex(change.job),
        (leases.c.operator == lease.operator) | (leases.c.ticket == lease.ticket),
    )
    if (await connection.execute(clash)).first():
        raise _Stale
    current = await connection.execute(select(jobs.c.round).where(_is(change.job)))
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


async def _settle_job(connection: AsyncConnection, settlement: Settlement, now: float) -> None:
    event = JobEvent.SETTLED if settlement.agreed else JobEvent.NO_QUORUM
    document = _settlement_to_json(settlement)
    moved = await _end_job(connection, settlement.job_id, event, {"settlement": document}, now)
    if moved:
        text = "a quorum agreed and was paid" if settlement.agreed else "no quorum agreed"
        line = NewEvent(kind=event.value, text=text, data=document)
        await _write_events(connection, settlement.job_id, (line,), now)


async def _end_job(
    connection: AsyncConnection, job: Digest, event: JobEvent, values: dict[str, Any], now: float
) -> bool:
    state = next_job_state(JobState.SETTLING, event)
    done = await connection.execute(
        update(jobs)
        .where(_is(job), jobs.c.state == JobState.SETTLING)
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


async def _write_events(
    connection: AsyncConnection, job: Digest, new: Sequence[NewEvent], now: float
) -> None:
    if new:
        rows = [
            {"job": to_hex(job), "at": now, "kind": e.kind, "text": e.text, "data": dict(e.data)}
            for e in new
        ]
        await connection.execute(insert(events), rows)


@functools.lru_cache(maxsize=DECODED_MAX)
def _decoded(kind: type[_Message], data: bytes) -> _Message:
    """Messages are immutable, and a job is looked at some fifty times in its life."""
    return codec.decode(kind, data)


def _lease(row: RowMapping) -> LeaseRecord:
    return LeaseRecord(
        job=digest_from_hex(row["job"]),
        operator=Address(row["operator"]),
        peer_id=PeerId(row["peer_id"]),
        ticket=row["ticket"],
        round_number=row["round"],
        rate_microusd=row["rate_microusd"],
        software_digest=digest_from_hex(row["software_digest"]),
        state=LeaseState(row["state"]),
        stage=row["stage"],
        reason=row["reason"],
        offered_at=row["offered_at"],
        updated_at=row["updated_at"],
        commit=None if row["commit"] is None else _decoded(Commit, row["commit"]),
        reveal=None if row["reveal"] is None else _decoded(Reveal, row["reveal"]),
        release_due=row["release_due"],
    )


def _job(row: RowMapping, its_leases: Sequence[LeaseRecord]) -> JobRecord:
    return JobRecord(
        job=digest_from_hex(row["job"]),
        signed_order=_decoded(SignedOrder, row["signed_order"]),
        spec=_decoded(JobSpec, row["spec"]),
        state=JobState(row["state"]),
        generation=row["generation"],
        round_number=row["round"],
        reason=row["reason"],
        draw=None if row["draw"] is None else tuple(row["draw"]),
        admitted_at=row["admitted_at"],
        updated_at=row["updated_at"],
        revealing_since=row["revealing_since"],
        transaction=None if row["tx"] is None else digest_from_hex(row["tx"]),
        settlement=None if row["settlement"] is None else _settlement_from_json(row["settlement"]),
        output=None if row["output"] is None else Cid(row["output"]),
        verdict=row["verdict"],
        leases=tuple(its_leases),
    )


def _settlement_to_json(settlement: Settlement) -> dict[str, Any]:
    def plain(value: object) -> object:
        return to_hex(value) if isinstance(value, bytes) else value

    document = dataclasses.asdict(settlement)
    return {name: plain(value) for name, value in document.items()}


def _settlement_from_json(document: Mapping[str, Any]) -> Settlement:
    tag = document["winning_tag"]
    return Settlement(
        **{
            **document,
            "job_id": digest_from_hex(document["job_id"]),
            "transaction": digest_from_hex(document["transaction"]),
            "winning_tag": None if tag is None else digest_from_hex(tag),
            "paid": tuple(Paid(**item) for item in document["paid"]),
            "slashed": tuple(Slashed(**item) for item in document["slashed"]),
        }
    )
