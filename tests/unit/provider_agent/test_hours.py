"""Hours in which something is wrong: clocks that jump, chains and schedulers that are away, disks
that are full. In virtual time."""

import asyncio
import dataclasses
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from assay_node.ports import RevealOnRoad
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.offer import open_offer
from assay_node.protocol.order import SignedOrder
from assay_provider.assembly import ProviderParts
from assay_provider.disk_room import DiskRoom
from assay_provider.metering import seconds_of
from assay_provider.timekeeping import SteadyClock, watch_clock
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.provider_agent import test_road_watch as road
from tests.unit.provider_agent.dealing import Dealer, until_some
from tests.unit.provider_agent.virtual_world import prepared
from tests.unit.provider_agent.world import DOMAIN, NOW, World

HOUR = 3600.0
Story = Callable[[World, Dealer], Awaitable[None]]


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Story], None]:
    """Run a story in a world of its own."""

    def run(story: Story) -> None:
        async def told() -> None:
            async with prepared(tmp_path) as (world, dealer):
                await story(world, dealer)

        in_virtual_time(told())

    return run


def long_order(world: World, **changes: object) -> SignedOrder:
    return world.signed_order(**{"expiry": int(NOW + 6 * HOUR), **changes})


# Clocks


class SetClock:
    """A machine's clock that is set by hand; the chain's stays true."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.set_by = 0.0

    def wall(self) -> float:
        return NOW + asyncio.get_running_loop().time() + self.set_by

    def give(self, parts: ProviderParts) -> ProviderParts:
        clock = SteadyClock(self.wall, asyncio.get_running_loop().time)
        watch = partial(watch_clock, clock, parts.chain)
        return dataclasses.replace(parts, clock=clock, beside=(watch,))


@asynccontextmanager
async def with_clock(world: World, *, set_by: float = 0.0) -> AsyncIterator[SetClock]:
    clock = SetClock(world)
    clock.set_by = set_by
    world.change_parts = clock.give
    async with world.daemon():
        yield clock


@pytest.mark.parametrize("jump", [3 * HOUR, -3 * HOUR, 300 * 24 * HOUR])
def test_a_jump_while_jobs_run_ends_nothing(
    tell: Callable[[Story], None], jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        world.sandbox.run_s = 50.0
        async with with_clock(world) as clock:
            job = await dealer.lease(long_order(world))
            await asyncio.sleep(10)
            clock.set_by = jump
            commit = await dealer.commit(job)
            assert world.scheduler.hand_backs == []
            assert world.tables.leases[job].closed_at is None
            clock.set_by = 0.0  # and back again
            reveal = await dealer.reveal(commit)
            (run,) = world.tables.runs.values()
            assert reveal.seconds == seconds_of(run) == 1, "metered by a monotonic clock"
            await asyncio.sleep(HOUR)
            assert world.tables.leases[job].closed_at is None
            await dealer.release(job)

    tell(story)
    jumps = [r.getMessage() for r in caplog.records if "clock jumped" in r.getMessage()]
    assert jumps == [f"clock jumped by {jump:+.0f} s", f"clock jumped by {-jump:+.0f} s"]


@pytest.mark.parametrize("jump", [3 * HOUR, -3 * HOUR])
def test_offers_go_on_as_before_a_jump(tell: Callable[[Story], None], jump: float) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        async with with_clock(world) as clock:
            await asyncio.sleep(30)
            clock.set_by = jump
            await asyncio.sleep(HOUR)
        offers = [open_offer(hello.offer, DOMAIN) for hello in world.scheduler.hellos]
        assert len(offers) > 50, "renewed every minute"
        issued = [offer.issued_at for offer in offers]
        assert issued == sorted(issued)
        assert issued[-1] - NOW == pytest.approx(HOUR, abs=120)

    tell(story)


def test_a_clock_set_right_is_followed_and_offers_with_it(tell: Callable[[Story], None]) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        async with with_clock(world, set_by=3 * HOUR) as clock:
            await asyncio.sleep(30)
            clock.set_by = 0.0
            await asyncio.sleep(60)
            newest = open_offer(world.scheduler.hellos[-1].offer, DOMAIN)
            assert newest.issued_at - NOW == pytest.approx(60, abs=35)

    tell(story)


def test_a_start_with_a_clock_days_ahead_closes_nothing_and_answers_the_road(
    tell: Callable[[Story], None],
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        signed = long_order(world)
        async with with_clock(world):
            job = await dealer.lease(signed)
            commit = await dealer.commit(job)
            waiting = await dealer.lease(long_order(world))
        scene = road.Scene(world, signed, commit, world.tables.leases[job].output)
        scene.open()
        world.chain.block += 1_000
        async with with_clock(world, set_by=200 * 24 * HOUR):
            await until_some(lambda: scene.taken(RevealOnRoad) or None)
            assert world.tables.leases[job].closed_at is None
            assert (await dealer.commit(waiting)).job == waiting, "it had time to run"
            assert world.scheduler.hand_backs == []
            await asyncio.sleep(60)
            assert job in world.tables.leases, "not forgotten as history"

    tell(story)


def test_an_order_expires_by_the_chains_time(tell: Callable[[Story], None]) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        async with with_clock(world, set_by=-3 * HOUR):
            job = await dealer.lease(world.signed_order(expiry=int(NOW + 600)))
            await dealer.commit(job)
            await asyncio.sleep(700)
            # This machine's own clock disagrees; late is harmless, early would not be.
            assert world.tables.leases[job].closed_at is None
        async with with_clock(world):
            await until_some(lambda: world.tables.leases[job].closed_at)
            assert world.tables.leases[job].closed_reason == "the order expired"

    tell(story)


# The chain and schedulers away


class CountedChain:
    """Counts what is asked of a chain's newest block."""

    def __init__(self, world: World) -> None:
        self.asked = 0
        head = world.chain.head

        async def counted() -> object:
            self.asked += 1
            return await head()

        world.chain.head = counted


