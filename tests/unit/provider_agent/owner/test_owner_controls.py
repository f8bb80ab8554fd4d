"""The owner's controls through the whole daemon, among fakes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from assay_node.protocol import cid as cids
from assay_node.protocol.benchmark import Benchmark
from assay_node.protocol.errors import AssayError, LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.job_spec import Resources
from assay_node.protocol.messages import HAND_BACK, Ack, HandBack
from assay_node.protocol.offer import Offer, open_offer
from assay_node.protocol.order import job_id
from assay_provider.owner import watch
from assay_provider.owner.control import NoDaemon, ask_daemon
from assay_provider.owner.denials import allow, deny
from assay_provider.owner.drain import Afterwards, Drain, read_drain, write_drain
from assay_provider.owner.gate import DRAINING
from assay_provider.owner.hours import parse_hours
from assay_provider.owner.limits import Limits
from assay_provider.owner.schedule import Running, Schedule
from assay_provider.owner.terms import OwnerTerms
from tests.unit.provider_agent.world import (
    DOMAIN,
    NOW,
    REQUESTER,
    SCHEDULER,
    Daemon,
    World,
    open_world,
    until,
)

assert datetime.fromtimestamp(NOW, UTC).strftime("%a %H:%M") == "Fri 08:00"


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(watch, "LOOK_S", 0.01)
    async with open_world(tmp_path) as opened:
        opened.supply = replace(opened.supply, owner=OwnerTerms(home=tmp_path))
        yield opened


async def introduced(world: World) -> None:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)


async def ask(world: World, command: str, **options: Any) -> Any:
    return await asyncio.to_thread(ask_daemon, world.directory, command, **options)


async def drain(world: World, deadline_s: float | None = None, afterwards: str = "stop") -> None:
    await ask(world, "drain", deadline_s=deadline_s, afterwards=afterwards)


def newest_offer(world: World) -> Offer:
    return open_offer(world.scheduler.hellos[-1].offer, DOMAIN)


async def offers_slots(world: World, slots: int) -> None:
    await world.scheduler.until(lambda: newest_offer(world).slots == slots)


async def a_run(world: World) -> Digest:
    """Lease a job that runs until the sandbox's gate opens."""
    world.sandbox.gate.clear()
    signed = world.signed_order()
    answer = await world.scheduler.lease(signed)
    assert answer.accepted, answer.reason
    job = job_id(signed.order, DOMAIN)
    await world.until_lease(job, lambda lease: lease.stage == "running")
    return job


async def refusal(world: World, **changes: Any) -> str:
    answer = await world.scheduler.lease(world.signed_order(**changes))
    assert not answer.accepted
    return answer.reason


async def ended(daemon: Daemon) -> None:
    async with asyncio.timeout(20):
        await asyncio.shield(daemon.task)


async def test_a_drain_finishes_what_runs_until_it_is_settled_and_then_stops(world: World) -> None:
    async with world.daemon() as daemon:
        await introduced(world)
        job = await a_run(world)
        await drain(world)
        await offers_slots(world, 0)
        assert await refusal(world) == DRAINING
        assert world.scheduler.heartbeats[-1].slots_free == 0
        document = await ask(world, "status")
        assert document["refusing"] == DRAINING
        assert (document["drain"]["running"], document["drain"]["unsettled"]) == (1, 0)
        world.sandbox.gate.set()
        commit = await world.scheduler.committed()
        assert (await ask(world, "status"))["drain"]["unsettled"] == 1
        await world.scheduler.reveal(world.commit_set(commit))
        assert not daemon.task.done()
        await world.scheduler.release(job)
        await ended(daemon)
    assert world.scheduler.hand_backs == []
    assert read_drain(world.directory) is None
    async with world.daemon():
        await offers_slots(world, 2)


async def test_at_the_deadline_what_still_runs_is_handed_back(world: World) -> None:
    async with world.daemon() as daemon:
        await introduced(world)
        job = await a_run(world)
        await drain(world, deadline_s=60)
        world.clock.time += 59
        assert not daemon.task.done()
        world.clock.time += 1
        await ended(daemon)
        assert world.scheduler.hand_backs == [
            HandBack(job=job, reason="the deadline of this provider's drain passed")
        ]
        assert world.sandbox.killed == 1


