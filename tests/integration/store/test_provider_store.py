"""One contract for the provider's store, on SQLite and on PostgreSQL."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import Address, Digest
from assay_node.store.database import Database, open_database
from assay_node.store.provider_leases import (
    KeptEvidence,
    ProviderLease,
    ProviderLeases,
    SchedulerContact,
)
from assay_node.store.provider_runs import LoggedRun, Metered
from assay_node.store.provider_schema import metadata
from tests.builders.messages import a_signed_assign
from tests.fakes.provider_leases import MemoryLeases, Tables

OpenLeases = Callable[[], AbstractAsyncContextManager[ProviderLeases]]
SCHEDULER = Address("0x" + "22" * 20)
JOB = Digest(b"\x01" * 32)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/provider.sqlite"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url, role="provider") as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def open_leases(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLeases:
    """Opens the same store again and again."""
    if request.param == "memory":
        tables = Tables()

        @asynccontextmanager
        async def open_memory() -> AsyncIterator[ProviderLeases]:
            yield MemoryLeases(tables)  # type: ignore[misc]

        return open_memory
    address = f"sqlite:///{tmp_path}/provider.sqlite"
    if request.param == "postgresql":
        address = str(request.getfixturevalue("postgres_url"))

    @asynccontextmanager
    async def open_real() -> AsyncIterator[ProviderLeases]:
        async with open_database(address, role="provider") as opened:
            yield ProviderLeases(opened)

    return open_real


@pytest.fixture
async def leases(open_leases: OpenLeases) -> AsyncIterator[ProviderLeases]:
    async with open_leases() as opened:
        yield opened


def a_lease(job: Digest = JOB, **changes: object) -> ProviderLease:
    lease = ProviderLease(
        job=job,
        scheduler=SCHEDULER,
        signed_order=b"order",
        ticket=2,
        round_number=0,
        rate_microusd=500,
        slot=0,
        state="accepted",
        expiry=5_000,
        accepted_at=1_000.5,
    )
    return dataclasses.replace(lease, **changes)  # type: ignore[arg-type]


async def stored(leases: ProviderLeases, lease: ProviderLease) -> ProviderLease:
    assert await leases.add(lease, a_signed_assign(lease.job), event="accept")
    found = await leases.get(lease.job)
    assert found is not None
    return found


async def test_migration_makes_exactly_the_tables_of_the_schema_module(database: Database) -> None:
    async with database.read() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"compare_type": True}), metadata
            )
        )
    assert differences == []


async def test_a_lease_comes_back_as_it_was_stored_with_its_event(leases: ProviderLeases) -> None:
    lease = await stored(leases, a_lease())
    assert lease == a_lease(changed_at=1_000.5)
    (event,) = await leases.events(JOB)
    assert (event.event, event.state, event.at) == ("accept", "accepted", 1_000.5)


async def test_a_job_is_added_once(leases: ProviderLeases) -> None:
    await stored(leases, a_lease())
    assert not await leases.add(a_lease(rate_microusd=9), a_signed_assign(JOB), event="accept")
    assert (await leases.get(JOB)) == a_lease(changed_at=1_000.5)
    assert len(await leases.events(JOB)) == 1


async def test_every_field_survives_a_change(leases: ProviderLeases) -> None:
    before = await stored(leases, a_lease())
    after = dataclasses.replace(
        before,
        state="closed",
        stage="storing",
        slot=None,
        output="bafyoutput",
        log="bafylog",
        verdict="ok",
        detail="fine",
        seconds=4_000_000_000,
        salt=Digest(b"\x07" * 32),
        closed_at=2_000.25,
        closed_reason="settled",
        hand_back_owed=True,
        keep_until=9_000.0,
    )
    saved = await leases.save(before, after, event="close", detail="settled", now=2_000.25)
    assert saved == dataclasses.replace(after, generation=1, changed_at=2_000.25)
    assert await leases.get(JOB) == saved
    assert [e.event for e in await leases.events(JOB)] == ["accept", "close"]


async def test_a_change_decided_on_an_older_row_does_nothing(leases: ProviderLeases) -> None:
    before = await stored(leases, a_lease())
    running = dataclasses.replace(before, state="running")
    assert await leases.save(before, running, event="start", now=2.0) is not None
    assert await leases.save(before, running, event="start", now=3.0) is None
    same_state = dataclasses.replace(before, state="running", generation=0)
    assert await leases.save(same_state, running, event="start", now=3.0) is None
    assert len(await leases.events(JOB)) == 2


async def test_of_two_writers_at_once_one_wins(leases: ProviderLeases) -> None:
    before = await stored(leases, a_lease())
    tries = [
        leases.save(before, dataclasses.replace(before, stage=str(n)), event="stage", now=2.0)
        for n in range(8)
    ]
    results = await asyncio.gather(*tries)
    assert sum(result is not None for result in results) == 1
    assert len(await leases.events(JOB)) == 2


async def test_a_round_signs_one_commit_set_for_ever(
    leases: ProviderLeases, open_leases: OpenLeases
) -> None:
    before = await stored(leases, a_lease(state="committed"))
    after = dataclasses.replace(before, state="revealed")
    one, other = Digest(b"\x01" * 32), Digest(b"\x02" * 32)
    revealed = await leases.sign_set(
        before, after, commits=one, commit_set=b"one", event="reveal", now=2.0
    )
    assert revealed is not None
    assert revealed.state == "revealed"
    async with open_leases() as again:
        same = again.sign_set(
            revealed, revealed, commits=one, commit_set=b"one", event="x", now=3.0
        )
        assert await same == revealed
        assert await again.signed_set(JOB) == b"one"
        with pytest.raises(Refused, match="one set a round"):
            await again.sign_set(
                revealed, revealed, commits=other, commit_set=b"other", event="reveal", now=3.0
            )
    later = dataclasses.replace(revealed, round_number=1, state="executed")
    moved = await leases.save(revealed, later, event="next_round", now=4.0)
    assert moved is not None
    signed = leases.sign_set(
        moved, after, commits=other, commit_set=b"other", event="reveal", now=5.0
    )
    assert await signed is not None
    assert await leases.signed_set(JOB) == b"other"
    assert await leases.signed_set(Digest(b"\x09" * 32)) is None


async def test_concurrent_sets_of_one_round_never_both_pass(leases: ProviderLeases) -> None:
    before = await stored(leases, a_lease(state="committed"))
    after = dataclasses.replace(before, state="revealed")
    results = await asyncio.gather(
        *(
            leases.sign_set(
                before, after, commits=Digest(bytes([n]) * 32), commit_set=b"", event="r", now=2.0
            )
            for n in range(6)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(result, ProviderLease) for result in results) == 1


async def test_the_assignments_of_a_lease_are_kept_while_it_is(
    leases: ProviderLeases, open_leases: OpenLeases
) -> None:
    first, third = (a_signed_assign(JOB, sequence=n) for n in (0, 2))
    assert await leases.assigns(JOB) == ()
    await stored(leases, a_lease(state="closed", closed_at=5.0))
    assert await leases.keep_assign(third)
    assert not await leases.keep_assign(a_signed_assign(JOB, sequence=2, round_number=1))
    async with open_leases() as again:
        assert await again.assigns(JOB) == (first, third)
    assert await leases.forget_closed_before(10.0) == 1
    assert await leases.assigns(JOB) == ()


async def test_evidence_outlives_its_lease_and_one_pair_a_job_is_enough(
    leases: ProviderLeases,
) -> None:
    await stored(leases, a_lease(state="closed", closed_at=5.0))
    other = Digest(b"\x02" * 32)
    assert await leases.keep_evidence(JOB, SCHEDULER, b"pair", now=6.0)
    assert not await leases.keep_evidence(JOB, SCHEDULER, b"another", now=7.0)
    assert await leases.keep_evidence(other, SCHEDULER, b"elsewhere", now=5.0)
    assert await leases.forget_closed_before(10.0) == 1
    assert await leases.evidence() == (
        KeptEvidence(job=other, scheduler=SCHEDULER, body=b"elsewhere", at=5.0),
        KeptEvidence(job=JOB, scheduler=SCHEDULER, body=b"pair", at=6.0),
    )


async def test_lists_are_what_they_say(leases: ProviderLeases) -> None:
    jobs = [Digest(bytes([n]) * 32) for n in range(5)]
    await stored(leases, a_lease(jobs[0], accepted_at=3.0))
    await stored(leases, a_lease(jobs[1], accepted_at=1.0, expiry=10))
    closed = {"state": "closed", "closed_at": 5.0, "closed_reason": "settled", "seconds": 3}
    await stored(leases, a_lease(jobs[2], **closed, hand_back_owed=True))
    await stored(leases, a_lease(jobs[3], **closed, keep_until=20.0))
    await stored(leases, a_lease(jobs[4], **closed))
    assert [lease.job for lease in await leases.unfinished()] == [jobs[1], jobs[0]]
    assert [lease.job for lease in await leases.overdue(10.5)] == [jobs[1]]
    assert [lease.job for lease in await leases.owing_hand_back()] == [jobs[2]]
    assert await leases.kept_before(19.0) == ()
    assert [lease.job for lease in await leases.kept_before(20.0)] == [jobs[3]]
    assert await leases.metered_microusd("settled") == 3 * 3 * 500
    assert len(await leases.newest(2)) == 2


async def test_only_leases_that_owe_nothing_are_forgotten(leases: ProviderLeases) -> None:
    jobs = [Digest(bytes([n]) * 32) for n in range(4)]
    closed = {"state": "closed", "closed_at": 5.0, "closed_reason": "x"}
    await stored(leases, a_lease(jobs[0]))
    await stored(leases, a_lease(jobs[1], **closed))
    await stored(leases, a_lease(jobs[2], **closed, keep_until=20.0))
    await stored(leases, a_lease(jobs[3], **closed, hand_back_owed=True))
    assert await leases.forget_closed_before(6.0) == 1
    assert await leases.get(jobs[1]) is None
    assert await leases.events(jobs[1]) == ()


async def test_offer_generations_rise_across_restarts(
    leases: ProviderLeases, open_leases: OpenLeases
) -> None:
    assert [await leases.next_offer_generation() for _ in range(3)] == [1, 2, 3]
    async with open_leases() as again:
        assert await again.next_offer_generation() == 4


async def test_the_latest_contact_of_each_scheduler_is_kept(leases: ProviderLeases) -> None:
    for heard_at in (1.0, 2.0):
        await leases.heard(SchedulerContact(multiaddr="/a", scheduler=SCHEDULER, heard_at=heard_at))
    await leases.heard(SchedulerContact(multiaddr="/b", scheduler=SCHEDULER, heard_at=3.0))
    contacts = await leases.contacts()
    assert [(c.multiaddr, c.heard_at) for c in contacts] == [("/b", 3.0), ("/a", 2.0)]


async def test_long_reasons_are_cut(leases: ProviderLeases) -> None:
    before = await stored(leases, a_lease())
    after = dataclasses.replace(before, detail="d" * 9999, closed_reason="r" * 9999)
    saved = await leases.save(before, after, event="close", detail="x" * 9999, now=2.0)
    assert saved is not None
    assert len(saved.detail) == len(saved.closed_reason or "") == 500
    assert len((await leases.events(JOB))[-1].detail) == 500


async def test_a_cancelled_caller_waits_for_its_transaction(leases: ProviderLeases) -> None:
    """Cut in two, it would leave a connection whose close hangs the loop at its end."""
    before = await stored(leases, a_lease())
    for _ in range(20):
        generation = before.generation
        after = dataclasses.replace(before, stage="x")
        saving = asyncio.create_task(leases.save(before, after, event="stage", now=2.0))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        found = await leases.get(JOB)
        assert found is not None
        assert found.generation == generation + 1
        before = found


async def test_signed_sets_are_those_of_the_leases_present_rounds(leases: ProviderLeases) -> None:
    lease = await stored(leases, a_lease(state="executed", salt=b"\x01" * 32))
    other = await stored(leases, a_lease(Digest(b"\x02" * 32), expiry=100))
    for one, name in ((lease, b"first"), (other, b"expired")):
        after = dataclasses.replace(one, state="revealed")
        assert await leases.sign_set(
            one, after, commits=JOB, commit_set=name, event="reveal", now=1_200.0
        )
    (found,) = await leases.signed_sets(expiring_after=101)
    assert (found.lease.job, found.commit_set, found.at) == (JOB, b"first", 1_200.0)
    assert len(await leases.signed_sets(expiring_after=100)) == 2
    current = await leases.get(JOB)
    assert current is not None
    assert found.lease == current
    later = dataclasses.replace(current, round_number=1, state="executed")
    assert await leases.save(current, later, event="next_round", now=1_300.0)
    assert await leases.signed_sets(expiring_after=101) == ()


async def test_answerable_are_leases_with_an_output_and_those_that_may_get_one(
    leases: ProviderLeases,
) -> None:
    with_output = await stored(leases, a_lease(salt=b"\x01" * 32, closed_at=1_100.0))
    running = await stored(leases, a_lease(Digest(b"\x02" * 32), state="running"))
    await stored(leases, a_lease(Digest(b"\x03" * 32), state="closed", closed_at=1_100.0))
    await stored(leases, a_lease(Digest(b"\x04" * 32), expiry=100))
    found = await leases.answerable(expiring_after=101)
    assert [lease.job for lease in found] == [with_output.job, running.job]


METERED = Metered(
    meter="cgroup v1",
    started_ns=1_000_000_000_007,
    exited_ns=1_001_500_000_009,
    cpu_ns=900_000_000,
    memory_peak_bytes=1 << 40,
    memory_anonymous_bytes=1 << 20,
    oom_kills=0,
    pids_refused=3,
    verdict="ok",
    billable_seconds=2,
)


async def begun(leases: ProviderLeases, job: Digest = JOB, now: float = 5.0) -> int:
    return await leases.runs.begin(job, round_number=1, slot=3, tier="t1", seconds_max=60, now=now)


async def test_each_run_is_logged_before_it_starts_and_ended_once(
    leases: ProviderLeases, open_leases: OpenLeases
) -> None:
    await stored(leases, a_lease())
    assert await begun(leases) == 1
    cut_short = LoggedRun(
        job=JOB, attempt=1, round_number=1, slot=3, tier="t1", seconds_max=60, began_at=5.0
    )
    assert await leases.runs.of_job(JOB) == (cut_short,)
    assert await begun(leases, now=7.0) == 2
    assert await leases.runs.end(JOB, 2, METERED, now=9.5)
    forged = dataclasses.replace(METERED, billable_seconds=9)
    assert not await leases.runs.end(JOB, 2, forged, now=9.9)
    ended = dataclasses.replace(cut_short, attempt=2, began_at=7.0, ended_at=9.5, metered=METERED)
    async with open_leases() as again:
        assert await again.runs.of_job(JOB) == (cut_short, ended)
        assert await again.runs.newest(1) == (ended,)


async def test_runs_are_forgotten_with_their_lease(leases: ProviderLeases) -> None:
    other = Digest(b"\x02" * 32)
    await stored(leases, a_lease(state="closed", closed_at=5.0))
    await stored(leases, a_lease(other))
    assert (await begun(leases), await begun(leases, other)) == (1, 1)
    assert await leases.forget_closed_before(10.0) == 1
    assert await leases.runs.of_job(JOB) == ()
    assert len(await leases.runs.newest(9)) == 1
