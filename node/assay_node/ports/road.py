"""The on-chain road as a port: where a job stands on it, and the steps that move it on.

What a step needs beside the chain's one slot for a job is public: it is read back from the events
and call data of the steps before it, so that anybody can take the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from assay_node.ports.chain import ChainReader, Settlement
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import Order, SignedOrder
from assay_node.protocol.receipt import Receipt


class RoadState(StrEnum):
    """Where a job stands on the road. A deadline that has passed moves it on; see `at`."""

    ABSENT = "absent"
    """Never taken there."""
    COMMITTING = "committing"
    REVEALING = "revealing"
    SETTLED = "settled"
    FAILED = "failed"
    """Over without a quorum."""


ROAD_ENDS = frozenset({RoadState.SETTLED, RoadState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadEntry:
    """A commit that has a place on the road."""

    operator: Address
    ticket: int
    rate_microusd: int
    commitment: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadOpening:
    """What opens the commitment of one entry, the `index`-th."""

    index: int
    seconds: int
    tag: Digest
    salt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadCommit:
    """A commit with its provider's signature. The one that a scheduler gets."""

    operator: Address
    ticket: int
    rate_microusd: int
    commitment: Digest
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadJob:
    """A job on the road as of one block. `entries` rise by ticket, `openings` by index.

    `signed_order` is None where a contract and not a wallet opened the job: its call data is not
    to be had from the chain's blocks.
    """

    job: Digest
    state: RoadState
    deadline: int
    """Unix seconds, included, until which the state's own step can be taken."""
    round_number: int
    entries: tuple[RoadEntry, ...] = ()
    openings: tuple[RoadOpening, ...] = ()
    signed_order: SignedOrder | None = None

    @property
    def silent(self) -> tuple[Address, ...]:
        """Who has committed and not revealed."""
        opened = {opening.index for opening in self.openings}
        return tuple(e.operator for i, e in enumerate(self.entries) if i not in opened)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoad:
    """Take a job to the road. With the scheduler's signature over the set it is fixed at once."""

    signed_order: SignedOrder
    round_number: int
    commits: tuple[RoadCommit, ...]
    set_signature: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOnRoad:
    """Add commits to a job that still takes them."""

    order: Order
    round_number: int
    entries: tuple[RoadEntry, ...]
    commits: tuple[RoadCommit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealOnRoad:
    """Open commitments of a fixed set."""

    job: Digest
    round_number: int
    entries: tuple[RoadEntry, ...]
    openings: tuple[RoadOpening, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeRoad:
    """End a job: once all is open, or once time is up. `openings` may hold new ones in time."""

    order: Order
    round_number: int
    entries: tuple[RoadEntry, ...]
    openings: tuple[RoadOpening, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideRoad:
    """End a job that is still open by its complete receipt."""

    receipt: Receipt
    round_number: int
    entries: tuple[RoadEntry, ...]


RoadStep = OpenRoad | CommitOnRoad | RevealOnRoad | FinalizeRoad | OverrideRoad


class RoadReader(ChainReader, Protocol):
    """What anybody may read of the road."""

    async def road_window_s(self) -> int:
        """Return the seconds that operators have to reveal, and at least to commit."""
        ...

    async def taken_to_road(self, from_block: int, to_block: int) -> Sequence[Digest]:
        """Return the jobs that were opened in these blocks, both included."""
        ...

    async def road_of(self, job: Digest, *, from_block: int | None = None) -> RoadJob:
        """Return where a job stands; it was opened in `from_block`, by default any, or later."""
        ...

    async def settlement_of(
        self, job_id: Digest, *, from_block: int | None = None
    ) -> Settlement | None:
        """Return how a job was settled, on whichever road."""
        ...


class RoadChain(RoadReader, Protocol):
    """What moves jobs on the road. One instance owns one wallet's nonces."""

    async def start_step(self, job: Digest, step: RoadStep) -> bool:
        """Keep and send a step; False where another one of this wallet is on its way for the job.

        Raises `ContractRefusal` where it would be refused now: nothing is sent then.
        """
        ...

    async def pursue_steps(self) -> None:
        """Do what the steps on their way need, to their end."""
        ...
