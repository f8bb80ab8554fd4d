"""Receipts in the packed form, byte by byte as `docs/protocol/settlement.md` lays it out.

A second packer: it shares no line with `assay_node.chain.packed`, and packs what that one refuses
to hold, such as an order for no replicas.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from tests.integration.chain import payout_model as model

VERSION: Final = 1
ORDERS_ONCE, REVEALS_ONCE = 1, 2
ZEROS: Final = bytes(64)


def pack(receipts: Sequence[model.Receipt], once: model.SignedOnce) -> bytes:
    """Return a batch, with each signature in it or as `once` says."""
    replicas = [replica for receipt in receipts for replica in receipt.replicas]
    requesters = sorted({receipt.order.requester for receipt in receipts})
    operators = sorted({replica.operator for replica in replicas})
    terms = list(dict.fromkeys(_terms(receipt.order, requesters) for receipt in receipts))
    seeds = list(dict.fromkeys(_seed(receipt.order) for receipt in receipts))
    flags = ORDERS_ONCE * (once.orders is not None) | REVEALS_ONCE * (once.reveals is not None)

    def places(order: model.Order) -> bytes:
        shared = terms.index(_terms(order, requesters)), seeds.index(_seed(order))
        return b"".join(_uint(place, 2) for place in shared)

    counts = map(len, (requesters, terms, seeds, operators, receipts, replicas))
    return b"".join(
        chain(
            (bytes((VERSION, flags)), *(_uint(count, 2) for count in counts)),
            _table(requesters, once.orders, [receipt.order.requester for receipt in receipts]),
            terms,
            seeds,
            _table(operators, once.reveals, [replica.operator for replica in replicas]),
            (_receipt(receipt, once, operators, places(receipt.order)) for receipt in receipts),
        )
    )


def _table(
    parties: Sequence[str], signatures: Mapping[str, bytes] | None, signed: Sequence[str]
) -> list[bytes]:
    if signatures is None:
        return [bytes.fromhex(party[2:]) for party in parties]
    return [
        bytes.fromhex(party[2:]) + _uint(signed.count(party), 2) + _compact(signatures[party])
        for party in parties
    ]


def _terms(order: model.Order, requesters: Sequence[str]) -> bytes:
    return b"".join(
        (
            _uint(requesters.index(order.requester), 2),
            bytes.fromhex(order.scheduler[2:]),
            _uint(order.fee, 8),
            _uint(order.max_seconds, 4),
            _uint(order.max_rate, 8),
            _uint(order.bond, 8),
            bytes((order.replicas, order.quorum, order.max_ticket)),
            _uint(order.commit_window, 4),
            _uint(order.reveal_window, 4),
            _uint(order.audit_bps, 2),
            bytes((order.escalate,)),
            _uint(order.nonce, 32)[:31],
        )
    )


def _seed(order: model.Order) -> bytes:
    return order.hardware_class + _uint(order.seed_block, 8)


def _receipt(
    receipt: model.Receipt, once: model.SignedOnce, operators: Sequence[str], places: bytes
) -> bytes:
    order, replicas = receipt.order, receipt.replicas
    first = replicas[0].tag if replicas else bytes(32)
    own_tags = sum(1 << i for i, replica in enumerate(replicas) if replica.tag != first)
    rows = []
    for replica in replicas:
        rows += [
            _uint(operators.index(replica.operator), 2),
            _uint(replica.ticket, 1),
            _uint(replica.secs, 4),
            _uint(replica.rate, 8),
            replica.salt,
            replica.tag if replica.tag != first else b"",
            _compact(replica.signature) if once.reveals is None else b"",
        ]
    return b"".join(
        (
            places,
            bytes((len(replicas), own_tags)),
            _uint(order.nonce, 32)[31:],
            _uint(order.expiry, 8),
            order.spec,
            first,
            _compact(receipt.signature) if once.orders is None else b"",
            *rows,
        )
    )


def _compact(signature: bytes) -> bytes:
    """r, and s with the parity of v on top; zeros, which nobody signs, where there is none."""
    if len(signature) != 65 or signature[64] not in (27, 28) or signature[32] >= 0x80:
        return ZEROS
    s = int.from_bytes(signature[32:64], "big") | (signature[64] - 27) << 255
    return signature[:32] + _uint(s, 32)


def _uint(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")
