"""What Python packs, the contract reads: random receipts, with every signature or one a signer."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay_node.chain.packed import EACH_SIGNED, SignedOnce, cheapest_order, pack
from assay_node.protocol import typed_data
from assay_node.protocol.ids import Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import Receipt
from tests.fixtures.chain import ChainLab
from tests.fixtures.receipts import ANSWER, LIE
from tests.fixtures.settling import settle_packed, sign_once
from tests.integration.chain.test_settlement import Market, market_of_strangers

OTHER = Digest(b"\xdd" * 32)
JOBS = st.lists(
    st.fixed_dictionaries(
        {
            "outputs": st.sampled_from([[ANSWER] * 3, [ANSWER, LIE, ANSWER], [LIE, ANSWER, OTHER]]),
            "nonce": st.integers(0, (1 << 256) - 1),
            "fee_microusd": st.integers(0, 5_000),
            "max_seconds": st.integers(1, 1 << 16),
            "max_rate_microusd": st.integers(100, 1 << 20),
            "bond_microusd": st.integers(0, 1_000),
            "commit_window_s": st.integers(0, (1 << 32) - 1),
            "reveal_window_s": st.integers(0, (1 << 32) - 1),
            "audit_bps": st.integers(0, 10_000),
            "escalate": st.booleans(),
        }
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda job: job["nonce"],
)  # fmt: skip


@pytest.fixture
async def market(chain: ChainLab) -> Market:
    return await market_of_strangers(chain, 3)


@pytest.mark.parametrize("once", ["none", "orders", "reveals", "both"])
async def test_what_is_packed_is_what_is_settled(market: Market, once: str) -> None:
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=8, deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip
    @given(jobs=JOBS)
    def law(jobs: list[dict[str, Any]]) -> None:
        asyncio.run_coroutine_threadsafe(_settles(market, jobs, once), loop).result()

    await asyncio.to_thread(law)


async def _settles(market: Market, jobs: list[dict[str, Any]], once: str) -> None:
    """Settle these jobs packed: the events name each job id, so every member was read aright."""
    receipts = cheapest_order([await _receipt(market, dict(job)) for job in jobs])
    domain = market.wallet.domain
    packed = pack(receipts, _signed_once(market, receipts, once))
    outcome = await settle_packed(market.wallet, packed)
    # A nonce of an earlier example is spent; the job is named all the same.
    assert all("NonceSpent" in job.reason for job in outcome.skipped)
    told = {job.job_id for job in (*outcome.settlements, *outcome.skipped)}
    assert told == {job_id(receipt.signed_order.order, domain) for receipt in receipts}
    for receipt in receipts:
        spent = await market.wallet.nonce_used(
            receipt.signed_order.order.requester, receipt.signed_order.order.nonce_number
        )
        assert spent


async def _receipt(market: Market, job: dict[str, Any]) -> Receipt:
    nonce = job.pop("nonce").to_bytes(32)
    return await market.receipt(job.pop("outputs"), nonce=nonce, **job)


def _signed_once(market: Market, receipts: list[Receipt], once: str) -> SignedOnce:
    if once == "none":
        return EACH_SIGNED
    requesters = {market.requester.address: market.requester}
    signers = {operator.address: operator.signer for operator in market.operators}
    both = sign_once(market.wallet.domain, receipts, requesters, signers)
    if once == "orders":
        return SignedOnce(orders=both.orders)
    return both if once == "both" else SignedOnce(reveals=both.reveals)


async def test_lists_have_the_digests_that_the_contract_gives_them(market: Market) -> None:
    contract = market.wallet._contracts.market
    for digest_of, kind in (
        (contract.orders_digest, typed_data.ORDERS_TYPE),
        (contract.reveals_digest, typed_data.REVEALS_TYPE),
    ):
        for hashes in ([], [b"\x01" * 32], [b"\x01" * 32, b"\xfe" * 32]):
            told = await digest_of([int.from_bytes(one) for one in hashes])
            assert told == market.wallet.domain.list_digest(kind, hashes)
