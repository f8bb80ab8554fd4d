"""The on-chain road through Python, on the real contracts: what is signed for a scheduler is what
it takes, and what it says of a job is read back whole from its events."""

import asyncio
from dataclasses import replace

import pytest

from assay_node.chain.refusals import ContractRefusal
from assay_node.chain.rpc import open_rpc
from assay_node.ports import (
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadCommit,
    RoadEntry,
    RoadOpening,
    RoadState,
)
from assay_node.protocol.ids import Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import (
    Receipt,
    commit_digest,
    commit_set,
    commit_set_digest,
    commitment,
)
from tests.fixtures.chain import ChainLab
from tests.fixtures.receipts import ANSWER, LIE
from tests.integration.chain.test_settlement import Market, expected_changes, market_of_strangers

ROUND = 0


@pytest.fixture
async def market(chain: ChainLab) -> Market:
    return await market_of_strangers(chain, 3)


def job_of(market: Market, receipt: Receipt) -> Digest:
    return job_id(receipt.signed_order.order, market.wallet.domain)


def entries_of(market: Market, receipt: Receipt) -> tuple[RoadEntry, ...]:
    job = job_of(market, receipt)
    return tuple(
        RoadEntry(
            operator=r.operator,
            ticket=r.ticket,
            rate_microusd=r.rate_microusd,
            commitment=commitment(job, r.operator, r.tag, r.seconds, r.salt),
        )
        for r in receipt.replicas
    )


def commits_of(market: Market, receipt: Receipt) -> tuple[RoadCommit, ...]:
    """The commits as providers sign them for a scheduler."""
    signers = {one.address: one.signer for one in market.operators}
    commits = []
    for entry in entries_of(market, receipt):
        digest = commit_digest(
            market.wallet.domain,
            job=job_of(market, receipt),
            round_number=ROUND,
            rate_microusd=entry.rate_microusd,
            commitment=entry.commitment,
        )
        commits.append(
            RoadCommit(
                operator=entry.operator,
                ticket=entry.ticket,
                rate_microusd=entry.rate_microusd,
                commitment=entry.commitment,
                signature=signers[entry.operator].sign_digest(digest),
            )
        )
    return tuple(commits)


def openings_of(receipt: Receipt) -> tuple[RoadOpening, ...]:
    return tuple(
        RoadOpening(index=i, seconds=r.seconds, tag=r.tag, salt=r.salt)
        for i, r in enumerate(receipt.replicas)
    )


def opening_step(market: Market, receipt: Receipt, *, set_round: int = ROUND) -> OpenRoad:
    commits = commits_of(market, receipt)
    digest = commit_set_digest(
        market.wallet.domain,
        job=job_of(market, receipt),
        round_number=set_round,
        commits=commit_set([commit.commitment for commit in commits]),
    )
    return OpenRoad(
        signed_order=receipt.signed_order,
        round_number=ROUND,
        commits=commits,
        set_signature=market.wallet._signer.sign_digest(digest),
    )


def finalizing(market: Market, receipt: Receipt) -> FinalizeRoad:
    return FinalizeRoad(
        order=receipt.signed_order.order,
        round_number=ROUND,
        entries=entries_of(market, receipt),
        openings=openings_of(receipt),
    )


async def test_a_job_goes_from_its_commit_set_to_everybodys_pay(market: Market) -> None:
    receipt, wallet = await market.receipt([ANSWER, LIE, ANSWER]), market.wallet
    job, entries = job_of(market, receipt), entries_of(market, receipt)
    before = await market.books()
    assert (await wallet.road_of(job)).state is RoadState.ABSENT
    with pytest.raises(ContractRefusal) as refusal:
        await wallet.take_step(opening_step(market, receipt, set_round=ROUND + 1))
    assert refusal.value.name == "Road_SetSignatureInvalid"
    first = (await wallet.head()).number
    await wallet.take_step(opening_step(market, receipt))
    opened = await wallet.road_of(job)
    assert (opened.state, opened.entries, opened.openings) == (RoadState.REVEALING, entries, ())
    assert opened.signed_order == receipt.signed_order
    assert opened.deadline > (await wallet.head()).timestamp
    assert await wallet.road_of(job, from_block=first) == opened
    assert job in await wallet.taken_to_road(first, (await wallet.head()).number)
    await wallet.take_step(
        RevealOnRoad(
            job=job, round_number=ROUND, entries=entries, openings=openings_of(receipt)[1:2]
        )
    )
    revealed = await wallet.road_of(job)
    assert revealed.openings == openings_of(receipt)[1:2]
    assert revealed.silent == (entries[0].operator, entries[2].operator)
    assert await wallet.settlement_of(job, from_block=first) is None
    await wallet.take_step(finalizing(market, receipt))
    after = await market.books()
    wanted = dict.fromkeys(before, 0) | expected_changes(receipt)
    assert {name: after[name] - before[name] for name in before} == wanted
    ended = await wallet.road_of(job)
    assert (ended.state, ended.silent) == (RoadState.SETTLED, ())
    settlement = await wallet.settlement_of(job, from_block=first)
    assert settlement is not None
    assert settlement.agreed
    assert [slashed.operator for slashed in settlement.slashed] == [entries[1].operator]
    assert (await wallet.earnings(entries[0].operator, from_block=first)).jobs_paid == 1


