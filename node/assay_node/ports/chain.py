"""The contracts as a port."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from assay_node.ports.transactions import OutgoingTransaction, TransactionState
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest block the node follows."""

    number: int
    timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account in the Vault; all amounts in micro-USD. What is locked is part of the stake."""

    free_microusd: int
    stake_microusd: int
    locked_microusd: int = 0
    wins: int
    faults: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerBond:
    """What a scheduler has at stake; `slashable_until` is sure, whatever it does now."""

    amount_microusd: int
    slashable_until: int
    leaves_at: int | None
    caught: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """One provider's share of a settled job."""

    operator: Address
    amount_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slashed:
    """One provider's loss in a settled job; `reason` is the contract's word for it."""

    operator: Address
    amount_microusd: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What the chain did with one receipt, read from its events."""

    job_id: Digest
    transaction: Digest
    block_number: int
    agreed: bool
    winning_tag: Digest | None
    seconds: int
    paid: tuple[Paid, ...]
    slashed: tuple[Slashed, ...]
    fee_microusd: int
    cost_microusd: int
    gas_used: int
    receipts_in_batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedReceipt:
    """A receipt that the contract passed over, with the contract's reason."""

    job_id: Digest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionOutcome:
    """A transaction that is final, and what it did with each receipt, if it carried any.

    It did nothing where `state` is not "succeeded": what it was for has to be asked for anew. An
    order's own nonce makes paying twice impossible.
    """

    outgoing: OutgoingTransaction
    state: TransactionState
    block_number: int
    gas_used: int
    settlements: tuple[Settlement, ...]
    skipped: tuple[SkippedReceipt, ...]


class ChainReader(Protocol):
    """What anybody may read from the contracts. Raises `ChainUnavailable` when the node is away."""

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        ...

    @property
    def market(self) -> Address:
        """The Market contract, which is also the EIP-712 verifying contract."""
        ...

    async def head(self) -> Head:
        """Return the newest block."""
        ...

    async def block_hash(self, number: int) -> Digest | None:
        """Return a block's hash, None when it is not mined yet."""
        ...

    async def account(self, address: Address) -> Account:
        """Return an account's balances and record."""
        ...

    async def budget(self, requester: Address, scheduler: Address) -> int:
        """Return what `requester` has set aside for `scheduler`, 0 once closed, in micro-USD."""
        ...

    async def signer_of(self, operator: Address) -> Address | None:
        """Return the signing key that is in effect for an operator now."""
        ...

    async def scheduler_bond(self, scheduler: Address) -> SchedulerBond:
        """Return what a scheduler has at stake."""
        ...

    async def nonce_used(self, requester: Address, nonce: int) -> bool:
        """Tell whether an order's nonce is spent (settled or cancelled)."""
        ...

    async def settlement_of(
        self, job_id: Digest, *, from_block: int | None = None
    ) -> Settlement | None:
        """Return how a job was settled, looking from a block on; None if it was not."""
        ...

    async def draw(
        self, hardware_class: Digest, seed_block: int, job_id: Digest, *, max_ticket: int
    ) -> tuple[Address | None, ...]:
        """Return the operator behind each ticket 0..max_ticket; None where a seat is vacant."""
        ...


class SettlementChain(ChainReader, Protocol):
    """What a scheduler writes. One instance owns one wallet's nonces."""

    def receipts_fitting(self, receipts: Sequence[Receipt]) -> int:
        """Return how many of the first receipts fit one transaction."""
        ...

    async def settle(self, receipts: Sequence[Receipt], jobs: Sequence[Digest]) -> bool:
        """Keep and send `Market.settle(receipts)` for jobs; False if one is bound already."""
        ...

    async def keep_seed(self, hardware_class: Digest, seed_block: int) -> None:
        """Keep and send `Providers.keepSeed`."""
        ...

    async def pursue(self) -> Sequence[TransactionOutcome]:
        """Do what open transactions need; return those that are final until they are ended."""
        ...

    async def gas_price(self) -> int:
        """Return what gas costs in the next block, in wei."""
        ...
