"""A wallet's outgoing transactions as a port: kept before they are sent, until they are final."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from assay_node.protocol.ids import Address, Digest


class TransactionState(StrEnum):
    """Where an outgoing transaction stands; the last three are ends."""

    PENDING = "pending"
    """Kept, and in no block that is known: it is sent, sent again, replaced by a dearer one."""
    MINED = "mined"
    """In a block that another may still replace."""
    SUCCEEDED = "succeeded"
    REVERTED = "reverted"
    """Mined for good; the contract undid what it did."""
    DISPLACED = "displaced"
    """Never mined and never will be: a transaction of another program took its nonce."""


TRANSACTION_ENDS = frozenset(
    {TransactionState.SUCCEEDED, TransactionState.REVERTED, TransactionState.DISPLACED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """One signed form of a transaction. A replacement differs from it in its fees only."""

    hash: Digest
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The block that holds a transaction, and under which of its hashes."""

    hash: Digest
    block_number: int
    block_hash: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingTransaction:
    """Something that one wallet has its chain do. At most one of its signed forms can be mined.

    `id` is the hash of the form that was signed first. `jobs` wait for it.
    """

    id: Digest
    chain_id: int
    sender: Address
    nonce: int
    kind: str
    jobs: tuple[Digest, ...]
    signed: tuple[SignedTransaction, ...]
    state: TransactionState
    place: Place | None
    created_at: float

    @property
    def newest(self) -> SignedTransaction:
        """The dearest form, which is the one to be sent."""
        return self.signed[-1]


class TransactionStore(Protocol):
    """Keeps outgoing transactions durably: what a method returned from survives a crash."""

    async def save_transaction(self, outgoing: OutgoingTransaction) -> bool:
        """Keep a new transaction and bind its jobs to it; False if a job is bound already."""
        ...

    async def add_signed(self, outgoing: OutgoingTransaction, signed: SignedTransaction) -> None:
        """Keep another signed form, before it is sent."""
        ...

    async def note_place(self, outgoing: OutgoingTransaction, place: Place | None) -> None:
        """Note the block that holds it, or None where a reorg took it out of one."""
        ...

    async def end_transaction(self, outgoing: OutgoingTransaction, state: TransactionState) -> None:
        """Note how it ended; jobs that wait for it are free for another one."""
        ...

    async def discard_transaction(self, outgoing: OutgoingTransaction) -> None:
        """Forget one that no node ever took; its nonce is free again."""
        ...

    async def open_transactions(self) -> Sequence[OutgoingTransaction]:
        """Return those that have not ended, by nonce."""
        ...

    async def nonces_used(self, chain_id: int, sender: Address) -> int:
        """Return one more than the highest nonce ever kept for a wallet, 0 where there is none."""
        ...
