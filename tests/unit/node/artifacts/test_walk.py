"""The walk's rules and limits, on artifacts that exist as dictionaries only."""

import pytest

from assay_node.artifacts import unixfs
from assay_node.artifacts import walk as walk_module
from assay_node.artifacts.unixfs import Directory, DirectoryEntry, FileNode, Part
from assay_node.artifacts.walk import Walk
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage, Refused
from assay_node.protocol.ids import Cid

LIMITS = ArtifactLimits(bytes_max=1000)


class Blocks(dict[Cid, bytes]):
    def chunk(self, data: bytes) -> Part:
        cid = cids.of_block(cids.RAW, data)
        self[cid] = data
        return Part(cid=cid, bytes=len(data), tsize=len(data))

    def file(self, *parts: Part) -> Part:
        node = FileNode(parts=parts)
        return self._node(node, node.bytes, sum(part.tsize for part in parts))

    def folder(self, **entries: Part) -> Part:
        made = [DirectoryEntry(name=n, cid=p.cid, tsize=p.tsize) for n, p in entries.items()]
        return self._node(Directory(entries=tuple(made)), 0, sum(e.tsize for e in made))

    def _node(self, node: unixfs.UnixFsNode, size: int, below: int) -> Part:
        block = unixfs.encode(node)
        cid = cids.of_block(cids.DAG_PB, block)
        self[cid] = block
        return Part(cid=cid, bytes=size, tsize=len(block) + below)


def finish(walk: Walk, blocks: Blocks) -> list[Cid]:
    """Walk to the end and return the CIDs in the order they were asked for."""
    order = []
    while taken := walk.take(2):
        for want in taken:
            order.append(want.cid)
            block = blocks[want.cid]
            walk.saw(want, len(block), None if want.is_chunk else unixfs.decode(block))
    return order


def test_counts_bytes_and_files_with_their_multiplicity() -> None:
    blocks = Blocks()
    small, large = blocks.chunk(b"12345"), blocks.file(blocks.chunk(b"1" * 9), blocks.chunk(b"2"))
    inner = blocks.folder(large=large, small=small)
    walk = Walk(blocks.folder(a=inner, b=inner, c=small).cid, LIMITS)
    finish(walk, blocks)
    assert (walk.bytes, walk.files) == (35, 5)


def test_visits_breadth_first_and_chunks_before_nodes() -> None:
    blocks = Blocks()
    first = blocks.file(blocks.chunk(b"1"), blocks.chunk(b"2"))
    second = blocks.file(blocks.chunk(b"3"), blocks.chunk(b"4"))
    chunk = blocks.chunk(b"c")
    root = blocks.folder(a=first, b=second, c=chunk)
    order = finish(Walk(root.cid, LIMITS), blocks)
    assert order[:3] == [root.cid, chunk.cid, first.cid]
    assert order.index(second.cid) < order.index(blocks.chunk(b"3").cid)


@pytest.mark.parametrize("cid", [cids.of_block(cids.RAW, b"x"), cids.of_block(cids.DAG_CBOR, b"x")])
def test_a_lone_block_is_a_file(cid: Cid) -> None:
    walk = Walk(cid, LIMITS)
    finish(walk, Blocks({cid: b"x"}))
    assert (walk.bytes, walk.files) == (1, 1)


def test_too_many_bytes_are_refused_before_they_are_asked_for() -> None:
    blocks = Blocks()
    root = blocks.file(blocks.chunk(b"1" * 600), blocks.chunk(b"2" * 600))
    walk = Walk(root.cid, LIMITS)
    (want,) = walk.take(64)
    with pytest.raises(Refused, match="more than the 1000 bytes"):
        walk.saw(want, len(blocks[root.cid]), unixfs.decode(blocks[root.cid]))


def test_too_many_entries_are_refused() -> None:
    blocks = Blocks()
    root = blocks.folder(a=blocks.folder(), b=blocks.folder(), c=blocks.folder())
    finish(Walk(root.cid, ArtifactLimits(bytes_max=0, files_max=3)), blocks)
    with pytest.raises(Refused, match="more than the 2 files and folders"):
        finish(Walk(root.cid, ArtifactLimits(bytes_max=0, files_max=2)), blocks)


