"""A chain without our client: calls encoded here, sent as plain JSON-RPC, mined when we say.

Nothing of `assay_node.chain` takes part, so nothing of it can hide what the contracts do.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from eth_abi.abi import decode, encode
from eth_abi.grammar import parse
from eth_utils.crypto import keccak

from tests.integration.chain import payout_model as model

ABI: Final = Path(model.__file__).parents[3] / "node" / "assay_node" / "chain" / "abi"
GAS: Final = hex(16_000_000)
SLASHED, FEE = 2, 3  # kinds of shares


@dataclass(frozen=True)
class Log:
    name: str
    job: bytes
    values: tuple[Any, ...]


@dataclass
class Mined:
    succeeded: bool
    logs: list[dict[str, Any]]
    now: model.Now


class Anvil:
    """One chain whose every account is ours and that mines when we say."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._hashes: dict[int, bytes] = {}
        self._head = model.Now(0, 0, self._hashes)

    async def mine_by_the_second(self) -> None:
        """Mine a block, a second later than the last, for each transaction: hashes are repeated."""
        await self.rpc("evm_setIntervalMining", 0)
        await self.rpc("evm_setAutomine", True)
        await self.rpc("anvil_setBlockTimestampInterval", 1)

    async def take_over(self) -> None:
        """From now on blocks are mined by `send`, for anybody."""
        await self.rpc("evm_setAutomine", False)
        await self.rpc("anvil_removeBlockTimestampInterval")
        await self.rpc("anvil_autoImpersonateAccount", True)
        await self._read_blocks()

    async def mine(self, *, later: int = 1) -> None:
        """Mine a block that many seconds after the last."""
        await self.rpc("evm_mine", {"timestamp": self._head.timestamp + later})
        await self._read_blocks()

    async def mine_until(self, block: int) -> None:
        """Mine, a second each, until the block after this one is the next."""
        if (count := block - self._head.number) > 0:
            await self.rpc("anvil_mine", hex(count), hex(1))
            await self._read_blocks()

    async def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        if not calls:
            return []
        body = [
            {"jsonrpc": "2.0", "id": i, "method": method, "params": params}
            for i, (method, params) in enumerate(calls)
        ]
        answers = (await self._http.post("/", json=body)).json()
        by_id = {answer["id"]: answer for answer in answers}
        for i, call in enumerate(calls):
            assert "result" in by_id[i], (call, by_id[i])
        return [by_id[i]["result"] for i in range(len(calls))]

    async def rpc(self, method: str, *params: Any) -> Any:
        return (await self.batch([(method, list(params))]))[0]

    async def send(self, sender: str, to: str, data: bytes) -> Mined:
        request = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": GAS}
        transaction = await self.rpc("eth_sendTransaction", request)
        await self.rpc("evm_mine", {"timestamp": self._head.timestamp + 1})
        (receipt,) = await self._read_blocks(("eth_getTransactionReceipt", [transaction]))
        assert int(receipt["blockNumber"], 16) == self._head.number
        succeeded = int(receipt["status"], 16) == 1
        return Mined(succeeded, receipt["logs"], self._head)

    @property
    def head(self) -> model.Now:
        """What the last transaction saw."""
        return self._head

    @property
    def next_block(self) -> model.Now:
        """What the next transaction will see."""
        return replace(self._head, number=self._head.number + 1, timestamp=self._head.timestamp + 1)

    async def _read_blocks(self, *beside: tuple[str, list[Any]]) -> list[Any]:
        """Learn the hashes of what was mined; return the answers to what is asked beside."""
        *answers, head = await self.batch([*beside, ("eth_getBlockByNumber", ["latest", False])])
        number = int(head["number"], 16)
        between = [n for n in range(self._head.number + 1, number) if n not in self._hashes]
        blocks = await self.batch([("eth_getBlockByNumber", [hex(n), False]) for n in between])
        for block in (*blocks, head):
            self._hashes[int(block["number"], 16)] = bytes.fromhex(block["hash"][2:])
        self._head = model.Now(number, int(head["timestamp"], 16), self._hashes)
        return answers


def encode_call(signature: str, *args: Any) -> bytes:
    """Return the call data of a function, given as Solidity writes its signature."""
    arguments = signature[signature.index("(") :]
    if not args:
        return keccak(text=signature)[:4]
    encoded = encode([arguments], [args])
    # A dynamic tuple stands behind its offset; arguments stand without one.
    return keccak(text=signature)[:4] + encoded[32 * parse(arguments).is_dynamic :]


class MarketEvents:
    """Reads the Market's logs by its ABI."""

    def __init__(self, market: str) -> None:
        self._market = market.lower()
        self._topics = _market_topics()

    def read(self, logs: Sequence[dict[str, Any]]) -> list[Log]:
        """Return what each says; of a job's end, who was told what amount, and the fee."""
        decoded = []
        for log in logs:
            if log["address"].lower() != self._market:
                continue
            name, types = self._topics[log["topics"][0]]
            values = decode(types, bytes.fromhex(log["data"][2:]))
            if name == "ReceiptSkipped":
                values = (self._topics["0x" + values[0].hex()][0],)
            elif name in ("JobSettled", "JobWithoutQuorum"):
                values = _parts(values[-1])
            decoded.append(Log(name, bytes.fromhex(log["topics"][1][2:]), values))
        return decoded


def _parts(shares: Sequence[int]) -> tuple[dict[str, int], int, int]:
    """Return what each operator got (or, below zero, lost), the fee, and all that was paid.

    A share is party (160 bits) | amount (64) | kind (8), of which 2 is slashed and 3 the fee.
    """
    moves, fee, cost = {}, 0, 0
    for share in shares:
        amount, kind = share >> 160 & (1 << 64) - 1, share >> 224 & 0xFF
        cost += 0 if kind == SLASHED else amount
        if kind == FEE:
            fee = amount
        else:
            moves[f"0x{share & (1 << 160) - 1:040x}"] = -amount if kind == SLASHED else amount
    return moves, fee, cost


def _market_topics() -> dict[str, tuple[str, list[str]]]:
    """Events by topic and errors by selector."""
    known = {}
    for entry in json.loads((ABI / "Market.json").read_text()):
        if entry["type"] not in ("event", "error"):
            continue
        signature = f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"
        digest = keccak(text=signature).hex()
        key = digest if entry["type"] == "event" else digest[:8]
        data = [i["type"] for i in entry["inputs"] if not i.get("indexed")]
        known["0x" + key] = (entry["name"], data)
    return known
