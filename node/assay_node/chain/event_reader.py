"""What contracts did, read from their events: settled jobs, earnings, jobs on the on-chain road."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any, Final

from assay_node.chain.abi_codec import Log
from assay_node.chain.contracts import ERRORS
from assay_node.chain.events import (
    ROAD_SLASH_REASON,
    SLASH_REASON,
    Earnings,
    MinedTransaction,
    earnings_topics,
    ended_topics,
    judged_topics,
    parse_log,
    parse_transaction_receipt,
    read_settlements,
    sum_earnings,
)
from assay_node.chain.hex_values import to_bytes, to_int
from assay_node.chain.reader import MarketReader
from assay_node.chain.refusals import explained
from assay_node.chain.road import (
    RoadMoved,
    job_from_logs,
    opened_topics,
    order_in_call,
    step_topics,
)
from assay_node.chain.rpc import RpcRefusal
from assay_node.chain.steps import describe, step_call
from assay_node.ports.chain import Settlement, SkippedReceipt
from assay_node.ports.court import MarketStep
from assay_node.ports.road import RoadJob
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.order import SignedOrder

ROAD_READS: Final = 5
ROAD_READ_PAUSE_S: Final = 0.2
"""Nodes show a block's state a moment before its logs (seen on Anvil), so a slot and events that do
not belong together are read again, for the second that this may take."""

LOG_BLOCKS_MAX: Final = 2_000
"""Public endpoints answer `eth_getLogs` for ranges of a few thousand blocks only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """What a step on the road costs whoever takes it."""

    gas: int
    wei: int


