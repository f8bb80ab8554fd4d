"""A daemon killed at every point of a lease's life: nothing is lost, nothing is paid twice.

Each scene is played once to count its points, and then once for each: the daemon dies there, starts
again and goes on. Then with many deaths in a row, at random. It is the daemon's own logic, in
virtual time, among fakes that stay as they were when it died.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from assay_node.ports import (
    CommitOnRoad,
    JoinPanel,
    OpenRoad,
    RevealOnRoad,
    RoadCommit,
    RoadState,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import Refused, RemoteError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import Commit
from assay_node.protocol.order import job_id
from assay_node.protocol.panels import PANEL_ROUND, panel_order
from assay_node.protocol.receipt import commitment
from assay_provider.metering import seconds_of
from assay_provider.runtime.sandbox import SandboxUnavailable
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.provider_agent import test_court_watch as court
from tests.unit.provider_agent import test_road_watch as road
from tests.unit.provider_agent.dealing import AGAIN_S, Dealer, until_some
from tests.unit.provider_agent.mortal import Mortal
from tests.unit.provider_agent.virtual_world import KEEP_S, prepared
from tests.unit.provider_agent.world import (
    DOMAIN,
    OPERATOR,
    OTHER_OPERATOR,
    World,
    a_commit_set,
    an_entry,
)

RESTART_S = 2.0
FULL_S = 20.0
FULL_STRIDE = 3
"""Each of these takes longer, for the waits; the writes lie closer together than this."""
DEATHS_MAX = 6
Scene = Callable[[World, Dealer], Awaitable[None]]


# Scenes: what schedulers, requesters and other operators do, to the end of the lease


async def settled(world: World, dealer: Dealer) -> None:
    job = await dealer.lease(world.signed_order())
    await dealer.reveal(await dealer.commit(job))
    await dealer.release(job)


async def shown_two_commit_sets(world: World, dealer: Dealer) -> None:
    """The scheduler shows now one set, now another of the same round."""
    job = await dealer.lease(world.signed_order())
    commit = await dealer.commit(job)
    other = an_entry(commit, operator=OTHER_OPERATOR, ticket=0, commitment=Digest(b"\x0a" * 32))
    sets = (a_commit_set(commit), a_commit_set(commit, entries=(other, an_entry(commit))))
    refused = 0
    for _ in range(50):
        for shown in sets:
            try:
                reveal = await world.scheduler.reveal(shown)
            except RemoteError:
                await asyncio.sleep(AGAIN_S)
            except Refused as refusal:
                refused += "one set a round" in str(refusal)
            else:
                dealer.reveals.setdefault((job, 0), []).append(reveal)
        if refused and dealer.reveals:
            break
    assert refused, "both sets of a round were signed"
    await dealer.release(job)


async def confirmed_in_a_second_round(world: World, dealer: Dealer) -> None:
    signed = world.signed_order()
    job = await dealer.lease(signed)
    first = await dealer.commit(job)
    await dealer.reveal(first)
    await dealer.lease(signed, round_number=1)
    await dealer.reveal(await dealer.commit(job, 1))
    await dealer.release(job)


async def moved_to_another_round_while_running(world: World, dealer: Dealer) -> None:
    signed = world.signed_order()
    job = await dealer.lease(signed)
    await asyncio.sleep(1.0)
    await dealer.lease(signed, round_number=2)
    await dealer.reveal(await dealer.commit(job, 2))
    await dealer.release(job)


async def more_jobs_than_slots(world: World, dealer: Dealer) -> None:
    await asyncio.gather(*(settled(world, dealer) for _ in range(3)))


async def released_while_running(world: World, dealer: Dealer) -> None:
    job = await dealer.lease(world.signed_order())
    await asyncio.sleep(1.0)
    await dealer.release(job, "the job failed")


async def handed_back(world: World, dealer: Dealer) -> None:
    world.sandbox.fault = SandboxUnavailable("the launcher died")
    job = await dealer.lease(world.signed_order())
    assert "the launcher died" in await dealer.hand_back(job)


async def without_its_inputs(world: World, dealer: Dealer) -> None:
    missing = cids.from_digest(cids.DAG_PB, Digest(b"\x77" * 32))
    job = await dealer.lease(world.signed_order(world.spec(inputs=missing)))
    assert "nobody has" in await dealer.hand_back(job)


async def overdue(world: World, dealer: Dealer) -> None:
    """The scheduler never shows a set; the order expires."""
    signed = world.signed_order()
    job = await dealer.lease(signed)
    await dealer.commit(job)
    dealer.drop(job)
    world.clock.time = signed.order.expiry + 1
    await closed(world, job)


async def taken_to_the_road_by_others(world: World, dealer: Dealer) -> None:
    signed = world.signed_order()
    job = await dealer.lease(signed)
    commit = await dealer.commit(job)
    dealer.drop(job)
    output = world.tables.leases[job].output
    scene = road.Scene(world, signed, commit, output)
    scene.open()
    scene.other_reveals()
    await until_some(lambda: scene.road.state is RoadState.SETTLED or None)
    await closed(world, job)


async def taken_to_the_road_by_this_provider(world: World, dealer: Dealer) -> None:
    signed = world.signed_order()
    job = await dealer.lease(signed)
    commit = await dealer.commit(job)
    scene = road.Scene(world, signed, commit, world.tables.leases[job].output)
    await dealer.reveal(commit, scene.commit_set)
    world.clock.time = signed.order.expiry - 40  # its scheduler settles nothing
    await until_some(lambda: scene.taken(OpenRoad) or None)
    scene.other_reveals()
    await until_some(lambda: scene.road.state is RoadState.SETTLED or None)
    await closed(world, job)


async def on_a_panel(world: World, dealer: Dealer) -> None:
    scene = court.Scene(world)
    called = scene.call()
    await until_some(lambda: court.road_of(scene, called).entries or None)
    court.others_join(scene, called)
    world.clock.time = called.panel.expiry + 1
    await until_some(lambda: scene.taken(RevealOnRoad) or None)
    opened = scene.taken(RevealOnRoad)[0].openings[0]
    verdict = court.Verdict(
        tag=opened.tag[: court.VERDICT_BYTES],
        cost_microusd=1,
        ended_at=int(world.clock.now()),
        agreed=True,
    )
    world.chain.end_panel(called, verdict)
    await closed(world, called.panel_job)


async def closed(world: World, job: Digest) -> None:
    await until_some(lambda: world.tables.leases[job].state == "closed" or None)


SCENES = (
    settled,
    shown_two_commit_sets,
    confirmed_in_a_second_round,
    moved_to_another_round_while_running,
    more_jobs_than_slots,
    released_while_running,
    handed_back,
    without_its_inputs,
    overdue,
    taken_to_the_road_by_others,
    taken_to_the_road_by_this_provider,
    on_a_panel,
)


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same each time: waits are not spread at random, and loops turn at a calm pace."""
    monkeypatch.setattr(
        "assay_provider.scheduler_links.random.SystemRandom", lambda: random.Random(1)
    )
    monkeypatch.setattr("assay_provider.lease_closing.SWEEP_S", 5.0)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_daemon_may_die_at_any_point(scene: Scene, tmp_path: Path) -> None:
    (points,) = play(scene, tmp_path / "whole", [])
    assert len(points) > 20, points
    for dies_at, name in enumerate(points):
        try:
            lives = play(scene, tmp_path / str(dies_at), [dies_at])
        except BaseException as error:
            error.add_note(f"the daemon died at point {dies_at}: {name}")
            raise
        assert lives[0][-1] == name, "the same each time, or this proves little"


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
@pytest.mark.parametrize("seed", range(12))
def test_a_daemon_may_die_again_and_again(scene: Scene, seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    deaths = [dice.randrange(60) for _ in range(dice.randint(2, DEATHS_MAX))]
    try:
        play(scene, tmp_path, deaths)
    except BaseException as error:
        error.add_note(f"the daemon's lives ended at points {deaths}")
        raise


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_disk_may_be_full_from_any_point_on(scene: Scene, tmp_path: Path) -> None:
    """For a while the database takes nothing; the daemon lives on and makes up for it."""
    (points,) = play(scene, tmp_path / "whole", [])
    for full_at, name in list(enumerate(points))[::FULL_STRIDE]:
        try:
            play(scene, tmp_path / str(full_at), [], full_at=full_at)
        except BaseException as error:
            error.add_note(f"the disk was full from point {full_at}: {name}")
            raise


def play(
    scene: Scene, directory: Path, deaths: Iterable[int], *, full_at: int | None = None
) -> list[list[str]]:
    """Play a scene with these deaths, check that all is well, and return each life's points."""
    directory.mkdir(exist_ok=True)
    return in_virtual_time(_play(scene, directory, deaths, full_at))


async def _play(
    scene: Scene, directory: Path, deaths: Iterable[int], full_at: int | None
) -> list[list[str]]:
    async with prepared(directory) as (world, dealer):
        tables = world.tables

        def fill(point: int) -> None:
            if point == full_at:
                tables.full = True
                loop = asyncio.get_running_loop()
                loop.call_later(FULL_S, lambda: setattr(tables, "full", False))

        playing = asyncio.create_task(scene(world, dealer))  # type: ignore[arg-type]
        lives = []
        try:
            for dies_at in (*deaths, None):
                lives.append(await _one_life(world, playing, Mortal(dies_at, fill)))
                if playing.done():
                    break
                await asyncio.sleep(RESTART_S)
            await playing
        finally:
            playing.cancel()
            await asyncio.wait([playing])
        # What closed leases owe (hand-backs, pins) is paid in a last life without deaths.
        await _one_life(world, asyncio.create_task(asyncio.sleep(2 * KEEP_S)), Mortal())
        check(world, dealer)
        return lives


async def _one_life(world: World, playing: "asyncio.Task[Any]", mortal: Mortal) -> list[str]:
    world.change_parts = mortal.parts
    async with world.daemon() as daemon:
        death = asyncio.create_task(mortal.killed.wait())
        await asyncio.wait({playing, death}, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        assert mortal.killed.is_set() or not daemon.task.done(), "it ended by itself"
        mortal.killed.set()  # however this life ends: not politely
    return mortal.points


def check(world: World, dealer: Dealer) -> None:
    """Check all that must hold however often the daemon died."""
    tables = world.tables
    assert tables is not None
    for job in dealer.accepted:
        assert job in tables.leases, "a lease was acknowledged and is lost"
    for job, lease in tables.leases.items():
        assert lease.state == "closed", f"a lease never ended: {lease}"
        assert not lease.hand_back_owed, "a hand-back was never told"
        assert lease.keep_until is None, "what was kept is never let go"
        events = [event.event for event in tables.events if event.job == job]
        assert events.count("execute") <= 1, "two runs came to an output"
        assert events.count("close") == 1
        check_pay(world, dealer, job)
    assert world.artifacts.pins == {}
    assert list((world.directory / "work").iterdir()) == []
    assert world.scheduler.heartbeats[-1].slots_free == 2, "a slot was never freed"


def check_pay(world: World, dealer: Dealer, job: Digest) -> None:
    """Check that each round has one commitment, opened in one way, which the log explains."""
    tables = world.tables
    assert tables is not None
    lease = tables.leases[job]
    runs = [run for (of, _), run in sorted(tables.runs.items()) if of == job]
    ended = [run for run in runs if run.metered is not None]
    if lease.seconds is not None:
        assert seconds_of(ended[-1]) == lease.seconds, "seconds that the log does not explain"
        (executed_at,) = (e.at for e in tables.events if (e.job, e.event) == (job, "execute"))
        assert all(run.began_at <= executed_at for run in runs), "run again after its output"
    for round_number, said in commitments(world, dealer, job).items():
        assert len(said) == 1, "two commitments were signed in one round"
        reveals = dealer.reveals.get((job, round_number), [])
        assert len(set(reveals)) <= 1, "a round was revealed in two ways"
        for reveal in reveals:
            opened = commitment(job, OPERATOR, reveal.tag, reveal.seconds, reveal.salt)
            assert opened == next(iter(said))[0]
            assert reveal.seconds == lease.seconds


def commitments(
    world: World, dealer: Dealer, job: Digest
) -> dict[int, set[tuple[Digest, int, bytes]]]:
    """Return all that this provider ever committed to, by round: to its scheduler, on the chain."""
    found: dict[int, set[tuple[Digest, int, bytes]]] = {}

    def note(round_number: int, commit: Commit | RoadCommit) -> None:
        said = (commit.commitment, commit.rate_microusd, commit.signature)
        found.setdefault(round_number, set()).add(said)

    for message in dealer.commits_of(job):
        note(message.round_number, message)
    for step in world.chain.steps:
        if isinstance(step, OpenRoad | CommitOnRoad | JoinPanel) and job_of(world, step) == job:
            round_number = PANEL_ROUND if isinstance(step, JoinPanel) else step.round_number
            for commit in step.commits:
                if commit.operator == OPERATOR:
                    note(round_number, commit)
    return found


def job_of(world: World, step: OpenRoad | CommitOnRoad | JoinPanel) -> Digest:
    match step:
        case OpenRoad():
            return job_id(step.signed_order.order, DOMAIN)
        case CommitOnRoad():
            return job_id(step.order, DOMAIN)
        case JoinPanel():
            panel = step.panel
            return job_id(
                panel_order(step.matter.order, panel, court=world.chain.court, domain=DOMAIN),
                DOMAIN,
            )
