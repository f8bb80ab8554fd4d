"""Rows of a scheduler's database as records, and settlements as JSON."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import RowMapping

from assay_node.ports import (
    JobRecord,
    LeaseRecord,
    Paid,
    Settlement,
    Slashed,
)
from assay_node.protocol import codec
from assay_node.protocol.ids import Address, Cid, PeerId, digest_from_hex, to_hex
from assay_node.protocol.job_spec import JobSpec
from assay_node.protocol.lease import (
    JobState,
    LeaseState,
)
from assay_node.protocol.messages import Commit, Reveal
from assay_node.protocol.order import SignedOrder

_Message = TypeVar("_Message")

DECODED_MAX: Final = 20_000
"""Decoded messages kept: those of about 2,500 jobs, some 50 MB at most."""


@functools.lru_cache(maxsize=DECODED_MAX)
def _decoded(kind: type[_Message], data: bytes) -> _Message:
    """Messages are immutable, and a job is looked at some fifty times in its life."""
    return codec.decode(kind, data)


def lease_record(row: RowMapping) -> LeaseRecord:
    """Return a lease as the services know it."""
    return LeaseRecord(
        job=digest_from_hex(row["job"]),
        operator=Address(row["operator"]),
        peer_id=PeerId(row["peer_id"]),
        ticket=row["ticket"],
        round_number=row["round"],
        rate_microusd=row["rate_microusd"],
        software_digest=digest_from_hex(row["software_digest"]),
        state=LeaseState(row["state"]),
        stage=row["stage"],
        reason=row["reason"],
        offered_at=row["offered_at"],
        updated_at=row["updated_at"],
        commit=None if row["commit"] is None else _decoded(Commit, row["commit"]),
        reveal=None if row["reveal"] is None else _decoded(Reveal, row["reveal"]),
        release_due=row["release_due"],
    )


def job_record(row: RowMapping, its_leases: Sequence[LeaseRecord]) -> JobRecord:
    """Return a job with its leases as the services know it."""
    return JobRecord(
        job=digest_from_hex(row["job"]),
        signed_order=_decoded(SignedOrder, row["signed_order"]),
        spec=_decoded(JobSpec, row["spec"]),
        state=JobState(row["state"]),
        generation=row["generation"],
        round_number=row["round"],
        reason=row["reason"],
        draw=None if row["draw"] is None else tuple(row["draw"]),
        admitted_at=row["admitted_at"],
        updated_at=row["updated_at"],
        revealing_since=row["revealing_since"],
        transaction=None if row["tx"] is None else digest_from_hex(row["tx"]),
        settlement=None if row["settlement"] is None else settlement_from_json(row["settlement"]),
        output=None if row["output"] is None else Cid(row["output"]),
        verdict=row["verdict"],
        leases=tuple(its_leases),
    )


def settlement_to_json(settlement: Settlement) -> dict[str, Any]:
    """Return a settlement as plain JSON values."""

    def plain(value: object) -> object:
        return to_hex(value) if isinstance(value, bytes) else value

    document = dataclasses.asdict(settlement)
    return {name: plain(value) for name, value in document.items()}


def settlement_from_json(document: Mapping[str, Any]) -> Settlement:
    """Return the settlement that `settlement_to_json` wrote."""
    tag = document["winning_tag"]
    return Settlement(
        **{
            **document,
            "job_id": digest_from_hex(document["job_id"]),
            "transaction": digest_from_hex(document["transaction"]),
            "winning_tag": None if tag is None else digest_from_hex(tag),
            "paid": tuple(Paid(**item) for item in document["paid"]),
            "slashed": tuple(Slashed(**item) for item in document["slashed"]),
        }
    )
