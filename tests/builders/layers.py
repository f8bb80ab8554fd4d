"""Layers of environments, honest and forged."""

import hashlib
import io

from assay_node.protocol import cid as cids
from assay_node.protocol.environment import EnvironmentLayer
from assay_provider.environments.layer_tar import (
    BLOCK_BYTES,
    Entry,
    EntryKind,
    LayerSize,
    LayerWriter,
)

LIMITS = LayerSize(unpacked_bytes=1 << 20, files=1000)


def folder(path: str) -> tuple[Entry, bytes]:
    return Entry(path=path, kind=EntryKind.DIRECTORY), b""


def file(path: str, content: bytes = b"", *, executable: bool = False) -> tuple[Entry, bytes]:
    entry = Entry(path=path, kind=EntryKind.FILE, size=len(content), executable=executable)
    return entry, content


def link(path: str, target: str) -> tuple[Entry, bytes]:
    return Entry(path=path, kind=EntryKind.LINK, target=target), b""


def whiteout(path: str) -> tuple[Entry, bytes]:
    return Entry(path=path, kind=EntryKind.WHITEOUT), b""


def layer_bytes(*entries: tuple[Entry, bytes]) -> bytes:
    """Return the tar of a layer."""
    stream = io.BytesIO()
    writer = LayerWriter(stream)
    for entry, content in entries:
        writer.add(entry, io.BytesIO(content))
    writer.finish()
    return stream.getvalue()


def a_layer(tar: bytes, *entries: tuple[Entry, bytes]) -> EnvironmentLayer:
    """Return what a manifest says of this tar, which is one block of an artifact store."""
    return EnvironmentLayer(
        cid=cids.of_block(cids.RAW, tar),
        tar_bytes=len(tar),
        unpacked_bytes=sum(entry.size for entry, _ in entries),
        files=max(1, len(entries)),
    )


def forged_header(
    name: bytes,
    *,
    kind: bytes = b"0",
    mode: int = 0o644,
    size: int = 0,
    target: bytes = b"",
    device: bytes = b"0000000\0" * 2,
) -> bytes:
    """Return a header that any tar takes, whatever it says; its checksum is right."""
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"0000000\0" * 2,
            b"%011o\0" % size,
            b"00000000000\0",
            b" " * 8,
            kind,
            target.ljust(100, b"\0"),
            b"ustar\00000",
            bytes(64),
            device,
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def forged(*headers: bytes) -> bytes:
    """Return an archive of these blocks, padded to whole blocks, with an end."""
    padded = (block + bytes(-len(block) % BLOCK_BYTES) for block in headers)
    return b"".join(padded) + bytes(2 * BLOCK_BYTES)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
