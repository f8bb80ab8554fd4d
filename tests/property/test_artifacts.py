"""Laws of the artifact formats."""

import contextlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from assay_node.artifacts import dag_pb, exchange_frames, unixfs
from assay_node.artifacts.unixfs import Directory, DirectoryEntry, FileNode, Part
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage

sizes = st.integers(min_value=0, max_value=dag_pb.UINT64_MAX)
any_cids = st.builds(cids.of_block, st.sampled_from(sorted(cids.CODECS)), st.binary(max_size=8))
unixfs_cids = st.builds(
    cids.of_block, st.sampled_from([cids.RAW, cids.DAG_PB]), st.binary(max_size=8)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
links = st.builds(dag_pb.Link, cid=any_cids, name=texts, tsize=sizes)
nodes = st.builds(
    dag_pb.Node, links=st.lists(links, max_size=6).map(tuple), data=st.none() | st.binary()
)
names = texts.filter(lambda name: unixfs.name_fault(name) is None)
directories = st.dictionaries(names, st.tuples(unixfs_cids, sizes), max_size=6).map(
    lambda entries: Directory(
        entries=tuple(
            DirectoryEntry(name=name, cid=cid, tsize=tsize)
            for name, (cid, tsize) in sorted(entries.items(), key=lambda e: e[0].encode())
        )
    )
)
small = st.integers(min_value=1, max_value=1 << 40)
parts = st.builds(
    lambda cid, size, below: Part(
        cid=cid, bytes=size, tsize=size if cids.codec_of(cid) == cids.RAW else below
    ),
    unixfs_cids,
    small,
    small,
)
files = st.lists(parts, min_size=1, max_size=6).map(lambda made: FileNode(parts=tuple(made)))


@st.composite
def nearly_valid_blocks(draw: st.DrawFn) -> bytes:
    """Valid blocks with one byte changed, added or taken away: they get past the first checks."""
    valid = dag_pb.encode(draw(nodes)) if draw(st.booleans()) else unixfs.encode(draw(files))
    at = draw(st.integers(0, len(valid)))
    return valid[:at] + draw(st.binary(max_size=2)) + valid[at + draw(st.integers(0, 1)) :]


@given(nodes)
def test_dag_pb_round_trips(node: dag_pb.Node) -> None:
    assert dag_pb.decode(dag_pb.encode(node)) == node


@given(directories | files)
def test_unixfs_round_trips(node: unixfs.UnixFsNode) -> None:
    assert unixfs.decode(unixfs.encode(node)) == node


@given(st.binary() | nearly_valid_blocks())
def test_a_block_decodes_to_one_byte_form_or_is_malformed(block: bytes) -> None:
    try:
        assert dag_pb.encode(dag_pb.decode(block)) == block
        assert unixfs.encode(unixfs.decode(block)) == block
    except MalformedMessage:
        pass


@given(st.binary(max_size=200))
def test_any_frame_decodes_or_is_malformed(frame: bytes) -> None:
    for decode in (exchange_frames.decode_request, exchange_frames.decode_answer):
        with contextlib.suppress(MalformedMessage):
            decode(frame)


@given(sizes)
def test_varints_round_trip_in_least_bytes(value: int) -> None:
    encoded = dag_pb.varint(value)
    assert dag_pb.read_varint(encoded, 0) == (value, len(encoded))
    assert len(encoded) == max(1, -(-value.bit_length() // 7))


@given(directories)
def test_directories_are_sorted_by_the_bytes_of_names(directory: Directory) -> None:
    stored = [link.name.encode() for link in dag_pb.decode(unixfs.encode(directory)).links]
    assert all(a < b for a, b in itertools.pairwise(stored))
