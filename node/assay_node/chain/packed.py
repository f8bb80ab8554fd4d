"""The packed form of receipts, version 1: what `Market.settlePacked` reads.

What many receipts share stands in tables (requesters, terms, seeds, operators), so that a receipt
in a large batch takes a quarter of the bytes that its ABI form takes. Numbers are big-endian and of
fixed width. docs/protocol/settlement.md lays the bytes out; `contracts/src/libraries/Packed.sol`
reads them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import Order
from assay_node.protocol.receipt import Receipt, Replica
from assay_node.protocol.typed_data import SIGNATURE_BYTES

VERSION: Final = 1
ORDERS_ONCE: Final = 1
REVEALS_ONCE: Final = 2

HEADER_BYTES: Final = 14
PARTY_BYTES: Final = 20
SIGNED_BYTES: Final = 66
"""In the tables, where somebody signs once: how many hashes, and the signature."""

TERMS_BYTES: Final = 95
SEED_BYTES: Final = 40
RECEIPT_BYTES: Final = 79
REPLICA_BYTES: Final = 47
TAG_BYTES: Final = 32
COMPACT_SIGNATURE_BYTES: Final = 64

PLACES_MAX: Final = 1 << 16
"""Entries of a table, receipts and replicas are counted in 16 bits."""

_Entry = TypeVar("_Entry", bytes, Address)

_PARITY: Final = 0x80
_NO_SIGNATURE: Final = bytes(COMPACT_SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOnce:
    """One signature of each requester or operator, over all of its orders or reveals in a batch.

    The order of the receipts counts: the hashes that are signed stand in it.
    """

    orders: Mapping[Address, bytes] | None = None
    reveals: Mapping[Address, bytes] | None = None


EACH_SIGNED: Final = SignedOnce()


def pack(receipts: Sequence[Receipt], once: SignedOnce = EACH_SIGNED) -> bytes:
    """Return receipts in the packed form, with each signature or one for each signer.

    The same receipts give the same bytes. A signature of another form than the contracts take is
    packed as zeros, which no key signs: its receipt is skipped, as it would be in the ABI form.

    Raises:
        LocalError: there are more receipts than the form counts, or one has more than 8 replicas.
    """
    tables = _Tables(receipts)
    replicas = sum(len(receipt.replicas) for receipt in receipts)
    if max(len(receipts), replicas) >= PLACES_MAX:
        raise LocalError(f"{len(receipts)} receipts do not go into one packed batch")
    flags = (once.orders is not None) * ORDERS_ONCE | (once.reveals is not None) * REVEALS_ONCE
    counts = (
        len(tables.requesters), len(tables.terms), len(tables.seeds), len(tables.operators),
        len(receipts), replicas,
    )  # fmt: skip
    return b"".join(
        (
            bytes((VERSION, flags)),
            *(_number(count, 2) for count in counts),
            *_parties(tables.requesters, once.orders, tables.orders_of),
            *tables.terms,
            *tables.seeds,
            *_parties(tables.operators, once.reveals, tables.reveals_of),
            *(_receipt(receipt, tables, once) for receipt in receipts),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """How large receipts are in the packed form, each signature in it.

    `cases` counts those that the court may look at: votes differ, or they may be audited; `pledges`
    the replicas of the latter, whose operators answer with stake.
    """

    bytes: int
    receipts: int
    replicas: int
    terms: int
    seeds: int
    operators: int
    cases: int
    pledges: int


def measure(receipts: Sequence[Receipt]) -> Measures:
    """Return what these receipts come to, without packing them."""
    tables = _Tables(receipts)
    replicas = [
        TAG_BYTES * (replica.tag != receipt.replicas[0].tag)
        for receipt in receipts
        for replica in receipt.replicas
    ]
    return Measures(
        bytes=HEADER_BYTES
        + (len(tables.requesters) + len(tables.operators)) * PARTY_BYTES
        + len(tables.terms) * TERMS_BYTES
        + len(tables.seeds) * SEED_BYTES
        + len(receipts) * (RECEIPT_BYTES + COMPACT_SIGNATURE_BYTES)
        + len(replicas) * (REPLICA_BYTES + COMPACT_SIGNATURE_BYTES)
        + sum(replicas),
        receipts=len(receipts),
        replicas=len(replicas),
        terms=len(tables.terms),
        seeds=len(tables.seeds),
        operators=len(tables.operators),
        cases=sum(map(_concerns_court, receipts)),
        pledges=sum(len(r.replicas) for r in receipts if r.signed_order.order.audit_bps),
    )


def _concerns_court(receipt: Receipt) -> bool:
    """Tell whether the court may take a receipt in; it leaves some of these aside."""
    tags = {replica.tag for replica in receipt.replicas}
    return len(tags) > 1 or receipt.signed_order.order.audit_bps != 0


def cheapest_order(receipts: Iterable[Receipt]) -> list[Receipt]:
    """Return the receipts so that those sharing a budget and a word of nonces follow each other.

    The chain writes such a page once then. Otherwise they keep their order.
    """
    pages: dict[tuple[Address, Address, bytes], list[Receipt]] = {}
    for receipt in receipts:
        order = receipt.signed_order.order
        page = (order.requester, order.scheduler, order.nonce[:-1])
        pages.setdefault(page, []).append(receipt)
    return [receipt for page in pages.values() for receipt in page]


class _Tables:
    """What receipts share. Parties rise; terms and seeds stand in the order of their first use."""

    def __init__(self, receipts: Iterable[Receipt]) -> None:
        orders = [receipt.signed_order.order for receipt in receipts]
        replicas = [replica for receipt in receipts for replica in receipt.replicas]
        self.requesters = _places(sorted({order.requester for order in orders}))
        self.operators = _places(sorted({replica.operator for replica in replicas}))
        self.terms = _places(dict.fromkeys(self.terms_of(order) for order in orders))
        self.seeds = _places(dict.fromkeys(_seed(order) for order in orders))
        self.orders_of = _count(order.requester for order in orders)
        self.reveals_of = _count(replica.operator for replica in replicas)

    def terms_of(self, order: Order) -> bytes:
        return b"".join(
            (
                _number(self.requesters[order.requester], 2),
                _address(order.scheduler),
                _number(order.fee_microusd, 8),
                _number(order.max_seconds, 4),
                _number(order.max_rate_microusd, 8),
                _number(order.bond_microusd, 8),
                bytes((order.replicas, order.quorum, order.max_ticket)),
                _number(order.commit_window_s, 4),
                _number(order.reveal_window_s, 4),
                _number(order.audit_bps, 2),
                bytes((order.escalate,)),
                order.nonce[:-1],
            )
        )


def _places(entries: Iterable[_Entry]) -> dict[_Entry, int]:
    return {entry: place for place, entry in enumerate(entries)}


def _count(parties: Iterable[Address]) -> dict[Address, int]:
    counts: dict[Address, int] = {}
    for party in parties:
        counts[party] = counts.get(party, 0) + 1
    return counts


def _seed(order: Order) -> bytes:
    return order.hardware_class + _number(order.seed_block, 8)


def _parties(
    parties: Iterable[Address],
    signed: Mapping[Address, bytes] | None,
    counts: Mapping[Address, int],
) -> Iterable[bytes]:
    for party in parties:
        yield _address(party)
        if signed is not None:
            yield _number(counts[party], 2) + compact(signed[party])


def _receipt(receipt: Receipt, tables: _Tables, once: SignedOnce) -> bytes:
    order, replicas = receipt.signed_order.order, receipt.replicas
    first: Digest = replicas[0].tag if replicas else Digest(bytes(TAG_BYTES))
    own_tags = sum((replica.tag != first) << i for i, replica in enumerate(replicas))
    if own_tags > 0xFF or len(replicas) > 0xFF:
        raise LocalError("a receipt of more than 8 replicas cannot be packed")
    return b"".join(
        (
            _number(tables.terms[tables.terms_of(order)], 2),
            _number(tables.seeds[_seed(order)], 2),
            bytes((len(replicas), own_tags, order.nonce[-1])),
            _number(order.expiry, 8),
            order.spec,
            first,
            b"" if once.orders is not None else compact(receipt.signed_order.signature),
            *(_replica(replica, tables, first, once) for replica in replicas),
        )
    )


def _replica(replica: Replica, tables: _Tables, first: Digest, once: SignedOnce) -> bytes:
    return b"".join(
        (
            _number(tables.operators[replica.operator], 2),
            _number(replica.ticket, 1),
            _number(replica.seconds, 4),
            _number(replica.rate_microusd, 8),
            replica.salt,
            b"" if replica.tag == first else replica.tag,
            b"" if once.reveals is not None else compact(replica.signature),
        )
    )


def compact(signature: bytes) -> bytes:
    """Return a signature r | s | v in the compact form of EIP-2098: r, and s with v's parity.

    Zeros, which no key signs, for what is not r | s | v with v 27 or 28 and s below 2^255.
    """
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        return _NO_SIGNATURE
    if signature[32] & _PARITY:
        return _NO_SIGNATURE
    top = signature[32] | _PARITY * (signature[64] - 27)
    return signature[:32] + bytes((top,)) + signature[33:64]


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def _address(address: Address) -> bytes:
    return bytes.fromhex(address[2:])
