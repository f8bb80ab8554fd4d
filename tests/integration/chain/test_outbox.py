"""A wallet's transactions on a chain that reorganises, gets dear, stands still and forgets.

Nothing is mined here but on demand, on an Anvil of these tests' own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from assay_node.chain import signing
from assay_node.chain.bound_contract import Call
from assay_node.chain.client import open_chain
from assay_node.chain.journal import open_journal
from assay_node.chain.outbox import WEI_PER_GWEI
from assay_node.chain.pursuit import OVERTAKEN_BLOCKS
from assay_node.chain.rpc import JsonRpc, open_rpc
from assay_node.chain.sender import TransactionDisplaced
from assay_node.chain.wallet import WalletChain
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import deploy
from assay_node.keys import LocalKey, create_key
from assay_node.ports import OutgoingTransaction, TransactionOutcome, TransactionState
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address
from tests.fixtures.chain import ChainLab, anvil_settings, quick, until

USD = 1_000_000
FRIEND = Address("0x" + "55" * 20)
CONFIRMATIONS = 3


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab() -> AsyncIterator[ChainLab]:
    """A chain of these tests' own."""
    async with AnvilProcess(anvil_settings()) as anvil, AsyncExitStack() as stack:
        yield ChainLab(url=anvil.url, deployment=await deploy(anvil.url), stack=stack)


@pytest.fixture
async def node(lab: ChainLab) -> AsyncIterator[JsonRpc]:
    """The chain, with an ordinary base fee again at the end."""
    async with open_rpc(lab.url, timeout_s=10) as rpc:
        await rpc.call("evm_setIntervalMining", 0)
        yield rpc
        await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(WEI_PER_GWEI))
        await rpc.call("anvil_mine", "0x1")


@pytest.fixture
async def key(lab: ChainLab, node: JsonRpc) -> LocalKey:
    """A wallet with $100 in the Vault; the chain stands still from here on."""
    await node.call("evm_setAutomine", True)
    key = create_key()
    await (await lab.wallet(key, usd=100)).deposit(100 * USD)
    await node.call("evm_setAutomine", False)
    return key


@pytest.fixture
async def wallet(lab: ChainLab, key: LocalKey) -> AsyncIterator[WalletChain]:
    settings = quick(lab.settings, CONFIRMATIONS, replace_s=0.1)
    async with open_chain(settings, key) as wallet:
        yield wallet


async def mine(node: JsonRpc, count: int = 1) -> None:
    await node.call("anvil_mine", hex(count))


async def withdraw(wallet: WalletChain, usd: int = 10) -> OutgoingTransaction:
    """Send something whose effect can be counted: money to a friend."""
    call = wallet._contracts.vault.withdraw(FRIEND, usd * USD)
    outgoing = await wallet._outbox.submit(call, action="the test", kind="test", gas_bound=200_000)
    assert outgoing is not None
    return outgoing


async def outcomes(wallet: WalletChain) -> list[TransactionOutcome]:
    """Look once; keep what ended."""
    found = list(await wallet.pursue())
    for outcome in found:
        await wallet._store.end_transaction(outcome.outgoing, outcome.state)
    return found


async def free_usd(wallet: WalletChain) -> float:
    return (await wallet.account(wallet.address)).free_microusd / USD


async def test_a_reorg_after_it_was_mined_and_it_is_mined_again_once(
    wallet: WalletChain, node: JsonRpc
) -> None:
    outgoing = await withdraw(wallet)
    await mine(node, 2)
    assert await outcomes(wallet) == []
    (waiting,) = await wallet._store.open_transactions()
    assert waiting.state is TransactionState.MINED
    assert await free_usd(wallet) == 90
    await node.call("anvil_reorg", 2, [])
    assert await free_usd(wallet) == 100
    await outcomes(wallet)
    (waiting,) = await wallet._store.open_transactions()
    assert (waiting.state, waiting.place) == (TransactionState.PENDING, None)
    await outcomes(wallet)  # sends it again
    await mine(node, CONFIRMATIONS)
    (outcome,) = await outcomes(wallet)
    assert (outcome.outgoing.id, outcome.state) == (outgoing.id, TransactionState.SUCCEEDED)
    assert await free_usd(wallet) == 90


async def test_a_snapshot_that_is_taken_back_is_a_reorg_too(
    wallet: WalletChain, node: JsonRpc
) -> None:
    snapshot = await node.call("evm_snapshot")
    await withdraw(wallet)
    await mine(node, 2)
    assert await outcomes(wallet) == []
    assert await node.call("evm_revert", snapshot)
    for _ in range(2):
        assert await outcomes(wallet) == []
    await mine(node, CONFIRMATIONS)
    (outcome,) = await outcomes(wallet)
    assert outcome.state is TransactionState.SUCCEEDED
    assert await free_usd(wallet) == 90


async def test_a_transaction_that_blocks_pass_over_is_replaced_and_mined_once(
    wallet: WalletChain, node: JsonRpc
) -> None:
    outgoing = await withdraw(wallet)
    before = signing.read(outgoing.newest.raw).fees
    await node.call("anvil_setNextBlockBaseFeePerGas", hex(5 * before.cap))
    await mine(node)
    await _pass_over(wallet, node)
    (stuck,) = await wallet._store.open_transactions()
    assert len(stuck.signed) >= 2
    assert signing.read(stuck.newest.raw).fees.cap > 4 * before.cap
    await until(lambda: _mine_and_look(wallet, node))
    assert await free_usd(wallet) == 90
    assert await wallet.token_balance(FRIEND) > 0


