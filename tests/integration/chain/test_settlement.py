"""Receipts made in Python, settled by the real contracts: everybody's money to the unit."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from assay_node.chain.abi_orders import abi_receipt
from assay_node.chain.outbox import GAS_MAX, TRANSACTION_BYTES_OTHER
from assay_node.chain.packed import measure
from assay_node.chain.settlement import (
    CALL_BYTES,
    gas_bound,
    receipts_fitting,
)
from assay_node.chain.wallet import WalletChain
from assay_node.keys import LocalKey
from assay_node.ports import TransactionOutcome, TransactionState
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import (
    EFFORT_BPS,
    TAG_BYTES_COMPARED,
    Receipt,
    Tally,
    commit_digest,
    commitment,
    reveal_digest,
    tally,
)
from tests.fixtures.chain import ChainLab, a_class, until
from tests.fixtures.receipts import ANSWER, LIE, Operator

OTHER_LIE = Digest(b"\xcc" * 32)
USD = 1_000_000
BUDGET_USD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A scheduler, a requester with a budget, three staked operators and a seed."""

    chain: ChainLab
    wallet: WalletChain
    requester: LocalKey
    operators: list[Operator]
    hardware_class: Digest
    seed_block: int

    async def receipt(self, outputs: Sequence[Digest], **changes: Any) -> Receipt:
        requester = changes.pop("requester", self.requester)
        return await self.chain.receipt(
            self.wallet, requester, self.operators, seed_block=self.seed_block,
            hardware_class=self.hardware_class, outputs=outputs, **changes,
        )  # fmt: skip

    async def settle(self, *receipts: Receipt) -> TransactionOutcome:
        return await self.wallet.settle_and_wait(receipts)

    async def books(self) -> dict[str, int]:
        """Free money and stake of everybody, and the requester's budget."""
        wallet = self.wallet
        books = {"budget": await wallet.budget(self.requester.address, wallet.address)}
        for name, who in (
            ("scheduler", wallet.address),
            ("treasury", wallet.deployment.treasury),
            *((one.address, one.address) for one in self.operators),
        ):
            account = await wallet.account(who)
            books[f"{name} free"] = account.free_microusd
            books[f"{name} stake"] = account.stake_microusd
        vault, court = wallet._contracts.vault, wallet.deployment.court
        books["held"] = await vault.escrow(court)
        return books


@pytest.fixture
async def market(chain: ChainLab) -> Market:
    return await market_of_strangers(chain, 3)


def verdict(receipt: Receipt) -> Tally:
    order = receipt.signed_order.order
    votes = [(replica.tag, replica.seconds) for replica in receipt.replicas]
    return tally(votes, quorum=order.quorum, max_seconds=order.max_seconds)


def expected_changes(receipt: Receipt) -> dict[str, int]:
    """What a receipt must do to the books, from `receipt.tally` alone."""
    order, result = receipt.signed_order.order, verdict(receipt)
    changes = {"scheduler free": order.fee_microusd if result.agreed else 0, "held": 0}
    for i, replica in enumerate(receipt.replicas):
        paid = lost = 0
        if not result.agreed:
            seconds = min(replica.seconds, order.max_seconds)
            paid = replica.rate_microusd * seconds * EFFORT_BPS // 10_000
        elif i in result.winners:
            paid = replica.rate_microusd * result.seconds
        else:
            lost = order.bond_microusd
        changes[f"{replica.operator} free"] = paid
        changes[f"{replica.operator} stake"] = -lost
        changes["held"] += lost
    spent = changes["scheduler free"] + sum(
        changes[f"{replica.operator} free"] for replica in receipt.replicas
    )
    return {**changes, "budget": -spent}


async def settle_and_check_books(market: Market, *receipts: Receipt) -> TransactionOutcome:
    before = await market.books()
    outcome = await market.settle(*receipts)
    after = await market.books()
    wanted = dict.fromkeys(before, 0)
    for receipt in receipts:
        for name, change in expected_changes(receipt).items():
            wanted[name] += change
    assert {name: after[name] - before[name] for name in before} == wanted
    return outcome


