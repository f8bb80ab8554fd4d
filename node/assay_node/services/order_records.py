"""What a requester keeps of the orders submitted from here, beside the orders themselves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError, MalformedMessage, RemoteError
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.receipt import commit_set, commit_set_digest
from assay_node.protocol.typed_data import Domain, recover


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order that was submitted from here, and the commit set that was heard of it, if any."""

    job: Digest
    name: str
    signed_order: SignedOrder
    commit_set: CommitSet | None


def read_record(records: Path, job: Digest) -> OrderRecord | None:
    """Return the record of a job, None if it was not submitted from here.

    Raises:
        LocalError: the record cannot be read; it names the file.
    """
    path = records / f"{to_hex(job)}.json"
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text())
        signed = codec.decode(SignedOrder, bytes.fromhex(document["signed_order"][2:]))
        return OrderRecord(
            job=job,
            name=str(document["name"]),
            signed_order=signed,
            commit_set=_kept_set(_set_path(records, job)),
        )
    except (OSError, ValueError, LookupError, TypeError, MalformedMessage) as error:
        raise LocalError(f"{path} is not a record of an order: {error}") from None


def keep_commit_set(records: Path, committed: CommitSet) -> None:
    """Keep a commit set beside its order's record; the latest round's stays."""
    path = _set_path(records, committed.job)
    earlier = _kept_set(path)
    if earlier is None or earlier.round_number < committed.round_number:
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(to_hex(codec.encode(committed)) + "\n")
        unfinished.rename(path)


def parse_commit_set(document: Any, job: Digest, scheduler: Address, domain: Domain) -> CommitSet:
    """Return the commit set in a scheduler's answer, which takes its job to the chain.

    Raises:
        RemoteError: it is none, another job's, or not signed by the scheduler of the order.
    """
    try:
        committed = codec.decode(CommitSet, bytes.fromhex(document["commit_set"][2:]))
        commits = commit_set([entry.commitment for entry in committed.entries])
        digest = commit_set_digest(
            domain, job=committed.job, round_number=committed.round_number, commits=commits
        )
        signer = recover(digest, committed.signature)
    except (ValueError, LookupError, TypeError, MalformedMessage):
        raise RemoteError("the scheduler answered with something that is no commit set") from None
    if committed.job != job or signer != scheduler:
        raise RemoteError("the scheduler answered with a commit set that is not this job's")
    return committed


def read_commit_set(path: Path) -> CommitSet:
    """Return the commit set in a file.

    Raises:
        LocalError: it is not one.
    """
    try:
        return codec.decode(CommitSet, bytes.fromhex(path.read_text().strip().removeprefix("0x")))
    except (OSError, ValueError, MalformedMessage) as error:
        raise LocalError(f"{path} holds no commit set: {error}") from None


def _kept_set(path: Path) -> CommitSet | None:
    return read_commit_set(path) if path.exists() else None


def _set_path(records: Path, job: Digest) -> Path:
    return records / f"{to_hex(job)}.set"
