"""The court through Python, on the real contracts: a job, the panel that runs it again, the money.

The chain is this module's own: its clock is moved by days.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from assay_node.chain.abi_orders import abi_order
from assay_node.chain.refusals import ContractRefusal
from assay_node.chain.rpc import open_rpc
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import deploy
from assay_node.ports import (
    CalledPanel,
    CallPanel,
    CaseState,
    CloseCase,
    Decided,
    EnteredJob,
    FinalizeRoad,
    JoinPanel,
    KeepAuditSeed,
    Matter,
    ReleaseCase,
    RevealOnRoad,
    RoadCommit,
    RoadOpening,
    RoadState,
    ShareKind,
)
from assay_node.protocol.ids import ZERO_ADDRESS, Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.panels import (
    PanelKind,
    audit_block,
    is_drawn,
    is_shown,
    panel_order,
    place_of,
)
from assay_node.protocol.receipt import (
    Receipt,
    commit_digest,
    commitment,
    tag,
)
from assay_node.services.court import Docket, appeal, barred, docket_of, plan_case
from assay_node.services.road import with_a_place
from tests.fixtures.chain import ChainLab, a_class, anvil_settings
from tests.fixtures.receipts import ANSWER, LIE, Operator
from tests.integration.chain.test_road import finalizing, job_of, opening_step, openings_of
from tests.integration.chain.test_settlement import Market

SALT = Digest(b"\x77" * 32)
SECONDS = 10
RATE = 100
BOND = 50_000_000
MAX_COST = 150 * 600
"""Of one replica: the order's highest rate for its most seconds."""
SOME_OTHER_OUTPUT = Digest(b"\xdd" * 32)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def anvil() -> AsyncIterator[AnvilProcess]:
    async with AnvilProcess(anvil_settings()) as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deployment(anvil: AnvilProcess) -> Any:
    return await deploy(anvil.url)


class Bench:
    """A market with operators enough for a panel, and what tests do with its court."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.wallet = market.wallet
        self.from_block = market.seed_block

    async def entered(self, job: Digest) -> EnteredJob:
        last = (await self.wallet.head()).number
        (entered,) = await self.wallet.entered(self.from_block, last, job=job)
        return entered

    async def docket(self, job: Digest) -> Docket:
        return await docket_of(self.wallet, job)

    async def plan(self, job: Digest, *digests: Digest) -> Any:
        now = (await self.wallet.head()).timestamp
        return plan_case(await self.docket(job), now=now, digests=digests)

    async def called(self, job: Digest) -> CalledPanel:
        last = (await self.wallet.head()).number
        (called,) = await self.wallet.panels_called(self.from_block, last, job=job)
        return called

    async def mine(self, blocks: int) -> None:
        async with open_rpc(self.market.chain.url, timeout_s=10) as rpc:
            await rpc.call("anvil_mine", hex(blocks))

    async def pass_time(self, until: int) -> None:
        """Have the newest block be later than `until`."""
        async with open_rpc(self.market.chain.url, timeout_s=10) as rpc:
            left = until + 1 - (await self.wallet.head()).timestamp
            await rpc.call("evm_increaseTime", max(left, 1))
            await rpc.call("anvil_mine", "0x1")

    async def panel(self, called: CalledPanel, outputs: Sequence[Digest]) -> None:
        """Have the drawn operators run a panel's job: the i-th says `outputs[i]`."""
        wallet, matter = self.wallet, called.matter
        assert matter is not None
        order = panel_order(matter.order, called.panel, court=wallet.court, domain=wallet.domain)
        await self.mine(10)
        draw = await wallet.draw(
            order.hardware_class, order.seed_block, called.panel_job, max_ticket=255
        )
        places = {
            one: place
            for one in self.market.operators
            if (place := place_of(one.address, draw, barred=barred(matter))) is not None
        }
        sitting = sorted(places, key=lambda one: places[one][1])[: len(outputs)]
        opened = {
            one.address: (one, RoadOpening(
                index=0, seconds=SECONDS, tag=tag(called.panel_job, 0, output), salt=SALT
            ))
            for one, output in zip(sitting, outputs, strict=True)
        }  # fmt: skip
        for one, opening in reversed(opened.values()):
            road = await wallet.road_of(called.panel_job)
            commit = self._commit(called.panel_job, one, places[one][0], opening)
            step = JoinPanel(
                matter=matter,
                panel=called.panel,
                entries=road.entries,
                commits=with_a_place(road, order.replicas, (commit,)),
            )
            await wallet.take_step(step)
        road = await wallet.road_of(called.panel_job)
        assert road.state is RoadState.COMMITTING
        await self.pass_time(road.deadline)
        shown = tuple(
            replace(opened[entry.operator][1], index=i) for i, entry in enumerate(road.entries)
        )
        await wallet.take_step(
            RevealOnRoad(
                job=called.panel_job, round_number=0, entries=road.entries, openings=shown[:1]
            )
        )
        await wallet.take_step(
            FinalizeRoad(order=order, round_number=0, entries=road.entries, openings=shown)
        )

    def _commit(self, job: Digest, one: Operator, ticket: int, opening: RoadOpening) -> RoadCommit:
        committed = commitment(job, one.address, opening.tag, opening.seconds, opening.salt)
        digest = commit_digest(
            self.wallet.domain, job=job, round_number=0, rate_microusd=RATE, commitment=committed
        )
        return RoadCommit(
            operator=one.address,
            ticket=ticket,
            rate_microusd=RATE,
            commitment=committed,
            signature=one.signer.sign_digest(digest),
        )


