"""A provider's durable leases: guarded changes, an event row with each, no word twice.

Every change of a lease names the state and generation it was decided on; a change decided on an
older row does nothing. States are words of `assay_provider.lease_machine`; what is open or closed
is told by `closed_at` alone, so this module needs no table of moves.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from assay_node.protocol import codec
from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.errors import LocalError, Refused
from assay_node.protocol.ids import Address, Cid, Digest
from assay_node.store.availability import available
from assay_node.store.database import Database
from assay_node.store.provider_runs import ProviderRuns
from assay_node.store.provider_schema import (
    assigns,
    counters,
    evidence,
    lease_events,
    leases,
    schedulers,
    signed_sets,
)
from assay_node.store.requester_usage import RequesterUsage
from assay_node.store.undisturbed import undisturbed

_OFFER_GENERATION: Final = "offer_generation"
DETAIL_CHARACTERS_MAX: Final = 500
"""Reasons come from peers and from job output too; a longer one is data, not a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLease:
    """One lease as this provider holds it. `state` is a word of the provider's lease machine.

    `expiry` is the order's; a seat on a panel has nobody for its scheduler, and lasts until the
    panel's time to reveal is over. `salt`, from which each round's follows, and `round_number` fix
    the commitment that is, or will be, sent.
    `keep_until` says how long a closed lease's output stays pinned.
    """

    job: Digest
    scheduler: Address
    signed_order: bytes
    ticket: int
    round_number: int
    rate_microusd: int
    slot: int | None
    state: str
    expiry: int
    accepted_at: float
    stage: str = ""
    generation: int = 0
    changed_at: float = 0.0
    output: Cid | None = None
    log: Cid | None = None
    verdict: str | None = None
    detail: str = ""
    seconds: int | None = None
    salt: Digest | None = None
    closed_at: float | None = None
    closed_reason: str | None = None
    hand_back_owed: bool = False
    keep_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLeaseEvent:
    """One line of a lease's history."""

    job: Digest
    at: float
    event: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSet:
    """The commit set that this provider signed its reveal over in a lease's present round."""

    lease: ProviderLease
    commit_set: bytes
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerContact:
    """When a scheduler last answered this provider's introduction."""

    multiaddr: str
    scheduler: Address
    heard_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvidence:
    """What shows that a scheduler contradicted itself; `body` is an `Evidence` of the protocol."""

    job: Digest
    scheduler: Address
    body: bytes
    at: float


