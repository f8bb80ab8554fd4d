"""A provider's database as dictionaries. Same contract as the real one: test_provider_store.py."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.errors import LocalError, Refused
from assay_node.protocol.ids import Address, Digest
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import (
    DETAIL_CHARACTERS_MAX,
    KeptEvidence,
    ProviderLease,
    ProviderLeaseEvent,
    SchedulerContact,
    SignedSet,
)
from assay_node.store.provider_runs import LoggedRun, Metered
from assay_node.store.requester_usage import Usage
from assay_node.store.undisturbed import undisturbed


@dataclass(slots=True)
class Tables:
    """What outlives a daemon. While `full` is set nothing can be written."""

    leases: dict[Digest, ProviderLease] = field(default_factory=dict)
    events: list[ProviderLeaseEvent] = field(default_factory=list)
    signed_sets: dict[tuple[Digest, int], tuple[Digest, bytes, float]] = field(default_factory=dict)
    assigns: dict[tuple[Digest, int], SignedAssign] = field(default_factory=dict)
    evidence: dict[Digest, KeptEvidence] = field(default_factory=dict)
    contacts: dict[str, SchedulerContact] = field(default_factory=dict)
    runs: dict[tuple[Digest, int], LoggedRun] = field(default_factory=dict)
    usage: dict[Digest, tuple[Address, float, Usage]] = field(default_factory=dict)
    generation: int = 0
    full: bool = False


class MemoryLeases:
    """`ProviderLeases` over `Tables`. Every call gives others their turn first, as a disk does."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.runs = MemoryRuns(tables)
        self.usage = MemoryUsage(tables)

    @undisturbed
    async def add(self, lease: ProviderLease, assign: SignedAssign | None, *, event: str) -> bool:
        await _turn(self._tables)
        if lease.job in self._tables.leases:
            return False
        lease = dataclasses.replace(lease, changed_at=lease.accepted_at)
        self._tables.leases[lease.job] = lease
        self._note(lease, event, "", lease.accepted_at)
        if assign is not None:
            self._tables.assigns[lease.job, assign.assign.sequence] = assign
        return True

    async def get(self, job: Digest) -> ProviderLease | None:
        await asyncio.sleep(0)
        return self._tables.leases.get(job)

    async def unfinished(self) -> tuple[ProviderLease, ...]:
        await asyncio.sleep(0)
        return self._oldest(one for one in self._all() if one.closed_at is None)

    async def overdue(self, now: float) -> tuple[ProviderLease, ...]:
        return tuple(one for one in await self.unfinished() if one.expiry < now)

    async def owing_hand_back(self) -> tuple[ProviderLease, ...]:
        await asyncio.sleep(0)
        owing = [one for one in self._all() if one.hand_back_owed]
        return tuple(sorted(owing, key=lambda one: (one.closed_at, one.job)))

    async def kept_before(self, now: float) -> tuple[ProviderLease, ...]:
        await asyncio.sleep(0)
        kept = [one for one in self._all() if one.keep_until is not None and one.keep_until <= now]
        return tuple(sorted(kept, key=lambda one: (one.keep_until, one.job)))

    async def newest(self, limit: int) -> tuple[ProviderLease, ...]:
        await asyncio.sleep(0)
        return tuple(sorted(self._all(), key=lambda one: (-one.accepted_at, one.job))[:limit])

    @undisturbed
    async def save(
        self,
        before: ProviderLease,
        after: ProviderLease,
        *,
        event: str,
        detail: str = "",
        now: float,
    ) -> ProviderLease | None:
        await _turn(self._tables)
        return self._save(before, after, event, detail, now)

    @undisturbed
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
        await _turn(self._tables)
        signed = self._tables.signed_sets.get((before.job, before.round_number))
        if signed is not None and signed[0] != commits:
            raise Refused(f"a provider signs one set a round, and {before.round_number} has one")
        if signed is not None:
            return before
        saved = self._save(before, after, event, "", now)
        if saved is not None:
            place = (before.job, before.round_number)
            self._tables.signed_sets[place] = (commits, commit_set, now)
        return saved

    async def signed_set(self, job: Digest) -> bytes | None:
        await asyncio.sleep(0)
        rounds = sorted(place for place in self._tables.signed_sets if place[0] == job)
        return self._tables.signed_sets[rounds[-1]][1] if rounds else None

    @undisturbed
    async def keep_assign(self, assign: SignedAssign) -> bool:
        await _turn(self._tables)
        place = (assign.assign.job, assign.assign.sequence)
        return self._tables.assigns.setdefault(place, assign) is assign

    async def assigns(self, job: Digest) -> tuple[SignedAssign, ...]:
        await asyncio.sleep(0)
        return tuple(self._tables.assigns[p] for p in sorted(self._tables.assigns) if p[0] == job)

    @undisturbed
    async def keep_evidence(
        self, job: Digest, scheduler: Address, body: bytes, *, now: float
    ) -> bool:
        await _turn(self._tables)
        kept = KeptEvidence(job=job, scheduler=scheduler, body=body, at=now)
        return self._tables.evidence.setdefault(job, kept) is kept

    async def evidence(self) -> tuple[KeptEvidence, ...]:
        await asyncio.sleep(0)
        return tuple(sorted(self._tables.evidence.values(), key=lambda one: (one.at, one.job)))

    async def signed_sets(self, *, expiring_after: float) -> tuple[SignedSet, ...]:
        await asyncio.sleep(0)
        found = []
        for lease in sorted(self._all(), key=lambda one: (one.expiry, one.job)):
            signed = self._tables.signed_sets.get((lease.job, lease.round_number))
            if signed is not None and lease.expiry >= expiring_after:
                found.append(SignedSet(lease=lease, commit_set=signed[1], at=signed[2]))
        return tuple(found)

    async def answerable(self, *, expiring_after: float) -> tuple[ProviderLease, ...]:
        await asyncio.sleep(0)
        found = [
            one
            for one in self._all()
            if (one.salt is not None or one.closed_at is None) and one.expiry >= expiring_after
        ]
        return tuple(sorted(found, key=lambda one: (one.expiry, one.job)))

    async def events(self, job: Digest) -> tuple[ProviderLeaseEvent, ...]:
        await asyncio.sleep(0)
        return tuple(event for event in self._tables.events if event.job == job)

    async def metered_microusd(self, closed_reason: str) -> int:
        await asyncio.sleep(0)
        closed = [one for one in self._all() if one.closed_reason == closed_reason]
        return sum(one.rate_microusd * (one.seconds or 0) for one in closed)

    @undisturbed
    async def forget_closed_before(self, moment: float) -> int:
        await _turn(self._tables)
        tables = self._tables
        old = [
            one.job
            for one in self._all()
            if one.closed_at is not None
            and one.closed_at < moment
            and one.keep_until is None
            and not one.hand_back_owed
        ]
        for job in old:
            del tables.leases[job]
            tables.events[:] = [event for event in tables.events if event.job != job]
            for table in (tables.signed_sets, tables.assigns, tables.runs):
                for place in [place for place in table if place[0] == job]:
                    del table[place]  # type: ignore[attr-defined]
        return len(old)

    @undisturbed
    async def next_offer_generation(self) -> int:
        await _turn(self._tables)
        self._tables.generation += 1
        return self._tables.generation

    @undisturbed
    async def heard(self, contact: SchedulerContact) -> None:
        await _turn(self._tables)
        self._tables.contacts[contact.multiaddr] = contact

    async def contacts(self) -> tuple[SchedulerContact, ...]:
        await asyncio.sleep(0)
        contacts = self._tables.contacts.values()
        return tuple(sorted(contacts, key=lambda one: (-one.heard_at, one.multiaddr)))

    def _save(
        self, before: ProviderLease, after: ProviderLease, event: str, detail: str, now: float
    ) -> ProviderLease | None:
        if before.job != after.job:
            raise LocalError("a lease keeps its job")
        current = self._tables.leases[before.job]
        if (current.state, current.generation) != (before.state, before.generation):
            return None
        saved = dataclasses.replace(
            after,
            generation=before.generation + 1,
            changed_at=now,
            detail=after.detail[:DETAIL_CHARACTERS_MAX],
            closed_reason=after.closed_reason and after.closed_reason[:DETAIL_CHARACTERS_MAX],
        )
        self._tables.leases[before.job] = saved
        self._note(saved, event, detail, now)
        return saved

    def _note(self, lease: ProviderLease, event: str, detail: str, now: float) -> None:
        cut = detail[:DETAIL_CHARACTERS_MAX]
        self._tables.events.append(
            ProviderLeaseEvent(job=lease.job, at=now, event=event, state=lease.state, detail=cut)
        )

    def _all(self) -> Iterable[ProviderLease]:
        return self._tables.leases.values()

    @staticmethod
    def _oldest(found: Iterable[ProviderLease]) -> tuple[ProviderLease, ...]:
        return tuple(sorted(found, key=lambda one: (one.accepted_at, one.job)))