async def test_a_drained_daemon_that_stays_lets_jobs_in_again_when_told(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        await drain(world, afterwards="stay")
        await offers_slots(world, 0)
        assert await ask(world, "resume") == {"was_draining": True}
        await offers_slots(world, 2)
        assert await ask(world, "resume") == {"was_draining": False}
        assert (await world.scheduler.lease(world.signed_order())).accepted


async def test_a_drain_outlives_a_crash(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        job = await a_run(world)
        await drain(world, deadline_s=500)
    kept = read_drain(world.directory)
    assert kept == Drain(since=NOW, deadline=NOW + 500)
    world.sandbox.gate.set()
    async with world.daemon() as daemon:
        await offers_slots(world, 0)
        assert await refusal(world) == DRAINING
        await world.scheduler.committed()
        await world.until_state(job, "committed")
        await world.scheduler.release(job, "the job failed")
        await ended(daemon)
    assert read_drain(world.directory) is None


async def test_a_drain_that_stays_outlives_a_stop_too(world: World) -> None:
    async with world.daemon() as daemon:
        await introduced(world)
        await drain(world, afterwards="stay")
        await daemon.leave()
    async with world.daemon():
        await offers_slots(world, 0)
        await ask(world, "resume")
        await offers_slots(world, 2)
    assert read_drain(world.directory) is None


async def test_nonsense_about_a_drain_is_refused(world: World) -> None:
    async with world.daemon():
        for options in (
            {"afterwards": "explode"},
            {"afterwards": "stop", "deadline_s": "soon"},
            {"afterwards": "stop", "deadline_s": -1},
            {"afterwards": "stop", "deadline_s": 10**9},
        ):
            with pytest.raises(AssayError, match=r"is one of|is a number|deadline is 0 to"):
                await ask(world, "drain", **options)
    assert read_drain(world.directory) is None


def test_a_damaged_drain_says_how_to_go_on(tmp_path: Path) -> None:
    write_drain(tmp_path, Drain(since=1.0, afterwards=Afterwards.STAY))
    assert read_drain(tmp_path) == Drain(since=1.0, afterwards=Afterwards.STAY)
    for text in ("", "[]", '{"since": "x", "deadline": null, "afterwards": "stop"}'):
        (tmp_path / "drain.json").write_text(text)
        with pytest.raises(LocalError, match="assay provider resume"):
            read_drain(tmp_path)


async def test_outside_the_hours_jobs_finish_and_none_is_let_in(world: World) -> None:
    owner = OwnerTerms(home=world.directory, schedule=Schedule(hours=parse_hours("20:00-08:30")))
    async with world.daemon(owner=owner):
        await offers_slots(world, 2)
        job = await a_run(world)
        world.clock.time += 1800
        world.scheduler.active_jobs = (job,)
        await offers_slots(world, 0)
        why = "this provider is outside its owner's hours until Fri 20:00 UTC"
        assert await refusal(world, expiry=int(NOW) + 9000) == why
        schedule = (await ask(world, "status"))["schedule"]
        assert (schedule["is_open"], schedule["until"]) == (False, NOW + 12 * 3600)
        assert world.sandbox.killed == 0
        world.clock.time += 11.5 * 3600
        await offers_slots(world, 2)


async def test_a_pause_may_hand_back_what_runs(world: World) -> None:
    schedule = Schedule(hours=parse_hours("20:00-08:30"), running=Running.HAND_BACK)
    async with world.daemon(owner=OwnerTerms(home=world.directory, schedule=schedule)):
        await introduced(world)
        job = await a_run(world)
        world.clock.time += 1800
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        (said,) = world.scheduler.hand_backs
        assert said.job == job
        assert said.reason == "this provider is outside its owner's hours until Fri 20:00 UTC"
        assert (await ask(world, "status"))["slots"]["held"] == 0


async def test_a_daemon_that_starts_outside_the_hours_offers_nothing(world: World) -> None:
    owner = OwnerTerms(home=world.directory, schedule=Schedule(hours=parse_hours("sat-sun")))
    async with world.daemon(owner=owner):
        await introduced(world)
        assert newest_offer(world).slots == 0


async def test_one_requester_gets_so_many_slots_at_once(world: World) -> None:
    owner = OwnerTerms(home=world.directory, limits=Limits(slots=1))
    async with world.daemon(owner=owner):
        await introduced(world)
        world.sandbox.gate.clear()
        orders = [world.signed_order() for _ in range(4)]
        answers = await asyncio.gather(*(world.scheduler.lease(order) for order in orders))
        assert sum(answer.accepted for answer in answers) == 1
        assert {answer.reason for answer in answers} == {
            "",
            "this provider runs 1 job(s) of one requester at a time; 1 run already",
        }
        world.sandbox.gate.set()
        commit = await world.scheduler.committed()
        await world.until_state(commit.job, "committed")
        assert (await world.scheduler.lease(world.signed_order())).accepted


async def test_one_requester_gets_so_many_seconds_a_day(world: World) -> None:
    owner = OwnerTerms(home=world.directory, limits=Limits(seconds_a_day=61))
    async with world.daemon(owner=owner):
        await introduced(world)
        assert (await world.scheduler.lease(world.signed_order())).accepted  # 60 at most, took 2
        commit = await world.scheduler.committed()
        await world.until_state(commit.job, "committed")
        assert (
            await refusal(world)
            == "this provider runs one requester's jobs for 61 s a day, of which 59 s are left; "
            "the run may take 60 s"
        )
        assert (await world.scheduler.lease(world.signed_order(max_seconds=59))).accepted
        used = (await ask(world, "status"))["requesters_last_day"][REQUESTER.address]
        assert used["jobs"] == 2
    async with world.daemon(owner=owner):  # a restart forgets nothing
        await introduced(world)
        assert "s are left" in await refusal(world)
        world.clock.time += 86_401
        later = {"expiry": int(world.clock.time) + 600}
        await world.scheduler.until(lambda: newest_offer(world).issued_at > NOW)
        assert (await world.scheduler.lease(world.signed_order(**later))).accepted


async def test_a_job_that_was_stopped_counts_the_time_it_held_the_machine(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        job = await a_run(world)
        world.clock.time += 30
        await world.scheduler.release(job, "cancelled")
        used = (await ask(world, "status"))["requesters_last_day"][REQUESTER.address]
        assert used["seconds"] == 30


async def test_one_requester_moves_so_many_bytes_a_day(world: World) -> None:
    resources = Resources(input_bytes=100, output_bytes=100)
    owner = OwnerTerms(home=world.directory, limits=Limits(bytes_a_day=210))
    async with world.daemon(owner=owner):
        await introduced(world)
        spec = world.spec(resources=resources)
        assert (await world.scheduler.lease(world.signed_order(spec))).accepted
        commit = await world.scheduler.committed()
        await world.until_state(commit.job, "committed")
        used = (await ask(world, "status"))["requesters_last_day"][REQUESTER.address]
        # the fake fetches 1 byte; the output is {"accuracy": 0.9731}
        assert used["bytes_moved"] == 1 + 20
        assert (await world.scheduler.lease(world.signed_order(spec))).accepted
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        (said,) = world.scheduler.hand_backs
        assert said.reason == (
            "inputs and output may be 200 B; of what this provider moves for one requester in a "
            "day, 189 B are left"
        )


async def test_denials_take_effect_without_a_restart(world: World) -> None:
    denied = world.directory / "denied.txt"
    async with world.daemon():
        await introduced(world)
        assert (await world.scheduler.lease(world.signed_order())).accepted
        for who, why in ((REQUESTER.address, "requester"), (SCHEDULER, "scheduler")):
            deny(denied, [who])
            assert await refusal(world) == f"this provider does not work for the {why}"
            allow(denied, [who])
        signed = world.signed_order()
        deny(denied, [cids.from_digest(cids.DAG_CBOR, signed.order.spec)])
        answer = await world.scheduler.lease(signed)
        assert answer.reason == "this provider does not run the job's spec"


async def test_denied_inputs_are_handed_back_before_they_are_fetched(world: World) -> None:
    spec = world.spec()
    deny(world.directory / "denied.txt", [spec.inputs])
    async with world.daemon():
        await introduced(world)
        assert (await world.scheduler.lease(world.signed_order(spec))).accepted
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        assert world.scheduler.hand_backs[0].reason == "this provider does not run the job's inputs"
        assert spec.inputs not in world.artifacts.kept
        assert world.sandbox.requests == []


async def test_leaving_tells_of_every_run_though_one_answer_stalls(world: World) -> None:
    told: list[Digest] = []
    stalled = asyncio.Event()
    original = world.scheduler._hand_back

    async def stall_first(peer: Any, payload: bytes) -> Ack:
        answer = await original(peer, payload)
        told.append(world.scheduler.hand_backs[-1].job)
        if len(told) == 1:
            await stalled.wait()
        return answer

    world.scheduler.network.serve_requests(HAND_BACK, world.scheduler._noting(stall_first))
    async with world.daemon() as daemon:
        await introduced(world)
        jobs = {await a_run(world), await a_run(world)}
        leaving = asyncio.create_task(daemon.leave())
        await until(lambda: len(told) == 2)
        stalled.set()
        await leaving
        assert set(told) == jobs
        assert all(not lease.hand_back_owed for lease in await world.store.newest(2))


async def test_the_live_document_tells_of_each_job(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        job = await a_run(world)
        world.clock.time += 7
        document = await ask(world, "status")
    assert document["slots"] == {"total": 2, "held": 1, "free": 1}
    assert document["connected"] == [SCHEDULER]
    (shown,) = document["jobs"]
    assert shown["job"] == "0x" + job.hex()
    assert (shown["requester"], shown["scheduler"]) == (REQUESTER.address, SCHEDULER)
    assert (shown["stage"], shown["elapsed_s"], shown["limit_s"]) == ("running", 7.0, 60)
    assert (document["refusing"], document["drain"]) == (None, None)
    assert document["schedule"]["is_open"]
    with pytest.raises(NoDaemon):
        await ask(world, "status")


async def test_the_offer_carries_what_was_measured_under_its_signature(world: World) -> None:
    measured = Benchmark(
        measured_at=int(NOW) - 40 * 86_400,
        devices=(),
        disk_read_bytes_per_second=5,
        disk_write_bytes_per_second=6,
        network_bytes_per_second=0,
    )
    async with world.daemon(benchmark=measured):
        await introduced(world)
        assert newest_offer(world).benchmark == measured
        shown = (await ask(world, "status"))["benchmark"]
        assert (shown["age_s"], shown["is_old"]) == (40 * 86_400, True)