async def bench_of(chain: ChainLab, operators: int) -> Bench:
    wallet, hardware_class = await chain.wallet(), a_class()
    return Bench(
        Market(
            chain=chain,
            wallet=wallet,
            requester=await chain.requester(wallet, budget_usd=100),
            operators=await chain.operators(hardware_class, operators),
            hardware_class=hardware_class,
            seed_block=await chain.settled_seed(),
        )
    )


def changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - was for name, was in before.items() if after[name] != was}


async def test_an_audited_lie_of_one_replica_costs_its_bond_and_the_requester_nothing(
    chain: ChainLab,
) -> None:
    bench = await bench_of(chain, 4)
    market, wallet = bench.market, bench.wallet
    before = await market.books()
    panel_cost = 3 * MAX_COST
    receipt = await market.receipt([LIE], audit_bps=10_000, fee_microusd=panel_cost)
    await market.settle(receipt)
    job, order = job_of(market, receipt), receipt.signed_order.order
    entered = await bench.entered(job)
    (share,) = entered.shares
    liar = receipt.replicas[0].operator
    assert (share.operator, share.kind, share.amount_microusd) == (liar, ShareKind.WON, 1_000)
    decided = await wallet.decided(entered)
    assert decided == expected_decision(market, receipt, entered)
    assert (await bench.plan(job)).step is None, "its audit block is yet to come"
    await bench.mine(130)
    seed = await wallet.block_hash(audit_block(entered.entered_in))
    assert seed is not None
    assert is_drawn(seed, job, 10_000)
    assert not is_drawn(seed, job, 0)
    assert await wallet.audit_drawn(job, entered_in=entered.entered_in, audit_bps=10_000)
    assert (await wallet.audit_fund(wallet.address)).microusd == panel_cost
    await wallet.take_step(KeepAuditSeed(seed_block=audit_block(entered.entered_in)))
    found = await bench.plan(job)
    assert found.step == CallPanel(kind=PanelKind.AUDIT, matter=decided.matter)
    await wallet.take_step(found.step)
    called = await bench.called(job)
    assert called.matter == decided.matter
    assert called.panel.payer == ZERO_ADDRESS
    await check_panel_order(bench, called)
    assert (await bench.plan(job, ANSWER)).step is None, "the panel has yet to run it"
    await bench.panel(called, [ANSWER, ANSWER, ANSWER])
    verdict = await wallet.verdict_of(called.panel_job)
    assert verdict is not None
    assert verdict.agreed
    assert verdict.cost_microusd == 3 * SECONDS * RATE
    assert is_shown(called.panel_job, ANSWER, verdict.tag)
    assert (await bench.plan(job, LIE)).step is None, "not what the panel agreed on"
    closing = (await bench.plan(job, LIE, ANSWER)).step
    assert closing == CloseCase(
        matter=decided.matter, panel=called.panel, openings=decided.openings, digest=ANSWER
    )
    await wallet.take_step(closing)
    assert (await wallet.case_of(job)).state is CaseState.ABSENT
    assert await wallet.verdict_of(called.panel_job) is None
    after = await market.books()
    moved = changes(before, after)
    honest = [one.address for one in market.operators if one.address != liar]
    assert moved.pop(f"{liar} stake") == -BOND
    assert moved.pop(f"{liar} free") == 1_000, "it keeps the pay of a job that it did not run"
    for one in honest:
        assert moved.pop(f"{one} free") == SECONDS * RATE
    # Everything that the job cost came back, out of the liar's bond.
    assert "budget" not in moved
    assert (await wallet.audit_fund(wallet.address)).microusd == panel_cost
    assert moved.pop("treasury free") == BOND - 3 * SECONDS * RATE - 1_000 - panel_cost
    assert moved == {"held": panel_cost}, "what is held now is the scheduler's fund"
    assert order.audit_fee_microusd == panel_cost


