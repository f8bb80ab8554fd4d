"""A breadth-first walk of an artifact that is told what blocks hold and says which come next.

It does no I/O, so that one set of rules and limits governs fetching, checking and measuring. Sizes
that a parent claims are held against what its children turn out to be, edge by edge; a root's size
is therefore true once all blocks have been seen, and is known long before they have been moved.
"""

from collections import deque
from dataclasses import dataclass

from assay_node.artifacts.dag_pb import BLOCK_BYTES_MAX
from assay_node.artifacts.unixfs import Directory, FileNode, Part, UnixFsNode
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage, Refused
from assay_node.protocol.ids import Cid

FILE_LEVELS_MAX = 5
"""File nodes above any chunk: 174**5 chunks are 40 EB."""

STRUCTURE_BYTES_FREE = 64 << 20
"""Bytes of nodes allowed beyond those of content: nodes take 0.02 % of an honest large file, and
10,000 empty folders take 3 MB; a maze of nodes that lead to no content is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A block to look at, and what its parents say about it (None for the root)."""

    cid: Cid
    bytes: int | None = None
    tsize: int | None = None
    depth: int = 0
    file_level: int = 0

    @property
    def is_chunk(self) -> bool:
        """Tell whether the block has nothing below it; dag-cbor blocks are artifacts of one."""
        return cids.codec_of(self.cid) != cids.DAG_PB


class Walk:
    """The state of one walk. Chunks are handed out before nodes, which bounds what is pending."""

    def __init__(self, root: Cid, limits: ArtifactLimits | None) -> None:
        """Begin at `root`; without limits each node is visited once and nothing is counted."""
        self.bytes = 0
        self.files = 0
        self._entries = 0
        self._structure_bytes = 0
        self._limits = limits
        self._chunks: deque[Want] = deque()
        self._nodes: deque[Want] = deque()
        self._claims: dict[Cid, Want] = {}
        self._visited: set[Cid] = set()
        self._push(Want(cid=root))

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left to hand out; blocks that were taken may still bring more."""
        return not self._chunks and not self._nodes

    def take(self, count: int) -> list[Want]:
        """Return up to `count` blocks to look at next; none when the rest depends on others."""
        taken: list[Want] = []
        for queue in (self._chunks, self._nodes):
            while queue and len(taken) < count:
                taken.append(queue.popleft())
        return taken

    def saw(self, want: Want, size: int, node: UnixFsNode | None) -> None:
        """Take note of a block of `size` bytes, with its content unless it is a chunk.

        Raises:
            MalformedMessage: it contradicts its parents.
            Refused: the artifact exceeds the limits; the text says which.
        """
        if node is None:
            self._saw_chunk(want, size)
            return
        self._structure_bytes += size
        if want.tsize is not None and want.tsize != size + _tsize_below(node):
            raise MalformedMessage(f"the size that is claimed for {want.cid} is wrong")
        if isinstance(node, FileNode):
            self._saw_file_node(want, node)
        else:
            self._saw_directory(want, node)
        self._check()

    def _saw_chunk(self, want: Want, size: int) -> None:
        if want.tsize is None:
            self._count(files=1, size=size)
        elif want.tsize != size:
            raise MalformedMessage(f"the size that is claimed for {want.cid} is wrong")
        self._check()

    def _saw_file_node(self, want: Want, node: FileNode) -> None:
        if want.bytes is None:
            self._count(files=1, size=node.bytes)
        elif want.bytes != node.bytes:
            raise MalformedMessage(f"the length that is claimed for {want.cid} is wrong")
        for part in node.parts:
            self._push_part(want, part)

    def _push_part(self, parent: Want, part: Part) -> None:
        level = parent.file_level + 1
        want = Want(cid=part.cid, bytes=part.bytes, tsize=part.tsize, file_level=level)
        if want.is_chunk:
            self._push(want)
            return
        if level >= FILE_LEVELS_MAX:
            raise MalformedMessage(f"a file has more than {FILE_LEVELS_MAX} levels of nodes")
        claim = self._claims.setdefault(part.cid, want)
        if claim is want:
            self._push(want)
        elif (claim.bytes, claim.tsize) != (want.bytes, want.tsize):
            raise MalformedMessage(f"parents disagree about {part.cid}")

    def _saw_directory(self, want: Want, node: Directory) -> None:
        if want.bytes is not None:
            raise MalformedMessage("a file has a directory among its parts")
        depth = want.depth + 1
        if node.entries and self._limits is not None and depth > self._limits.depth_max:
            raise Refused(f"the artifact is nested deeper than {self._limits.depth_max} folders")
        self._entries += len(node.entries)
        self._check()
        for entry in node.entries:
            child = Want(cid=entry.cid, tsize=entry.tsize, depth=depth)
            if child.is_chunk:
                self._count(files=1, size=entry.tsize)
            self._push(child)

    def _push(self, want: Want) -> None:
        if want.is_chunk:
            if want.tsize is not None and want.tsize > BLOCK_BYTES_MAX:
                raise MalformedMessage(f"a chunk is larger than {BLOCK_BYTES_MAX} bytes")
            self._chunks.append(want)
            return
        if self._limits is None:
            if want.cid in self._visited:
                return
            self._visited.add(want.cid)
        self._nodes.append(want)

    def _count(self, *, files: int, size: int) -> None:
        self.files += files
        self.bytes += size

    def _check(self) -> None:
        if self._limits is None:
            return
        if self.bytes > self._limits.bytes_max:
            raise Refused(
                f"the artifact holds more than the {self._limits.bytes_max} bytes allowed"
            )
        if self._entries > self._limits.files_max:
            raise Refused(
                f"the artifact has more than the {self._limits.files_max} files and folders allowed"
            )
        if self._structure_bytes > self._limits.bytes_max + STRUCTURE_BYTES_FREE:
            raise Refused("the artifact is more structure than content")


def _tsize_below(node: UnixFsNode) -> int:
    if isinstance(node, FileNode):
        return sum(part.tsize for part in node.parts)
    return sum(entry.tsize for entry in node.entries)
