"""What shows that a scheduler contradicted itself: two of its signed words that exclude each other.

`contracts/src/Schedulers.sol` judges the same pairs, and takes the bond for them.
"""

from dataclasses import dataclass

from assay_node.protocol import codec
from assay_node.protocol.assignment import SignedAssign, contradict, signer_of_assign
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Address
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.receipt import commit_set_digest
from assay_node.protocol.typed_data import Domain, recover


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignEvidence:
    """Two assignments of one job that contradict each other."""

    first: SignedAssign
    second: SignedAssign


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSetEvidence:
    """Two different commit sets of one round of one job."""

    first: CommitSet
    second: CommitSet


Evidence = AssignEvidence | CommitSetEvidence


def decode_evidence(data: bytes) -> Evidence:
    """Return the evidence that these bytes are.

    Raises:
        MalformedMessage: they are none.
    """
    try:
        return codec.decode(AssignEvidence, data)
    except MalformedMessage as as_assigns:
        try:
            return codec.decode(CommitSetEvidence, data)
        except MalformedMessage:
            raise as_assigns from None


def convicted(evidence: Evidence, domain: Domain) -> Address | None:
    """Return the scheduler whom evidence convicts, None if it shows nothing."""
    match evidence:
        case AssignEvidence(first=one, second=other):
            signers = {signer_of_assign(signed, domain) for signed in (one, other)}
            proven = contradict(one.assign, other.assign)
        case CommitSetEvidence(first=a, second=b):
            signers = {signer_of_set(shown, domain) for shown in (a, b)}
            same_round = (a.job, a.round_number) == (b.job, b.round_number)
            proven = same_round and a.commits != b.commits
    return signers.pop() if proven and len(signers) == 1 else None


def signer_of_set(shown: CommitSet, domain: Domain) -> Address | None:
    """Return who signed a commit set, None where the signature is of another form."""
    digest = commit_set_digest(
        domain, job=shown.job, round_number=shown.round_number, commits=shown.commits
    )
    try:
        return recover(digest, shown.signature)
    except MalformedMessage:
        return None
