"""Nonces, fees and the encoding of transactions, against a node made of a dictionary."""

from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_account import Account
from eth_utils.address import to_checksum_address

from assay_node.chain import transactions
from assay_node.chain.contracts import Call
from assay_node.chain.rpc import RpcRefusal
from assay_node.chain.transactions import GAS_MAX, TRANSACTION_BYTES_MAX, TransactionSigner
from assay_node.ports.chain import PreparedTransaction
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address
from tests.fixtures.receipts import key

CALL = Call(to=Address("0x" + "ab" * 20), data=b"\x01\x02", action="the test")
GWEI = 10**9


class FakeNode:
    """Answers what a `TransactionSigner` asks, and remembers what it was sent."""

    def __init__(self) -> None:
        self.pool_count = 5
        self.gas = 100_000
        self.sent: list[str] = []
        self.refusal: RpcRefusal | None = None
        self.trial_refusal: RpcRefusal | None = None

    async def read(self, method: str, *params: Any) -> Any:
        match method:
            case "eth_getTransactionCount":
                return hex(self.pool_count)
            case "eth_call":
                if self.trial_refusal is not None:
                    raise self.trial_refusal
                return "0x"
            case "eth_estimateGas":
                return hex(self.gas)
            case "eth_getBlockByNumber":
                return {"baseFeePerGas": hex(3 * GWEI)}
            case "eth_maxPriorityFeePerGas":
                return hex(GWEI)
        raise AssertionError(method)

    async def call(self, method: str, *params: Any) -> Any:
        assert method == "eth_sendRawTransaction"
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(params[0])


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def signer(node: FakeNode) -> TransactionSigner:
    return TransactionSigner(node, chain_id=31_337, signer=key(1), errors={})  # type: ignore[arg-type]


async def test_a_transaction_is_byte_for_byte_what_eth_account_makes_of_it(
    signer: TransactionSigner,
) -> None:
    ours = await signer.prepare(CALL)
    theirs = Account.sign_transaction(
        {
            "type": 2, "chainId": 31_337, "nonce": 5, "to": to_checksum_address(CALL.to),
            "value": 0, "data": CALL.data, "gas": 185_000,
            "maxPriorityFeePerGas": GWEI, "maxFeePerGas": 7 * GWEI,
        },
        (1).to_bytes(32, "big"),
    )  # fmt: skip
    assert ours.raw == bytes(theirs.raw_transaction)
    assert ours.hash == bytes(theirs.hash)


async def test_nonces_follow_each_other_and_start_at_the_pools_count(
    signer: TransactionSigner, node: FakeNode
) -> None:
    assert [(await signer.prepare(CALL)).nonce for _ in range(3)] == [5, 6, 7]
    node.pool_count = 7  # two of them arrived
    assert (await signer.prepare(CALL)).nonce == 8
    node.pool_count = 20  # another program uses the wallet
    assert (await signer.prepare(CALL)).nonce == 20


async def test_a_lapsed_reservation_is_given_out_again(
    signer: TransactionSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "RESERVATION_S_MAX", -1.0)
    assert [(await signer.prepare(CALL)).nonce for _ in range(2)] == [5, 5]


async def test_the_gas_limit_is_the_callers_bound_while_a_trial_run_agrees(
    signer: TransactionSigner, node: FakeNode
) -> None:
    assert _gas(await signer.prepare(CALL)) == 185_000
    assert _gas(await signer.prepare(CALL, gas_bound=90_000)) == 90_000
    node.trial_refusal = RpcRefusal("out of gas")
    assert _gas(await signer.prepare(CALL, gas_bound=90_000)) == 185_000
    assert _gas(await signer.prepare(CALL, gas_bound=400_000)) == 400_000


async def test_no_transaction_asks_for_more_gas_or_bytes_than_a_chain_takes(
    signer: TransactionSigner, node: FakeNode
) -> None:
    with pytest.raises(ChainError, match="do less at a time"):
        await signer.prepare(CALL, gas_bound=GAS_MAX + 1)
    with pytest.raises(ChainError, match="do less at a time"):
        await signer.prepare(replace(CALL, data=bytes(TRANSACTION_BYTES_MAX)))
    node.gas = GAS_MAX
    with pytest.raises(ChainError, match="do less at a time"):
        await signer.prepare(CALL)


@pytest.mark.parametrize(
    "message",
    [
        "already known",
        "transaction already imported",
        "nonce too low: next 9, tx 5",
        "replacement transaction underpriced",
    ],
)
async def test_what_the_node_has_seen_before_is_sent(
    signer: TransactionSigner, node: FakeNode, message: str
) -> None:
    node.refusal = RpcRefusal(message)
    await signer.send(await signer.prepare(CALL))


async def test_a_refused_transaction_frees_its_nonce(
    signer: TransactionSigner, node: FakeNode
) -> None:
    transaction = await signer.prepare(CALL)
    node.refusal = RpcRefusal("insufficient funds for gas * price + value")
    with pytest.raises(ChainError, match="cannot pay for gas; send it some"):
        await signer.send(transaction)
    assert (await signer.prepare(CALL)).nonce == transaction.nonce


async def test_a_gap_below_a_sent_transaction_is_filled_unless_its_owner_is_at_work(
    signer: TransactionSigner, node: FakeNode
) -> None:
    first, second = await signer.prepare(CALL), await signer.prepare(CALL)
    await signer.send(second)
    assert len(node.sent) == 1  # the first is reserved
    restarted = TransactionSigner(node, chain_id=31_337, signer=key(1), errors={})  # type: ignore[arg-type]
    await restarted.send(second)
    assert len(node.sent) == 3  # the second again, and a transfer of nothing with nonce 5
    filler = bytes.fromhex(node.sent[2][2:])
    assert Account.recover_transaction(filler).lower() == key(1).address
    assert filler != first.raw


async def test_memory_of_sent_transactions_is_bounded(
    signer: TransactionSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "REMEMBERED_MAX", 2)
    for _ in range(5):
        await signer.prepare(CALL)
    assert len(signer._nonces) == 2


def _gas(transaction: PreparedTransaction) -> int:
    gas = rlp.decode(transaction.raw[1:])[4]  # EIP-1559: chain, nonce, tip, fee, gas, ...
    return int.from_bytes(gas, "big")