def test_too_deep_folders_are_refused() -> None:
    blocks = Blocks()
    root = blocks.folder(a=blocks.folder(b=blocks.folder(c=blocks.chunk(b"x"))))
    finish(Walk(root.cid, ArtifactLimits(bytes_max=9, depth_max=3)), blocks)
    with pytest.raises(Refused, match="deeper than 2"):
        finish(Walk(root.cid, ArtifactLimits(bytes_max=9, depth_max=2)), blocks)


def test_more_structure_than_content_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Blocks()
    root = blocks.folder(**{f"chunk{i}": blocks.chunk(b"x") for i in range(10)})
    size = len(blocks[root.cid])
    limits = ArtifactLimits(bytes_max=10)
    monkeypatch.setattr(walk_module, "STRUCTURE_BYTES_FREE", size - 10)
    finish(Walk(root.cid, limits), blocks)
    monkeypatch.setattr(walk_module, "STRUCTURE_BYTES_FREE", size - 11)
    with pytest.raises(Refused, match="more structure than content"):
        finish(Walk(root.cid, limits), blocks)


def test_folders_that_multiply_are_refused_and_without_limits_visited_once() -> None:
    blocks = Blocks()
    folder = blocks.folder()
    for _ in range(30):  # 2**30 entries in 31 blocks
        folder = blocks.folder(a=folder, b=folder)
    with pytest.raises(Refused, match="files and folders"):
        finish(Walk(folder.cid, LIMITS), blocks)
    assert len(finish(Walk(folder.cid, limits=None), blocks)) == 31


def test_a_file_that_multiplies_is_walked_once_and_refused_for_its_bytes() -> None:
    blocks = Blocks()
    part = blocks.chunk(b"x" * 100)
    for _ in range(3):
        part = blocks.file(part, part)
    limits = ArtifactLimits(bytes_max=800)
    walk = Walk(part.cid, limits)
    assert len(finish(walk, blocks)) == 3 + 2
    assert walk.bytes == 800
    with pytest.raises(Refused, match="bytes"):
        finish(Walk(blocks.file(part, part).cid, limits), blocks)


def test_the_same_nodes_may_lie_at_different_heights_of_two_files() -> None:
    blocks = Blocks()
    low = blocks.file(blocks.chunk(b"0" * 8), blocks.chunk(b"0" * 8))
    middle = blocks.file(low, low)
    root = blocks.folder(a=middle, b=blocks.file(middle, middle), c=low)
    walk = Walk(root.cid, LIMITS)
    finish(walk, blocks)
    assert walk.bytes == 32 + 64 + 16


def test_claims_about_children_are_checked() -> None:
    blocks = Blocks()
    chunk = blocks.chunk(b"12345")
    inner = blocks.file(chunk, chunk)
    liars = [
        blocks.folder(a=Part(cid=chunk.cid, bytes=5, tsize=4)),
        blocks.folder(a=Part(cid=inner.cid, bytes=10, tsize=inner.tsize + 1)),
        blocks.file(Part(cid=inner.cid, bytes=11, tsize=inner.tsize)),
        blocks.file(Part(cid=inner.cid, bytes=10, tsize=inner.tsize - 1)),
        blocks.file(inner, Part(cid=inner.cid, bytes=9, tsize=inner.tsize)),
        blocks.file(Part(cid=chunk.cid, bytes=4, tsize=4)),
        blocks.file(Part(cid=chunk.cid, bytes=2 << 20, tsize=2 << 20)),
        blocks.file(Part(cid=blocks.folder().cid, bytes=1, tsize=blocks.folder().tsize)),
    ]
    for liar in liars:
        with pytest.raises(MalformedMessage):
            finish(Walk(liar.cid, ArtifactLimits(bytes_max=1 << 30)), blocks)


def test_a_tower_of_file_nodes_is_refused() -> None:
    blocks = Blocks()
    part = blocks.chunk(b"x")
    for _ in range(6):
        part = blocks.file(part)
    with pytest.raises(MalformedMessage, match="levels"):
        finish(Walk(part.cid, LIMITS), blocks)
