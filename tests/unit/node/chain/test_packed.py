"""The packed form as Python writes it: one encoding, of the size that it is said to have."""

from dataclasses import replace

import pytest

from assay_node.chain import packed
from assay_node.chain.outbox import GAS_MAX, TRANSACTION_BYTES_MAX
from assay_node.chain.settlement import RECEIPTS_MAX, gas_bound, receipts_fitting
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.receipt import Receipt
from assay_node.protocol.typed_data import Domain
from tests.fixtures.receipts import (
    ANSWER,
    LIE,
    Vote,
    a_receipt,
    an_order,
    key,
    operator,
    sign_order,
)

DOMAIN = Domain(31337, Address("0x" + "0a" * 20))


def receipt_of(
    requester: int = 1,
    nonce: int = 0,
    operators: tuple[int, ...] = (1, 2, 3),
    lie: int | None = None,
    audit_bps: int = 9,
) -> Receipt:
    order = an_order(
        requester=key(requester).address,
        scheduler=key(99).address,
        hardware_class=Digest(b"\x11" * 32),
        seed_block=12,
        expiry=1_700_000_000,
        nonce=nonce.to_bytes(32),
        replicas=len(operators),
        quorum=len(operators) // 2 + 1,
        audit_bps=audit_bps,
        escalate=True,
    )
    votes = [
        Vote(operator=operator(number), ticket=place, output=LIE if place == lie else ANSWER)
        for place, number in enumerate(operators)
    ]
    return a_receipt(DOMAIN, sign_order(DOMAIN, order, key(requester)), votes)


def test_one_receipt_byte_by_byte() -> None:
    receipt = receipt_of(lie=1)
    order, replicas = receipt.signed_order.order, receipt.replicas
    places = sorted(replica.operator for replica in replicas)
    expected = (
        b"\x01\x00" + b"\x00\x01" * 3 + b"\x00\x03" + b"\x00\x01" + b"\x00\x03"
        + bytes.fromhex(order.requester[2:])
        # terms
        + b"\x00\x00" + bytes.fromhex(order.scheduler[2:]) + (2_000).to_bytes(8)
        + (600).to_bytes(4) + (150).to_bytes(8) + (50_000_000).to_bytes(8)
        + b"\x03\x02\x3f" + (600).to_bytes(4) + (600).to_bytes(4) + b"\x00\x09" + b"\x01"
        + bytes(31)
        # seed
        + b"\x11" * 32 + (12).to_bytes(8)
        + b"".join(bytes.fromhex(place[2:]) for place in places)
        # receipt
        + b"\x00\x00" + b"\x00\x00" + b"\x03" + b"\x02" + b"\x00" + (1_700_000_000).to_bytes(8)
        + order.spec + replicas[0].tag + packed.compact(receipt.signed_order.signature)
    )  # fmt: skip
    for i, replica in enumerate(replicas):
        expected += places.index(replica.operator).to_bytes(2) + bytes((replica.ticket,))
        expected += (10).to_bytes(4) + (100).to_bytes(8) + replica.salt
        expected += replica.tag if i == 1 else b""
        expected += packed.compact(replica.signature)
    assert packed.pack([receipt]) == expected
    assert packed.measure([receipt]).bytes == len(expected)


def test_what_is_shared_stands_once() -> None:
    receipts = [receipt_of(nonce=n, operators=(n, n + 1, n + 2)) for n in range(1, 5)]
    measures = packed.measure(receipts)
    assert (measures.terms, measures.seeds, measures.operators) == (1, 1, 6)
    assert len(packed.pack(receipts)) == measures.bytes
    assert measures.bytes < 4 * packed.measure(receipts[:1]).bytes


def test_signed_once_there_is_no_signature_beside_the_parts() -> None:
    receipts = [receipt_of(nonce=n) for n in range(4)]
    some = receipts[0].signed_order.signature
    operators = {replica.operator: some for replica in receipts[0].replicas}
    once = packed.SignedOnce(
        orders={receipts[0].signed_order.order.requester: some}, reveals=operators
    )
    saved = 4 * (1 + 3) * packed.COMPACT_SIGNATURE_BYTES - (1 + 3) * packed.SIGNED_BYTES
    assert len(packed.pack(receipts)) - len(packed.pack(receipts, once)) == saved


def test_receipts_of_one_page_follow_each_other() -> None:
    one, other = receipt_of(1, 1), receipt_of(2, 1)
    again, later = receipt_of(1, 2), receipt_of(1, 256)
    assert packed.cheapest_order([one, other, later, again]) == [one, again, other, later]


@pytest.mark.parametrize(
    "signature", [b"", b"\x01" * 64, b"\x01" * 64 + b"\x1d", b"\xff" * 64 + b"\x1b"]
)
def test_a_signature_of_another_form_becomes_nobodys(signature: bytes) -> None:
    assert packed.compact(signature) == bytes(64)


def test_a_receipt_of_nine_replicas_is_refused() -> None:
    receipt = receipt_of(operators=tuple(range(1, 9)))
    nine = replace(receipt, replicas=(*receipt.replicas, replace(receipt.replicas[0], tag=LIE)))
    with pytest.raises(LocalError, match="8 replicas"):
        packed.pack([nine])


def test_batches_stay_below_both_limits_and_are_not_needlessly_small() -> None:
    receipts = [receipt_of(nonce=n, audit_bps=0) for n in range(160)]
    count = receipts_fitting(receipts)
    assert count == 160 or gas_bound(receipts[: count + 1]) > GAS_MAX
    assert count > 100
    assert gas_bound(receipts[:count]) <= GAS_MAX
    assert packed.measure(receipts[:count]).bytes < TRANSACTION_BYTES_MAX
    assert receipts_fitting(receipts[:2]) == 2
    assert receipts_fitting([]) == 0
    audited = [receipt_of(nonce=n) for n in range(160)]
    assert RECEIPTS_MAX < receipts_fitting(audited) < count  # the court takes its part
    assert RECEIPTS_MAX == 13
