"""`ports.SettlementChain`: what a scheduler writes, and what everybody reads of it afterwards."""

from bisect import bisect
from collections.abc import Sequence
from typing import Any, Final

from assay_node.chain.abi_codec import Log
from assay_node.chain.deployment import Deployment
from assay_node.chain.events import (
    Earnings,
    MinedTransaction,
    judged_topics,
    parse_log,
    parse_transaction_receipt,
    read_settlements,
    sum_earnings,
)
from assay_node.chain.packed import Measures, cheapest_order, measure, pack
from assay_node.chain.reader import MarketReader
from assay_node.chain.rpc import JsonRpc
from assay_node.chain.transactions import (
    GAS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_BYTES_OTHER,
    TransactionSigner,
)
from assay_node.ports.chain import PreparedTransaction, Settlement, TransactionOutcome
from assay_node.ports.keys import OrderSigner
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import REPLICAS_MAX
from assay_node.protocol.receipt import Receipt

GAS_PER_TRANSACTION: Final = 80_000
GAS_PER_RECEIPT: Final = 25_000
GAS_PER_REPLICA: Final = 25_000
GAS_PER_PAGE: Final = 60_000
GAS_PER_SEED: Final = 15_000
GAS_PER_OPERATOR: Final = 60_000
"""Upper bounds of what `settlePacked` burns, half as much again as measured with requesters and
operators that the chain has not paid before, the dearest case. A page is one requester's budget for
one scheduler and a word of its nonces; draws get dearer with the logarithm of the seats' history. A
test compares them."""

CALL_BYTES: Final = 4 + 32 + 32 + 31
"""What the call has beside the packed bytes: selector, offset, length, padding."""

LOG_BLOCKS_MAX: Final = 2_000
"""Public endpoints answer `eth_getLogs` for ranges of a few thousand blocks only."""


class EventReader(MarketReader):
    """Reads what was settled, beside what `MarketReader` reads."""

    async def settlements_between(self, from_block: int, to_block: int) -> tuple[Settlement, ...]:
        """Return what was settled in these blocks, both included, in the order of the chain."""
        found: list[Settlement] = []
        topics = [judged_topics(self._contracts.market.interface)]
        logs = await self._logs(topics, from_block, to_block)
        for transaction in dict.fromkeys(log.transaction for log in logs):
            mined = await self._mined(Digest(transaction))
            if mined is not None:
                found += self._read(mined).settlements
        return tuple(found)

    async def settlement_of(self, job_id: Digest, *, from_block: int) -> Settlement | None:
        """Return how a job was settled, looking from a block on; None if it was not."""
        market = self._contracts.market.interface
        ends = ["0x" + market.event(n).hash.hex() for n in ("JobSettled", "JobWithoutQuorum")]
        last = (await self.head()).number
        for log in await self._logs([ends, "0x" + job_id.hex()], from_block, last):
            mined = await self._mined(Digest(log.transaction))
            for settlement in self._read(mined).settlements if mined is not None else ():
                if settlement.job_id == job_id:
                    return settlement
        return None

    async def earnings(
        self, operator: Address, *, from_block: int | None = None, to_block: int | None = None
    ) -> Earnings:
        """Return what settled jobs paid and cost an operator, by default since the deployment."""
        vault = self._contracts.vault
        topics = [
            "0x" + vault.interface.event("OperatorSettled").hash.hex(),
            "0x" + operator[2:].rjust(64, "0"),
        ]
        first = self.deployment.deploy_block if from_block is None else from_block
        last = (await self.head()).number if to_block is None else to_block
        logs = await self._logs(topics, first, last, of=vault.address)
        return sum_earnings(logs, vault.interface)

    async def _logs(
        self, topics: list[Any], from_block: int, to_block: int, *, of: Address | None = None
    ) -> list[Log]:
        logs: list[Log] = []
        for first in range(from_block, to_block + 1, LOG_BLOCKS_MAX):
            last = min(first + LOG_BLOCKS_MAX - 1, to_block)
            wanted = {
                "address": of or self.market,
                "fromBlock": hex(first),
                "toBlock": hex(last),
                "topics": topics,
            }
            logs += [parse_log(raw) for raw in await self._rpc.read("eth_getLogs", wanted) or ()]
        return logs

    async def _mined(self, transaction_hash: Digest) -> MinedTransaction | None:
        raw = await self._rpc.read("eth_getTransactionReceipt", "0x" + transaction_hash.hex())
        return parse_transaction_receipt(raw) if raw is not None else None

    def _read(self, mined: MinedTransaction) -> TransactionOutcome:
        market = self._contracts.market
        settlements, skipped = read_settlements(mined, market.address, market.interface)
        return TransactionOutcome(
            succeeded=mined.succeeded,
            block_number=mined.block_number,
            gas_used=mined.gas_used,
            settlements=settlements,
            skipped=skipped,
        )


