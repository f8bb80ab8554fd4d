"""The strictness of DAG-PB decoding; round trips are in tests/property."""

import pytest

from assay_node.artifacts import dag_pb
from assay_node.artifacts.dag_pb import BLOCK_BYTES_MAX, Link, Node, decode, encode
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage

CHILD = cids.of_block(cids.RAW, b"child")
LINK = Link(cid=CHILD, name="n", tsize=5)
BLOCK = encode(Node(links=(LINK,), data=b"\x08\x01"))
HASH = b"\x0a\x24" + cids.to_binary(CHILD)
NAME = b"\x12\x01n"
TSIZE = b"\x18\x05"


def link_field(body: bytes) -> bytes:
    return b"\x12" + dag_pb.varint(len(body)) + body


def test_layout_is_links_with_hash_name_tsize_then_data() -> None:
    assert link_field(HASH + NAME + TSIZE) + b"\x0a\x02\x08\x01" == BLOCK
    assert decode(BLOCK) == Node(links=(LINK,), data=b"\x08\x01")


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"\x0a\x02\x08\x01" + link_field(HASH + NAME + TSIZE), "not the last field"),
        (b"\x0a\x00\x0a\x00", "not the last field"),
        (b"\x1a\x00", "unknown field"),
        (b"\x0a\x82\x00\x08\x01", "canonical"),
        (b"\x0a\x05\x08\x01", "cut short"),
        (b"\x0a", "cut short"),
        (b"\x0a" + b"\xff" * 10, "64 bits"),
        (b"\x0a" + b"\xff" * 9 + b"\x02", "64 bits"),
        (link_field(NAME + HASH + TSIZE), "exactly hash, name, Tsize"),
        (link_field(HASH + TSIZE), "exactly hash, name, Tsize"),
        (link_field(HASH + NAME), "exactly hash, name, Tsize"),
        (link_field(HASH + NAME + TSIZE + b"\x18\x05"), "behind its Tsize"),
        (link_field(HASH + b"\x12\x01\xff" + TSIZE), "not UTF-8"),
        (link_field(b"\x0a\x22\x12\x20" + bytes(32) + NAME + TSIZE), "CIDv1"),
        (b"\x0a" + dag_pb.varint(BLOCK_BYTES_MAX) + bytes(BLOCK_BYTES_MAX), "at most"),
    ],
)
def test_other_protobuf_is_refused(block: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        decode(block)


def test_absent_and_empty_data_differ() -> None:
    assert decode(b"") == Node(links=(), data=None)
    assert decode(b"\x0a\x00") == Node(links=(), data=b"")
