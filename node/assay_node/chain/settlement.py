"""`ports.SettlementChain`: what a scheduler writes."""

from bisect import bisect
from collections.abc import Sequence
from typing import Final

from assay_node.chain.court_reader import CourtReader
from assay_node.chain.deployment import Deployment
from assay_node.chain.outbox import (
    GAS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_BYTES_OTHER,
    Ended,
    Outbox,
    SendingSettings,
)
from assay_node.chain.packed import Measures, cheapest_order, measure, pack
from assay_node.chain.rpc import JsonRpc
from assay_node.ports.chain import TransactionOutcome
from assay_node.ports.keys import OrderSigner
from assay_node.ports.transactions import OutgoingTransaction, TransactionStore
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import REPLICAS_MAX
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


class SettlementWallet(CourtReader):
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
