"""`ports.SettlementChain`: what a scheduler writes, and what everybody reads of it afterwards."""

import asyncio
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from assay_node.chain.abi_codec import Log
from assay_node.chain.contracts import ERRORS
from assay_node.chain.deployment import Deployment
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
from assay_node.chain.outbox import (
    GAS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_BYTES_OTHER,
    Ended,
    Outbox,
    SendingSettings,
)
from assay_node.chain.packed import Measures, cheapest_order, measure, pack
from assay_node.chain.reader import MarketReader
from assay_node.chain.refusals import explained
from assay_node.chain.road import (
    RoadMoved,
    describe,
    job_from_logs,
    opened_topics,
    order_in_call,
    road_call,
    step_topics,
)
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.ports.chain import Settlement, SkippedReceipt, TransactionOutcome
from assay_node.ports.keys import OrderSigner
from assay_node.ports.road import RoadJob, RoadStep
from assay_node.ports.transactions import OutgoingTransaction, TransactionStore
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.order import REPLICAS_MAX, SignedOrder
from assay_node.protocol.receipt import Receipt

SETTLE: Final = "settle"
KEEP_SEED: Final = "keep_seed"
"""The kinds of a scheduler's transactions."""

GAS_PER_TRANSACTION: Final = 80_000
GAS_PER_RECEIPT: Final = 25_000
GAS_PER_REPLICA: Final = 25_000
GAS_PER_PAGE: Final = 60_000
GAS_PER_SEED: Final = 15_000
GAS_PER_OPERATOR: Final = 60_000
GAS_PER_CASE: Final = 90_000
GAS_PER_PLEDGE: Final = 50_000
"""Upper bounds of what `settlePacked` burns, half as much again as measured with requesters and
operators that the chain has not paid before, the dearest case. A page is one requester's budget for
one scheduler and a word of its nonces; a case is a job that the court takes in, a pledge the stake
of a winner that may be audited. Draws get dearer with the logarithm of the seats' history. A test
compares them."""

CALL_BYTES: Final = 4 + 32 + 32 + 31
"""What the call has beside the packed bytes: selector, offset, length, padding."""

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

    async def settlement_of(self, job_id: Digest, *, from_block: int) -> Settlement | None:
        """Return how a job was settled, looking from a block on; None if it was not."""
        last = (await self.head()).number
        for log in await self._logs([ended_topics(), to_hex(job_id)], from_block, last):
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

    async def cost_of_step(self, step: RoadStep, sender: Address) -> StepCost:
        """Return what a step would cost `sender` now.

        Raises:
            ContractRefusal: it would be refused.
            ChainUnavailable: the endpoint does not answer.
        """
        call = road_call(self._contracts.road, step)
        request = {"from": sender, "to": call.to, "data": to_hex(call.data)}
        try:
            gas = to_int(await self._rpc.read("eth_estimateGas", request))
        except RpcRefusal as error:
            raise explained(error, describe(step), ERRORS) from None
        return StepCost(gas=gas, wei=gas * to_int(await self._rpc.read("eth_gasPrice")))

    async def _opened_at(self, job: Digest, last: int) -> int:
        """Return the block that a job was opened in: the newest ones are asked first."""
        deployed = self.deployment.deploy_block
        topics = [opened_topics()[0], to_hex(job)]
        while last >= deployed:
            first = max(deployed, last - LOG_BLOCKS_MAX + 1)
            for log in await self._logs(topics, first, last):
                return log.block_number
            last = first - 1
        return deployed

    async def _order_of(self, job: Digest, opened: Log) -> SignedOrder | None:
        raw = await self._rpc.read("eth_getTransactionByHash", to_hex(opened.transaction))
        if not isinstance(raw, dict) or raw.get("input") is None:
            return None
        return order_in_call(to_bytes(raw["input"]), job, self.domain)

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


