"""Assignments: who runs a job, as its scheduler says with its signature; and when two contradict.

A job has one row of assignments, numbered from zero, through all its rounds. Each names everybody
whom an earlier one named, so that a replacement is said openly and is no offence. Two with one
number and different contents, or a later one that keeps silent on somebody, show that the scheduler
kept one provider's work from another: `contracts/src/Schedulers.sol` slashes its bond for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from assay_node.protocol import typed_data
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest, address
from assay_node.protocol.units import check_uint

NAMED_MAX: Final = 2_048
"""Operators in one assignment: those of eight draws of the most tickets. Bringing evidence of
a longer list would cost much gas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Who holds a job's replicas now, by rising ticket, and who held one before.

    `sequence` is its place in the job's row of assignments, whatever the round.
    """

    job: Digest
    round_number: int
    sequence: int
    operators: tuple[Address, ...]
    tickets: tuple[int, ...]
    replaced: tuple[Address, ...]

    def __post_init__(self) -> None:
        if len(self.job) != DIGEST_BYTES:
            raise MalformedMessage(f"a job id has {DIGEST_BYTES} bytes")
        check_uint(self.round_number, 32, "round_number")
        check_uint(self.sequence, 32, "sequence")
        if len(self.named) > NAMED_MAX:
            raise MalformedMessage(f"an assignment names at most {NAMED_MAX} operators")
        if any(address(one) != one for one in self.named):
            raise MalformedMessage("addresses are written in lower case")
        if len(set(self.named)) != len(self.named):
            raise MalformedMessage("an operator stands twice in the assignment")
        if len(self.operators) != len(self.tickets):
            raise MalformedMessage("an assignment has one ticket for each operator")
        for ticket in self.tickets:
            check_uint(ticket, 8, "ticket")
        if list(self.tickets) != sorted(set(self.tickets)):
            raise MalformedMessage("an assignment's tickets rise strictly")

    @property
    def named(self) -> tuple[Address, ...]:
        """Everybody who holds a replica or held one."""
        return self.operators + self.replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAssign:
    """An assignment with its scheduler's signature."""

    assign: Assign
    signature: bytes


def assign_digest(assign: Assign, domain: typed_data.Domain) -> Digest:
    """Return the digest a scheduler signs when it assigns a job."""
    return domain.digest(
        typed_data.ASSIGN_TYPE,
        ["bytes32", "uint32", "uint32", "bytes32", "bytes32", "bytes32"],
        [
            assign.job,
            assign.round_number,
            assign.sequence,
            _list_hash("address", assign.operators),
            _list_hash("uint8", assign.tickets),
            _list_hash("address", assign.replaced),
        ],
    )


def signer_of_assign(signed: SignedAssign, domain: typed_data.Domain) -> Address | None:
    """Return who signed an assignment, None where the signature is of another form."""
    try:
        return typed_data.recover(assign_digest(signed.assign, domain), signed.signature)
    except MalformedMessage:
        return None


def omitted(earlier: Assign, later: Assign) -> Address | None:
    """Return an operator whom `earlier` names and `later` keeps silent on, None if there is none.

    Of assignments of one number, or in the other order, nobody is omitted.
    """
    if earlier.job != later.job or earlier.sequence >= later.sequence:
        return None
    return next((one for one in earlier.named if one not in later.named), None)


def contradict(first: Assign, second: Assign) -> bool:
    """Tell whether an honest scheduler would never sign both, as the contract judges it."""
    if first.job != second.job:
        return False
    if first.sequence == second.sequence:
        return first != second
    earlier, later = sorted((first, second), key=lambda one: one.sequence)
    return omitted(earlier, later) is not None


def _list_hash(kind: str, values: Sequence[object]) -> bytes:
    """EIP-712: a list is the hash of its elements, each padded to a word."""
    return keccak(b"".join(abi_encode([kind], [value]) for value in values))
