"""The scheduler's repository: guarded changes with their history, in one transaction each."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from assay_node.ports import (
    JobChange,
    JobEventRecord,
    JobRecord,
    LeaseRecord,
    NewEvent,
    OutgoingTransaction,
    Settlement,
    TransactionState,
)
from assay_node.protocol import codec, job_spec
from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.job_spec import JobSpec
from assay_node.protocol.lease import (
    JOB_ENDS,
    LEASE_RUNS,
    JobEvent,
    JobState,
)
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.offer import SignedOffer
from assay_node.protocol.order import SignedOrder
from assay_node.store.hardware_proofs import HardwareProofs
from assay_node.store.outgoing_transactions import OutgoingTransactions, end, unbind
from assay_node.store.scheduler_changes import (
    Stale,
    change_job,
    change_lease,
    end_job,
    insert_lease,
    is_job,
    settle_job,
    write_events,
)
from assay_node.store.scheduler_rows import job_record, lease_record
from assay_node.store.scheduler_schema import (
    assigns,
    commit_sets,
    events,
    jobs,
    leases,
    offers,
)
from assay_node.store.undisturbed import undisturbed

_ENDED = sorted(state.value for state in JOB_ENDS)
_RUNS = sorted(state.value for state in LEASE_RUNS)


class SchedulerJobs(HardwareProofs, OutgoingTransactions):
    """Implements `assay_node.ports.SchedulerStore` on SQLite or PostgreSQL."""

    @undisturbed
    async def admit(
        self, job: Digest, signed_order: SignedOrder, spec: JobSpec, *, now: float, event: NewEvent
    ) -> bool:
        """Store a new job durably; False when it is there already."""
        async with self._database.write() as connection:
            if (await connection.execute(select(jobs.c.job).where(is_job(job)))).first():
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
            await write_events(connection, job, (event,), now)
            return True

    @undisturbed
    async def job(self, job: Digest) -> JobRecord | None:
        """Return one job."""
        found = await self._load(select(jobs).where(is_job(job)))
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
                await change_job(connection, change, now)
                for lease_change in change.lease_changes:
                    await change_lease(connection, change, lease_change, now)
                for lease in change.new_leases:
                    await insert_lease(connection, change, lease, now)
                await write_events(connection, change.job, change.events, now)
        except Stale:
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
                await write_events(connection, job, (event,), now)
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
    async def newest_assign(self, job: Digest) -> SignedAssign | None:
        """Return the newest assignment of a job."""
        query = select(assigns.c.body).where(assigns.c.job == to_hex(job))
        async with self._database.read() as connection:
            newest = query.order_by(assigns.c.sequence.desc()).limit(1)
            body = (await connection.execute(newest)).scalar()
        return None if body is None else codec.decode(SignedAssign, body)

    @undisturbed
    async def add_assign(self, signed: SignedAssign, *, generation: int) -> bool:
        """Keep an assignment; False when its number is taken or its job is not as it was seen."""
        assign = signed.assign
        seen = select(jobs.c.job).where(is_job(assign.job), jobs.c.generation == generation)
        try:
            async with self._database.write() as connection:
                # locked until the row is there: a change at the same time comes before or after
                if not (await connection.execute(seen.with_for_update())).first():
                    return False
                await connection.execute(
                    insert(assigns).values(
                        job=to_hex(assign.job), sequence=assign.sequence, body=codec.encode(signed)
                    )
                )
        except IntegrityError:
            return False
        return True

    @undisturbed
    async def note(self, job: Digest, event: NewEvent, *, now: float) -> None:
        """Add a line to a job's history; the job stays as it is."""
        async with self._database.write() as connection:
            await write_events(connection, job, (event,), now)

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
            await connection.execute(update(jobs).where(is_job(job)).values(decision=document))

    @undisturbed
    async def decision(self, job: Digest) -> str | None:
        """Return the newest matching decision."""
        async with self._database.read() as connection:
            return (await connection.execute(select(jobs.c.decision).where(is_job(job)))).scalar()

    @undisturbed
    async def releases_due(self) -> Sequence[LeaseRecord]:
        """Return leases whose providers have yet to be told that they are free."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(leases).where(leases.c.release_due))
            return [lease_record(row) for row in rows.mappings()]

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
    async def finish_transaction(
        self,
        outgoing: OutgoingTransaction,
        state: TransactionState,
        *,
        settlements: Sequence[Settlement],
        failures: Mapping[Digest, str],
        now: float,
    ) -> None:
        """Apply a final transaction: settled jobs, failed jobs with reasons; the rest unbound."""
        async with self._database.write() as connection:
            if not await end(connection, outgoing, state):
                return
            for settlement in settlements:
                await settle_job(connection, settlement, now)
            for job, reason in failures.items():
                await end_job(connection, job, JobEvent.FAILED, {"reason": reason}, now)
                event = NewEvent(kind="failed", text=reason, data={})
                await write_events(connection, job, (event,), now)
            await unbind(connection, outgoing)

    @undisturbed
    async def settled_elsewhere(self, settlement: Settlement, *, now: float) -> None:
        """End a job by what the chain did without a transaction of this scheduler."""
        async with self._database.write() as connection:
            await settle_job(connection, settlement, now)

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
                by_job[lease_row["job"]].append(lease_record(lease_row))
        return [job_record(row, by_job[row["job"]]) for row in rows]
