"""A scheduler at the court: it calls the panels that draw and order ask for, and closes them."""

from dataclasses import replace
from typing import Any

import pytest

from assay_node.ports import (
    CallPanel,
    CaseShare,
    CaseState,
    CloseCase,
    Decided,
    EnteredJob,
    JobEventRecord,
    JobRecord,
    KeepAuditSeed,
    Matter,
    NewEvent,
    RoadJob,
    RoadOpening,
    RoadState,
    ShareKind,
    Verdict,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.panels import PANEL_ROUND, VERDICT_BYTES, PanelKind
from assay_node.protocol.receipt import commit_set, commitment, tag
from assay_node.protocol.typed_data import Domain
from assay_node.services.court_watch import CourtWatch
from tests.builders.jobs import a_job, a_lease, a_reveal
from tests.fakes.chain import MARKET, FakeSettlementChain

OPERATORS = tuple(Address(f"0x{number:040x}") for number in (0xA1, 0xA2))
DOMAIN = Domain(31337, MARKET)
SALT = Digest(b"\x31" * 32)
OUTPUT = Digest(b"\x42" * 32)


class Store:
    """The little of a store that the watch needs."""

    def __init__(self) -> None:
        self.kept: dict[Digest, JobRecord] = {}
        self.lines: list[JobEventRecord] = []

    async def job(self, job: Digest) -> JobRecord | None:
        return self.kept.get(job)

    async def events(self, job: Digest, *, after: int = 0) -> list[JobEventRecord]:
        return [line for line in self.lines if line.job == job]

    async def note(self, job: Digest, event: NewEvent, *, now: float) -> None:
        line = JobEventRecord(
            id=len(self.lines), job=job, at=now, kind=event.kind, text=event.text, data=event.data
        )
        self.lines.append(line)


class Scene:
    """A chain, a scheduler's jobs on it, and its watch."""

    def __init__(self) -> None:
        self.chain = FakeSettlementChain(OPERATORS, {})
        self.store = Store()
        self.sent = 0
        self.watch = self.new_watch()

    def new_watch(self) -> CourtWatch:
        def sending() -> None:
            self.sent += 1

        return CourtWatch(
            chain=self.chain,  # type: ignore[arg-type]
            store=self.store,  # type: ignore[arg-type]
            clock=self,
            sending=sending,
        )

    def now(self) -> float:
        return float(self.chain.timestamp)

    def decide(self, kinds: tuple[ShareKind, ...], **order: Any) -> Digest:
        """Have one of the scheduler's jobs decided in the newest block; return it."""
        record = a_job()
        signed = replace(record.signed_order, order=replace(record.signed_order.order, **order))
        job = job_id(signed.order, DOMAIN)
        output = cids.from_digest(cids.DAG_PB, OUTPUT)
        leases = tuple(
            replace(a_lease(1), operator=one, reveal=replace(a_reveal(), output=output))
            for one in OPERATORS
        )
        self.store.kept[job] = replace(record, job=job, signed_order=signed, leases=leases)
        said = tag(job, 0, OUTPUT)
        commitments = tuple(commitment(job, one, said, 1, SALT) for one in OPERATORS)
        shares = tuple(
            CaseShare(operator=one, amount_microusd=7, kind=kind)
            for one, kind in zip(OPERATORS, kinds, strict=True)
        )
        entered = EnteredJob(
            job=job,
            commits=commit_set(commitments),
            shares=shares,
            entered_in=self.chain.block,
            transaction=Digest(bytes(32)),
        )
        matter = Matter(
            order=signed.order, commitments=commitments, shares=shares, entered_in=self.chain.block
        )
        openings = tuple(RoadOpening(index=i, seconds=1, tag=said, salt=SALT) for i in (0, 1))
        self.chain.enter(entered, Decided(matter=matter, openings=openings))
        return job

    async def look(self, blocks: int = 1) -> None:
        self.chain.block += blocks
        await self.watch.look()

    def taken(self, kind: type) -> list[Any]:
        return [step for step in self.chain.steps if isinstance(step, kind)]

    def kinds(self, job: Digest) -> list[str]:
        return [line.kind for line in self.store.lines if line.job == job]


AUDITED = {"audit_bps": 100, "fee_microusd": 10**9}
WON = (ShareKind.WON, ShareKind.WON)
SPLIT = (ShareKind.EFFORT, ShareKind.EFFORT)


async def test_a_job_that_its_audit_block_drew_is_audited() -> None:
    scene = Scene()
    job = scene.decide(WON, **AUDITED)
    scene.chain.draws[job] = True
    await scene.look()
    assert scene.taken(CallPanel) == [], "its audit block is 65 to 128 blocks away"
    await scene.look(130)
    (step,) = scene.taken(CallPanel)
    assert step.kind is PanelKind.AUDIT
    assert scene.sent == 1
    await scene.look()
    await scene.look()
    assert scene.kinds(job) == ["panel_called"], "told once"
    assert len(scene.taken(CallPanel)) == 1


async def test_a_job_that_was_not_drawn_is_left_alone() -> None:
    scene = Scene()
    job = scene.decide(WON, **AUDITED)
    scene.chain.draws[job] = False
    await scene.look(130)
    await scene.look()
    assert scene.chain.steps == []


async def test_a_fund_that_is_too_small_leaves_the_draw_on_the_chain_until_it_is_filled() -> None:
    scene = Scene()
    job = scene.decide(WON, **AUDITED)
    scene.chain.draws[job] = True
    scene.chain.fund_microusd = 1
    await scene.look(130)
    await scene.look()
    assert len(scene.taken(KeepAuditSeed)) == 1
    assert scene.taken(CallPanel) == []
    scene.chain.fund_microusd = 10**9
    await scene.look()
    assert len(scene.taken(CallPanel)) == 1


@pytest.mark.parametrize("escalate", [True, False])
async def test_a_job_without_a_quorum_is_run_again_where_its_order_says_so(escalate: bool) -> None:
    scene = Scene()
    scene.decide(SPLIT, escalate=escalate)
    await scene.look()
    assert [step.kind for step in scene.taken(CallPanel)] == [PanelKind.ESCALATION] * escalate


async def test_a_refused_step_is_tried_again_and_harms_no_other_job() -> None:
    scene = Scene()
    poor = scene.decide(SPLIT, escalate=True)
    rich = scene.decide(SPLIT, escalate=True, seed_block=1)

    def refuse(step: Any) -> str | None:
        return "Vault_BudgetTooSmall" if job_id(step.matter.order, DOMAIN) == poor else None

    scene.chain.refuse = refuse
    await scene.look()
    assert scene.chain.cases[rich].state is CaseState.CALLED
    assert scene.chain.cases[poor].state is CaseState.SPLIT
    scene.chain.refuse = lambda step: None
    await scene.look()
    assert scene.chain.cases[poor].state is CaseState.CALLED


async def test_a_verdict_is_carried_out_with_the_output_that_replicas_gave() -> None:
    scene = Scene()
    job = scene.decide((ShareKind.WON, ShareKind.SLASHED), **AUDITED)
    scene.chain.draws[job] = True
    await scene.look(130)
    await scene.look()
    (called,) = scene.chain.panels
    scene.chain.on_road[called.panel_job] = RoadJob(
        job=called.panel_job, state=RoadState.SETTLED, deadline=0, round_number=0
    )
    scene.chain.verdicts[called.panel_job] = Verdict(
        tag=tag(called.panel_job, PANEL_ROUND, OUTPUT)[:VERDICT_BYTES],
        cost_microusd=1,
        ended_at=scene.chain.timestamp,
        agreed=True,
    )
    await scene.look()
    (step,) = scene.taken(CloseCase)
    assert step.digest == OUTPUT
    assert [opening.index for opening in step.openings] == [0, 1]
    await scene.look()
    assert scene.kinds(job) == ["panel_called", "case_closed"]
    scene.watch = scene.new_watch()  # after a restart
    await scene.look()
    assert scene.kinds(job) == ["panel_called", "case_closed"], "told once"


async def test_jobs_of_other_schedulers_are_theirs() -> None:
    scene = Scene()
    job = scene.decide(SPLIT, escalate=True)
    del scene.store.kept[job]
    await scene.look()
    assert scene.chain.steps == []