def test_an_hour_without_the_chain_loses_nothing(
    tell: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        counted = CountedChain(world)
        async with world.daemon():
            signed = world.signed_order(expiry=int(NOW + 900))
            job = await dealer.lease(signed)
            commit = await dealer.commit(job)
            scene = road.Scene(world, signed, commit, world.tables.leases[job].output)
            world.chain.away = True
            scene.open()  # meanwhile, past our sight
            tasks, asked = len(asyncio.all_tasks()), counted.asked
            await asyncio.sleep(HOUR)
            assert world.tables.leases[job].closed_at is None, "nobody said that it expired"
            assert counted.asked - asked < 2 * HOUR / world.supply.road.poll_s + HOUR / 15 + 10
            assert len(asyncio.all_tasks()) <= tasks + 2
            world.chain.away = False
            await until_some(lambda: scene.taken(RevealOnRoad) or None)

    tell(story)
    assert len(caplog.records) < 40, "an hour is no reason for a flood"


def test_without_the_chain_no_new_lease_is_taken(tell: Callable[[Story], None]) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        async with world.daemon():
            await until_some(lambda: world.scheduler.heartbeats or None)
            world.chain.away = True
            with pytest.raises(RemoteError, match="the chain does not answer"):
                await world.scheduler.lease(world.signed_order())
            assert world.tables.leases == {}
            world.chain.away = False
            assert (await world.scheduler.lease(world.signed_order())).accepted

    tell(story)


def test_an_hour_without_the_scheduler_keeps_what_was_promised(
    tell: Callable[[Story], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        world.sandbox.run_s = 30.0
        dials = count_dials(world)
        async with world.daemon():
            job = await dealer.lease(long_order(world))
            await until_some(lambda: world.tables.leases[job].stage == "running" or None)
            back = lose(world)
            tasks = len(asyncio.all_tasks())
            await asyncio.sleep(HOUR)
            lease = world.tables.leases[job]
            assert (lease.state, lease.closed_at) == ("executed", None)
            assert len(world.sandbox.requests) == 1
            assert len(dials) < HOUR / 2, "no busy loop"
            assert len(asyncio.all_tasks()) <= tasks
            back()
            commit = await dealer.commit(job)
            await dealer.reveal(commit)
            await dealer.release(job)

    tell(story)
    assert len(caplog.records) < 40


def test_a_lease_handed_back_while_the_scheduler_is_away_is_told_when_it_is_back(
    tell: Callable[[Story], None],
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        world.sandbox.run_s = 30.0
        world.sandbox.fault = OSError(errno.EIO, "Input/output error")
        async with world.daemon():
            job = await dealer.lease(long_order(world))
            back = lose(world)
            await asyncio.sleep(HOUR)
            assert world.tables.leases[job].hand_back_owed
            back()
            reason = await dealer.hand_back(job)
            assert reason == "this provider's disk failed: Input/output error"
            await until_some(lambda: not world.tables.leases[job].hand_back_owed or None)

    tell(story)


def lose(world: World) -> Callable[[], None]:
    """Take the scheduler off the network; returns what brings it back."""
    network = world.scheduler.network
    (address,) = network.addresses
    world.hub.networks.pop(address)
    world.hub.sever(network, world.network)

    def back() -> None:
        world.hub.networks[address] = network

    return back


def count_dials(world: World) -> list[str]:
    """Return a list that grows with every attempt to connect."""
    dials: list[str] = []

    class Counted(type(world.hub.networks)):  # type: ignore[misc]
        def get(self, key: str, default: object = None) -> object:
            dials.append(key)
            return super().get(key, default)

    world.hub.networks = Counted(world.hub.networks)
    return dials


# Full disks


@pytest.mark.parametrize("full_from", ["running", "storing"])
def test_a_run_whose_end_cannot_be_written_is_not_repeated(
    tell: Callable[[Story], None], full_from: str
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        add = world.artifacts.add

        async def fill(*arguments: Any, **limits: Any) -> Any:
            world.tables.full = True
            return await add(*arguments, **limits)

        async with world.daemon() as daemon:
            if full_from == "storing":
                world.artifacts.add = fill
            job = await dealer.lease(long_order(world))
            await until_some(lambda: world.sandbox._taken or None)
            world.tables.full = full_from == "running"
            await asyncio.sleep(HOUR)
            assert not daemon.task.done()
            assert world.tables.full
            world.tables.full = False
            await dealer.reveal(await dealer.commit(job))
            assert len(world.sandbox.requests) == 1
            (run,) = world.tables.runs.values()
            assert run.metered is not None

    tell(story)


def test_an_output_that_finds_no_room_hands_the_lease_back(tell: Callable[[Story], None]) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        async def no_room(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", "/home/somebody/secret")

        world.artifacts.add = no_room
        async with world.daemon():
            job = await dealer.lease(long_order(world))
            assert await dealer.hand_back(job) == "this provider's disk is full"
            assert world.scheduler.commits == [], "a full disk is no verdict on the job"

    tell(story)


def test_short_of_disk_nothing_new_is_taken_and_schedulers_see_no_slot(
    tell: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        room = DiskRoom(folders=(tmp_path / "not-made-yet",), free_bytes_min=1 << 62)
        async with world.daemon(disk=room):
            await until_some(lambda: world.scheduler.heartbeats or None)
            answer = await world.scheduler.lease(world.signed_order())
            assert not answer.accepted
            assert "of disk left and takes no new jobs below" in answer.reason
            assert world.scheduler.heartbeats[-1].slots_free == 0
        async with world.daemon(disk=dataclasses.replace(room, free_bytes_min=1)):
            await dealer.lease(world.signed_order())

    tell(story)


def test_a_release_cut_in_two_by_a_full_disk_is_taken_up_again(
    tell: Callable[[Story], None],
) -> None:
    async def story(world: World, dealer: Dealer) -> None:
        async with world.daemon():
            job = await dealer.lease(long_order(world))
            await until_some(lambda: world.sandbox._taken or None)
            world.tables.full = True
            releasing = asyncio.create_task(dealer.release(job, "the job failed"))
            await asyncio.sleep(5)
            assert world.tables.leases[job].state == "running", "stopped, and not closed"
            world.tables.full = False
            await releasing
            assert world.tables.leases[job].closed_reason == "the job failed"
            other = await dealer.lease(long_order(world))
            await until_some(lambda: world.sandbox._taken or None)
            world.tables.full = True
            giving_up = asyncio.create_task(dealer.release(other, "never mind"))
            await asyncio.sleep(5)
            giving_up.cancel()  # the scheduler is gone; nobody asks again
            world.tables.full = False
            assert (await dealer.commit(other)).job == other

    tell(story)