async def test_every_digest_is_the_same_in_python_and_in_solidity(market: Market) -> None:
    receipt = await market.receipt([ANSWER] * 3)
    order, domain = receipt.signed_order.order, market.wallet.domain
    contract = market.wallet._contracts.market
    job = job_id(order, domain)
    assert await contract.domain_separator() == domain.separator
    assert await contract.job_id(abi_receipt(receipt).order) == job
    tag, salt, commits = Digest(b"\x01" * 32), Digest(b"\x02" * 32), Digest(b"\x03" * 32)
    operator = market.operators[0].address
    reveal = reveal_digest(domain, job=job, commits=commits, tag=tag, rate_microusd=7, seconds=9)
    assert await contract.reveal_digest(job, commits, tag, 7, 9) == reveal
    commit = commit_digest(domain, job=job, round_number=4, rate_microusd=5, commitment=tag)
    assert await contract.commit_digest(job, 4, 5, tag) == commit
    assert await contract.commitment(job, operator, tag, 9, salt) == commitment(
        job, operator, tag, 9, salt
    )


async def test_draw_is_the_contracts_own_for_every_ticket(market: Market) -> None:
    job = Digest(b"\x05" * 32)
    arguments = (market.hardware_class, market.seed_block, job)
    providers = market.wallet._contracts.providers
    drawn = await market.wallet.draw(*arguments, max_ticket=20)
    single = [
        await providers.draw_ticket(*arguments, ticket, block="pending") for ticket in range(21)
    ]
    assert list(drawn) == single
    assert set(drawn) == {operator.address for operator in market.operators}
    nobody = await market.wallet.draw(a_class(), market.seed_block, job, max_ticket=3)
    assert nobody == (None,) * 4


async def test_agreement_pays_each_winner_its_rate_for_the_median_seconds(market: Market) -> None:
    receipt = await market.receipt([ANSWER] * 3, seconds=[30, 10, 20], rates=[100, 110, 120])
    outcome = await settle_and_check_books(market, receipt)
    (settlement,) = outcome.settlements
    assert outcome.state is TransactionState.SUCCEEDED
    assert outcome.skipped == ()
    assert settlement.agreed
    assert settlement.seconds == 20
    assert {p.operator: p.amount_microusd for p in settlement.paid} == {
        r.operator: r.rate_microusd * 20 for r in receipt.replicas
    }
    assert settlement.slashed == ()
    assert (
        settlement.winning_tag[:TAG_BYTES_COMPARED] == receipt.replicas[0].tag[:TAG_BYTES_COMPARED]
    )
    assert settlement.cost_microusd == (100 + 110 + 120) * 20 + settlement.fee_microusd
    order = receipt.signed_order.order
    assert settlement.job_id == job_id(order, market.wallet.domain)
    assert await market.wallet.nonce_used(order.requester, order.nonce_number)
    assert not await market.wallet.nonce_used(order.requester, order.nonce_number ^ 1)


async def test_a_liar_is_slashed_and_not_paid_and_the_slash_is_held(market: Market) -> None:
    receipt = await market.receipt([ANSWER, LIE, ANSWER], seconds=[10, 5, 12])
    outcome = await settle_and_check_books(market, receipt)
    (settlement,) = outcome.settlements
    liar = receipt.replicas[1].operator
    (slashed,) = settlement.slashed
    assert (slashed.operator, slashed.amount_microusd) == (liar, 50 * USD)
    assert slashed.reason == "contradicted by the quorum"
    assert liar not in {paid.operator for paid in settlement.paid}
    account = await market.wallet.account(liar)
    assert (account.wins, account.faults) == (0, 1)
    earnings = await market.wallet.earnings(liar)
    assert (earnings.slashed_microusd, earnings.jobs_slashed) == (50 * USD, 1)
    assert (earnings.paid_microusd, earnings.jobs_paid) == (0, 0)


async def test_without_a_quorum_effort_is_paid_and_nobody_slashed(market: Market) -> None:
    receipt = await market.receipt([ANSWER, LIE, OTHER_LIE], seconds=[10, 700, 12])
    outcome = await settle_and_check_books(market, receipt)
    (settlement,) = outcome.settlements
    assert not settlement.agreed
    assert (settlement.winning_tag, settlement.seconds, settlement.fee_microusd) == (None, 0, 0)
    assert settlement.slashed == ()
    assert [paid.amount_microusd for paid in settlement.paid] == [250, 15_000, 300]