class ProviderLeases:
    """The leases of one provider in one database. Only its daemon writes.

    Every call may raise `StoreUnavailable`. `runs` is the metering log beside them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs = ProviderRuns(database)
        self.usage = RequesterUsage(database)

    @undisturbed
    @available
    async def add(self, lease: ProviderLease, assign: SignedAssign | None, *, event: str) -> bool:
        """Store a new lease durably, with the assignment that it was taken with, if there was one.

        False, and no change, when the job is known already.
        """
        lease = dataclasses.replace(lease, changed_at=lease.accepted_at)
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(leases).values(**_to_row(lease)))
                await _record_event(connection, lease, event, "", lease.accepted_at)
                if assign is not None:
                    await connection.execute(insert(assigns).values(**_assign_row(assign)))
        except IntegrityError:
            return False
        return True

    @undisturbed
    @available
    async def get(self, job: Digest) -> ProviderLease | None:
        """Return the lease for a job, None when there never was one."""
        found = await self._select(select(leases).where(leases.c.job == job.hex()))
        return found[0] if found else None

    @undisturbed
    @available
    async def unfinished(self) -> tuple[ProviderLease, ...]:
        """Return every lease that is not closed, oldest first."""
        query = select(leases).where(leases.c.closed_at.is_(None))
        return await self._select(query.order_by(leases.c.accepted_at, leases.c.job))

    @undisturbed
    @available
    async def overdue(self, now: float) -> tuple[ProviderLease, ...]:
        """Return open leases whose order can no longer be settled, oldest first."""
        query = select(leases).where(leases.c.closed_at.is_(None), leases.c.expiry < now)
        return await self._select(query.order_by(leases.c.accepted_at, leases.c.job))

    @undisturbed
    @available
    async def owing_hand_back(self) -> tuple[ProviderLease, ...]:
        """Return closed leases whose scheduler has not yet acknowledged that we gave them up."""
        query = select(leases).where(leases.c.hand_back_owed.is_(True))
        return await self._select(query.order_by(leases.c.closed_at, leases.c.job))

    @undisturbed
    @available
    async def kept_before(self, now: float) -> tuple[ProviderLease, ...]:
        """Return closed leases whose output need not be kept any longer."""
        query = select(leases).where(leases.c.keep_until <= now)
        return await self._select(query.order_by(leases.c.keep_until, leases.c.job))

    @undisturbed
    @available
    async def newest(self, limit: int) -> tuple[ProviderLease, ...]:
        """Return the newest leases, open or closed, newest first."""
        query = select(leases).order_by(leases.c.accepted_at.desc(), leases.c.job)
        return await self._select(query.limit(limit))

    @undisturbed
    @available
    async def save(
        self,
        before: ProviderLease,
        after: ProviderLease,
        *,
        event: str,
        detail: str = "",
        now: float,
    ) -> ProviderLease | None:
        """Replace `before` by `after` if `before` is still current; return what is stored now.

        None, and no change, means that somebody else changed the lease first: load and decide anew.
        """
        async with self._database.write() as connection:
            return await _save(connection, before, after, event, detail, now)

    @undisturbed
    @available
    async def sign_set(
        self,
        before: ProviderLease,
        after: ProviderLease,
        *,
        commits: Digest,
        commit_set: bytes,
        event: str,
        now: float,
    ) -> ProviderLease | None:
        """Keep the commit set that is about to be signed, and save the lease with it.

        The same set again returns `before` unchanged. None as in `save`.

        Raises:
            Refused: this round's reveal already binds another set.
        """
        async with self._database.write() as connection:
            signed = await _signed_set(connection, before)
            if signed is not None and signed != commits:
                raise Refused(
                    f"round {before.round_number} of this job was already revealed to another "
                    "commit set; a provider signs one set a round"
                )
            if signed is not None:
                return before
            saved = await _save(connection, before, after, event, "", now)
            if saved is not None:
                await connection.execute(
                    insert(signed_sets).values(
                        job=before.job.hex(),
                        round_number=before.round_number,
                        commits=bytes(commits),
                        commit_set=commit_set,
                        at=now,
                    )
                )
            return saved

    @undisturbed
    @available
    async def signed_set(self, job: Digest) -> bytes | None:
        """Return the commit set of the latest round in which this provider signed one."""
        query = select(signed_sets.c.commit_set).where(signed_sets.c.job == job.hex())
        async with self._database.read() as connection:
            newest = query.order_by(signed_sets.c.round_number.desc()).limit(1)
            found = (await connection.execute(newest)).scalar_one_or_none()
        return None if found is None else bytes(found)

    @undisturbed
    @available
    async def keep_assign(self, assign: SignedAssign) -> bool:
        """Keep another assignment of a known lease's job; False when its number is held already."""
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(assigns).values(**_assign_row(assign)))
        except IntegrityError:
            return False
        return True

    @undisturbed
    @available
    async def assigns(self, job: Digest) -> tuple[SignedAssign, ...]:
        """Return the assignments that a job's lease was taken with, in order."""
        query = select(assigns.c.body).where(assigns.c.job == job.hex())
        async with self._database.read() as connection:
            found = await connection.execute(query.order_by(assigns.c.sequence))
        return tuple(codec.decode(SignedAssign, bytes(body)) for body in found.scalars())

    @undisturbed
    @available
    async def keep_evidence(
        self, job: Digest, scheduler: Address, body: bytes, *, now: float
    ) -> bool:
        """Keep what shows that a scheduler contradicted itself; False when a job has some."""
        row = {"job": job.hex(), "scheduler": scheduler, "body": body, "at": now}
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(evidence).values(**row))
        except IntegrityError:
            return False
        return True

    @undisturbed
    @available
    async def evidence(self) -> tuple[KeptEvidence, ...]:
        """Return all that shows that schedulers contradicted themselves, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(evidence).order_by(evidence.c.at, evidence.c.job)
            )
        return tuple(
            KeptEvidence(
                job=Digest(bytes.fromhex(row.job)),
                scheduler=Address(row.scheduler),
                body=bytes(row.body),
                at=row.at,
            )
            for row in rows
        )

    @undisturbed
    @available
    async def signed_sets(self, *, expiring_after: float) -> tuple[SignedSet, ...]:
        """Return the sets signed for leases, open or closed, in the round that they are in."""
        query = (
            select(leases, signed_sets.c.commit_set, signed_sets.c.at)
            .join(signed_sets, signed_sets.c.job == leases.c.job)
            .where(
                signed_sets.c.round_number == leases.c.round_number,
                signed_sets.c.commit_set.is_not(None),
                leases.c.expiry >= expiring_after,
            )
            .order_by(leases.c.expiry, leases.c.job)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(
            SignedSet(
                lease=_from_values({column.name: mapping[column] for column in leases.c}),
                commit_set=bytes(mapping[signed_sets.c.commit_set]),
                at=mapping[signed_sets.c.at],
            )
            for mapping in (row._mapping for row in rows)  # noqa: SLF001 - its public way, again
        )

    @undisturbed
    @available
    async def answerable(self, *, expiring_after: float) -> tuple[ProviderLease, ...]:
        """Return leases whose run gave, or may yet give, an output that can be committed."""
        query = select(leases).where(
            leases.c.salt.is_not(None) | leases.c.closed_at.is_(None),
            leases.c.expiry >= expiring_after,
        )
        return await self._select(query.order_by(leases.c.expiry, leases.c.job))

    @undisturbed
    @available
    async def events(self, job: Digest) -> tuple[ProviderLeaseEvent, ...]:
        """Return a lease's history, oldest first."""
        query = select(lease_events).where(lease_events.c.job == job.hex())
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(lease_events.c.id))).all()
        return tuple(
            ProviderLeaseEvent(
                job=job, at=row.at, event=row.event, state=row.state, detail=row.detail
            )
            for row in rows
        )

    @undisturbed
    @available
    async def metered_microusd(self, closed_reason: str, *, closed_after: float = 0.0) -> int:
        """Return the sum of rate x seconds over leases that closed with this reason since then."""
        query = select(leases.c.rate_microusd, func.sum(leases.c.seconds))
        query = query.where(
            leases.c.closed_reason == closed_reason,
            leases.c.seconds.is_not(None),
            leases.c.closed_at >= closed_after,
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.group_by(leases.c.rate_microusd))).all()
        return sum(int(rate) * int(seconds) for rate, seconds in rows)

    @undisturbed
    @available
    async def forget_closed_before(self, moment: float) -> int:
        """Delete leases closed before `moment` that keep nothing; return how many."""
        old = (
            leases.c.closed_at < moment,
            leases.c.keep_until.is_(None),
            leases.c.hand_back_owed.is_(False),
        )
        async with self._database.write() as connection:
            return (await connection.execute(delete(leases).where(*old))).rowcount

    @undisturbed
    @available
    async def next_offer_generation(self) -> int:
        """Return a number that is larger at every call, across restarts."""
        mine = counters.c.name == _OFFER_GENERATION
        async with self._database.write() as connection:
            raised = update(counters).where(mine).values(value=counters.c.value + 1)
            if (await connection.execute(raised)).rowcount == 0:
                await connection.execute(insert(counters).values(name=_OFFER_GENERATION, value=1))
            return int(
                (await connection.execute(select(counters.c.value).where(mine))).scalar_one()
            )

    @undisturbed
    @available
    async def heard(self, contact: SchedulerContact) -> None:
        """Note that a scheduler welcomed this provider."""
        values = {"scheduler": contact.scheduler, "heard_at": contact.heard_at}
        known = update(schedulers).where(schedulers.c.multiaddr == contact.multiaddr)
        async with self._database.write() as connection:
            if (await connection.execute(known.values(**values))).rowcount == 0:
                row = {"multiaddr": contact.multiaddr, **values}
                await connection.execute(insert(schedulers).values(**row))

    @undisturbed
    @available
    async def contacts(self) -> tuple[SchedulerContact, ...]:
        """Return every scheduler ever heard from, the latest first."""
        query = select(schedulers).order_by(schedulers.c.heard_at.desc(), schedulers.c.multiaddr)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(
            SchedulerContact(
                multiaddr=row.multiaddr, scheduler=Address(row.scheduler), heard_at=row.heard_at
            )
            for row in rows
        )

    async def _select(self, query: Select[Any]) -> tuple[ProviderLease, ...]:
        async with self._database.read() as connection:
            return tuple(_from_row(row) for row in (await connection.execute(query)).all())


