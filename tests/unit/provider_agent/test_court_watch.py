"""A daemon at the court: it sits on panels it is drawn for, shows what it knows, and appeals."""

import dataclasses
from typing import Any

import pytest

from assay_node.ports import (
    CalledPanel,
    CallPanel,
    CaseShare,
    CaseState,
    CloseCase,
    Decided,
    EnteredJob,
    JoinPanel,
    Matter,
    RevealOnRoad,
    RoadCommit,
    RoadOpening,
    RoadState,
    ShareKind,
    Verdict,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.ids import ZERO_ADDRESS, Address, Digest
from assay_node.protocol.order import Order, job_id
from assay_node.protocol.panels import (
    PANEL_COMMIT_S,
    PANEL_ROUND,
    PANEL_SEED_BLOCKS,
    VERDICT_BYTES,
    Panel,
    PanelKind,
    place_of,
)
from assay_node.protocol.receipt import commit_set, commitment, tag
from assay_provider.panel_terms import PanelTerms, seats_called
from assay_provider.personas import Conduct
from assay_provider.road_terms import RoadTerms
from tests.unit.provider_agent.world import (
    DOMAIN,
    NOW,
    OPERATOR,
    OTHER_OPERATOR,
    World,
    until,
)

STRANGERS = tuple(Address(f"0x{number:040x}") for number in range(0xAA, 0xB4))
SALT = Digest(b"\x31" * 32)
LIE = Digest(b"\x66" * 32)
SECONDS = 11
TURN_S = 10


@pytest.fixture(autouse=True)
def quick(world: World) -> None:
    terms = RoadTerms(patience_s=100, margin_s=50, turn_s=TURN_S, poll_s=0.001)
    world.supply = dataclasses.replace(world.supply, road=terms)


class Scene:
    """A job of strangers that was decided, and what a court makes of it."""

    def __init__(
        self,
        world: World,
        *,
        operators: tuple[Address, ...] = STRANGERS[:2],
        kinds: tuple[ShareKind, ...] = (ShareKind.WON, ShareKind.WON),
        order: Order | None = None,
    ) -> None:
        self.world = world
        self.order = order or world.signed_order().order
        self.job = job_id(self.order, DOMAIN)
        said = tag(self.job, 0, LIE)
        commitments = tuple(commitment(self.job, one, said, SECONDS, SALT) for one in operators)
        shares = tuple(
            CaseShare(operator=one, amount_microusd=1_000_000, kind=kind)
            for one, kind in zip(operators, kinds, strict=True)
        )
        self.entered = EnteredJob(
            job=self.job,
            commits=commit_set(commitments),
            shares=shares,
            entered_in=world.chain.block,
            transaction=Digest(bytes(32)),
        )
        self.decided = Decided(
            matter=Matter(
                order=self.order,
                commitments=commitments,
                shares=shares,
                entered_in=self.entered.entered_in,
            ),
            openings=tuple(
                RoadOpening(index=i, seconds=SECONDS, tag=said, salt=SALT)
                for i in range(len(operators))
            ),
        )
        world.chain.enter(self.entered, self.decided)

    def call(self, kind: PanelKind = PanelKind.AUDIT, payer: Address = ZERO_ADDRESS) -> CalledPanel:
        """Call a panel; its seed block is mined."""
        chain = self.world.chain
        panel = Panel(
            kind=kind,
            payer=payer,
            seed_block=chain.block + PANEL_SEED_BLOCKS,
            expiry=int(self.world.clock.now()) + PANEL_COMMIT_S,
        )
        called = chain.call(self.job, panel)
        chain.block += PANEL_SEED_BLOCKS
        return called

    def taken(self, kind: type) -> list[Any]:
        return [step for step in self.world.chain.steps if isinstance(step, kind)]

    async def looks(self, count: int = 3) -> None:
        wanted = self.world.chain.looks + count
        await until(lambda: self.world.chain.looks >= wanted)


def road_of(scene: Scene, called: CalledPanel) -> Any:
    return scene.world.chain.panel_road(called)


def others_commit(ticket: int, operator: Address) -> RoadCommit:
    return RoadCommit(
        operator=operator,
        ticket=ticket,
        rate_microusd=1,
        commitment=Digest(b"\x21" * 32),
        signature=bytes(65),
    )


def others_join(scene: Scene, called: CalledPanel) -> None:
    """Have as many others commit as a quorum of the panel needs."""
    commits = tuple(others_commit(2 + t, one) for t, one in enumerate(STRANGERS[3:5]))
    entries = road_of(scene, called).entries
    matter = scene.decided.matter
    scene.world.chain.take_at_court(
        JoinPanel(matter=matter, panel=called.panel, entries=entries, commits=commits)
    )


async def test_a_drawn_provider_runs_a_panels_job_commits_reveals_and_shows_the_output(
    world: World,
) -> None:
    async with world.daemon():
        scene = Scene(world)
        called = scene.call()
        await until(lambda: bool(road_of(scene, called).entries))
        (entry,) = road_of(scene, called).entries
        assert (entry.operator, entry.ticket) == (OPERATOR, 1), "its lowest ticket"
        others_join(scene, called)
        lease = await world.until_state(called.panel_job, "committed")
        assert lease.scheduler == ZERO_ADDRESS
        assert world.scheduler.commits == [], "no scheduler hears of it"
        digest = cids.to_digest(lease.output)  # type: ignore[arg-type]
        world.clock.time = called.panel.expiry + 1
        await until(lambda: bool(scene.taken(RevealOnRoad)))
        (reveal,) = scene.taken(RevealOnRoad)
        assert reveal.openings[0].tag == tag(called.panel_job, PANEL_ROUND, digest)
        verdict = Verdict(
            tag=reveal.openings[0].tag[:VERDICT_BYTES],
            cost_microusd=1,
            ended_at=int(world.clock.now()),
            agreed=True,
        )
        world.chain.end_panel(called, verdict)
        await scene.looks()
        assert scene.taken(CloseCase) == [], "those who had a part in the job go first"
        world.clock.time += 10 * TURN_S
        await until(lambda: bool(scene.taken(CloseCase)))
        (closing,) = scene.taken(CloseCase)
        assert closing.digest == digest
        assert [opening.index for opening in closing.openings] == [0]
        closed = await world.until_state(called.panel_job, "closed")
        assert closed.closed_reason == "settled"
        assert closed.keep_until is not None, "somebody may come for the output"


async def test_after_a_restart_it_goes_on_with_its_seat(world: World) -> None:
    async with world.daemon():
        scene = Scene(world)
        called = scene.call()
        await until(lambda: bool(road_of(scene, called).entries))
    others_join(scene, called)
    world.clock.time = called.panel.expiry + 1
    async with world.daemon():
        await until(lambda: bool(scene.taken(RevealOnRoad)))
    assert len(scene.taken(JoinPanel)) == 2, "its own, and the others'"


async def test_a_panel_that_others_took_to_the_road_long_before_is_answered(world: World) -> None:
    scene = Scene(world)
    called = scene.call()
    others_join(scene, called)
    world.chain.block += 1_000
    async with world.daemon():
        await until(lambda: len(road_of(scene, called).entries) == 3)
        world.clock.time = called.panel.expiry + 1
        await until(lambda: bool(scene.taken(RevealOnRoad)))


async def test_higher_tickets_are_asked_when_those_before_them_did_not_come(world: World) -> None:
    world.chain.drawn = (*STRANGERS[2:7], None, OPERATOR)
    async with world.daemon():
        scene = Scene(world)
        called = scene.call()
        await scene.looks()
        assert await world.store.get(called.panel_job) is None, "five seats, and five before it"
        world.clock.time += PANEL_COMMIT_S / 4
        await until(lambda: bool(road_of(scene, called).entries))


async def test_no_seat_where_lower_tickets_have_them_all(world: World) -> None:
    world.chain.drawn = (*(None,) * 100, OPERATOR)
    async with world.daemon():
        scene = Scene(world)
        called = scene.call()
        matter = scene.decided.matter
        commits = tuple(others_commit(t, one) for t, one in enumerate(STRANGERS[3:8]))
        world.chain.take_at_court(
            JoinPanel(matter=matter, panel=called.panel, entries=(), commits=commits)
        )
        await scene.looks()
        assert await world.store.get(called.panel_job) is None


@pytest.mark.parametrize(
    "reason",
    ["part in the job", "not drawn", "bond", "stake", "slot", "denied", "settings", "late"],
)
async def test_no_seat_is_taken_where_something_is_in_the_way(world: World, reason: str) -> None:
    operators = STRANGERS[:2]
    changes: dict[str, Any] = {}
    supply: dict[str, Any] = {}
    match reason:
        case "part in the job":
            operators = (STRANGERS[0], OPERATOR)
        case "not drawn":
            world.chain.drawn = (OTHER_OPERATOR,)
        case "bond":
            changes = {"bond_microusd": world.supply.bond_max_microusd + 1}
        case "stake":
            world.chain.locked_microusd = 49_500_000
        case "slot":
            supply = {"slots": 1}
            world.sandbox.gate.clear()
        case "denied":
            requester = world.signed_order().order.requester
            supply = {"requesters_denied": frozenset({requester})}
        case "settings":
            supply = {"panels": PanelTerms(sits=False)}
        case "late":
            changes = {"max_seconds": 3_600, "commit_window_s": PANEL_COMMIT_S}
    async with world.daemon(**supply):
        if reason == "slot":
            await world.scheduler.until(lambda: world.scheduler.heartbeats)
            await world.scheduler.lease(world.signed_order())
        scene = Scene(world, operators=operators, order=world.signed_order(**changes).order)
        called = scene.call()
        await scene.looks(5)
        assert await world.store.get(called.panel_job) is None
        assert scene.taken(JoinPanel) == []


async def test_a_run_that_cannot_be_done_gives_the_seat_up(world: World) -> None:
    order = world.signed_order().order
    world.scheduler.artifacts.kept.clear()  # nobody has the job's inputs any more
    async with world.daemon():
        scene = Scene(world, order=order)
        called = scene.call()
        await until(lambda: world.chain.looks > 0)
        while await world.store.get(called.panel_job) is None:
            await scene.looks(1)
        lease = await world.until_state(called.panel_job, "closed")
        assert "nobody has" in (lease.closed_reason or "")
        assert world.scheduler.hand_backs == [], "nobody waits for it"
        assert scene.taken(JoinPanel) == []


async def slashed_for(world: World) -> Scene:
    """A job that this provider ran, and in which two others had it slashed."""
    signed = world.signed_order()
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    await world.scheduler.lease(signed)
    commit = await world.scheduler.committed()
    await world.until_state(commit.job, "committed")
    return Scene(
        world,
        operators=(STRANGERS[0], OPERATOR, STRANGERS[1]),
        kinds=(ShareKind.WON, ShareKind.SLASHED, ShareKind.WON),
        order=signed.order,
    )


async def test_it_appeals_against_its_slash_and_shows_its_output_when_it_was_right(
    world: World,
) -> None:
    async with world.daemon():
        scene = await slashed_for(world)
        await until(lambda: world.chain.cases[scene.job].state is CaseState.CALLED)
        (step,) = scene.taken(CallPanel)
        assert step == CallPanel(kind=PanelKind.APPEAL, matter=scene.decided.matter)
        (called,) = world.chain.panels
        lease = await world.stored(scene.job)
        digest = cids.to_digest(lease.output)  # type: ignore[arg-type]
        world.clock.time = called.panel.expiry + 1
        world.chain.on_road[called.panel_job] = dataclasses.replace(
            road_of(scene, called), state=RoadState.SETTLED
        )
        world.chain.verdicts[called.panel_job] = Verdict(
            tag=tag(called.panel_job, PANEL_ROUND, digest)[:VERDICT_BYTES],
            cost_microusd=1,
            ended_at=int(world.clock.now()),
            agreed=True,
        )
        await until(lambda: bool(scene.taken(CloseCase)))  # at once: its own money is at stake
        assert [o.index for o in scene.taken(CloseCase)[0].openings] == [0, 1]


@pytest.mark.parametrize("reason", ["limit", "money", "persona", "off"])
async def test_it_does_not_appeal_beyond_what_its_owner_allows(world: World, reason: str) -> None:
    cost = 5 * 500 * 60
    terms = PanelTerms()
    match reason:
        case "limit":
            terms = PanelTerms(appeal_max_microusd=cost - 1)
        case "off":
            terms = PanelTerms(appeal_max_microusd=0)
        case "money":
            world.chain.free_microusd = cost - 1
        case "persona":
            world.conduct = Conduct(lies_as=OPERATOR)
    async with world.daemon(panels=terms):
        scene = await slashed_for(world)
        await scene.looks(5)
        assert scene.taken(CallPanel) == []
        assert world.chain.cases[scene.job].state is CaseState.ENTERED


def test_the_lowest_ranks_are_asked_first_and_each_quarter_as_many_again() -> None:
    expiry = int(NOW)
    begin = expiry - PANEL_COMMIT_S
    asked = [
        seats_called(replicas=5, expiry=expiry, now=begin + quarter * PANEL_COMMIT_S / 4)
        for quarter in (-1, 0, 0.99, 1, 2, 3)
    ]
    assert asked == [5, 5, 5, 10, 15, 20]


def test_a_place_counts_operators_and_not_seats_and_leaves_out_who_had_a_part() -> None:
    a, b, c = STRANGERS[:3]
    draw = (a, None, a, b, a, c)
    assert place_of(c, draw, barred=[]) == (5, 2)
    assert place_of(c, draw, barred=[a]) == (5, 1)
    assert place_of(a, draw, barred=[]) == (0, 0)
    assert place_of(a, draw, barred=[a]) is None
    assert place_of(STRANGERS[4], draw, barred=[]) is None