class EventReader(MarketReader):
    """Reads how jobs ended and where they stand on the road, beside what `MarketReader` reads."""

    async def settlements_between(self, from_block: int, to_block: int) -> tuple[Settlement, ...]:
        """Return what was settled in these blocks, both included, in the order of the chain."""
        found: list[Settlement] = []
        logs = await self._logs([judged_topics()], from_block, to_block)
        for transaction in dict.fromkeys(log.transaction for log in logs):
            mined = await self._mined(Digest(transaction))
            if mined is not None:
                settlements, _ = self._read(mined)
                found += settlements
        return tuple(found)

    async def settlement_of(
        self, job_id: Digest, *, from_block: int | None = None
    ) -> Settlement | None:
        """Return how a job was settled, looking from a block on; None if it was not.

        Without a block the newest ones are asked first, back to the deployment.
        """
        last = (await self.head()).number
        topics = [ended_topics(), to_hex(job_id)]
        if from_block is None:
            logs = await self._newest_logs(topics, last)
        else:
            logs = await self._logs(topics, from_block, last)
        for log in logs:
            mined = await self._mined(Digest(log.transaction))
            settlements, _ = self._read(mined) if mined is not None else ((), ())
            for settlement in settlements:
                if settlement.job_id == job_id:
                    return settlement
        return None

    async def earnings(
        self, operator: Address, *, from_block: int | None = None, to_block: int | None = None
    ) -> Earnings:
        """Return what settled jobs paid and cost an operator, by default since the deployment."""
        who = "0x" + operator[2:].rjust(64, "0")
        first = self.deployment.deploy_block if from_block is None else from_block
        last = (await self.head()).number if to_block is None else to_block
        vault = self._contracts.vault.address
        return sum_earnings(await self._logs([earnings_topics(), who], first, last, of=vault))

    async def road_window_s(self) -> int:
        """Return the seconds that operators have to reveal, and at least to commit."""
        return await self._contracts.road.road_window()

    async def taken_to_road(self, from_block: int, to_block: int) -> tuple[Digest, ...]:
        """Return the jobs that were taken to the road in these blocks, both included."""
        logs = await self._logs(opened_topics(), from_block, to_block)
        return tuple(Digest(log.topics[1]) for log in logs)

    async def road_of(self, job: Digest, *, from_block: int | None = None) -> RoadJob:
        """Return where a job stands; it was opened in `from_block`, by default any, or later.

        Slot and events are of one block, so that a step that is mined meanwhile parts neither.

        Raises:
            ChainError: a reorg parted them; ask again.
            ChainUnavailable: the endpoint does not answer.
        """
        for _ in range(ROAD_READS - 1):
            try:
                return await self._read_road(job, from_block)
            except RoadMoved:
                await asyncio.sleep(ROAD_READ_PAUSE_S)
        return await self._read_road(job, from_block)

    async def _read_road(self, job: Digest, from_block: int | None) -> RoadJob:
        last = (await self.head()).number
        slot = await self._contracts.road.jobs(job, block=hex(last))
        logs: list[Log] = []
        if slot.state:
            first = await self._opened_at(job, last) if from_block is None else from_block
            logs = await self._logs(step_topics(job), first, last)
        found = job_from_logs(job, slot, logs)
        return replace(found, signed_order=await self._order_of(job, logs[0])) if logs else found

    async def cost_of_step(self, step: MarketStep, sender: Address) -> StepCost:
        """Return what a step would cost `sender` now.

        Raises:
            ContractRefusal: it would be refused.
            ChainUnavailable: the endpoint does not answer.
        """
        call = step_call(self._contracts, step)
        request = {"from": sender, "to": call.to, "data": to_hex(call.data)}
        try:
            gas = to_int(await self._rpc.read("eth_estimateGas", request))
        except RpcRefusal as error:
            raise explained(error, describe(step), ERRORS) from None
        return StepCost(gas=gas, wei=gas * to_int(await self._rpc.read("eth_gasPrice")))

    async def _opened_at(self, job: Digest, last: int) -> int:
        """Return the block that a job was opened in: the newest ones are asked first."""
        for log in await self._newest_logs([opened_topics()[0], to_hex(job)], last):
            return log.block_number
        return self.deployment.deploy_block

    async def _order_of(self, job: Digest, opened: Log) -> SignedOrder | None:
        data = await self._call_data(Digest(opened.transaction))
        return None if data is None else order_in_call(data, job, self.domain)

    async def _call_data(self, transaction: Digest) -> bytes | None:
        """Return what a wallet called a contract with, None if the node does not have it."""
        raw = await self._rpc.read("eth_getTransactionByHash", to_hex(transaction))
        if not isinstance(raw, dict) or raw.get("input") is None:
            return None
        return to_bytes(raw["input"])

    async def _newest_logs(
        self, topics: list[Any], last: int, *, of: Address | None = None
    ) -> list[Log]:
        """Return the logs of the newest blocks that have any, back to the deployment."""
        deployed = self.deployment.deploy_block
        while last >= deployed:
            first = max(deployed, last - LOG_BLOCKS_MAX + 1)
            if found := await self._logs(topics, first, last, of=of):
                return found
            last = first - 1
        return []

    async def _logs(
        self, topics: list[Any], from_block: int, to_block: int, *, of: Address | None = None
    ) -> list[Log]:
        """Return what the Market and the Road logged, or another contract."""
        logs: list[Log] = []
        for first in range(from_block, to_block + 1, LOG_BLOCKS_MAX):
            last = min(first + LOG_BLOCKS_MAX - 1, to_block)
            wanted = {
                "address": [self.market, self.deployment.road] if of is None else of,
                "fromBlock": hex(first),
                "toBlock": hex(last),
                "topics": topics,
            }
            logs += [parse_log(raw) for raw in await self._rpc.read("eth_getLogs", wanted) or ()]
        return logs

    async def _mined(self, transaction_hash: Digest) -> MinedTransaction | None:
        raw = await self._rpc.read("eth_getTransactionReceipt", to_hex(transaction_hash))
        return parse_transaction_receipt(raw) if raw is not None else None

    def _read(
        self, mined: MinedTransaction
    ) -> tuple[tuple[Settlement, ...], tuple[SkippedReceipt, ...]]:
        judges = {self.market: SLASH_REASON, self.deployment.road: ROAD_SLASH_REASON}
        return read_settlements(mined, judges)