async def test_an_honest_operator_that_two_liars_had_slashed_appeals(chain: ChainLab) -> None:
    bench = await bench_of(chain, 10)
    market, wallet = bench.market, bench.wallet
    receipt = await market.receipt([LIE, ANSWER, LIE])
    await market.settle(receipt)
    job = job_of(market, receipt)
    honest = receipt.replicas[1].operator
    entered = await bench.entered(job)
    assert entered.agreed
    assert entered.held_of(honest) == BOND
    assert entered.held_of(receipt.replicas[0].operator) == 0
    now = (await wallet.head()).timestamp
    found = appeal(await bench.docket(job), now=now)
    assert isinstance(found.step, CallPanel)
    with pytest.raises(ContractRefusal):
        await wallet.take_step(found.step)  # with nothing to set aside
    await wallet.deposit(7 * MAX_COST)
    before = await market.books()
    await wallet.take_step(found.step)
    called = await bench.called(job)
    assert called.panel.payer == wallet.address
    with pytest.raises(ContractRefusal) as refusal:  # no part in the job, or no seat on its panel
        await wallet.take_step(joining_as_before(bench, called, receipt))
    assert refusal.value.name == "Court_NotFresh"
    await bench.panel(called, [ANSWER, SOME_OTHER_OUTPUT, *[ANSWER] * 5])
    closing = (await bench.plan(job, ANSWER)).step
    assert isinstance(closing, CloseCase)
    assert [opening.index for opening in closing.openings] == [0, 1]
    await wallet.take_step(closing)
    after = await market.books()
    moved = changes(before, after)
    assert moved[f"{honest} free"] == BOND
    for i in (0, 2):
        assert moved[f"{receipt.replicas[i].operator} stake"] == -BOND
    assert "scheduler free" not in moved, "the appellant has its money back"


async def test_a_job_without_a_quorum_is_run_again_from_its_requesters_budget(
    chain: ChainLab,
) -> None:
    bench = await bench_of(chain, 7)
    market, wallet = bench.market, bench.wallet
    receipt = await market.receipt([ANSWER, LIE], escalate=True)
    await wallet.take_step(opening_step(market, receipt))
    await wallet.take_step(finalizing(market, receipt))
    job = job_of(market, receipt)
    entered = await bench.entered(job)
    assert not entered.agreed
    decided = await wallet.decided(entered)
    assert decided == expected_decision(market, receipt, entered), "read from the road's last step"
    assert appeal(await bench.docket(job), now=entered.entered_in).step is None
    found = await bench.plan(job)
    assert found.step == CallPanel(kind=PanelKind.ESCALATION, matter=decided.matter)
    before = await market.books()
    await wallet.take_step(found.step)
    called = await bench.called(job)
    await bench.panel(called, [ANSWER] * 5)
    closing = (await bench.plan(job)).step
    assert closing == CloseCase(matter=decided.matter, panel=called.panel)
    await wallet.take_step(closing)
    moved = changes(before, await market.books())
    assert moved.pop("budget") == -5 * SECONDS * RATE
    assert set(moved.values()) == {SECONDS * RATE}
    assert len(moved) == 5


