"""Reading whole artifacts out of a blockstore: what is here, how big it is, and what it holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from assay_node.artifacts import unixfs
from assay_node.artifacts.blockstore import Blockstore, DamagedBlock
from assay_node.artifacts.unixfs import Directory, FileNode, UnixFsNode
from assay_node.artifacts.walk import FILE_LEVELS_MAX, Walk, Want
from assay_node.artifacts.worker_threads import Stop
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Cid

LOCAL_LIMITS = ArtifactLimits(bytes_max=1 << 62, files_max=1_000_000, depth_max=64)
"""What is looked at when the caller set no limits: enough for anything that was imported, while
folders nested to multiply into billions of entries end with a reason."""

_STEP_BLOCKS = 64
"""Blocks looked at between two chances to stop; missing ones then fit into one request."""


class EntryKind(StrEnum):
    """What an artifact or one of its entries is."""

    FILE = "file"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a directory, with the bytes of content at or below it."""

    name: str
    cid: Cid
    kind: EntryKind
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSize:
    """Bytes of content and number of files in an artifact; a file below two names counts twice."""

    bytes: int
    files: int


def advance(blocks: Blockstore, walk: Walk, count: int) -> list[Want]:
    """Move the walk on over up to `count` blocks and return those that are not here.

    A chunk counts as here when its file has the right length; a node is read and verified. A
    damaged node is removed and counts as not here.

    Raises:
        MalformedMessage, Refused: as `Walk.saw`.
    """
    missing = []
    for want in walk.take(count):
        if want.is_chunk:
            size = blocks.size(want.cid)
            if size is None or want.tsize not in (None, size):
                missing.append(want)
            else:
                walk.saw(want, size, None)
            continue
        block = _read_or_none(blocks, want.cid)
        if block is None:
            missing.append(want)
        else:
            walk.saw(want, len(block), unixfs.decode(block))
    return missing


def next_missing(blocks: Blockstore, walk: Walk, stop: Stop) -> list[Want]:
    """Move the walk on to the next blocks that are not here; none when it can go no further.

    Raises:
        MalformedMessage, Refused: as `Walk.saw`.
    """
    while not walk.is_over:
        stop.check()
        if missing := advance(blocks, walk, _STEP_BLOCKS):
            return missing
    return []


def is_whole(blocks: Blockstore, cid: Cid, stop: Stop) -> bool:
    """Tell whether every block of an artifact is here."""
    return not next_missing(blocks, Walk(cid, limits=None), stop)


def measure(blocks: Blockstore, cid: Cid, stop: Stop) -> ArtifactSize:
    """Return the size of an artifact.

    Raises:
        LocalError: it is not whole here.
        MalformedMessage, Refused: it is not a well-formed artifact, or exceeds `LOCAL_LIMITS`.
    """
    walk = Walk(cid, LOCAL_LIMITS)
    if missing := next_missing(blocks, walk, stop):
        raise not_here(missing[0].cid)
    return ArtifactSize(bytes=walk.bytes, files=walk.files)


def list_directory(blocks: Blockstore, cid: Cid, stop: Stop) -> tuple[Entry, ...]:
    """Return the entries of a directory, sorted by the bytes of their names.

    Raises:
        LocalError: it is a file, or is not whole here.
    """
    node = read_node(blocks, cid)
    if not isinstance(node, Directory):
        raise LocalError(f"{cid} is a file, not a directory")
    return tuple(
        Entry(
            name=entry.name,
            cid=entry.cid,
            kind=kind_of(blocks, entry.cid),
            bytes=measure(blocks, entry.cid, stop).bytes,
        )
        for entry in node.entries
    )


def kind_of(blocks: Blockstore, cid: Cid) -> EntryKind:
    """Tell a file from a directory."""
    is_directory = isinstance(read_node(blocks, cid), Directory)
    return EntryKind.DIRECTORY if is_directory else EntryKind.FILE


def read_node(blocks: Blockstore, cid: Cid) -> UnixFsNode | None:
    """Return a file node or directory, None for a block with nothing below it."""
    if cids.codec_of(cid) != cids.DAG_PB:
        return None
    return unixfs.decode(read_block(blocks, cid))


def read_block(blocks: Blockstore, cid: Cid) -> bytes:
    """Return a block that has to be here.

    Raises:
        LocalError: it is not, or it was damaged.
    """
    block = blocks.read(cid)
    if block is None:
        raise not_here(cid)
    return block


def read_chunks(
    blocks: Blockstore, cid: Cid, expected: int | None = None, level: int = 0
) -> Iterator[bytes]:
    """Yield the content of a file, a chunk at a time; `expected` bytes if that is known.

    Raises:
        LocalError: a block is missing or damaged.
        MalformedMessage: it is not a file whose sizes agree.
    """
    node = read_node(blocks, cid)
    if isinstance(node, FileNode):
        if level >= FILE_LEVELS_MAX or expected not in (None, node.bytes):
            raise MalformedMessage(f"the file node {cid} is not what its parents say")
        for part in node.parts:
            yield from read_chunks(blocks, part.cid, part.bytes, level + 1)
    elif node is None:
        chunk = read_block(blocks, cid)
        if expected not in (None, len(chunk)):
            raise MalformedMessage(f"the chunk {cid} does not have the length its parents say")
        yield chunk
    else:
        raise MalformedMessage(f"{cid} is a directory where a file was expected")


def not_here(cid: Cid) -> LocalError:
    """Return the error for a block that has to be here and is not."""
    return LocalError(f"block {cid} is not in the artifact store: fetch or add its artifact first")


def _read_or_none(blocks: Blockstore, cid: Cid) -> bytes | None:
    try:
        return blocks.read(cid)
    except DamagedBlock:
        return None
