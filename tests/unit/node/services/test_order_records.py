"""What a requester keeps of its orders, and what it believes of a scheduler's commit set."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError, RemoteError
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.messages import CommitEntry, CommitSet
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.receipt import commit_set, commit_set_digest
from assay_node.protocol.typed_data import Domain
from assay_node.services.order_records import (
    keep_commit_set,
    parse_commit_set,
    read_commit_set,
    read_record,
)
from tests.builders.messages import an_order
from tests.fixtures.receipts import key, operator

DOMAIN = Domain(31337, operator(9).address)
JOB = Digest(b"\x05" * 32)
SCHEDULER = key(2)
SIGNED = SignedOrder(order=an_order(), signature=bytes(65))


def a_set(round_number: int = 0, job: Digest = JOB) -> CommitSet:
    entry = CommitEntry(
        operator=operator(1).address,
        ticket=0,
        rate_microusd=7,
        commitment=Digest(b"\x06" * 32),
        signature=bytes(65),
    )
    digest = commit_set_digest(
        DOMAIN, job=job, round_number=round_number, commits=commit_set([entry.commitment])
    )
    return CommitSet(
        job=job,
        round_number=round_number,
        entries=(entry,),
        signature=SCHEDULER.sign_digest(digest),
    )


def a_record(folder: Path) -> Path:
    path = folder / f"{to_hex(JOB)}.json"
    document = {"name": "some job", "signed_order": to_hex(codec.encode(SIGNED))}
    path.write_text(json.dumps(document))
    return path


def test_a_record_comes_back_with_the_latest_rounds_set(tmp_path: Path) -> None:
    assert read_record(tmp_path, JOB) is None
    a_record(tmp_path)
    found = read_record(tmp_path, JOB)
    assert found is not None
    assert (found.name, found.signed_order, found.commit_set) == ("some job", SIGNED, None)
    for round_number, kept in ((1, 1), (0, 1), (2, 2)):
        keep_commit_set(tmp_path, a_set(round_number))
        found = read_record(tmp_path, JOB)
        assert found is not None
        assert found.commit_set == a_set(kept)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": "x", "signed_order": "0x00"}'])
def test_a_broken_record_is_named(tmp_path: Path, text: str) -> None:
    path = a_record(tmp_path)
    path.write_text(text)
    with pytest.raises(LocalError, match=path.name):
        read_record(tmp_path, JOB)


@pytest.mark.parametrize("text", ["", "0x", "0xzz", "hello"])
def test_a_file_without_a_set_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "the.set"
    path.write_text(text)
    with pytest.raises(LocalError, match=r"the\.set"):
        read_commit_set(path)


def test_a_schedulers_set_is_believed_if_it_signed_it_for_this_job() -> None:
    def parsed(committed: CommitSet) -> CommitSet:
        document = {"commit_set": to_hex(codec.encode(committed))}
        return parse_commit_set(document, JOB, SCHEDULER.address, DOMAIN)

    assert parsed(a_set()) == a_set()
    for wrong in (
        a_set(job=Digest(b"\x09" * 32)),
        replace(a_set(), round_number=1),
        replace(a_set(), entries=()),
        replace(a_set(), signature=bytes(65)),
    ):
        with pytest.raises(RemoteError):
            parsed(wrong)
    for document in ({}, {"commit_set": 7}, {"commit_set": "0x00"}, None):
        with pytest.raises(RemoteError):
            parse_commit_set(document, JOB, SCHEDULER.address, DOMAIN)
