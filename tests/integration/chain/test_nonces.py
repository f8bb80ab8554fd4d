"""What becomes of transactions that were forgotten, overtaken or refused."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from assay_node.chain import transactions
from assay_node.chain.client import open_chain
from assay_node.chain.wallet import WalletChain
from assay_node.keys import LocalKey, create_key
from assay_node.ports.chain import PreparedTransaction, TransactionOutcome
from assay_node.protocol.errors import ChainError
from tests.fixtures.chain import BLOCK_TIME_S, ChainLab, a_class, until


@pytest.fixture
async def key(chain: ChainLab) -> LocalKey:
    key = create_key()
    await chain.wallet(key)
    return key


@pytest.fixture
async def wallet(chain: ChainLab, key: LocalKey) -> AsyncIterator[WalletChain]:
    async with open_chain(chain.settings, key) as wallet:
        yield wallet


async def a_transaction(wallet: WalletChain, *, blocks_ago: int = 1) -> PreparedTransaction:
    """Prepare something harmless; different every time."""
    return await wallet.prepare_keep_seed(a_class(), (await wallet.head()).number - blocks_ago)


async def mined(wallet: WalletChain, transaction: PreparedTransaction) -> TransactionOutcome:
    """Wait until the chain has decided, one way or the other."""
    outcome: TransactionOutcome = await until(lambda: wallet.outcome(transaction.hash))
    return outcome


async def test_transactions_prepared_together_are_mined_together(wallet: WalletChain) -> None:
    prepared = [await a_transaction(wallet) for _ in range(3)]
    assert [t.nonce - prepared[0].nonce for t in prepared] == [0, 1, 2]
    for transaction in reversed(prepared):  # in whatever order they come
        await wallet.send(transaction)
    assert all([(await mined(wallet, t)).succeeded for t in prepared])


async def test_a_prepared_transaction_is_not_sent_and_waits(wallet: WalletChain) -> None:
    transaction = await a_transaction(wallet)
    await asyncio.sleep(3 * BLOCK_TIME_S)
    assert await wallet.outcome(transaction.hash) is None
    await wallet.send(transaction)
    assert (await mined(wallet, transaction)).succeeded


async def test_a_gap_left_by_a_crash_is_filled_and_the_forgotten_one_recognised(
    chain: ChainLab, key: LocalKey, wallet: WalletChain
) -> None:
    forgotten, kept = await a_transaction(wallet), await a_transaction(wallet)
    async with open_chain(chain.settings, key) as restarted:  # it remembers nothing
        await restarted.send(kept)
        assert (await mined(restarted, kept)).succeeded
        await restarted.send(forgotten)  # found in the outbox after all: harmless
        outcome = await mined(restarted, forgotten)
    assert (outcome.succeeded, outcome.gas_used) == (False, 0)


async def test_a_nonce_that_nobody_sends_is_given_out_again(
    wallet: WalletChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "RESERVATION_S_MAX", 0.0)
    dropped = await a_transaction(wallet)
    again = await a_transaction(wallet)
    assert again.nonce == dropped.nonce
    await wallet.send(again)
    assert (await mined(wallet, again)).succeeded
    outcome = await mined(wallet, dropped)
    assert (outcome.succeeded, outcome.gas_used) == (False, 0)


async def test_a_transaction_overtaken_by_another_program_is_recognised(
    chain: ChainLab, key: LocalKey, wallet: WalletChain
) -> None:
    ours = await a_transaction(wallet)
    async with open_chain(chain.settings, key) as intruder:
        theirs = await a_transaction(intruder)
        assert theirs.nonce == ours.nonce
        await intruder.send(theirs)
        assert (await mined(intruder, theirs)).succeeded
    await wallet.send(ours)  # no error: it might have been ours that was mined
    outcome = await mined(wallet, ours)
    assert (outcome.succeeded, outcome.gas_used) == (False, 0)
    assert outcome.settlements == outcome.skipped == ()
    anew = await a_transaction(wallet)
    await wallet.send(anew)
    assert (await mined(wallet, anew)).succeeded


async def test_a_transaction_mined_and_reverted_is_told_from_one_never_mined(
    wallet: WalletChain,
) -> None:
    # Two withdrawals of the same money: the second passes its estimate and reverts when mined.
    await wallet.deposit(1_000_000)
    call = wallet._contracts.vault.call("withdraw", wallet.address, 1_000_000, action="a test")
    first, second = [await wallet._transactions.prepare(call) for _ in range(2)]
    await wallet.send(first)
    await wallet.send(second)
    assert (await mined(wallet, first)).succeeded
    outcome = await mined(wallet, second)
    assert not outcome.succeeded
    assert outcome.gas_used > 0


async def test_a_refused_transaction_gives_its_nonce_back(chain: ChainLab) -> None:
    poor = await chain.wallet(eth=0)
    transaction = await a_transaction(poor)
    with pytest.raises(ChainError, match="cannot pay for gas"):
        await poor.send(transaction)
    assert (await a_transaction(poor)).nonce == transaction.nonce