async def test_a_panel_that_nobody_joined_ends_and_so_does_a_case_nobody_called_one_for(
    chain: ChainLab,
) -> None:
    bench = await bench_of(chain, 3)
    market, wallet = bench.market, bench.wallet
    split = await market.receipt([ANSWER, LIE, SOME_OTHER_OUTPUT], escalate=True)
    slashed = await market.receipt([ANSWER, LIE, ANSWER])
    await market.settle(split, slashed)
    job = job_of(market, split)
    await wallet.take_step((await bench.plan(job)).step)
    assert (await bench.plan(job)).until == (await bench.called(job)).panel.expiry
    assert (await bench.plan(job_of(market, slashed))).step is None, "appeals are nobody's duty"
    await bench.pass_time((await wallet.head()).timestamp + 86_401)
    gone = (await bench.plan(job)).step
    assert isinstance(gone, CloseCase)
    await wallet.take_step(gone)
    assert (await bench.plan(job)).step is None
    before = await market.books()
    release = (await bench.plan(job_of(market, slashed))).step
    assert isinstance(release, ReleaseCase)
    assert appeal(await bench.docket(job_of(market, slashed)), now=2**40).step is None
    await wallet.take_step(release)
    assert changes(before, await market.books()) == {"held": -BOND, "treasury free": BOND}


async def test_what_a_job_was_decided_by_is_read_from_every_form_of_the_call(
    chain: ChainLab,
) -> None:
    bench = await bench_of(chain, 3)
    market, wallet = bench.market, bench.wallet
    receipts = [await market.receipt([ANSWER, LIE, ANSWER]) for _ in range(2)]
    await market.settle(*receipts)
    for receipt in receipts:  # packed
        entered = await bench.entered(job_of(market, receipt))
        assert await wallet.decided(entered) == expected_decision(market, receipt, entered)
    stranger = await bench.entered(job_of(market, receipts[0]))
    other = replace(stranger, commits=Digest(bytes(32)))
    assert await wallet.decided(other) is None, "not what the court was told"


def expected_decision(market: Market, receipt: Receipt, entered: EnteredJob) -> Decided:
    job = job_of(market, receipt)
    return Decided(
        matter=Matter(
            order=receipt.signed_order.order,
            commitments=tuple(
                commitment(job, r.operator, r.tag, r.seconds, r.salt) for r in receipt.replicas
            ),
            shares=entered.shares,
            entered_in=entered.entered_in,
        ),
        openings=openings_of(receipt),
    )


async def check_panel_order(bench: Bench, called: CalledPanel) -> None:
    """What Python works out of a panel's order is what the contract has."""
    wallet, matter = bench.wallet, called.matter
    assert matter is not None
    mine = panel_order(matter.order, called.panel, court=wallet.court, domain=wallet.domain)
    theirs = await wallet._contracts.court.panel_order(
        abi_order(matter.order),
        (list(PanelKind).index(called.panel.kind), *abi_panel_rest(called)),  # type: ignore[arg-type]
    )
    assert theirs == abi_order(mine)
    assert job_id(mine, wallet.domain) == called.panel_job


def abi_panel_rest(called: CalledPanel) -> tuple[object, ...]:
    return called.panel.payer, called.panel.seed_block, called.panel.expiry


def joining_as_before(bench: Bench, called: CalledPanel, receipt: Receipt) -> JoinPanel:
    """The step of an operator that had a part in the job itself."""
    assert called.matter is not None
    operators = {one.address: one for one in bench.market.operators}
    opening = RoadOpening(index=0, seconds=1, tag=receipt.replicas[0].tag, salt=SALT)
    commit = bench._commit(called.panel_job, operators[receipt.replicas[0].operator], 0, opening)
    return JoinPanel(matter=called.matter, panel=called.panel, entries=(), commits=(commit,))
