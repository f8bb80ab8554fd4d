"""UnixFS files and directories, in the subset that `ipfs add --raw-leaves` writes.

A file of one chunk is a raw block. A larger one is a tree of file nodes over raw chunks. A
directory is one node whose links are sorted by the bytes of their names. Permissions, owners and
times are not part of a CID. Symlinks, sharded (HAMT) directories and data inside DAG-PB file nodes
are refused.

Source: https://specs.ipfs.tech/unixfs/
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from assay_node.artifacts import dag_pb
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid

NAME_BYTES_MAX = 255
"""What Linux file systems can store as one name."""

_TYPE_KEY = 0x08
_FILE_SIZE_KEY = 0x18
_BLOCK_SIZE_KEY = 0x20
_DIRECTORY_DATA = b"\x08\x01"
_FILE_DATA_PREFIX = b"\x08\x02"
_TYPE_NAMES = {0: "raw data", 1: "a directory", 3: "metadata", 4: "a symlink", 5: "a HAMT shard"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a file: `bytes` of content below this block, `tsize` bytes of blocks."""

    cid: Cid
    bytes: int
    tsize: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileNode:
    """A file, or a stretch of one, as the concatenation of its parts."""

    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Bytes of content."""
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """One name in a directory; `tsize` bytes of blocks lie below it."""

    name: str
    cid: Cid
    tsize: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Entries sorted by the bytes of their names, each name once."""

    entries: tuple[DirectoryEntry, ...]


UnixFsNode = FileNode | Directory


def encode(node: UnixFsNode) -> bytes:
    """Return the DAG-PB block of a file node or directory."""
    if isinstance(node, Directory):
        links = tuple(dag_pb.Link(cid=e.cid, name=e.name, tsize=e.tsize) for e in node.entries)
        return dag_pb.encode(dag_pb.Node(links=links, data=_DIRECTORY_DATA))
    links = tuple(dag_pb.Link(cid=p.cid, name="", tsize=p.tsize) for p in node.parts)
    return dag_pb.encode(dag_pb.Node(links=links, data=_file_data(p.bytes for p in node.parts)))


def decode(block: bytes) -> UnixFsNode:
    """Return the file node or directory that `block` is the canonical encoding of.

    Raises:
        MalformedMessage: it is not one, or uses a part of UnixFS that Assay does not.
    """
    node = dag_pb.decode(block)
    if node.data == _DIRECTORY_DATA:
        return _decode_directory(node.links)
    if node.data is not None and node.data.startswith(_FILE_DATA_PREFIX):
        return _decode_file(node)
    raise MalformedMessage(f"DAG-PB node is {_describe(node.data)}, not a plain file or directory")


def name_fault(name: str) -> str | None:
    """Return why `name` cannot be a directory entry, or None when it can."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    if name in {"", ".", ".."}:
        return "is not a name of its own"
    if "/" in name or "\0" in name:
        return 'contains "/" or NUL'
    if len(encoded) > NAME_BYTES_MAX:
        return f"is longer than {NAME_BYTES_MAX} bytes"
    return None


def _file_data(block_sizes: Iterable[int]) -> bytes:
    sizes = list(block_sizes)
    return (
        _FILE_DATA_PREFIX
        + bytes((_FILE_SIZE_KEY,))
        + dag_pb.varint(sum(sizes))
        + b"".join(bytes((_BLOCK_SIZE_KEY,)) + dag_pb.varint(size) for size in sizes)
    )


def _decode_directory(links: tuple[dag_pb.Link, ...]) -> Directory:
    names = [link.name.encode() for link in links]
    if any(a >= b for a, b in itertools.pairwise(names)):
        raise MalformedMessage("directory has names twice or out of order")
    for link in links:
        if fault := name_fault(link.name):
            raise MalformedMessage(f"directory entry {link.name[:80]!a} {fault}")
        _refuse_foreign_codec(link.cid)
    entries = (DirectoryEntry(name=link.name, cid=link.cid, tsize=link.tsize) for link in links)
    return Directory(entries=tuple(entries))


def _decode_file(node: dag_pb.Node) -> FileNode:
    assert node.data is not None
    sizes = _block_sizes(node.data)
    if not sizes or len(sizes) != len(node.links):
        raise MalformedMessage("file node does not have one size for each of its parts")
    if any(link.name for link in node.links):
        raise MalformedMessage("file node has a named part")
    parts = []
    for link, size in zip(node.links, sizes, strict=True):
        _refuse_foreign_codec(link.cid)
        if size == 0:
            raise MalformedMessage("file node has an empty part")
        if cids.codec_of(link.cid) == cids.RAW and link.tsize != size:
            raise MalformedMessage("file node gives a chunk two different sizes")
        parts.append(Part(cid=link.cid, bytes=size, tsize=link.tsize))
    return FileNode(parts=tuple(parts))


def _block_sizes(data: bytes) -> list[int]:
    offset = len(_FILE_DATA_PREFIX)
    if data[offset : offset + 1] != bytes((_FILE_SIZE_KEY,)):
        raise MalformedMessage("file node carries inline data or no size")
    file_size, offset = dag_pb.read_varint(data, offset + 1)
    sizes = []
    while offset < len(data):
        if data[offset] != _BLOCK_SIZE_KEY:
            raise MalformedMessage("file node has fields besides its sizes (mode or time, maybe)")
        size, offset = dag_pb.read_varint(data, offset + 1)
        sizes.append(size)
    if sum(sizes) != file_size or _file_data(sizes) != data:
        raise MalformedMessage("file node sizes do not add up or are not in canonical form")
    return sizes


def _refuse_foreign_codec(cid: Cid) -> None:
    if cids.codec_of(cid) == cids.DAG_CBOR:
        raise MalformedMessage("UnixFS links lead to raw or dag-pb blocks, not dag-cbor")


def _describe(data: bytes | None) -> str:
    if data is None or len(data) < 2 or data[0] != _TYPE_KEY:
        return "not UnixFS"
    return _TYPE_NAMES.get(data[1], "of an unknown kind")
