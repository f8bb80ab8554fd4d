"""What Python signs for a scheduler is what the on-chain road takes, on the real contracts."""

from typing import Any

import pytest

from assay_node.chain.refusals import ContractRefusal
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


def commitments(receipt: Receipt, job: Digest) -> list[Digest]:
    return [commitment(job, r.operator, r.tag, r.seconds, r.salt) for r in receipt.replicas]


def signed_commits(market: Market, receipt: Receipt, job: Digest) -> list[tuple[object, ...]]:
    """The commits as providers sign them for a scheduler, in the contract's order of members."""
    signers = {one.address: one.signer for one in market.operators}
    commits = []
    for replica, value in zip(receipt.replicas, commitments(receipt, job), strict=True):
        digest = commit_digest(
            market.wallet.domain,
            job=job,
            round_number=ROUND,
            rate_microusd=replica.rate_microusd,
            commitment=value,
        )
        signature = signers[replica.operator].sign_digest(digest)
        r, s, v = signature[:32], signature[32:64], signature[64]
        commits.append((replica.operator, replica.rate_microusd, replica.ticket, v, value, r, s))
    return commits


def signed_set(market: Market, receipt: Receipt, job: Digest, *, round_number: int) -> bytes:
    commits = commit_set(commitments(receipt, job))
    digest = commit_set_digest(
        market.wallet.domain, job=job, round_number=round_number, commits=commits
    )
    return market.wallet._signer.sign_digest(digest)


async def step(market: Market, function: str, *arguments: Any) -> None:
    road = market.wallet._contracts.road
    await market.wallet._do(road, function, *arguments, action=f"the road's {function}")


async def test_a_job_goes_from_its_commit_set_to_everybodys_pay(market: Market) -> None:
    receipt = await market.receipt([ANSWER, LIE, ANSWER])
    signed = receipt.signed_order
    job = job_id(signed.order, market.wallet.domain)
    commits = signed_commits(market, receipt, job)
    before = await market.books()
    opening = (signed.order.abi_values(), signed.signature, ROUND, commits)
    other = signed_set(market, receipt, job, round_number=ROUND + 1)
    with pytest.raises(ContractRefusal) as refusal:
        await step(market, "open", *opening, other)
    assert refusal.value.name == "Road_SetSignatureInvalid"
    await step(market, "open", *opening, signed_set(market, receipt, job, round_number=ROUND))
    entries = [
        (r.operator, r.ticket, r.rate_microusd, value)
        for r, value in zip(receipt.replicas, commitments(receipt, job), strict=True)
    ]
    openings = [(i, r.seconds, r.tag, r.salt) for i, r in enumerate(receipt.replicas)]
    await step(market, "reveal", job, ROUND, entries, openings[:1])
    await step(market, "finalize", signed.order.abi_values(), ROUND, entries, openings)
    after = await market.books()
    wanted = dict.fromkeys(before, 0) | expected_changes(receipt)
    assert {name: after[name] - before[name] for name in before} == wanted


async def test_a_receipt_ends_an_open_job(market: Market) -> None:
    receipt = await market.receipt([ANSWER] * 3)
    signed = receipt.signed_order
    job = job_id(signed.order, market.wallet.domain)
    before = await market.books()
    first = signed_commits(market, receipt, job)[:1]
    await step(market, "open", signed.order.abi_values(), signed.signature, ROUND, first, b"")
    outcome = await market.settle(receipt)
    assert [skipped.job_id for skipped in outcome.skipped] == [job]
    r, value = receipt.replicas[0], commitments(receipt, job)[0]
    entries = [(r.operator, r.ticket, r.rate_microusd, value)]
    replicas = [replica.abi_values() for replica in receipt.replicas]
    whole = (signed.order.abi_values(), signed.signature, replicas)
    await step(market, "settle", whole, ROUND, entries)
    after = await market.books()
    wanted = dict.fromkeys(before, 0) | expected_changes(receipt)
    assert {name: after[name] - before[name] for name in before} == wanted
