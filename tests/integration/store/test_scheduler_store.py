"""The scheduler's repository, on SQLite and on a real PostgreSQL: the same tests on both."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from assay_node.ports import (
    JobChange,
    LeaseChange,
    NewEvent,
    NewLease,
    OutgoingTransaction,
    Paid,
    Place,
    Settlement,
    SignedTransaction,
    Slashed,
    TransactionState,
)
from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_proof import ProofResult, SignedProofResult
from assay_node.protocol.ids import Digest
from assay_node.protocol.lease import JobEvent, JobState, LeaseEvent, LeaseState
from assay_node.protocol.messages import CommitEntry, CommitSet
from assay_node.protocol.offer import SignedOffer
from assay_node.protocol.order import SignedOrder
from assay_node.store import scheduler_schema
from assay_node.store.database import open_database
from assay_node.store.scheduler_jobs import SchedulerJobs
from tests.builders.jobs import JOB, a_commit, a_reveal, operator
from tests.builders.messages import (
    PEER,
    a_cid,
    a_proof_result,
    a_signed_assign,
    a_spec,
    an_order,
)

EVENT = NewEvent(kind="admitted", text="admitted", data={"max_cost": 1})
TX = Digest(b"\x0f" * 32)
DONE = TransactionState.SUCCEEDED


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/scheduler.sqlite"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
async def store(database_url) -> AsyncIterator[SchedulerJobs]:
    async with open_database(database_url, role="scheduler") as database:
        yield SchedulerJobs(database)


async def admit(store, job=JOB, **order):
    signed = SignedOrder(order=an_order(**order), signature=b"\x01" * 65)
    return await store.admit(job, signed, a_spec(), now=1.0, event=EVENT)


def new_lease(number):
    return NewLease(
        operator=operator(number),
        peer_id=PEER,
        ticket=number,
        rate_microusd=100,
        software_digest=Digest(b"\x05" * 32),
    )


async def change(store, job=JOB, **fields):
    record = await store.job(job)
    return await store.apply(
        JobChange(job=job, expected=record.state, generation=record.generation, **fields), now=2.0
    )


async def settling(store):
    """Bring the job to SETTLING with three revealed leases."""
    await admit(store)
    await change(store, event=JobEvent.PLACED, new_leases=[new_lease(n) for n in (1, 2, 3)])
    for event, expected, extra in (
        (LeaseEvent.ACCEPT, LeaseState.OFFERED, {}),
        (LeaseEvent.COMMIT, LeaseState.ACCEPTED, {"commit": a_commit()}),
    ):
        for n in (1, 2, 3):
            move = LeaseChange(operator=operator(n), expected=expected, event=event, **extra)
            assert await change(store, lease_changes=[move])
    entries = tuple(
        CommitEntry(
            operator=operator(n),
            ticket=n,
            rate_microusd=100,
            commitment=Digest(b"\x07" * 32),
            signature=b"\x00" * 65,
        )
        for n in (1, 2, 3)
    )
    committed = CommitSet(job=JOB, round_number=0, entries=entries, signature=b"\x00" * 65)
    assert await change(store, event=JobEvent.COMMITTED, commit_set=committed)
    assert await store.commit_set(JOB, 0) == committed
    for n in (1, 2, 3):
        move = LeaseChange(
            operator=operator(n),
            expected=LeaseState.COMMITTED,
            event=LeaseEvent.REVEAL,
            reveal=a_reveal(),
        )
        assert await change(store, lease_changes=[move])
    assert await change(store, event=JobEvent.REVEALED, output=a_cid(1), verdict="ok")


SETTLEMENT = Settlement(
    job_id=JOB,
    transaction=TX,
    block_number=7,
    agreed=True,
    winning_tag=Digest(b"\x01" * 32),
    seconds=3,
    paid=(Paid(operator=operator(1), amount_microusd=300),),
    slashed=(Slashed(operator=operator(2), amount_microusd=10, reason="minority"),),
    fee_microusd=1000,
    cost_microusd=1300,
    gas_used=70_000,
    receipts_in_batch=1,
)


def transaction(*jobs, hash_=TX, nonce=4):
    return OutgoingTransaction(
        id=hash_,
        chain_id=31337,
        sender=operator(9),
        nonce=nonce,
        kind="settle",
        jobs=jobs,
        signed=(SignedTransaction(hash=hash_, raw=b"raw"),),
        state=TransactionState.PENDING,
        place=None,
        created_at=3.0,
    )


async def test_an_order_is_admitted_once(store):
    assert await admit(store)
    assert not await admit(store)
    record = await store.job(JOB)
    assert record.state is JobState.ADMITTED
    assert record.order == an_order()
    assert record.spec == a_spec()
    (event,) = await store.events(JOB)
    assert (event.kind, event.data) == ("admitted", {"max_cost": 1})


async def test_what_was_admitted_is_there_after_reopening(database_url):
    async with open_database(database_url, role="scheduler") as database:
        await admit(SchedulerJobs(database))
    async with open_database(database_url, role="scheduler") as database:
        assert (await SchedulerJobs(database).job(JOB)).order == an_order()


async def test_of_two_changes_from_the_same_state_one_wins(store):
    await admit(store)
    record = await store.job(JOB)
    rivals = [
        JobChange(
            job=JOB,
            expected=record.state,
            generation=record.generation,
            event=JobEvent.PLACED,
            new_leases=[new_lease(n)],
        )
        for n in range(1, 9)
    ]
    won = await asyncio.gather(*(store.apply(rival, now=2.0) for rival in rivals))
    assert sum(won) == 1
    assert len((await store.job(JOB)).leases) == 1


async def test_of_two_changes_that_keep_the_state_one_wins(store):
    await admit(store)
    record = await store.job(JOB)
    rivals = [
        JobChange(job=JOB, expected=record.state, generation=record.generation, reason=reason)
        for reason in ("one", "two", "three")
    ]
    won = await asyncio.gather(*(store.apply(rival, now=2.0) for rival in rivals))
    assert sum(won) == 1
    assert (await store.job(JOB)).generation == record.generation + 1


async def test_a_change_that_does_not_apply_writes_nothing(store):
    await admit(store)
    line = NewEvent(kind="x", text="x", data={})
    lost = LeaseChange(operator=operator(9), expected=LeaseState.OFFERED, event=LeaseEvent.LOSE)
    assert not await change(store, lease_changes=[lost], events=[line], reason="x")
    assert not await change(store, event=JobEvent.REVEALED, events=[line])
    record = await store.job(JOB)
    assert (record.generation, record.reason) == (0, "")
    assert [e.kind for e in await store.events(JOB)] == ["admitted"]


async def test_an_operator_or_ticket_is_leased_once(store):
    await admit(store)
    assert await change(store, event=JobEvent.PLACED, new_leases=[new_lease(1)])
    assert not await change(store, event=JobEvent.PLACED, new_leases=[new_lease(1)])
    same_ticket = replace(new_lease(2), ticket=1)
    assert not await change(store, event=JobEvent.PLACED, new_leases=[same_ticket])


async def test_of_one_number_a_job_has_one_assignment(store, database_url):
    await admit(store)
    generation = (await store.job(JOB)).generation
    assert await store.newest_assign(JOB) is None
    rivals = [a_signed_assign(JOB, round_number=n) for n in range(8)]
    won = await asyncio.gather(*(store.add_assign(r, generation=generation) for r in rivals))
    assert sum(won) == 1
    kept = rivals[won.index(True)]
    async with open_database(database_url, role="scheduler") as reopened:
        assert await SchedulerJobs(reopened).newest_assign(JOB) == kept
    second = a_signed_assign(JOB, sequence=1)
    assert await store.add_assign(second, generation=generation)
    assert await store.newest_assign(JOB) == second


async def test_an_assignment_of_a_job_that_moved_on_is_not_kept(store):
    await admit(store)
    seen = (await store.job(JOB)).generation
    await change(store, event=JobEvent.PLACED, new_leases=[new_lease(1)])
    assert not await store.add_assign(a_signed_assign(JOB), generation=seen)
    assert not await store.add_assign(a_signed_assign(TX), generation=0)
    assert await store.newest_assign(JOB) is None


async def test_the_next_round_keeps_runs_and_drops_answers(store):
    await admit(store)
    await change(store, event=JobEvent.PLACED, new_leases=[new_lease(1), new_lease(2)])
    for n in (1, 2):
        for event, expected, commit in (
            (LeaseEvent.ACCEPT, LeaseState.OFFERED, None),
            (LeaseEvent.COMMIT, LeaseState.ACCEPTED, a_commit()),
        ):
            move = LeaseChange(operator=operator(n), expected=expected, event=event, commit=commit)
            await change(store, lease_changes=[move])
    await change(store, event=JobEvent.COMMITTED)
    moves = [
        LeaseChange(
            operator=operator(1), expected=LeaseState.COMMITTED, event=LeaseEvent.NEXT_ROUND
        ),
        LeaseChange(
            operator=operator(2),
            expected=LeaseState.COMMITTED,
            event=LeaseEvent.LOSE,
            reason="silent",
        ),
    ]
    assert await change(store, event=JobEvent.SILENT, round_number=1, lease_changes=moves)
    record = await store.job(JOB)
    one, two = record.leases
    assert (record.state, record.round_number) == (JobState.RUNNING, 1)
    assert (one.state, one.round_number, one.commit) == (LeaseState.OFFERED, 1, None)
    assert (two.state, two.release_due, two.reason) == (LeaseState.LOST, True, "silent")


async def test_a_settlement_is_applied_once_and_closes_the_leases(store):
    await settling(store)
    assert await store.save_transaction(transaction(JOB))
    (record,) = await store.open_transactions()
    assert record == transaction(JOB)
    for _ in range(2):
        await store.finish_transaction(record, DONE, settlements=[SETTLEMENT], failures={}, now=4.0)
    job = await store.job(JOB)
    assert job.state is JobState.SETTLED
    assert job.settlement == SETTLEMENT
    assert all(lease.state is LeaseState.CLOSED for lease in job.leases)
    assert [e.kind for e in await store.events(JOB)].count("settled") == 1
    assert not await store.open_transactions()
    assert len(await store.releases_due()) == 3
    await store.released(JOB, operator(1))
    assert len(await store.releases_due()) == 2


async def test_a_job_goes_into_one_transaction_at_a_time(store):
    await settling(store)
    other = Digest(b"\x0e" * 32)
    assert await store.save_transaction(transaction(JOB))
    assert not await store.save_transaction(transaction(JOB, hash_=other))
    assert len(await store.open_transactions()) == 1
    # the first one did nothing for it: then it may go into another
    await store.finish_transaction(transaction(JOB), DONE, settlements=[], failures={}, now=4.0)
    assert (await store.job(JOB)).state is JobState.SETTLING
    assert await store.save_transaction(transaction(JOB, hash_=other))


async def test_a_receipt_the_contract_refuses_ends_the_job_with_its_reason(store):
    await settling(store)
    await store.save_transaction(transaction(JOB))
    await store.finish_transaction(
        transaction(JOB), DONE, settlements=[], failures={JOB: "expired"}, now=4.0
    )
    job = await store.job(JOB)
    assert (job.state, job.reason) == (JobState.FAILED, "expired")


async def test_stages_are_noted_while_a_replica_runs_and_not_after(store):
    await admit(store)
    await change(store, event=JobEvent.PLACED, new_leases=[new_lease(1)])
    assert await store.set_stage(JOB, operator(1), "running", now=2.0)
    assert not await store.set_stage(JOB, operator(1), "running", now=2.0)
    commit = LeaseChange(
        operator=operator(1),
        expected=LeaseState.OFFERED,
        event=LeaseEvent.COMMIT,
        commit=a_commit(),
    )
    assert await change(store, lease_changes=[commit])
    assert not await store.set_stage(JOB, operator(1), "storing", now=2.0)


async def test_lists_counts_offers_and_decisions(store):
    await admit(store)
    other = Digest(b"\xab" * 32)
    await admit(store, job=other, requester=operator(9), nonce=b"\x09" * 32)
    assert [r.job for r in await store.jobs(requester=operator(9), limit=10)] == [other]
    assert len(await store.jobs(requester=None, limit=1)) == 1
    assert (await store.counts())[JobState.ADMITTED] == 2
    await store.save_decision(JOB, '{"a": 1}')
    assert await store.decision(JOB) == '{"a": 1}'
    for body in (b"one", b"two"):
        offer = SignedOffer(body=body, signature=b"s")
        await store.save_offer(operator(1), offer, now=5.0)
    assert await store.offers() == [(SignedOffer(body=b"two", signature=b"s"), 5.0)]


async def test_results_of_proofs_are_kept_the_newest_of_each_verifier(store):
    def a_proof(number: int, verifier: int = 9, about: int = 1) -> ProofResult:
        return a_proof_result(
            verifier=operator(verifier),
            operator=operator(about),
            round=Digest(number.to_bytes(32, "big")),
            asked_at=1000 + number,
        )

    async def add(result: ProofResult, *, kept: int = 2) -> bool:
        signed = SignedProofResult(body=codec.encode(result), signature=b"\x01" * 65)
        return await store.add_proof(result, signed, kept=kept)

    for number in (1, 3, 2):
        assert await add(a_proof(number))
    assert not await add(a_proof(3))
    assert await add(a_proof(3, verifier=8))
    assert await add(a_proof(0, about=2))
    found = [codec.decode(ProofResult, signed.body) for signed in await store.proofs()]
    assert found == [
        a_proof(3, verifier=8),
        a_proof(3),
        a_proof(2),
        a_proof(0, about=2),
    ]


def test_the_migrations_make_the_tables_of_the_schema(database_url):
    async def migrate() -> None:
        async with open_database(database_url, role="scheduler"):
            pass

    asyncio.run(migrate())
    driver = database_url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(driver)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), scheduler_schema.metadata)
    engine.dispose()
    assert found == []


async def test_a_database_that_cannot_be_opened_is_one_sentence(tmp_path):
    (tmp_path / "broken.sqlite").write_bytes(b"this is not a database" * 100)
    for url in (f"sqlite:///{tmp_path}/broken.sqlite", "mysql://x", "postgresql://127.0.0.1:1/x"):
        with pytest.raises(LocalError) as error:
            async with open_database(url, role="scheduler"):
                pass
        assert "\n" not in str(error.value).strip()


async def test_every_form_of_a_transaction_and_its_block_are_kept_until_it_ends(store):
    await settling(store)
    await store.save_transaction(transaction(JOB))
    (record,) = await store.open_transactions()
    dearer = SignedTransaction(hash=Digest(b"\x0d" * 32), raw=b"dearer")
    place = Place(hash=dearer.hash, block_number=9, block_hash=Digest(b"\x0c" * 32))
    await store.add_signed(record, dearer)
    await store.note_place(record, place)
    (record,) = await store.open_transactions()
    assert record.signed == (*transaction(JOB).signed, dearer)
    assert (record.state, record.place) == (TransactionState.MINED, place)
    await store.note_place(record, None)  # a reorg
    (record,) = await store.open_transactions()
    assert (record.state, record.place) == (TransactionState.PENDING, None)
    await store.end_transaction(record, TransactionState.DISPLACED)
    assert not await store.open_transactions()
    assert (await store.job(JOB)).transaction is None


async def test_nonces_are_counted_for_each_wallet_and_a_discarded_one_is_free_again(store):
    await settling(store)
    assert await store.nonces_used(31337, operator(9)) == 0
    await store.save_transaction(transaction(JOB, nonce=7))
    assert await store.nonces_used(31337, operator(9)) == 8
    assert await store.nonces_used(31337, operator(8)) == 0
    assert await store.nonces_used(1, operator(9)) == 0
    await store.discard_transaction(transaction(JOB, nonce=7))
    assert await store.nonces_used(31337, operator(9)) == 0
    assert (await store.job(JOB)).transaction is None
