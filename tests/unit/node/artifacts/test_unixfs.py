"""What counts as a UnixFS file or directory; round trips are in tests/property."""

import pytest

from assay_node.artifacts import dag_pb
from assay_node.artifacts.unixfs import (
    Directory,
    DirectoryEntry,
    FileNode,
    Part,
    decode,
    encode,
    name_fault,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage

CHUNK = cids.of_block(cids.RAW, b"chunk")
FILE_DATA = b"\x08\x02\x18\x05\x20\x05"


def node(data: bytes | None, *links: tuple[str, int]) -> bytes:
    made = tuple(dag_pb.Link(cid=CHUNK, name=name, tsize=tsize) for name, tsize in links)
    return dag_pb.encode(dag_pb.Node(links=made, data=data))


def test_the_empty_directory_has_its_well_known_cid() -> None:
    block = encode(Directory(entries=()))
    expected = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert cids.of_block(cids.DAG_PB, block) == expected


def test_nodes_decode_to_what_was_encoded() -> None:
    file = FileNode(parts=(Part(cid=CHUNK, bytes=5, tsize=5), Part(cid=CHUNK, bytes=5, tsize=5)))
    directory = Directory(entries=(DirectoryEntry(name="é", cid=CHUNK, tsize=5),))
    assert decode(encode(file)) == file
    assert decode(encode(directory)) == directory
    assert file.bytes == 10


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (node(b"\x08\x01", ("b", 5), ("a", 5)), "out of order"),
        (node(b"\x08\x01", ("a", 5), ("a", 5)), "twice"),
        (node(b"\x08\x01", ("..", 5)), "not a name of its own"),
        (node(b"\x08\x01", ("", 5)), "not a name of its own"),
        (node(b"\x08\x01", ("/etc/passwd", 5)), "contains"),
        (node(b"\x08\x01", ("a\0b", 5)), "contains"),
        (node(b"\x08\x01", ("a" * 256, 5)), "longer than 255"),
        (node(b"\x08\x02\x12\x01x\x18\x01"), "inline data"),
        (node(b"\x08\x02\x18\x00"), "one size for each"),
        (node(FILE_DATA), "one size for each"),
        (node(FILE_DATA, ("named", 5)), "named part"),
        (node(FILE_DATA, ("", 6)), "two different sizes"),
        (node(b"\x08\x02\x18\x06\x20\x05", ("", 5)), "add up"),
        (node(b"\x08\x02\x18\x00\x20\x00", ("", 0)), "empty part"),
        (node(b"\x08\x02\x18\x05\x20\x85\x00", ("", 5)), "canonical"),
        (node(FILE_DATA + b"\x38\xed\x03", ("", 5)), "mode or time"),
        (node(b"\x08\x04\x12\x04/etc"), "a symlink"),
        (node(b"\x08\x05"), "a HAMT shard"),
        (node(b"\x08\x00"), "raw data"),
        (node(b"\x08\x01\x38\xed\x03"), "a directory"),
        (node(None), "not UnixFS"),
        (node(b""), "not UnixFS"),
    ],
)
def test_other_nodes_are_refused(block: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        decode(block)


def test_links_to_dag_cbor_are_refused() -> None:
    spec = cids.of_block(cids.DAG_CBOR, b"\xa0")
    links = (dag_pb.Link(cid=spec, name="spec", tsize=1),)
    with pytest.raises(MalformedMessage, match="dag-cbor"):
        decode(dag_pb.encode(dag_pb.Node(links=links, data=b"\x08\x01")))


@pytest.mark.parametrize("name", ["a", "...", "é", "a\nb", "\\", "x" * 255, "con"])
def test_ordinary_names_have_no_fault(name: str) -> None:
    assert name_fault(name) is None


def test_names_that_are_not_utf8_have_one() -> None:
    assert name_fault("bad\udcff") == "is not valid UTF-8"
