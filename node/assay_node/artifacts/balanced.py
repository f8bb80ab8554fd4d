"""The balanced file tree of `ipfs add --chunker=size-262144`, built in one pass.

A level is closed only when one child more than its width arrives, so that a file which fills a
level exactly gets no parent with a single child; the last, shorter branch is wrapped up to full
height, as Kubo does. Memory is one width of parts for each level, whatever the file size.
"""

from collections.abc import Callable

from assay_node.artifacts.unixfs import FileNode, Part, encode
from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Cid

CHUNK_BYTES = 262_144
"""Kubo's default chunker; part of every CID."""

WIDTH = 174
"""Links in a full file node, Kubo's default; part of every CID."""

EmitBlock = Callable[[Cid, bytes], None]


class BalancedFile:
    """Turns chunks into blocks, given to `emit` in an order where children precede parents."""

    def __init__(self, emit: EmitBlock) -> None:
        self._emit = emit
        self._levels: list[list[Part]] = [[]]

    def add_chunk(self, chunk: bytes) -> None:
        """Take the next chunk: `CHUNK_BYTES` long, except for the last."""
        cid = cids.of_block(cids.RAW, chunk)
        self._emit(cid, chunk)
        self._push(0, Part(cid=cid, bytes=len(chunk), tsize=len(chunk)))

    def finish(self) -> Part:
        """Close all levels and return the file's root."""
        if not self._levels[0]:
            self.add_chunk(b"")
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            self._close(level)
            level += 1
        return self._levels[level][0]

    def _push(self, level: int, part: Part) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == WIDTH:
            self._close(level)
        self._levels[level].append(part)

    def _close(self, level: int) -> None:
        node = FileNode(parts=tuple(self._levels[level]))
        self._levels[level] = []
        block = encode(node)
        cid = cids.of_block(cids.DAG_PB, block)
        self._emit(cid, block)
        tsize = len(block) + sum(part.tsize for part in node.parts)
        self._push(level + 1, Part(cid=cid, bytes=node.bytes, tsize=tsize))
