"""Commitments, reveals and the receipt: what a provider signs and what the chain pays for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from assay_node.protocol import typed_data
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.units import check_uint

EFFORT_BPS: Final = 2_500
"""Share of rate x seconds that revealers get when no quorum forms, in 1/10,000 (the contract's)."""

TAG_BYTES_COMPARED: Final = 28
_REVEAL_TYPES: Final = ["bytes32", "bytes32", "bytes32", "uint64", "uint32"]
"""The contract keeps a vote in one word: the tag's first 28 bytes and 4 bytes of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica's opened vote, as it goes into a receipt."""

    operator: Address
    rate_microusd: int
    ticket: int
    seconds: int
    tag: Digest
    salt: Digest
    signature: bytes

    def __post_init__(self) -> None:
        check_uint(self.rate_microusd, 64, "rate_microusd")
        check_uint(self.ticket, 8, "ticket")
        check_uint(self.seconds, 32, "seconds")
        if len(self.tag) != DIGEST_BYTES or len(self.salt) != DIGEST_BYTES:
            raise MalformedMessage("tag and salt have 32 bytes")

    def abi_values(self) -> tuple[object, ...]:
        """Return the members in the contract's order."""
        return (
            self.operator, self.rate_microusd, self.ticket, self.seconds, self.tag, self.salt,
            self.signature,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Enough for anybody to have a job settled: the order and all k opened votes by ticket."""

    signed_order: SignedOrder
    replicas: tuple[Replica, ...]


ROUNDS_MAX: Final = 256
"""A tag of a later round has no standing at the court: a panel tries all that come before."""


def tag(job: Digest, round_number: int, output: Digest) -> Digest:
    """Return `keccak(job, round, output digest)`: equal for equal outputs, useless elsewhere."""
    return Digest(keccak(abi_encode(["bytes32", "uint32", "bytes32"], [job, round_number, output])))


def commitment(job: Digest, operator: Address, tag: Digest, seconds: int, salt: Digest) -> Digest:
    """Return what a provider says first: it fixes the answer and shows nothing of it."""
    return Digest(
        keccak(
            abi_encode(
                ["bytes32", "address", "bytes32", "uint32", "bytes32"],
                [job, operator, tag, seconds, salt],
            )
        )
    )


def commit_set(commitments: Sequence[Digest]) -> Digest:
    """Return the hash of all commitments of a job, in ticket order; every reveal signs over it."""
    return Digest(keccak(b"".join(commitments)))


def commit_digest(
    domain: typed_data.Domain,
    *,
    job: Digest,
    round_number: int,
    rate_microusd: int,
    commitment: Digest,
) -> Digest:
    """Return the digest a provider signs when it commits, for a scheduler and for the chain."""
    return domain.digest(
        typed_data.COMMIT_TYPE,
        ["bytes32", "uint32", "uint64", "bytes32"],
        [job, round_number, rate_microusd, commitment],
    )


def commit_set_digest(
    domain: typed_data.Domain, *, job: Digest, round_number: int, commits: Digest
) -> Digest:
    """Return the digest a scheduler signs when it fixes a commit set, given the set's hash."""
    return domain.digest(
        typed_data.COMMIT_SET_TYPE, ["bytes32", "uint32", "bytes32"], [job, round_number, commits]
    )


def reveal_digest(
    domain: typed_data.Domain,
    *,
    job: Digest,
    commits: Digest,
    tag: Digest,
    rate_microusd: int,
    seconds: int,
) -> Digest:
    """Return the digest a provider signs when it reveals, over the whole commit set."""
    return domain.digest(
        typed_data.REVEAL_TYPE, _REVEAL_TYPES, [job, commits, tag, rate_microusd, seconds]
    )


def reveal_hash(replica: Replica, *, job: Digest, commits: Digest) -> bytes:
    """Return a reveal's EIP-712 struct hash, of which a provider may sign a list."""
    return typed_data.struct_hash(
        typed_data.REVEAL_TYPE,
        _REVEAL_TYPES,
        [job, commits, replica.tag, replica.rate_microusd, replica.seconds],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The contract's verdict on k votes: which replicas agree, and the seconds they are paid."""

    winners: tuple[int, ...]
    seconds: int

    @property
    def agreed(self) -> bool:
        """Whether a quorum formed."""
        return bool(self.winners)


def tally(votes: Sequence[tuple[Digest, int]], *, quorum: int, max_seconds: int) -> Tally:
    """Return what the contract will decide on `(tag, seconds)` votes; at most one group can win.

    Paid seconds are the lower median of the winners' meters, capped by the order.
    """
    for first, (candidate, _) in enumerate(votes):
        group = [
            i
            for i, (other, _) in enumerate(votes)
            if other[:TAG_BYTES_COMPARED] == candidate[:TAG_BYTES_COMPARED]
        ]
        if group[0] == first and len(group) >= quorum:
            meters = sorted(votes[i][1] for i in group)
            return Tally(
                winners=tuple(group), seconds=min(meters[(len(meters) - 1) // 2], max_seconds)
            )
    return Tally(winners=(), seconds=0)
