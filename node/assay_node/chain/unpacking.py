"""Receipts back from their packed form, as `Market.settlePacked` was called with it."""

from collections.abc import Sequence
from typing import Any, TypeVar

from assay_node.chain.packed import (
    COMPACT_SIGNATURE_BYTES,
    ORDERS_ONCE,
    PARTY_BYTES,
    REVEALS_ONCE,
    SIGNED_BYTES,
    TAG_BYTES,
    VERSION,
)
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import Order, SignedOrder
from assay_node.protocol.receipt import Receipt, Replica

_T = TypeVar("_T")


def unpack(data: bytes) -> tuple[Receipt, ...]:
    """Return packed receipts. Where somebody signed once, its signatures are empty.

    Raises:
        MalformedMessage: it is no packed batch of version 1.
    """
    source = _Bytes(data)
    version, flags = source.number(1), source.number(1)
    if version != VERSION:
        raise MalformedMessage(f"packed receipts of version {version}; this reads {VERSION}")
    counts = [source.number(2) for _ in range(6)]
    requesters = [source.party(flags & ORDERS_ONCE) for _ in range(counts[0])]
    terms = [source.terms(requesters) for _ in range(counts[1])]
    seeds = [(source.digest(), source.number(8)) for _ in range(counts[2])]
    operators = [source.party(flags & REVEALS_ONCE) for _ in range(counts[3])]
    return tuple(source.receipt(terms, seeds, operators, flags) for _ in range(counts[4]))


class _Bytes:
    """Bytes that are read from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise MalformedMessage("packed receipts end in the middle")
        self._at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def digest(self) -> Digest:
        return Digest(self.take(TAG_BYTES))

    def address(self) -> Address:
        return Address("0x" + self.take(PARTY_BYTES).hex())

    def party(self, signs_once: int) -> Address:
        party = self.address()
        if signs_once:
            self.take(SIGNED_BYTES)
        return party

    def signature(self) -> bytes:
        compact = self.take(COMPACT_SIGNATURE_BYTES)
        parity = compact[32] >> 7
        return compact[:32] + bytes((compact[32] & 0x7F,)) + compact[33:] + bytes((27 + parity,))

    def terms(self, requesters: list[Address]) -> dict[str, Any]:
        return {
            "requester": _at(requesters, self.number(2)),
            "scheduler": self.address(),
            "fee_microusd": self.number(8),
            "max_seconds": self.number(4),
            "max_rate_microusd": self.number(8),
            "bond_microusd": self.number(8),
            "replicas": self.number(1),
            "quorum": self.number(1),
            "max_ticket": self.number(1),
            "commit_window_s": self.number(4),
            "reveal_window_s": self.number(4),
            "audit_bps": self.number(2),
            "escalate": bool(self.number(1)),
            "nonce": self.take(31),
        }

    def receipt(
        self,
        terms: list[dict[str, Any]],
        seeds: list[tuple[Digest, int]],
        operators: list[Address],
        flags: int,
    ) -> Receipt:
        members = dict(_at(terms, self.number(2)))
        members["hardware_class"], members["seed_block"] = _at(seeds, self.number(2))
        replicas, own_tags = self.number(1), self.number(1)
        members["nonce"] = members["nonce"] + self.take(1)
        members["expiry"], members["spec"] = self.number(8), self.digest()
        first = self.digest()
        signature = b"" if flags & ORDERS_ONCE else self.signature()
        return Receipt(
            signed_order=SignedOrder(order=Order(**members), signature=signature),
            replicas=tuple(
                self._replica(operators, first, own_tags >> i & 1, flags) for i in range(replicas)
            ),
        )

    def _replica(self, operators: list[Address], first: Digest, own: int, flags: int) -> Replica:
        operator = _at(operators, self.number(2))
        ticket, seconds, rate = self.number(1), self.number(4), self.number(8)
        salt = self.digest()
        return Replica(
            operator=operator,
            rate_microusd=rate,
            ticket=ticket,
            seconds=seconds,
            tag=self.digest() if own else first,
            salt=salt,
            signature=b"" if flags & REVEALS_ONCE else self.signature(),
        )


def _at(table: Sequence[_T], place: int) -> _T:
    if place >= len(table):
        raise MalformedMessage("a packed receipt names a place that no table has")
    return table[place]