class SettlementWallet(EventReader):
    """Settles receipts from one wallet. It is the only user of that wallet's nonces."""

    def __init__(
        self, rpc: JsonRpc, deployment: Deployment, signer: OrderSigner, *, confirmations: int
    ) -> None:
        super().__init__(rpc, deployment)
        self._confirmations = confirmations
        self._transactions = TransactionSigner(
            rpc, chain_id=deployment.chain_id, signer=signer, errors=self._contracts.errors
        )

    @property
    def address(self) -> Address:
        """The wallet's address, which pays for gas."""
        return self._transactions.address

    @property
    def receipts_per_transaction_max(self) -> int:
        """How many receipts fit one transaction whatever their replicas; see `receipts_fitting`."""
        return RECEIPTS_MAX

    def receipts_fitting(self, receipts: Sequence[Receipt]) -> int:
        """Return how many of the first receipts fit one transaction, in gas and in bytes."""
        return receipts_fitting(receipts)

    async def prepare_settle(self, receipts: Sequence[Receipt]) -> PreparedTransaction:
        """Sign `Market.settlePacked` of these receipts without sending it, each signature in it.

        Raises:
            LocalError: no receipts, or more than fit one transaction.
            ContractRefusal: it would revert, which good and bad receipts never make it do.
            ChainUnavailable: the endpoint does not answer.
        """
        if not receipts or receipts_fitting(receipts) < len(receipts):
            raise LocalError(
                f"{len(receipts)} receipts do not go into one transaction; "
                f"{receipts_fitting(receipts)} of them do"
            )
        call = self._contracts.market.call(
            "settlePacked",
            pack(cheapest_order(receipts)),
            action=f"settling {len(receipts)} receipts",
        )
        # Not an estimate: a receipt that is skipped now may be good when it is mined.
        return await self._transactions.prepare(call, gas_bound=gas_bound(receipts))

    async def prepare_keep_seed(
        self, hardware_class: Digest, seed_block: int
    ) -> PreparedTransaction:
        """Sign `Providers.keepSeed` without sending it.

        Raises:
            ContractRefusal: `Providers_SeedUnknown`, the block is not mined or too old.
            ChainUnavailable: the endpoint does not answer.
        """
        call = self._contracts.providers.call(
            "keepSeed", hardware_class, seed_block, action=f"keeping the hash of block {seed_block}"
        )
        return await self._transactions.prepare(call)

    async def send(self, transaction: PreparedTransaction) -> None:
        """Broadcast; sending the same transaction again is harmless.

        Send it again after a restart, in the order of the nonces, and when `outcome` stays None for
        long: nodes forget what they have not mined.

        Raises:
            ChainError: the node refuses it for good; prepare anew.
            ChainUnavailable: the endpoint does not answer; send it again later.
        """
        await self._transactions.send(transaction)

    async def outcome(self, transaction_hash: Digest) -> TransactionOutcome | None:
        """Return the outcome once mined with enough confirmations, None until then.

        `succeeded` is False with `gas_used` > 0 when it was mined and reverted, and with `gas_used`
        0 when it never can be mined, because another transaction of this wallet took its nonce
        (known for transactions that this instance prepared or sent). In both cases nothing was
        settled by it: prepare anew. An order's own nonce makes paying twice impossible.
        """
        mined = await self._mined(transaction_hash)
        if mined is None:
            if not await self._lost(transaction_hash):
                return None
            mined = await self._mined(transaction_hash)  # mined between the two looks?
        head = await self.head()
        if mined is None:
            return TransactionOutcome(
                succeeded=False, block_number=head.number, gas_used=0, settlements=(), skipped=()
            )
        if head.number - mined.block_number + 1 < self._confirmations:
            return None
        return self._read(mined)

    async def _lost(self, transaction_hash: Digest) -> bool:
        return await self._transactions.lost_its_nonce(
            transaction_hash, confirmations=self._confirmations
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
    )


RECEIPTS_MAX: Final = (GAS_MAX - GAS_PER_TRANSACTION) // (
    GAS_PER_RECEIPT
    + GAS_PER_PAGE
    + GAS_PER_SEED
    + REPLICAS_MAX * (GAS_PER_REPLICA + GAS_PER_OPERATOR)
)
"""21 receipts of 8 replicas that share nothing. 138 of 3 replicas fit that share requesters,
operators and a seed as 100 of them do in `contracts/snapshots/settle.json`."""
