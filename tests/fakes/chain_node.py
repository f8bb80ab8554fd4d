"""A chain node made of a list and a dictionary: one wallet's pool, blocks, reorgs, base fee.

It answers what an `Outbox` asks over JSON-RPC. Like a real pool it holds one transaction for each
nonce, takes a replacement only for a tenth more of tip and cap, and mines the nonces in order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_utils.crypto import keccak

from assay_node.chain import signing
from assay_node.chain.bound_contract import Call
from assay_node.chain.fees import Fees
from assay_node.chain.rpc import RpcRefusal
from assay_node.chain.signing import Unsigned
from assay_node.protocol.errors import ChainUnavailable
from assay_node.protocol.ids import Digest
from tests.fixtures.receipts import key

GWEI = 10**9
THEIRS = b"theirs"


class Crash(BaseException):
    """The process ends here."""


@dataclass
class FakeBlock:
    hash: Digest
    transactions: list[tuple[int, bytes]] = field(default_factory=list)


class FakeChainNode:
    """`crash` is "before" or "after" the next transaction that is sent, or None."""

    def __init__(self) -> None:
        self.blocks = [FakeBlock(Digest(keccak(b"genesis")))]
        self.pool: dict[int, bytes] = {}
        self.base_fee = 3 * GWEI
        self.tip = GWEI
        self.gas = 100_000
        self.away = False
        self.crash: str | None = None
        self.refusal: str | None = None
        self.trial_refusal: str | None = None
        self.garbage: dict[str, Any] = {}
        self.seen: list[bytes] = []
        self._made = 0

    # The chain's own side

    @property
    def mined(self) -> dict[int, bytes]:
        """What is in the chain, by nonce."""
        return {nonce: raw for block in self.blocks for nonce, raw in block.transactions}

    def mine(self, count: int = 1) -> None:
        """Make blocks out of what the pool has and the base fee allows."""
        for _ in range(count):
            self._made += 1
            block = FakeBlock(Digest(keccak(self._made.to_bytes(8, "big"))))
            nonce = len(self.mined)
            while nonce in self.pool and _cap(self.pool[nonce]) >= self.base_fee:
                block.transactions.append((nonce, self.pool.pop(nonce)))
                nonce += 1
            self.blocks.append(block)

    def reorganise(self, depth: int, *, keep_pool: bool) -> None:
        """Replace the newest blocks by as many empty ones."""
        kept_blocks = max(len(self.blocks) - depth, 1)  # the first block stays
        depth = len(self.blocks) - kept_blocks
        gone, self.blocks = self.blocks[kept_blocks:], self.blocks[:kept_blocks]
        if keep_pool:
            for block in gone:
                for nonce, raw in block.transactions:
                    self.pool.setdefault(nonce, raw)
        kept, self.pool = self.pool, {}
        self.mine(depth)
        self.pool = kept

    def take_nonce(self) -> None:
        """Have another program's transaction mined with the wallet's next nonce."""
        nonce = len(self.mined)
        self.pool.pop(nonce, None)
        self._made += 1
        raw = _theirs(nonce, self._made)
        self.blocks.append(FakeBlock(Digest(keccak(raw)), [(nonce, raw)]))

    # What an outbox asks

    async def read(self, method: str, *params: Any) -> Any:
        if self.away:
            raise ChainUnavailable("the node is away")
        if method in self.garbage:
            return self.garbage[method]
        match method, params:
            case "eth_getTransactionCount", (_, block):
                return hex(self._count(pending=block == "pending"))
            case "eth_getBlockByNumber", (number, _):
                newest = len(self.blocks) - 1
                return self._block(newest if number == "latest" else int(number, 16))
            case "eth_getTransactionReceipt", (str(hash_),):
                return self._receipt(bytes.fromhex(hash_[2:]))
            case "eth_maxPriorityFeePerGas", _:
                return hex(self.tip)
            case "eth_call", _:
                if self.trial_refusal is not None:
                    raise RpcRefusal(self.trial_refusal)
                return "0x"
            case "eth_estimateGas", _:
                return hex(self.gas)
        raise AssertionError(method)

    async def call(self, method: str, *params: Any) -> Any:
        assert method == "eth_sendRawTransaction"
        if self.away:
            raise ChainUnavailable("the node is away")
        crash, self.crash = self.crash, None
        if crash == "before":
            raise Crash
        self._take(bytes.fromhex(params[0][2:]))
        if crash == "after":
            raise Crash

    def _count(self, *, pending: bool) -> int:
        count = len(self.mined)
        while pending and count in self.pool:
            count += 1
        return count

    def _take(self, raw: bytes) -> None:
        self.seen.append(raw)
        if self.refusal is not None:
            raise RpcRefusal(self.refusal)
        transaction = signing.read(raw)
        nonce, fees = transaction.nonce, transaction.fees
        if nonce < len(self.mined):
            raise RpcRefusal("nonce too low")
        if nonce in self.pool:
            if self.pool[nonce] == raw:
                raise RpcRefusal("already known")
            old = signing.read(self.pool[nonce]).fees
            if fees.cap * 10 < old.cap * 11 or fees.tip * 10 < old.tip * 11:
                raise RpcRefusal("replacement transaction underpriced")
        self.pool[nonce] = raw

    def _block(self, number: int) -> dict[str, Any] | None:
        if number >= len(self.blocks):
            return None
        block_hash = "0x" + self.blocks[number].hash.hex()
        return {"number": hex(number), "hash": block_hash, "baseFeePerGas": hex(self.base_fee)}

    def _receipt(self, hash_: bytes) -> dict[str, Any] | None:
        for number, block in enumerate(self.blocks):
            if hash_ in hashes(raw for _, raw in block.transactions):
                return {
                    "transactionHash": "0x" + hash_.hex(), "status": "0x1",
                    "blockNumber": hex(number), "blockHash": "0x" + block.hash.hex(),
                    "gasUsed": "0x5208", "logs": [],
                }  # fmt: skip
        return None


def hashes(raws: Any) -> Sequence[bytes]:
    """Return the hashes of transactions."""
    return [keccak(raw) for raw in raws]


def is_theirs(raw: bytes) -> bool:
    """Tell whether a transaction is one of `take_nonce`."""
    return signing.read(raw).call.data.startswith(THEIRS)


def _theirs(nonce: int, number: int) -> bytes:
    call = Call(to=key(1).address, data=THEIRS + number.to_bytes(4, "big"))
    fees = Fees(tip=GWEI, cap=1_000 * GWEI)
    unsigned = Unsigned(chain_id=31_337, nonce=nonce, gas=50_000, fees=fees, call=call)
    return signing.sign(unsigned, key(1)).raw


def _cap(raw: bytes) -> int:
    return signing.read(raw).fees.cap
