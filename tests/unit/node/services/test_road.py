"""What can be done for a job on the road, against a model of the contract."""

import random
from dataclasses import replace

import pytest

from assay_node.chain.refusals import ContractRefusal
from assay_node.ports import (
    ROAD_ENDS,
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadCommit,
    RoadJob,
    RoadState,
)
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import CommitEntry, CommitSet
from assay_node.protocol.order import SignedOrder, job_id
from assay_node.protocol.receipt import Receipt, commitment
from assay_node.protocol.typed_data import Domain
from assay_node.services.road import Answer, Holdings, at, opening_alone, plan
from tests.fakes.road import WINDOW_S, FakeRoad
from tests.fixtures.receipts import LIE, Vote, a_receipt, an_order, key, operator, sign_order

DOMAIN = Domain(31337, operator(9).address)
NOW = 1_000_000
ORDER = an_order(
    requester=key(1).address,
    scheduler=key(2).address,
    hardware_class=Digest(b"\x07" * 32),
    seed_block=5,
    expiry=NOW + 3_600,
)
SIGNED = sign_order(DOMAIN, ORDER, key(1))
JOB = job_id(ORDER, DOMAIN)
OPERATORS = [operator(n) for n in (3, 4, 5, 6)]


class World:
    """A chain, a clock, and four operators with an answer each; tickets are 0, 2, 4, 6."""

    def __init__(self, *, liars: int = 0) -> None:
        self.now = NOW
        self.chain = FakeRoad(DOMAIN, lambda: self.now)
        votes = [
            Vote(
                operator=who,
                ticket=2 * i,
                seconds=10 + i,
                rate_microusd=100,
                **({"output": LIE} if i < liars else {}),
            )
            for i, who in enumerate(OPERATORS)
        ]
        self.receipt = a_receipt(DOMAIN, SIGNED, votes)
        self.answers = [self._answer(i) for i in range(len(votes))]

    def _answer(self, number: int) -> Answer:
        r = self.receipt.replicas[number]
        return Answer(
            commit=RoadCommit(
                operator=r.operator,
                ticket=r.ticket,
                rate_microusd=r.rate_microusd,
                commitment=commitment(JOB, r.operator, r.tag, r.seconds, r.salt),
                signature=bytes(64) + b"\x1b",
            ),
            seconds=r.seconds,
            tag=r.tag,
            salt=r.salt,
        )

    @property
    def commit_set(self) -> CommitSet:
        return CommitSet(
            job=JOB,
            round_number=0,
            entries=tuple(
                CommitEntry(
                    operator=answer.commit.operator,
                    ticket=answer.commit.ticket,
                    rate_microusd=100,
                    commitment=answer.commit.commitment,
                    signature=answer.commit.signature,
                )
                for answer in self.answers[:3]
            ),
            signature=b"\x01" * 65,
        )

    @property
    def road(self) -> RoadJob:
        absent = RoadJob(job=JOB, state=RoadState.ABSENT, deadline=0, round_number=0)
        return self.chain.on_road.get(JOB, absent)

    def plan_of(self, number: int | None = None, **holdings: object):
        answer = None if number is None else self.answers[number]
        held = Holdings(answer=answer, **holdings)  # type: ignore[arg-type]
        return plan(self.road, held, now=self.now, window_s=WINDOW_S)

    def open_whole(self) -> None:
        step = self.plan_of(signed_order=SIGNED, commit_set=self.commit_set).step
        assert isinstance(step, OpenRoad)
        self.chain.take(step)

    def open_with(self, number: int) -> None:
        self.chain.take(
            OpenRoad(signed_order=SIGNED, round_number=0, commits=(self.answers[number].commit,))
        )


def test_who_holds_nothing_is_told_what_is_missing() -> None:
    world = World()
    assert "order is needed" in world.plan_of().text
    assert "commit set" in world.plan_of(signed_order=SIGNED).text
    world.now = ORDER.expiry + 1
    expired = world.plan_of(signed_order=SIGNED, commit_set=world.commit_set)
    assert expired.step is None
    assert "expired" in expired.text


def test_the_commit_set_takes_a_job_there_and_each_reveals_its_own_the_last_ends_it() -> None:
    world = World()
    world.open_whole()
    assert world.plan_of().waits_for == tuple(a.commit.operator for a in world.answers[:3])
    for number, kind in ((1, RevealOnRoad), (0, RevealOnRoad), (2, FinalizeRoad)):
        step = world.plan_of(number).step
        assert isinstance(step, kind)
        world.chain.take(step)
        if kind is RevealOnRoad:
            assert world.plan_of(number).step is None, "one's answer is shown once"
    assert world.road.state is RoadState.SETTLED
    assert world.plan_of(1).text == "the job is over"


