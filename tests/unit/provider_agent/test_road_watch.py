"""A daemon on the on-chain road: it answers in time, and takes there what its scheduler drops."""

import asyncio
import dataclasses

import pytest

from assay_node.ports import (
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    RevealOnRoad,
    RoadCommit,
    RoadOpening,
    RoadState,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import Commit, CommitSet
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.receipt import commitment, tag
from assay_node.services.road import commits_of
from assay_provider.personas import Conduct
from assay_provider.road_terms import RoadTerms, opens_at
from assay_provider.road_watch import signed_order_of
from tests.fakes.road import WINDOW_S
from tests.unit.provider_agent.world import (
    NOW,
    OPERATOR,
    OTHER_OPERATOR,
    World,
    a_commit_set,
    an_entry,
    until,
)

TERMS = RoadTerms(patience_s=100, margin_s=50, turn_s=10, poll_s=0.001)
OTHERS_SALT = Digest(b"\x31" * 32)
OTHERS_SECONDS = 11
REVEAL_WINDOW_S = 20


class Scene:
    """One job: this provider at ticket 1, another operator at ticket 0 with the same output."""

    def __init__(self, world: World, signed: SignedOrder, commit: Commit, output: str) -> None:
        self.world = world
        self.signed = signed
        self.commit = commit
        self.job = commit.job
        self.spoilt: bytes | None = None
        self.tag = tag(commit.job, commit.round_number, cids.to_digest(output))  # type: ignore[arg-type]
        self.others = commitment(commit.job, OTHER_OPERATOR, self.tag, OTHERS_SECONDS, OTHERS_SALT)

    @property
    def chain(self):
        return self.world.chain

    @property
    def road(self):
        return self.chain.on_road[self.job]

    @property
    def commit_set(self) -> CommitSet:
        other = an_entry(self.commit, operator=OTHER_OPERATOR, ticket=0, commitment=self.others)
        spoilt = {} if self.spoilt is None else {"signature": self.spoilt}
        return a_commit_set(self.commit, entries=(other, an_entry(self.commit, **spoilt)))

    def open(self, *operators: str, is_fixed: bool = True) -> None:
        """Have somebody take the job to the road."""
        commits = commits_of(self.commit_set)
        self.chain.take(
            OpenRoad(
                signed_order=self.signed,
                round_number=self.commit.round_number,
                commits=tuple(c for c in commits if not operators or c.operator in operators),
                set_signature=self.commit_set.signature if is_fixed else b"",
            )
        )

    def other_reveals(self) -> None:
        (index,) = (i for i, e in enumerate(self.road.entries) if e.operator == OTHER_OPERATOR)
        step = RevealOnRoad(
            job=self.job,
            round_number=self.road.round_number,
            entries=self.road.entries,
            openings=(self._opening(index),),
        )
        self.chain.take(step)

    def _opening(self, index: int) -> RoadOpening:
        return RoadOpening(index=index, seconds=OTHERS_SECONDS, tag=self.tag, salt=OTHERS_SALT)

    async def looks(self, count: int = 3) -> None:
        """Wait until the daemon has looked at the road some more times."""
        wanted = self.chain.looks + count
        await until(lambda: self.chain.looks >= wanted)

    async def a_turn_passes(self) -> None:
        """Let those before us have their time for what can be done now."""
        await self.looks()
        assert self.taken(FinalizeRoad) == []
        self.world.clock.time += TERMS.turn_s

    def taken(self, kind: type) -> list:
        return [step for step in self.chain.steps if isinstance(step, kind)]


async def committed(world: World) -> Scene:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    signed = world.signed_order()
    await world.scheduler.lease(signed)
    commit = await world.scheduler.committed()
    lease = await world.until_state(commit.job, "committed")
    assert lease.output is not None
    return Scene(world, signed, commit, lease.output)


async def revealed(world: World) -> Scene:
    scene = await committed(world)
    await world.scheduler.reveal(scene.commit_set)
    await world.until_state(scene.job, "revealed")
    return scene


async def lose_the_scheduler(world: World) -> None:
    await world.scheduler.network.__aexit__(None, None, None)


@pytest.fixture(autouse=True)
def quick(world: World) -> None:
    world.supply = dataclasses.replace(world.supply, road=TERMS)


async def test_a_commit_that_somebody_took_there_is_revealed_and_the_last_one_ends_the_job(
    world: World,
) -> None:
    async with world.daemon():
        scene = await committed(world)  # it has never seen the set
        scene.open()
        await until(lambda: bool(scene.road.openings))
        assert scene.road.silent == (OTHER_OPERATOR,)
        scene.other_reveals()
        await scene.a_turn_passes()  # ours is the second place
        await until(lambda: scene.road.state is RoadState.SETTLED)
        lease = await world.until_state(scene.job, "closed")
        assert lease.closed_reason == "settled"
        assert lease.keep_until is not None


async def test_after_a_restart_it_finds_what_happened_meanwhile(world: World) -> None:
    async with world.daemon():
        scene = await committed(world)
    scene.open()
    scene.other_reveals()
    async with world.daemon():
        await until(lambda: scene.road.state is RoadState.SETTLED)
    assert len(scene.taken(RevealOnRoad)) == 1, "the other's"
    assert len(scene.taken(FinalizeRoad)) == 1, "the last to reveal ends the job with it"


async def test_it_joins_a_job_that_still_takes_commits(world: World) -> None:
    async with world.daemon():
        scene = await committed(world)
        scene.open(OTHER_OPERATOR, is_fixed=False)
        await until(lambda: len(scene.road.entries) == 2)
        (step,) = scene.taken(CommitOnRoad)
        assert [c.operator for c in step.commits] == [OPERATOR]
        assert step.commits[0].signature == scene.commit.signature
        world.clock.time = scene.road.deadline + 1
        await until(lambda: bool(scene.road.openings))


async def test_a_lease_that_is_closed_is_answered_all_the_same(world: World) -> None:
    async with world.daemon():
        scene = await committed(world)
        await world.scheduler.release(scene.job, "it failed, believe me")
        await world.until_state(scene.job, "closed")
        scene.open()
        await until(lambda: bool(scene.road.openings))


async def test_a_silent_scheduler_s_job_is_taken_there_after_its_time(world: World) -> None:
    async with world.daemon():
        scene = await revealed(world)
        await lose_the_scheduler(world)
        world.clock.time += REVEAL_WINDOW_S + TERMS.patience_s - 1
        await scene.looks()
        assert scene.chain.steps == []
        world.clock.time += 1 + TERMS.turn_s  # the other, at the lower ticket, goes first
        await until(lambda: bool(scene.taken(RevealOnRoad)))
        (opened,) = scene.taken(OpenRoad)
        assert opened.commits == commits_of(scene.commit_set)
        assert opened.set_signature == scene.commit_set.signature
        assert opened.signed_order == scene.signed
        world.clock.time += WINDOW_S + 1
        await scene.a_turn_passes()
        await until(lambda: scene.road.state is RoadState.FAILED)  # the other kept silent
        await world.until_state(scene.job, "closed")


async def test_a_scheduler_that_is_there_and_settles_nothing_has_time_until_the_expiry(
    world: World,
) -> None:
    async with world.daemon():
        scene = await revealed(world)
        await world.scheduler.release(scene.job, "settled")
        world.clock.time = scene.signed.order.expiry - TERMS.margin_s + TERMS.turn_s - 1
        await scene.looks()
        assert scene.chain.steps == []
        world.clock.time += 1
        await until(lambda: bool(scene.taken(OpenRoad)))


async def test_a_settled_job_is_left_alone(world: World) -> None:
    async with world.daemon():
        scene = await revealed(world)
        world.chain.used_nonces.add(scene.signed.order.nonce_number)
        world.clock.time = scene.signed.order.expiry - 1
        await scene.looks()
        assert scene.chain.steps == []


async def test_who_does_not_want_to_take_jobs_there_answers_only(world: World) -> None:
    async with world.daemon(road=dataclasses.replace(TERMS, opens=False)):
        scene = await revealed(world)
        world.clock.time = scene.signed.order.expiry - 1
        await scene.looks()
        assert scene.chain.steps == []
        scene.open()
        await until(lambda: bool(scene.road.openings))


async def test_where_the_set_is_refused_it_opens_with_its_own_commit(world: World) -> None:
    def refuse(step: object) -> str | None:
        return "Vault_StakeLocked" if isinstance(step, OpenRoad) and step.set_signature else None

    world.chain.refuse = refuse
    async with world.daemon():
        scene = await committed(world)
        scene.spoilt = b"\x05" * 65  # by the scheduler, in the entry of this provider
        await world.scheduler.reveal(scene.commit_set)
        await world.until_state(scene.job, "revealed")
        world.clock.time = scene.signed.order.expiry - 1
        await until(lambda: scene.job in scene.chain.on_road)
        (opened,) = scene.taken(OpenRoad)
        assert [c.signature for c in opened.commits] == [scene.commit.signature]
        assert [e.operator for e in scene.road.entries] == [OPERATOR]
        assert scene.road.state is RoadState.COMMITTING


async def test_a_chain_that_is_away_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def away() -> None:
        asked.set()
        raise ChainUnavailable("it is away")

    async with world.daemon():
        scene = await committed(world)
        with monkeypatch.context() as patched:
            patched.setattr(world.chain, "pursue_steps", away)
            await asked.wait()
            scene.open()
        await until(lambda: bool(scene.road.openings))


async def test_what_is_wrong_with_one_job_keeps_no_other_from_being_revealed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.chain.road_of
    async with world.daemon():
        scenes = [await committed(world)]
        await world.scheduler.lease(world.signed_order())
        commit = await world.scheduler.committed(2)
        lease = await world.until_state(commit.job, "committed")
        assert lease.output is not None
        scenes.append(Scene(world, signed_order_of(lease), commit, lease.output))
        scenes.sort(key=lambda scene: scene.job)

        for fault in (ChainError("it makes no sense"), ZeroDivisionError()):

            async def broken(job: Digest, *, from_block: int, fault: Exception = fault):
                if job == scenes[0].job:
                    raise fault
                return await real(job, from_block=from_block)

            monkeypatch.setattr(world.chain, "road_of", broken)
            for scene in scenes:
                if scene.job not in scene.chain.on_road:
                    scene.open()
            await until(lambda: bool(scenes[1].road.openings))
            await scenes[1].looks()
        assert scenes[0].road.openings == ()


async def test_a_silent_persona_keeps_silent(world: World) -> None:
    world.conduct = Conduct(reveals=False)
    async with world.daemon():
        scene = await committed(world)
        scene.open()
        for _ in range(200):
            await asyncio.sleep(0.001)
        assert scene.road.openings == ()


def test_when_a_job_is_taken_to_the_road() -> None:
    def due(**changes: float) -> float:
        fields = {"expiry": 10_000, "reveal_window_s": 60, "revealed_at": 1_000}
        return opens_at(**{**fields, "heard_at": 500.0, **changes}, terms=TERMS)  # type: ignore[arg-type]

    assert due() == 1_160, "nobody was heard since the time to reveal was over"
    assert due(heard_at=5_000.0) == 5_100, "it was heard later"
    assert due(heard_at=9_999.0) == 9_950, "but not past the expiry"
    assert due(expiry=1_100) == 1_060, "and not before the time to reveal is over"


def test_a_commit_of_the_wire_is_one_of_the_road(world: World) -> None:
    commit = Commit(
        job=Digest(b"\x01" * 32),
        round_number=0,
        rate_microusd=7,
        commitment=Digest(b"\x02" * 32),
        at_limit=False,
        signature=b"\x03" * 65,
    )
    assert commits_of(a_commit_set(commit))[1] == RoadCommit(
        operator=OPERATOR,
        ticket=1,
        rate_microusd=7,
        commitment=commit.commitment,
        signature=commit.signature,
    )
    assert world.clock.now() == NOW
