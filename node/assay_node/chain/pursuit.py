"""What to do next with an outgoing transaction: a pure function from what the chain shows.

The outbox looks, asks `next_step`, and does what it says. Nothing here knows a clock or a node.
"""

from dataclasses import dataclass
from typing import Final

from assay_node.ports.transactions import OutgoingTransaction, Place, TransactionState
from assay_node.protocol.errors import LocalError

OVERTAKEN_BLOCKS: Final = 3
"""A nonce counts as lost only this many blocks after it was seen used: nodes show a block's nonces
a moment before its receipts (seen on Anvil), and nodes behind one endpoint differ by a block."""

STUCK_BLOCKS: Final = 2
"""A dearer replacement helps only where blocks are made and pass the transaction over: a chain that
stands still would have us bid against ourselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what; times in seconds."""

    confirmations: int
    """Blocks, counting the one that holds it, after which a transaction is final."""
    resend_s: float
    """After this long the same bytes are sent again: nodes forget what they have not mined."""
    replace_s: float
    """After this long a dearer form is sent instead."""

    def __post_init__(self) -> None:
        if self.confirmations < 1 or self.resend_s <= 0 or self.replace_s <= 0:
            raise LocalError("confirmations is at least 1, and times are above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """One of a transaction's forms in a block."""

    place: Place
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """When this process sent the newest form: times from a monotonic clock, and the head then."""

    first_at: float
    first_block: int
    last_at: float
    taken: bool
    """False where the node refused it for another reason than its price, such as a wallet without
    coin: a dearer form would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the chain shows of one transaction.

    `mined_count` is the wallet's nonce in the newest block; `overtaken_at` the block at which its
    nonce was first seen used with none of its forms in sight.
    """

    now: float
    head: int
    mined_count: int
    inclusion: Inclusion | None
    overtaken_at: int | None
    sent: Sent | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the newest form, for the first time in this process or again."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Sign a dearer form, keep it, and send it."""


@dataclass(frozen=True, slots=True)
class NoteThePlace:
    """Keep the block that holds it now; None takes it back to pending."""

    place: Place | None


@dataclass(frozen=True, slots=True)
class End:
    """It is final."""

    state: TransactionState


Step = Wait | Send | Replace | NoteThePlace | End


def next_step(outgoing: OutgoingTransaction, sight: Sight, patience: Patience) -> Step:
    """Return what to do with a transaction that has not ended."""
    if sight.inclusion is not None:
        return _while_included(outgoing, sight.inclusion, sight.head, patience)
    if outgoing.place is not None:
        return NoteThePlace(None)
    if sight.mined_count > outgoing.nonce:
        return _while_overtaken(sight, patience)
    return _while_unmined(outgoing, sight, patience)


def _while_included(
    outgoing: OutgoingTransaction, inclusion: Inclusion, head: int, patience: Patience
) -> Step:
    if head - inclusion.place.block_number + 1 >= patience.confirmations:
        succeeded = inclusion.succeeded
        return End(TransactionState.SUCCEEDED if succeeded else TransactionState.REVERTED)
    return Wait() if outgoing.place == inclusion.place else NoteThePlace(inclusion.place)


def _while_overtaken(sight: Sight, patience: Patience) -> Step:
    if sight.overtaken_at is None:
        return Wait()
    blocks = sight.head - sight.overtaken_at
    if blocks < OVERTAKEN_BLOCKS + patience.confirmations - 1:
        return Wait()
    return End(TransactionState.DISPLACED)


def _while_unmined(outgoing: OutgoingTransaction, sight: Sight, patience: Patience) -> Step:
    sent = sight.sent
    if sent is None:
        return Send()
    first_in_line = sight.mined_count == outgoing.nonce  # a later one is not stuck, it queues
    if (
        sent.taken
        and first_in_line
        and sight.now - sent.first_at >= patience.replace_s
        and sight.head - sent.first_block >= STUCK_BLOCKS
    ):
        return Replace()
    return Send() if sight.now - sent.last_at >= patience.resend_s else Wait()
