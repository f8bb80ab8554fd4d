"""Panels: the order that fresh operators run, and what their verdict says of an answer. Pure.

As docs/protocol/panels.md has it; the contract `Court` checks all of it again.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from assay_node.protocol import receipt
from assay_node.protocol.ids import ZERO_ADDRESS, Address, Digest
from assay_node.protocol.order import BPS, Order, job_id
from assay_node.protocol.typed_data import Domain

PANEL_ROUND: Final = 0
"""A panel's only round."""
PANEL_TICKET: Final = 255
"""How far down the draw operators may come from."""
PANEL_SEED_BLOCKS: Final = 8
"""From the call to the block that draws the panel."""
PANEL_COMMIT_S: Final = 12 * 3_600
"""From the call to the time at which the last operator may commit."""
AUDIT_SPAN_BLOCKS: Final = 64
VERDICT_BYTES: Final = 18
"""What the chain keeps of a panel's tag."""


class PanelKind(StrEnum):
    """Why a panel was called, and with whose money; in the contract's order."""

    APPEAL = "appeal"
    """Somebody says that a slashed operator was right, and pays unless it is."""
    AUDIT = "audit"
    """A later block drew the job; its scheduler's fund pays."""
    ESCALATION = "escalation"
    """No quorum formed; the requester's budget pays."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel that was called for a job.

    It commits until `expiry` (Unix seconds). The payer of an appeal gets its money back if the
    panel contradicts the winners; it is zero for the other kinds.
    """

    kind: PanelKind
    payer: Address
    seed_block: int
    expiry: int


def panel_order(order: Order, panel: Panel, *, court: Address, domain: Domain) -> Order:
    """Return what a panel's operators run; its digest is the panel's job id."""
    return dataclasses.replace(
        order,
        requester=court,
        scheduler=ZERO_ADDRESS,
        fee_microusd=0,
        replicas=2 * order.replicas + 1,
        quorum=order.replicas + 1,
        max_ticket=PANEL_TICKET,
        seed_block=panel.seed_block,
        expiry=panel.expiry,
        audit_bps=0,
        escalate=False,
        nonce=bytes(job_id(order, domain)),
    )


def is_shown(panel_job: Digest, digest: Digest, tag: bytes) -> bool:
    """Tell whether an output digest is the one that a panel agreed on, by its tag on chain."""
    return receipt.tag(panel_job, PANEL_ROUND, digest)[:VERDICT_BYTES] == tag[:VERDICT_BYTES]


def is_of(job: Digest, digest: Digest, tag: Digest) -> bool:
    """Tell whether a replica's tag is of an output, in whichever round it was made."""
    compared = receipt.TAG_BYTES_COMPARED
    return any(
        receipt.tag(job, number, digest)[:compared] == tag[:compared]
        for number in range(receipt.ROUNDS_MAX)
    )


def audit_block(entered_in: int) -> int:
    """Return the block whose hash draws the jobs that were entered in a block for audits."""
    return (entered_in // AUDIT_SPAN_BLOCKS + 2) * AUDIT_SPAN_BLOCKS


def is_drawn(seed: Digest, job: Digest, audit_bps: int) -> bool:
    """Tell whether an audit block's hash drew a job."""
    drawn = keccak(abi_encode(["bytes32", "bytes32"], [seed, job]))
    return int.from_bytes(drawn) % BPS < audit_bps


def place_of(
    operator: Address, draw: Sequence[Address | None], *, barred: Iterable[Address]
) -> tuple[int, int] | None:
    """Return an operator's lowest ticket and its rank among those who may sit, None if it may not.

    Rank 0 has the lowest ticket. An operator with several seats counts once; `barred` had a part in
    the job itself.
    """
    kept_out = set(barred)
    seen: dict[Address, int] = {}
    for ticket, drawn in enumerate(draw):
        if drawn is not None and drawn not in kept_out:
            seen.setdefault(drawn, ticket)
    if operator not in seen:
        return None
    return seen[operator], list(seen).index(operator)