class SettlementWallet(EventReader):
    """Settles receipts from one wallet."""

    def __init__(
        self,
        rpc: JsonRpc,
        deployment: Deployment,
        signer: OrderSigner,
        *,
        store: TransactionStore,
        sending: SendingSettings,
    ) -> None:
        super().__init__(rpc, deployment)
        self._store = store
        self._outbox = Outbox(
            rpc, chain_id=deployment.chain_id, signer=signer, store=store, settings=sending
        )

    @property
    def address(self) -> Address:
        """The wallet's address, which pays for gas."""
        return self._outbox.address

    @property
    def receipts_per_transaction_max(self) -> int:
        """How many receipts fit one transaction whatever their replicas; see `receipts_fitting`."""
        return RECEIPTS_MAX

    def receipts_fitting(self, receipts: Sequence[Receipt]) -> int:
        """Return how many of the first receipts fit one transaction, in gas and in bytes."""
        return receipts_fitting(receipts)

    async def settle(self, receipts: Sequence[Receipt], jobs: Sequence[Digest]) -> bool:
        """Keep and send `Market.settlePacked` of receipts for jobs; False if one is bound already.

        Raises:
            LocalError: no receipts, or more than fit one transaction.
            ContractRefusal: it would revert, which good and bad receipts never make it do.
            GasTooDear: gas costs more than the ceiling; nothing was signed.
            ChainUnavailable: the endpoint does not answer; nothing was signed.
        """
        return await self._submit_settle(receipts, jobs) is not None

    async def keep_seed(self, hardware_class: Digest, seed_block: int) -> None:
        """Keep and send `Providers.keepSeed`.

        Raises:
            ContractRefusal: `Providers_SeedUnknown`, the block is not mined or too old.
            GasTooDear: gas costs more than the ceiling; nothing was signed.
            ChainUnavailable: the endpoint does not answer; nothing was signed.
        """
        await self._outbox.submit(
            self._contracts.providers.keep_seed(hardware_class, seed_block),
            action=f"keeping the hash of block {seed_block}",
            kind=KEEP_SEED,
        )

    async def pursue(self) -> Sequence[TransactionOutcome]:
        """Do what open transactions need; return those that are final until they are ended.

        Raises:
            ChainUnavailable: the endpoint does not answer; nothing is lost.
        """
        return [self._outcome(ended) for ended in await self._outbox.pursue()]

    async def gas_price(self) -> int:
        """Return what gas costs in the next block, in wei."""
        return (await self._outbox.gas_market()).price

    async def _submit_settle(
        self, receipts: Sequence[Receipt], jobs: Sequence[Digest]
    ) -> OutgoingTransaction | None:
        if not receipts or receipts_fitting(receipts) < len(receipts):
            raise LocalError(
                f"{len(receipts)} receipts do not go into one transaction; "
                f"{receipts_fitting(receipts)} of them do"
            )
        return await self._outbox.submit(
            self._contracts.market.settle_packed(pack(cheapest_order(receipts))),
            action=f"settling {len(receipts)} receipts",
            kind=SETTLE,
            jobs=jobs,
            # Not an estimate: a receipt that is skipped now may be good when it is mined.
            gas_bound=gas_bound(receipts),
        )

    def _outcome(self, ended: Ended) -> TransactionOutcome:
        mined = ended.mined
        settlements, skipped = ((), ()) if mined is None else self._read(mined)
        return TransactionOutcome(
            outgoing=ended.outgoing,
            state=ended.state,
            block_number=ended.block_number,
            gas_used=0 if mined is None else mined.gas_used,
            settlements=settlements,
            skipped=skipped,
        )


def receipts_fitting(receipts: Sequence[Receipt]) -> int:
    """Return how many of the first receipts fit one transaction, in gas and in bytes."""
    return bisect(range(1, len(receipts) + 1), 0, key=lambda count: not _fit(receipts[:count]))


def gas_bound(receipts: Sequence[Receipt]) -> int:
    """Return more gas than settling these receipts takes."""
    return _gas(measure(receipts))


def _fit(receipts: Sequence[Receipt]) -> bool:
    measures = measure(receipts)
    size = measures.bytes + CALL_BYTES + TRANSACTION_BYTES_OTHER
    return _gas(measures) <= GAS_MAX and size <= TRANSACTION_BYTES_MAX


def _gas(measures: Measures) -> int:
    return (
        GAS_PER_TRANSACTION
        + GAS_PER_RECEIPT * measures.receipts
        + GAS_PER_REPLICA * measures.replicas
        + GAS_PER_PAGE * measures.terms
        + GAS_PER_SEED * measures.seeds
        + GAS_PER_OPERATOR * measures.operators
        + GAS_PER_CASE * measures.cases
        + GAS_PER_PLEDGE * measures.pledges
    )


RECEIPTS_MAX: Final = (GAS_MAX - GAS_PER_TRANSACTION) // (
    GAS_PER_RECEIPT
    + GAS_PER_PAGE
    + GAS_PER_SEED
    + GAS_PER_CASE
    + REPLICAS_MAX * (GAS_PER_REPLICA + GAS_PER_OPERATOR + GAS_PER_PLEDGE)
)
"""13 receipts of 8 replicas that share nothing and may be audited. 138 of 3 replicas fit that share
requesters, operators and a seed as 100 of them do in `contracts/snapshots/settle.json`."""