async def test_a_bad_receipt_is_skipped_with_its_reason_and_the_rest_is_paid(
    market: Market,
) -> None:
    first, bad, last = [await market.receipt([ANSWER] * 3) for _ in range(3)]
    forged = replace(bad.replicas[1], rate_microusd=150)  # signed for another rate
    bad = replace(bad, replicas=(bad.replicas[0], forged, bad.replicas[2]))
    before = await market.books()
    outcome = await market.settle(first, bad, last, first)
    after = await market.books()
    assert [s.job_id for s in outcome.settlements] == [
        job_id(r.signed_order.order, market.wallet.domain) for r in (first, last)
    ]
    # The Market judges before the Vault looks at nonces.
    assert [skipped.reason for skipped in outcome.skipped] == [
        "Market_SignerNotRegistered: a reveal is not signed by its operator's registered key",
        "Market_NonceSpent: the order was settled before, or its nonce was used by another order",
    ]
    assert [s.receipts_in_batch for s in outcome.settlements] == [4, 4]
    assert {s.gas_used for s in outcome.settlements} == {outcome.gas_used // 4}
    cost = sum(settlement.cost_microusd for settlement in outcome.settlements)
    assert before["budget"] - after["budget"] == cost == 2 * (3 * 10 * 100 + 2_000)


async def test_a_budget_too_small_skips_and_costs_nothing(market: Market) -> None:
    receipt = await market.receipt([ANSWER] * 3, fee_microusd=2 * BUDGET_USD * USD)
    before = await market.books()
    outcome = await market.settle(receipt)
    assert await market.books() == before
    assert outcome.state is TransactionState.SUCCEEDED
    assert outcome.settlements == ()
    assert outcome.skipped[0].reason.startswith("Market_BudgetTooSmall: ")


async def test_settling_twice_pays_once(market: Market) -> None:
    receipt = await market.receipt([ANSWER] * 3)
    before = await market.books()
    first = await market.settle(receipt)
    again = await market.settle(receipt)
    after = await market.books()
    assert again.settlements == ()
    assert before["budget"] - after["budget"] == first.settlements[0].cost_microusd
    block = again.block_number
    found = await market.wallet.settlements_between(market.seed_block, block)
    mine = [s for s in found if s.job_id == first.settlements[0].job_id]
    assert mine == [first.settlements[0]]


async def test_a_seed_is_kept_on_chain(market: Market) -> None:
    await market.wallet.keep_seed(market.hardware_class, market.seed_block)
    (outcome,) = await until(market.wallet.pursue)
    assert outcome.state is TransactionState.SUCCEEDED
    assert (outcome.settlements, outcome.skipped) == ((), ())


@pytest.mark.parametrize("audit_bps", [0, 500])
@pytest.mark.parametrize(("replicas", "liars"), [(1, 0), (3, 0), (3, 1), (8, 3)])
async def test_gas_and_bytes_stay_below_the_bounds_for_strangers(
    chain: ChainLab, replicas: int, liars: int, audit_bps: int
) -> None:
    market = await market_of_strangers(chain, replicas)
    outputs = [LIE] * liars + [ANSWER] * (replicas - liars)
    for count in (1, 4):
        requesters = [await chain.requester(market.wallet) for _ in range(count)]
        receipts = [
            await market.receipt(outputs, requester=requester, max_ticket=255, audit_bps=audit_bps)
            for requester in requesters
        ]
        outcome = await market.settle(*receipts)
        assert len(outcome.settlements) == count
        assert outcome.gas_used < gas_bound(receipts)
        size = measure(receipts).bytes + CALL_BYTES + TRANSACTION_BYTES_OTHER
        assert size - TRANSACTION_BYTES_OTHER < len(outcome.outgoing.newest.raw) <= size


async def test_a_full_batch_of_three_replicas_goes_through_one_transaction(
    market: Market,
) -> None:
    word = secrets.token_bytes(31)
    receipts = [
        await market.receipt([ANSWER] * 3, bond_microusd=0, nonce=word + bytes([i]))
        for i in range(180)
    ]
    count = receipts_fitting(receipts)
    assert market.wallet.receipts_per_transaction_max < count < 180
    assert receipts_fitting(receipts[:count]) == count
    with pytest.raises(LocalError, match=f"{count} of them do"):
        await market.wallet.settle(receipts, ())
    outcome = await market.settle(*receipts[:count])
    assert len(outcome.settlements) == count
    assert outcome.gas_used < GAS_MAX


async def market_of_strangers(chain: ChainLab, operators: int) -> Market:
    wallet, hardware_class = await chain.wallet(), a_class()
    return Market(
        chain=chain,
        wallet=wallet,
        requester=await chain.requester(wallet, budget_usd=BUDGET_USD),
        operators=await chain.operators(hardware_class, operators),
        hardware_class=hardware_class,
        seed_block=await chain.settled_seed(),
    )