async def test_a_nonce_taken_with_the_same_key_elsewhere_is_noticed_and_nothing_done_twice(
    lab: ChainLab, wallet: WalletChain, node: JsonRpc, key: LocalKey
) -> None:
    ours = await withdraw(wallet, 10)
    await node.call("anvil_dropTransaction", "0x" + ours.id.hex())
    async with open_chain(lab.settings, key) as elsewhere:  # another machine's journal
        theirs = await withdraw(elsewhere, 3)
    assert theirs.nonce == ours.nonce
    await mine(node, OVERTAKEN_BLOCKS + CONFIRMATIONS)
    assert await outcomes(wallet) == []
    await mine(node, OVERTAKEN_BLOCKS + CONFIRMATIONS)
    (outcome,) = await outcomes(wallet)
    assert (outcome.state, outcome.gas_used) == (TransactionState.DISPLACED, 0)
    assert await free_usd(wallet) == 97
    anew = await withdraw(wallet, 10)
    assert anew.nonce == ours.nonce + 1
    await mine(node, CONFIRMATIONS)
    (outcome,) = await outcomes(wallet)
    assert outcome.state is TransactionState.SUCCEEDED
    assert await free_usd(wallet) == 87


async def test_a_person_whose_nonce_was_taken_is_told_that_nothing_was_done(
    lab: ChainLab, wallet: WalletChain, node: JsonRpc, key: LocalKey
) -> None:
    withdrawing = asyncio.create_task(wallet.withdraw(10 * USD))
    (ours,) = await until(wallet._store.open_transactions)
    await node.call("anvil_dropTransaction", "0x" + ours.id.hex())
    async with open_chain(lab.settings, key) as elsewhere:
        await withdraw(elsewhere, 3)
    await mine(node)

    async def is_over() -> bool:
        await mine(node)
        return withdrawing.done()

    await until(is_over)
    with pytest.raises(TransactionDisplaced, match="repeat it"):
        await withdrawing
    assert await free_usd(wallet) == 97


async def test_mined_and_reverted_is_told_from_never_mined(
    wallet: WalletChain, node: JsonRpc
) -> None:
    # Two withdrawals of the same money: the second passes its trial and reverts when mined.
    await withdraw(wallet, 100)
    await withdraw(wallet, 100)
    await mine(node, CONFIRMATIONS)
    first, second = await outcomes(wallet)
    assert first.state is TransactionState.SUCCEEDED
    assert second.state is TransactionState.REVERTED
    assert second.gas_used > 0


async def test_a_gap_below_what_was_sent_is_filled_by_itself(
    lab: ChainLab, wallet: WalletChain, node: JsonRpc, key: LocalKey
) -> None:
    async with open_chain(lab.settings, key) as elsewhere:
        dropped = await withdraw(elsewhere, 3)
    ours = await withdraw(wallet)  # it saw the other one in the pool
    assert ours.nonce == dropped.nonce + 1
    await node.call("anvil_dropTransaction", "0x" + dropped.id.hex())
    found = await until(lambda: _mine_and_look(wallet, node))
    assert [outcome.outgoing.id for outcome in found] == [ours.id]
    assert await free_usd(wallet) == 90


async def test_a_command_cut_short_is_finished_by_the_next_one(
    lab: ChainLab, node: JsonRpc, key: LocalKey, tmp_path: Path
) -> None:
    settings = replace(lab.settings, journals=tmp_path)
    async with open_chain(settings, key) as wallet:
        cut_short = asyncio.create_task(wallet.withdraw(10 * USD))
        await until(wallet._store.open_transactions)
        cut_short.cancel()
        await asyncio.gather(cut_short, return_exceptions=True)
    async with open_chain(settings, key) as wallet:
        finishing = asyncio.create_task(wallet.finish_earlier())

        async def is_over() -> bool:
            await mine(node)
            return finishing.done()

        await until(is_over)
        assert await finishing == ("the withdrawal succeeded",)
        assert await wallet.finish_earlier() == ()
        assert await free_usd(wallet) == 90


async def test_two_commands_of_one_wallet_take_turns(
    key: LocalKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay_node.chain.journal.LOCK_S_MAX", 0.3)
    async with open_journal(tmp_path, 1, key.address):
        with pytest.raises(LocalError, match="another process has been using wallet"):
            async with open_journal(tmp_path, 1, key.address):
                pass
        async with open_journal(tmp_path, 1, create_key().address):
            pass
    async with open_journal(tmp_path, 1, key.address):
        pass


async def test_creating_a_contract_goes_the_same_way(wallet: WalletChain, node: JsonRpc) -> None:
    returns_nothing = bytes.fromhex("5f5ff3")  # PUSH0 PUSH0 RETURN: a contract without code
    outgoing = await wallet._outbox.submit(
        Call(to=None, data=returns_nothing), action="it", kind="it"
    )
    assert outgoing is not None
    await mine(node, CONFIRMATIONS)
    (outcome,) = await outcomes(wallet)
    assert outcome.state is TransactionState.SUCCEEDED


async def _pass_over(wallet: WalletChain, node: JsonRpc) -> None:
    """Make blocks that leave the wallet's transaction out until it is replaced."""
    (outgoing,) = await wallet._store.open_transactions()
    cap = signing.read(outgoing.newest.raw).fees.cap
    for _ in range(200):
        (outgoing,) = await wallet._store.open_transactions()
        if len(outgoing.signed) > 1:
            return
        await node.call("anvil_setNextBlockBaseFeePerGas", hex(4 * cap))
        await mine(node)
        await outcomes(wallet)
        await asyncio.sleep(0.02)
    raise AssertionError("it was not replaced")


async def _mine_and_look(wallet: WalletChain, node: JsonRpc) -> Any:
    await mine(node)
    return await outcomes(wallet)
