"""Evidence convicts a scheduler of exactly what the contract would slash it for."""

from dataclasses import replace

import pytest

from assay_node.keys import LocalKey
from assay_node.protocol import codec
from assay_node.protocol.assignment import SignedAssign, assign_digest
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.evidence import (
    AssignEvidence,
    CommitSetEvidence,
    convicted,
    decode_evidence,
)
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.messages import CommitEntry, CommitSet
from assay_node.protocol.receipt import commit_set_digest
from assay_node.protocol.typed_data import Domain
from tests.builders.messages import a_signed_assign

SCHEDULER, OTHER = LocalKey(b"\x22" * 32), LocalKey(b"\x33" * 32)
DOMAIN = Domain(chain_id=31_337, market=Address("0x" + "1e" * 20))
JOB = Digest(b"\x01" * 32)


def an_assign(key: LocalKey = SCHEDULER, **changes: object) -> SignedAssign:
    signed = a_signed_assign(JOB, **changes)
    return replace(signed, signature=key.sign_digest(assign_digest(signed.assign, DOMAIN)))


def a_set(byte: int, key: LocalKey = SCHEDULER, *, round_number: int = 0) -> CommitSet:
    entry = CommitEntry(
        operator=OTHER.address,
        ticket=0,
        rate_microusd=1,
        commitment=Digest(bytes((byte,)) * 32),
        signature=b"",
    )
    unsigned = CommitSet(job=JOB, round_number=round_number, entries=(entry,), signature=b"")
    digest = commit_set_digest(DOMAIN, job=JOB, round_number=round_number, commits=unsigned.commits)
    return replace(unsigned, signature=key.sign_digest(digest))


def test_two_assignments_of_one_number_convict() -> None:
    evidence = AssignEvidence(first=an_assign(), second=an_assign(round_number=1))
    assert convicted(evidence, DOMAIN) == SCHEDULER.address
    assert decode_evidence(codec.encode(evidence)) == evidence


def test_two_sets_of_one_round_convict() -> None:
    evidence = CommitSetEvidence(first=a_set(1), second=a_set(2))
    assert convicted(evidence, DOMAIN) == SCHEDULER.address
    assert decode_evidence(codec.encode(evidence)) == evidence


@pytest.mark.parametrize(
    "evidence",
    [
        AssignEvidence(first=an_assign(), second=an_assign()),
        AssignEvidence(first=an_assign(), second=an_assign(sequence=1, round_number=1)),
        AssignEvidence(first=an_assign(), second=an_assign(OTHER, round_number=1)),
        CommitSetEvidence(first=a_set(1), second=a_set(1)),
        CommitSetEvidence(first=a_set(1), second=a_set(2, round_number=1)),
        CommitSetEvidence(first=a_set(1), second=a_set(2, OTHER)),
        CommitSetEvidence(first=a_set(1), second=replace(a_set(2), signature=b"")),
        CommitSetEvidence(
            first=replace(a_set(1), signature=b""), second=replace(a_set(2), signature=b"")
        ),
    ],
)
def test_what_an_honest_scheduler_can_have_signed_convicts_nobody(
    evidence: AssignEvidence | CommitSetEvidence,
) -> None:
    assert convicted(evidence, DOMAIN) is None


def test_signatures_for_another_market_convict_nobody_of_here() -> None:
    evidence = AssignEvidence(first=an_assign(), second=an_assign(round_number=1))
    elsewhere = replace(DOMAIN, chain_id=1)
    assert convicted(evidence, elsewhere) != SCHEDULER.address


@pytest.mark.parametrize("data", [b"", b"\xa0", codec.encode(an_assign())])
def test_other_bytes_are_no_evidence(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_evidence(data)
