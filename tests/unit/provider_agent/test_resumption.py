"""A daemon that is killed in any state goes on from the store when it starts again."""

import asyncio

import pytest

from assay_node.protocol.errors import RemoteError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import Commit
from assay_node.protocol.order import SignedOrder, job_id
from tests.unit.provider_agent.world import DOMAIN, World, refusing, until


async def leased(world: World) -> tuple[SignedOrder, Digest]:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    signed = world.signed_order()
    assert (await world.scheduler.lease(signed)).accepted
    return signed, job_id(signed.order, DOMAIN)


async def reconnected(world: World, hellos: int) -> None:
    await world.scheduler.until(lambda: len(world.scheduler.hellos) >= hellos)


async def test_killed_while_running_it_runs_again_from_the_start(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        _, job = await leased(world)
        await world.until_state(job, "running")
        await until(lambda: len(world.sandbox.requests) == 1)
    assert world.sandbox.killed == 1
    world.sandbox.gate.set()
    async with world.daemon():
        commit = await world.scheduler.committed()
        assert commit.job == job
        assert len(world.sandbox.requests) == 2
        await world.scheduler.reveal(world.commit_set(commit))


async def test_killed_after_accepting_it_runs(world: World) -> None:
    async with world.daemon():
        world.scheduler.artifacts.kept.clear()  # so that fetching waits and tries again
        _, job = await leased(world)
        assert (await world.stored(job)).state in ("accepted", "running")
        kept = world.signed_order()  # puts spec and inputs back for the next start
    assert kept
    async with world.daemon():
        await reconnected(world, 2)
        await until(lambda: bool(world.scheduler.hand_backs or world.scheduler.commits))
        assert (await world.stored(job)).state != "accepted"


async def test_killed_before_the_commit_is_heard_it_sends_the_same_one(world: World) -> None:
    sent = asyncio.Event()

    def never_heard(commit: Commit) -> None:
        sent.set()
        raise RemoteError("lost")

    world.scheduler.commit_answer = never_heard
    async with world.daemon():
        _, job = await leased(world)
        await sent.wait()
        assert (await world.stored(job)).state == "executed"
    world.scheduler.commit_answer = refusing("", times=0)
    async with world.daemon():
        await world.until_state(job, "committed")
    assert len({(c.commitment, c.signature) for c in world.scheduler.commits}) == 1
    assert len(world.sandbox.requests) == 1


async def test_killed_after_committing_it_reveals_what_it_committed(world: World) -> None:
    async with world.daemon():
        _, job = await leased(world)
        commit = await world.scheduler.committed()
        await world.until_state(job, "committed")
    async with world.daemon():
        await reconnected(world, 2)
        reveal = await world.scheduler.reveal(world.commit_set(commit))
        assert reveal.output in world.artifacts.kept
    assert len(world.sandbox.requests) == 1
    assert len(world.scheduler.commits) == 1


async def test_killed_after_revealing_it_gives_the_same_reveal(world: World) -> None:
    async with world.daemon():
        _, job = await leased(world)
        commit = await world.scheduler.committed()
        first = await world.scheduler.reveal(world.commit_set(commit))
    async with world.daemon():
        await reconnected(world, 2)
        assert await world.scheduler.reveal(world.commit_set(commit)) == first
        await world.scheduler.release(job)
    async with world.daemon():
        await world.scheduler.release(job)
        assert (await world.stored(job)).state == "closed"


async def test_a_lease_that_cannot_finish_any_more_is_handed_back(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        signed, job = await leased(world)
        await world.until_state(job, "running")
    world.clock.time = signed.order.expiry - signed.order.max_seconds + 1
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        assert "too little time" in world.scheduler.hand_backs[0].reason


async def test_an_answer_given_before_a_crash_is_given_again(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        signed, _ = await leased(world)
    async with world.daemon():
        await reconnected(world, 2)
        assert (await world.scheduler.lease(signed)).accepted
        assert len(await world.store.unfinished()) == 1


async def test_slots_stay_held_across_a_crash(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon(slots=1):
        _, job = await leased(world)
        await world.until_state(job, "running")
    async with world.daemon(slots=1):
        await reconnected(world, 2)
        answer = await world.scheduler.lease(world.signed_order())
        assert answer.reason == "every slot of this provider is busy"
        await world.scheduler.release(job)
        assert (await world.scheduler.lease(world.signed_order())).accepted


async def test_fewer_slots_than_before_hand_the_surplus_back(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon(slots=2):
        await leased(world)
        _, second = await leased(world)
    async with world.daemon(slots=1):
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        assert [h.job for h in world.scheduler.hand_backs] == [second]


async def test_killed_between_rounds_it_commits_in_the_new_one(world: World) -> None:
    async with world.daemon():
        signed, job = await leased(world)
        first = await world.scheduler.committed()
        await world.scheduler.reveal(world.commit_set(first))
        world.scheduler.commit_answer = refusing("not yet", times=3)
        assert (await world.scheduler.lease(signed, round_number=1)).accepted
        await world.scheduler.committed(2)
    world.scheduler.commit_answer = refusing("", times=0)
    async with world.daemon():
        await world.until_state(job, "committed")
        later = [c for c in world.scheduler.commits if c.round_number == 1]
        assert len({c.commitment for c in later}) == 1
        assert later[0].commitment != first.commitment


@pytest.mark.parametrize("point", range(0, 60, 3))
async def test_killed_at_any_moment_the_job_is_paid_in_the_end(world: World, point: int) -> None:
    """The kill comes after `point` turns of the loop, wherever the daemon is by then."""
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        signed = world.signed_order()
        leasing = asyncio.create_task(world.scheduler.lease(signed))
        for _ in range(point):
            await asyncio.sleep(0.001)
    await asyncio.gather(leasing, return_exceptions=True)
    async with world.daemon():
        await reconnected(world, 2)
        assert (await world.scheduler.lease(signed)).accepted
        commit = await world.scheduler.committed()
        await world.scheduler.reveal(world.commit_set(commit))
        assert len({c.commitment for c in world.scheduler.commits}) == 1