def test_nobody_can_reveal_after_the_deadline_and_anybody_can_end_the_job() -> None:
    world = World()
    world.open_whole()
    for number in (0, 1):
        world.chain.take(world.plan_of(number).step)
    world.now = world.road.deadline
    assert isinstance(world.plan_of(2).step, FinalizeRoad), "the very last second is in time"
    assert world.plan_of().waits_for == (world.answers[2].commit.operator,)
    world.now += 1
    for who in (None, 2):
        step = world.plan_of(who).step
        assert isinstance(step, FinalizeRoad)
        assert len(step.openings) == 2
    world.chain.take(world.plan_of().step)
    assert world.road.state is RoadState.SETTLED


def test_operators_commit_while_there_is_a_place_for_their_tickets() -> None:
    world = World()
    world.open_with(3)
    for number in (2, 1, 0):  # ever lower tickets: the last of them displaces the first
        step = world.plan_of(number).step
        assert isinstance(step, CommitOnRoad)
        world.chain.take(step)
    assert [entry.ticket for entry in world.road.entries] == [0, 2, 4]
    assert world.plan_of(3).step is None
    assert "places are taken" in world.plan_of(3).text
    assert world.plan_of(0).step is None, "who is there commits no more"


def test_who_holds_the_commit_set_brings_the_others_commits() -> None:
    world = World()
    world.open_with(1)
    step = world.plan_of(commit_set=world.commit_set).step
    assert isinstance(step, CommitOnRoad)
    assert {c.operator for c in step.commits} == {
        world.answers[0].commit.operator,
        world.answers[2].commit.operator,
    }
    other_round = replace(world.commit_set, round_number=1)
    assert world.plan_of(commit_set=other_round).step is None


def test_time_fixes_the_commits_and_too_few_let_go() -> None:
    world = World()
    world.open_with(1)
    deadline = world.road.deadline
    assert deadline >= ORDER.expiry
    world.now = deadline + 1
    seen = at(world.road, now=world.now, window_s=WINDOW_S)
    assert (seen.state, seen.deadline) == (RoadState.REVEALING, deadline + WINDOW_S)
    step = world.plan_of(1).step
    assert isinstance(step, FinalizeRoad)
    assert step.openings == ()
    world.chain.take(step)
    assert world.road.state is RoadState.FAILED


def test_a_complete_receipt_with_a_quorum_comes_first() -> None:
    world = World()
    world.open_with(0)
    receipt = replace(world.receipt, replicas=world.receipt.replicas[:3])
    step = world.plan_of(receipt=receipt).step
    assert isinstance(step, OverrideRoad)
    world.chain.take(step)
    assert world.road.state is RoadState.SETTLED
    split = World(liars=2)
    split.open_with(0)
    lies = Receipt(
        signed_order=SIGNED, replicas=(split.receipt.replicas[0], *split.receipt.replicas[2:])
    )
    assert isinstance(split.plan_of(receipt=lies).step, OverrideRoad)
    one_each = replace(lies, replicas=(lies.replicas[0], lies.replicas[1]))
    assert not isinstance(split.plan_of(receipt=one_each).step, OverrideRoad)


def test_the_order_in_the_chains_own_call_data_is_enough() -> None:
    world = World()
    world.open_whole()
    world.now = world.road.deadline + 1
    assert world.plan_of().step is not None
    nowhere = replace(world.road, signed_order=None)
    assert plan(nowhere, Holdings(), now=world.now, window_s=WINDOW_S).step is None
    told = Holdings(signed_order=SignedOrder(order=ORDER, signature=SIGNED.signature))
    assert plan(nowhere, told, now=world.now, window_s=WINDOW_S).step is not None


def test_an_opening_alone_has_no_set() -> None:
    world = World()
    step = world.plan_of(signed_order=SIGNED, commit_set=world.commit_set).step
    assert isinstance(step, OpenRoad)
    alone = opening_alone(step, world.answers[1].commit)
    assert alone.commits == (world.answers[1].commit,)
    assert alone.set_signature == b""


@pytest.mark.parametrize("seed", range(40))
def test_whoever_follows_the_plan_is_never_refused_and_every_job_ends(seed: int) -> None:
    """Any of the four may be away for good; steps come in any order, time passes in any steps."""
    rolls = random.Random(seed)
    world = World(liars=rolls.randrange(3))
    awake = [n for n in range(4) if rolls.random() < 0.7]
    first = rolls.randrange(4)
    if rolls.random() < 0.5 and first < 3:
        world.open_whole()
    else:
        world.open_with(first)
    for _ in range(400):
        who = rolls.choice([*awake, None])
        step = world.plan_of(who).step
        if step is not None:
            try:
                world.chain.take(step)
            except ContractRefusal as refusal:
                pytest.fail(f"{step} was refused: {refusal}")
        if world.road.state in ROAD_ENDS:
            break
        world.now += rolls.choice([0, 0, 0, 60, 1800])
    assert world.road.state in ROAD_ENDS
