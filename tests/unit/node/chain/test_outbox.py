"""One wallet's transactions against a node made of a list."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from assay_node.chain import signing
from assay_node.chain.bound_contract import Call
from assay_node.chain.journal import Journal
from assay_node.chain.outbox import (
    GAP,
    GAS_MAX,
    TRANSACTION_BYTES_MAX,
    Ended,
    GasTooDear,
    Outbox,
    SendingSettings,
)
from assay_node.chain.pursuit import OVERTAKEN_BLOCKS, Patience
from assay_node.chain.signing import Unsigned
from assay_node.ports.transactions import OutgoingTransaction, TransactionState
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Address
from tests.fakes.chain_node import GWEI, Crash, FakeChainNode
from tests.fixtures.receipts import key

CHAIN_ID = 31_337
CALL = Call(to=Address("0x" + "ab" * 20), data=b"\x01\x02")
SETTINGS = SendingSettings(
    patience=Patience(confirmations=2, resend_s=5, replace_s=30), price_max=100 * GWEI
)


class World:
    """A node, a store that survives, and an outbox that may not."""

    def __init__(self) -> None:
        self.node = FakeChainNode()
        self.store = Journal()
        self.now = 1_000.0
        self.restart()

    def restart(self) -> None:
        self.outbox = Outbox(
            self.node,  # type: ignore[arg-type]
            chain_id=CHAIN_ID,
            signer=key(1),
            store=self.store,
            settings=SETTINGS,
            clock=lambda: self.now,
        )

    async def submit(self, **changes: Any) -> OutgoingTransaction:
        outgoing = await self.outbox.submit(CALL, action="the test", kind="test", **changes)
        assert outgoing is not None
        return outgoing

    async def pursue(self) -> list[Ended]:
        """Pursue and keep what ended."""
        found = await self.outbox.pursue()
        for ended in found:
            await self.store.end_transaction(ended.outgoing, ended.state)
        return found

    async def pass_over(self, seconds: float) -> None:
        """Let time and blocks pass, with a look at the end."""
        self.now += seconds
        self.node.mine(2)
        await self.pursue()

    async def open(self) -> list[OutgoingTransaction]:
        return list(await self.store.open_transactions())


@pytest.fixture
def world() -> World:
    return World()


def read(outgoing: OutgoingTransaction) -> Unsigned:
    return signing.read(outgoing.newest.raw)


async def test_a_transaction_is_byte_for_byte_what_eth_account_makes_of_it(world: World) -> None:
    ours = (await world.submit()).newest
    theirs = Account.sign_transaction(
        {
            "type": 2, "chainId": CHAIN_ID, "nonce": 0, "to": to_checksum_address(CALL.to),
            "value": 0, "data": CALL.data, "gas": 185_000,
            "maxPriorityFeePerGas": GWEI, "maxFeePerGas": 7 * GWEI,
        },
        (1).to_bytes(32, "big"),
    )  # fmt: skip
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.hash == bytes(theirs.hash)


async def test_a_creation_is_what_eth_account_makes_of_it(world: World) -> None:
    outgoing = await world.outbox.submit(Call(to=None, data=b"\x60"), action="it", kind="it")
    assert outgoing is not None
    theirs = Account.sign_transaction(
        {
            "type": 2, "chainId": CHAIN_ID, "nonce": 0, "value": 0, "data": b"\x60", "gas": 185_000,
            "maxPriorityFeePerGas": GWEI, "maxFeePerGas": 7 * GWEI,
        },
        (1).to_bytes(32, "big"),
    )  # fmt: skip
    assert outgoing.newest.raw == bytes(theirs.raw_transaction)
    assert read(outgoing).call == Call(to=None, data=b"\x60")


async def test_nonces_follow_each_other_and_start_at_the_pools_count(world: World) -> None:
    assert [(await world.submit()).nonce for _ in range(3)] == [0, 1, 2]
    world.node.pool.clear()  # the node forgot them; the store did not
    assert (await world.submit()).nonce == 3
    for _ in range(9):
        world.node.take_nonce()  # another program uses the wallet
    assert (await world.submit()).nonce == 9


async def test_the_gas_limit_is_the_callers_bound_while_a_trial_run_agrees(world: World) -> None:
    assert read(await world.submit()).gas == 185_000
    assert read(await world.submit(gas_bound=90_000)).gas == 90_000
    world.node.trial_refusal = "out of gas"
    assert read(await world.submit(gas_bound=90_000)).gas == 185_000
    assert read(await world.submit(gas_bound=400_000)).gas == 400_000


async def test_no_transaction_asks_for_more_gas_or_bytes_than_a_chain_takes(world: World) -> None:
    with pytest.raises(ChainError, match="do less at a time"):
        await world.submit(gas_bound=GAS_MAX + 1)
    big = replace(CALL, data=bytes(TRANSACTION_BYTES_MAX))
    with pytest.raises(ChainError, match="do less at a time"):
        await world.outbox.submit(big, action="it", kind="it")
    world.node.gas = GAS_MAX + 1
    with pytest.raises(ChainError, match="do less at a time"):
        await world.submit()
    world.node.gas = GAS_MAX  # it fits; its margin does not
    assert read(await world.submit()).gas == GAS_MAX
    assert len(await world.open()) == 1


async def test_nothing_is_signed_while_gas_costs_more_than_the_ceiling(world: World) -> None:
    world.node.base_fee = 100 * GWEI
    with pytest.raises(GasTooDear, match="costs 101 gwei, more than the ceiling of 100 gwei"):
        await world.submit()
    assert not await world.open()
    world.node.base_fee = 99 * GWEI
    assert read(await world.submit()).fees.cap == 100 * GWEI


async def test_an_outcome_is_final_after_its_confirmations_only(world: World) -> None:
    outgoing = await world.submit()
    world.node.mine()
    assert await world.pursue() == []
    (waiting,) = await world.open()
    assert waiting.state is TransactionState.MINED
    world.node.mine()
    (ended,) = await world.pursue()
    assert (ended.outgoing.id, ended.state) == (outgoing.id, TransactionState.SUCCEEDED)
    assert ended.mined is not None
    assert ended.mined.hash == outgoing.id
    assert not await world.open()


async def test_what_ended_is_returned_until_its_end_is_kept(world: World) -> None:
    await world.submit()
    world.node.mine(2)
    first = await world.outbox.pursue()
    world.restart()  # a crash before the caller kept it
    assert [ended.state for ended in await world.outbox.pursue()] == [first[0].state]


@pytest.mark.parametrize("keep_pool", [True, False])
async def test_a_reorg_takes_a_transaction_back_and_it_is_mined_again(
    world: World, keep_pool: bool
) -> None:
    outgoing = await world.submit()
    world.node.mine()
    await world.pursue()
    world.node.reorganise(1, keep_pool=keep_pool)
    await world.pursue()
    (back,) = await world.open()
    assert (back.state, back.place) == (TransactionState.PENDING, None)
    await world.pursue()
    world.node.mine(2)
    (ended,) = await world.pursue()
    assert ended.state is TransactionState.SUCCEEDED
    assert world.node.mined == {0: outgoing.newest.raw}


async def test_a_receipt_of_a_block_that_left_the_chain_is_not_believed(world: World) -> None:
    await world.submit()
    world.node.mine()
    stale = await world.node.read(
        "eth_getTransactionReceipt", "0x" + (await world.open())[0].id.hex()
    )
    world.node.reorganise(1, keep_pool=False)
    world.node.mine(3)
    world.node.garbage["eth_getTransactionReceipt"] = stale
    world.node.garbage["eth_getTransactionCount"] = "0x1"
    assert await world.pursue() == []
    (waiting,) = await world.open()
    assert waiting.state is TransactionState.PENDING


async def test_a_stuck_transaction_is_replaced_by_a_dearer_form_and_mined_once(
    world: World,
) -> None:
    outgoing = await world.submit()
    world.node.base_fee = 20 * GWEI  # more than the 7 that were offered
    await world.pass_over(29)
    assert len((await world.open())[0].signed) == 1
    await world.pass_over(2)
    (replaced,) = await world.open()
    assert len(replaced.signed) == 2
    first, second = (signing.read(s.raw) for s in replaced.signed)
    assert (first.nonce, first.call, first.gas) == (second.nonce, second.call, second.gas)
    assert second.fees.cap == 41 * GWEI + GWEI // 8
    assert second.fees.tip == GWEI + GWEI // 8
    world.node.mine(2)
    (ended,) = await world.pursue()
    assert ended.outgoing.id == outgoing.id
    assert ended.mined is not None
    assert ended.mined.hash == replaced.newest.hash
    assert world.node.mined == {0: replaced.newest.raw}


async def test_the_first_form_counts_where_it_is_mined_after_all(world: World) -> None:
    outgoing = await world.submit()
    world.node.base_fee = 20 * GWEI
    await world.pass_over(31)
    world.node.pool = {0: outgoing.newest.raw}  # another node had kept the first one
    world.node.base_fee = 5 * GWEI
    world.node.mine(2)
    (ended,) = await world.pursue()
    assert ended.state is TransactionState.SUCCEEDED
    assert ended.mined is not None
    assert ended.mined.hash == outgoing.id


async def test_replacements_stop_at_the_ceiling_and_the_last_one_is_sent_again(
    world: World,
) -> None:
    await world.submit()
    world.node.base_fee = 500 * GWEI
    for _ in range(60):
        await world.pass_over(31)
    (waiting,) = await world.open()
    caps = [signing.read(s.raw).fees.cap for s in waiting.signed]
    assert caps == sorted(set(caps))
    assert 100 * GWEI * 8 // 9 < caps[-1] <= 100 * GWEI
    sent = len(world.node.seen)
    await world.pass_over(31)
    assert world.node.seen[sent:] == [waiting.newest.raw]


async def test_nobody_bids_against_oneself_on_a_chain_that_stands_still(world: World) -> None:
    await world.submit()
    world.now += 1_000
    await world.pursue()
    assert len((await world.open())[0].signed) == 1


async def test_only_the_first_in_line_is_replaced(world: World) -> None:
    for _ in range(3):
        await world.submit()
    world.node.base_fee = 20 * GWEI
    await world.pass_over(31)
    assert [len(one.signed) for one in await world.open()] == [2, 1, 1]


async def test_a_wallet_without_coin_does_not_raise_its_own_price(world: World) -> None:
    world.node.refusal = "insufficient funds for gas * price + value"
    outgoing = await world.submit()
    refused = world.outbox.refusal(outgoing, "the test")
    assert refused is not None
    assert "cannot pay for gas" in str(refused)
    for _ in range(5):
        await world.pass_over(31)
    assert len((await world.open())[0].signed) == 1
    world.node.refusal = None
    await world.pass_over(6)
    world.node.mine(2)
    (ended,) = await world.pursue()
    assert ended.state is TransactionState.SUCCEEDED


async def test_a_refusal_that_may_hide_a_taken_transaction_is_no_refusal(world: World) -> None:
    world.node.refusal = "internal error"
    assert world.outbox.refusal(await world.submit(), "the test") is None


async def test_a_discarded_transaction_frees_its_nonce(world: World) -> None:
    world.node.refusal = "insufficient funds"
    outgoing = await world.submit()
    await world.store.discard_transaction(outgoing)
    world.node.refusal = None
    assert (await world.submit()).nonce == outgoing.nonce


async def test_a_node_that_forgets_is_told_again(world: World) -> None:
    outgoing = await world.submit()
    world.node.pool.clear()
    world.now += 4
    await world.pursue()
    assert world.node.pool == {}
    world.now += 2
    await world.pursue()
    assert world.node.pool == {0: outgoing.newest.raw}


@pytest.mark.parametrize("crash", ["before", "after"])
async def test_a_crash_around_sending_loses_nothing_and_sends_nothing_else(
    world: World, crash: str
) -> None:
    world.node.crash = crash
    with pytest.raises(Crash):
        await world.submit()
    world.restart()
    (kept,) = await world.open()
    await world.pursue()
    world.node.mine(2)
    (ended,) = await world.pursue()
    assert ended.mined is not None
    assert world.node.mined == {0: kept.newest.raw}


async def test_a_nonce_taken_by_another_program_ends_displaced_after_a_while(world: World) -> None:
    outgoing = await world.submit()
    world.node.take_nonce()
    for _ in range(OVERTAKEN_BLOCKS + 1):
        assert await world.pursue() == []
        world.node.mine()
    (ended,) = await world.pursue()
    assert (ended.outgoing.id, ended.state) == (outgoing.id, TransactionState.DISPLACED)
    assert ended.mined is None
    anew = await world.submit()
    assert anew.nonce == outgoing.nonce + 1
    world.node.mine(2)
    assert [e.state for e in await world.pursue()] == [TransactionState.SUCCEEDED]


async def test_a_nonce_given_back_by_a_reorg_is_not_displaced(world: World) -> None:
    outgoing = await world.submit()
    world.node.take_nonce()
    await world.pursue()
    world.node.reorganise(1, keep_pool=False)
    world.now += 6
    for _ in range(OVERTAKEN_BLOCKS + 2):
        world.node.mine()
        found = await world.pursue()
        if found:
            break
    assert found[0].state is TransactionState.SUCCEEDED
    assert world.node.mined == {0: outgoing.newest.raw}


async def test_a_gap_that_nobody_fills_is_filled(world: World) -> None:
    # Another program's transaction was in the pool when ours was prepared, and is dropped.
    theirs = await world.submit()
    await world.store.discard_transaction(theirs)
    world.store = Journal()
    world.restart()
    ours = await world.submit()
    assert ours.nonce == 1
    world.node.pool.pop(0)
    await world.pursue()
    assert 0 not in world.node.pool  # not at once: the count may be a block old
    world.now += 6
    await world.pursue()
    await world.pursue()
    filler = next(one for one in await world.open() if one.kind == GAP)
    assert read(filler).call == Call(to=key(1).address, data=b"")
    world.node.mine(2)
    (ended,) = await world.pursue()
    assert ended.outgoing.id == ours.id
    assert not await world.open()


async def test_another_wallets_transactions_in_the_same_store_are_left_alone(world: World) -> None:
    mine = await world.submit()
    other = replace(mine, id=key(2).sign_digest(mine.id)[:32], sender=key(2).address)  # type: ignore[arg-type]
    await world.store.save_transaction(other)
    world.node.mine(2)
    assert [ended.outgoing.id for ended in await world.pursue()] == [mine.id]
    assert await world.open() == [other]


async def test_a_node_that_goes_away_loses_nothing(world: World) -> None:
    await world.submit()
    world.node.away = True
    with pytest.raises(ChainUnavailable):
        await world.submit()
    with pytest.raises(ChainUnavailable):
        await world.pursue()
    assert len(await world.open()) == 1
    world.node.away = False
    world.node.mine(2)
    assert len(await world.pursue()) == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("eth_getTransactionCount", None),
        ("eth_getTransactionCount", "many"),
        ("eth_getBlockByNumber", []),
        ("eth_getBlockByNumber", {"number": "0x1"}),
        ("eth_getTransactionReceipt", "0x"),
        ("eth_getTransactionReceipt", {"logs": []}),
        ("eth_maxPriorityFeePerGas", {"error": 1}),
    ],
)
async def test_garbage_is_a_chain_error_at_most_and_loses_nothing(
    world: World, method: str, answer: Any
) -> None:
    first = await world.submit()
    world.node.mine(2)
    world.node.garbage[method] = answer
    found = []
    with contextlib.suppress(ChainError):
        found += await world.pursue()
    with contextlib.suppress(ChainError):
        await world.submit()
    world.node.garbage.clear()
    world.node.mine(2)
    found += await world.pursue()
    ends = {ended.outgoing.id: ended.state for ended in found}
    assert ends[first.id] is TransactionState.SUCCEEDED