class MemoryRuns:
    """`ProviderRuns` over `Tables`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @undisturbed
    async def begin(
        self,
        job: Digest,
        *,
        round_number: int,
        slot: int,
        tier: str,
        seconds_max: int,
        now: float,
    ) -> int:
        await _turn(self._tables)
        attempt = 1 + max((n for other, n in self._tables.runs if other == job), default=0)
        self._tables.runs[job, attempt] = LoggedRun(
            job=job,
            attempt=attempt,
            round_number=round_number,
            slot=slot,
            tier=tier,
            seconds_max=seconds_max,
            began_at=now,
        )
        return attempt

    @undisturbed
    async def end(self, job: Digest, attempt: int, metered: Metered, *, now: float) -> bool:
        await _turn(self._tables)
        run = self._tables.runs[job, attempt]
        if run.ended_at is not None:
            return False
        ended = dataclasses.replace(run, ended_at=now, metered=metered)
        self._tables.runs[job, attempt] = ended
        return True

    async def of_job(self, job: Digest) -> tuple[LoggedRun, ...]:
        await asyncio.sleep(0)
        return tuple(self._tables.runs[p] for p in sorted(self._tables.runs) if p[0] == job)

    async def newest(self, limit: int) -> tuple[LoggedRun, ...]:
        await asyncio.sleep(0)
        runs = self._tables.runs.values()
        newest = sorted(runs, key=lambda one: (-one.began_at, one.job, -one.attempt))
        return tuple(newest[:limit])


class MemoryUsage:
    """`RequesterUsage` over `Tables`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @undisturbed
    async def reserve(self, job: Digest, requester: Address, *, seconds: int, now: float) -> bool:
        await _turn(self._tables)
        entry = (requester, now, Usage(jobs=1, seconds=seconds))
        return self._tables.usage.setdefault(job, entry) is entry

    @undisturbed
    async def ran(self, job: Digest, *, seconds: int) -> None:
        await _turn(self._tables)
        self._change(job, lambda used: dataclasses.replace(used, seconds=seconds))

    @undisturbed
    async def moved(self, job: Digest, *, bytes_moved: int) -> None:
        await _turn(self._tables)
        self._change(
            job, lambda used: dataclasses.replace(used, bytes_moved=used.bytes_moved + bytes_moved)
        )

    async def of(self, requester: Address, *, since: float) -> Usage:
        return (await self.by_requester(since=since)).get(requester, Usage())

    async def by_requester(self, *, since: float) -> dict[Address, Usage]:
        await asyncio.sleep(0)
        sums: dict[Address, Usage] = {}
        for requester, at, used in self._tables.usage.values():
            if at >= since:
                before = sums.get(requester, Usage())
                sums[requester] = Usage(
                    jobs=before.jobs + 1,
                    seconds=before.seconds + used.seconds,
                    bytes_moved=before.bytes_moved + used.bytes_moved,
                )
        return sums

    @undisturbed
    async def forget_before(self, moment: float) -> int:
        await _turn(self._tables)
        old = [job for job, (_, at, _) in self._tables.usage.items() if at < moment]
        for job in old:
            del self._tables.usage[job]
        return len(old)

    def _change(self, job: Digest, change: Callable[[Usage], Usage]) -> None:
        if job in self._tables.usage:
            requester, at, used = self._tables.usage[job]
            self._tables.usage[job] = (requester, at, change(used))


async def _turn(tables: Tables) -> None:
    await asyncio.sleep(0)
    if tables.full:
        raise StoreUnavailable("the database cannot be used: its disk is full")