async def test_the_lowest_tickets_have_the_places_and_time_fixes_the_set(chain: ChainLab) -> None:
    """Commits one by one, by rising and by falling ticket; then the deadline passes."""
    market = await market_of_strangers(chain, 3)
    receipt, wallet = await market.receipt([ANSWER] * 3), market.wallet
    job, entries = job_of(market, receipt), entries_of(market, receipt)
    commits = commits_of(market, receipt)
    order = receipt.signed_order.order
    await wallet.take_step(
        OpenRoad(signed_order=receipt.signed_order, round_number=ROUND, commits=commits[1:2])
    )
    one = await wallet.road_of(job)
    assert (one.state, one.entries) == (RoadState.COMMITTING, entries[1:2])
    assert one.deadline >= order.expiry
    await wallet.take_step(
        CommitOnRoad(
            order=order, round_number=ROUND, entries=one.entries, commits=(commits[2], commits[0])
        )
    )
    three = await wallet.road_of(job)
    assert three.entries == entries
    assert three.deadline == one.deadline
    reveal = RevealOnRoad(
        job=job, round_number=ROUND, entries=entries, openings=openings_of(receipt)[:1]
    )
    with pytest.raises(ContractRefusal) as refusal:
        await wallet.take_step(reveal)
    assert refusal.value.name == "Road_NotRevealing"
    # read as of a later block, by which the deadline has passed, without moving the shared clock
    async with open_rpc(chain.url, timeout_s=10) as rpc:
        late = {"time": hex(three.deadline + 1)}
        call = wallet._contracts.road.reveal(
            job,
            ROUND,
            [(e.operator, e.ticket, e.rate_microusd, e.commitment) for e in entries],  # type: ignore[misc]
            [(o.index, o.seconds, o.tag, o.salt) for o in openings_of(receipt)[:1]],  # type: ignore[misc]
        )
        request = {"from": wallet.address, "to": call.to, "data": "0x" + call.data.hex()}
        assert await rpc.read("eth_call", request, "latest", {}, late) == "0x"


async def test_a_receipt_ends_an_open_job(market: Market) -> None:
    receipt, wallet = await market.receipt([ANSWER] * 3), market.wallet
    job = job_of(market, receipt)
    before = await market.books()
    whole = opening_step(market, receipt)
    await wallet.take_step(replace(whole, commits=whole.commits[:1], set_signature=b""))
    outcome = await market.settle(receipt)
    assert [skipped.job_id for skipped in outcome.skipped] == [job]
    road = await wallet.road_of(job)
    await wallet.take_step(
        OverrideRoad(receipt=receipt, round_number=road.round_number, entries=road.entries)
    )
    after = await market.books()
    wanted = dict.fromkeys(before, 0) | expected_changes(receipt)
    assert {name: after[name] - before[name] for name in before} == wanted
    assert (await wallet.road_of(job)).state is RoadState.SETTLED


async def test_a_daemon_sends_one_step_of_a_job_at_a_time(market: Market) -> None:
    receipt, wallet = await market.receipt([ANSWER] * 3), market.wallet
    job = job_of(market, receipt)
    step = opening_step(market, receipt)
    cost = await wallet.cost_of_step(step)
    assert 0 < cost.gas < 400_000
    assert cost.wei > 0
    both = await asyncio.gather(wallet.start_step(job, step), wallet.start_step(job, step))
    assert sorted(both) == [False, True]
    while (await wallet.road_of(job)).state is RoadState.ABSENT:
        await wallet.pursue_steps()
    await wallet.pursue_steps()
    with pytest.raises(ContractRefusal) as refusal:
        await wallet.start_step(job, step)
    assert refusal.value.name == "Vault_NonceSpent"