async def _save(
    connection: AsyncConnection,
    before: ProviderLease,
    after: ProviderLease,
    event: str,
    detail: str,
    now: float,
) -> ProviderLease | None:
    if before.job != after.job:
        raise LocalError("a lease keeps its job")
    saved = dataclasses.replace(
        after,
        generation=before.generation + 1,
        changed_at=now,
        detail=after.detail[:DETAIL_CHARACTERS_MAX],
        closed_reason=after.closed_reason and after.closed_reason[:DETAIL_CHARACTERS_MAX],
    )
    guarded = update(leases).where(
        leases.c.job == before.job.hex(),
        leases.c.state == before.state,
        leases.c.generation == before.generation,
    )
    if (await connection.execute(guarded.values(**_to_row(saved)))).rowcount == 0:
        return None
    await _record_event(connection, saved, event, detail, now)
    return saved


async def _record_event(
    connection: AsyncConnection, lease: ProviderLease, event: str, detail: str, now: float
) -> None:
    row = {
        "job": lease.job.hex(),
        "at": now,
        "event": event,
        "state": lease.state,
        "detail": detail[:DETAIL_CHARACTERS_MAX],
    }
    await connection.execute(insert(lease_events).values(**row))


async def _signed_set(connection: AsyncConnection, lease: ProviderLease) -> bytes | None:
    query = select(signed_sets.c.commits).where(
        signed_sets.c.job == lease.job.hex(), signed_sets.c.round_number == lease.round_number
    )
    found = (await connection.execute(query)).scalar_one_or_none()
    return None if found is None else bytes(found)


def _assign_row(signed: SignedAssign) -> Mapping[str, object]:
    assign = signed.assign
    return {"job": assign.job.hex(), "sequence": assign.sequence, "body": codec.encode(signed)}


def _to_row(lease: ProviderLease) -> Mapping[str, object]:
    return {**dataclasses.asdict(lease), "job": lease.job.hex()}


def _from_row(row: Row[Any]) -> ProviderLease:
    return _from_values(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's public way to a mapping


def _from_values(values: dict[str, Any]) -> ProviderLease:
    values["job"] = Digest(bytes.fromhex(values["job"]))
    for name in ("signed_order", "salt"):
        values[name] = values[name] if values[name] is None else bytes(values[name])
    return ProviderLease(**values)
