"""Provider and scheduler agree on which leases exist after every introduction."""

import pytest

from assay_node.protocol.ids import ZERO_ADDRESS, Digest
from assay_node.protocol.order import job_id
from tests.unit.provider_agent.world import DOMAIN, World

UNKNOWN = Digest(b"\x55" * 32)


async def leased(world: World) -> Digest:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    signed = world.signed_order()
    assert (await world.scheduler.lease(signed)).accepted
    return job_id(signed.order, DOMAIN)


async def test_a_lease_no_longer_listed_is_dropped_and_its_run_killed(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        job = await leased(world)
        await world.until_state(job, "running")
        world.scheduler.active_jobs = ()
        world.clock.time += 1
        world.hub.sever(world.network, world.scheduler.network)
        lease = await world.until_state(job, "closed")
        assert lease.closed_reason == "the scheduler no longer lists this lease"
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)


async def test_a_commitment_stands_although_it_is_not_listed(world: World) -> None:
    async with world.daemon():
        job = await leased(world)
        commit = await world.scheduler.committed()
        await world.until_state(job, "committed")
        world.scheduler.active_jobs = ()
        world.clock.time += 1
        beats = len(world.scheduler.heartbeats)
        world.hub.sever(world.network, world.scheduler.network)
        await world.scheduler.until(lambda: len(world.scheduler.heartbeats) > beats)
        await world.scheduler.reveal(world.commit_set(commit))


async def test_a_lease_taken_while_the_welcome_was_on_its_way_is_kept(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        world.scheduler.active_jobs = ()
        job = await leased(world)
        await world.until_state(job, "running")
        hellos = len(world.scheduler.hellos)
        world.hub.sever(world.network, world.scheduler.network)  # same instant by the clock
        beats = len(world.scheduler.heartbeats)
        await world.scheduler.until(lambda: len(world.scheduler.hellos) > hellos)
        await world.scheduler.until(lambda: len(world.scheduler.heartbeats) > beats)
        assert (await world.stored(job)).state == "running"


async def test_a_listed_lease_that_is_not_here_is_handed_back(world: World) -> None:
    world.scheduler.active_jobs = (UNKNOWN,)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        (message,) = world.scheduler.hand_backs
        assert (message.job, message.reason) == (UNKNOWN, "this provider holds no such lease")


async def test_an_offer_that_is_yet_to_come_is_not_handed_back(world: World) -> None:
    """A scheduler that was killed while its offers were on their way makes them again."""
    world.scheduler.offered_jobs = (UNKNOWN,)
    async with world.daemon():
        await world.scheduler.until(lambda: len(world.scheduler.heartbeats) > 1)
        assert world.scheduler.hand_backs == []


async def test_a_lease_whose_acceptance_did_not_arrive_is_kept(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        job = await leased(world)
        await world.until_state(job, "running")
        world.scheduler.active_jobs, world.scheduler.offered_jobs = (), (job,)
        world.clock.time += 1
        beats = len(world.scheduler.heartbeats)
        world.hub.sever(world.network, world.scheduler.network)
        await world.scheduler.until(lambda: len(world.scheduler.heartbeats) > beats)
        assert (await world.stored(job)).state == "running"


async def test_a_listed_lease_that_was_closed_is_handed_back_with_the_reason(world: World) -> None:
    async with world.daemon():
        job = await leased(world)
        await world.scheduler.release(job, "the order expired")
        world.scheduler.active_jobs = (job,)
        world.hub.sever(world.network, world.scheduler.network)
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        assert world.scheduler.hand_backs[0].reason == "the order expired"


async def test_a_second_peer_cannot_take_a_scheduler_over(world: World) -> None:
    """Two configured addresses whose peers claim one wallet: the first one keeps it."""
    from tests.fakes.network import FakeNetwork
    from tests.unit.provider_agent.world import FakeArtifacts, FakeScheduler

    async with FakeNetwork(world.hub) as network:
        usurper = FakeScheduler(network, FakeArtifacts(world.board, network.peer_id))
        async with world.daemon(schedulers=(*world.supply.schedulers, *network.addresses)):
            await world.scheduler.until(lambda: world.scheduler.heartbeats)
            await usurper.until(lambda: len(usurper.hellos) >= 2)
            assert usurper.heartbeats == []
            answer = await usurper.lease(world.signed_order())
            assert not answer.accepted


async def test_a_scheduler_that_names_nobody_is_not_dealt_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seats on panels stand under nobody's name, and nobody may release them."""
    monkeypatch.setattr("tests.unit.provider_agent.world.SCHEDULER", ZERO_ADDRESS)
    async with world.daemon():
        await world.scheduler.until(lambda: len(world.scheduler.hellos) >= 2)
        assert world.scheduler.heartbeats == []
