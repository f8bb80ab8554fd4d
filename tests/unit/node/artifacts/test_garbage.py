"""Marking: what a root reaches."""

from assay_node.artifacts.garbage import live_blocks
from assay_node.artifacts.unixfs import Directory, DirectoryEntry, encode
from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Cid

CHUNK = cids.of_block(cids.RAW, b"x")


def folder(cid: Cid) -> tuple[Cid, bytes]:
    block = encode(Directory(entries=(DirectoryEntry(name="n", cid=cid, tsize=1),)))
    return cids.of_block(cids.DAG_PB, block), block


def test_everything_below_a_root_is_live() -> None:
    inner, inner_block = folder(CHUNK)
    outer, outer_block = folder(inner)
    blocks = {inner: inner_block, outer: outer_block}
    assert live_blocks([outer], blocks.get) == {outer, inner, CHUNK}
    assert live_blocks([inner], blocks.get) == {inner, CHUNK}
    assert live_blocks([], blocks.get) == set()


def test_gaps_and_odd_nodes_end_a_branch() -> None:
    inner, _ = folder(CHUNK)
    outer, outer_block = folder(inner)
    odd = cids.of_block(cids.DAG_PB, b"\xff")
    assert live_blocks([outer, odd], {outer: outer_block, odd: b"\xff"}.get) == {outer, inner, odd}
