"""CIDv1 with sha2-256, the only kind Assay makes or accepts (multiformats CID spec).

Source: https://github.com/multiformats/cid, https://github.com/multiformats/multicodec
"""

import base64
import hashlib
from typing import Final

from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid, Digest, digest

RAW: Final = 0x55
DAG_PB: Final = 0x70
DAG_CBOR: Final = 0x71
CODECS: Final = frozenset({RAW, DAG_PB, DAG_CBOR})
_SHA2_256: Final = b"\x12\x20"
_BINARY_BYTES: Final = 36  # version, one-byte codec, two-byte multihash prefix, digest


def of_block(codec: int, data: bytes) -> Cid:
    """Return the CID of a block."""
    return from_digest(codec, Digest(hashlib.sha256(data).digest()))


def from_digest(codec: int, sha256: Digest) -> Cid:
    """Return the CID with this multicodec and sha2-256 digest."""
    if codec not in CODECS:
        raise MalformedMessage(f"multicodec {codec:#x} is not raw, dag-pb or dag-cbor")
    return from_binary(bytes((1, codec)) + _SHA2_256 + sha256)


def to_digest(cid: Cid) -> Digest:
    """Return the sha2-256 digest inside a CID."""
    return digest(to_binary(cid)[4:])


def codec_of(cid: Cid) -> int:
    """Return the multicodec of a CID."""
    return to_binary(cid)[1]


def matches(cid: Cid, data: bytes) -> bool:
    """Tell whether a block hashes to its CID."""
    return hashlib.sha256(data).digest() == to_binary(cid)[4:]


def to_binary(cid: Cid) -> bytes:
    """Return the 36 binary bytes of a CID."""
    text = cid[1:].upper()
    return base64.b32decode(text + "=" * (-len(text) % 8))


def from_binary(data: bytes) -> Cid:
    """Return a CID from its binary form.

    Raises:
        MalformedMessage: it is not CIDv1, sha2-256, with a codec Assay knows.
    """
    if (
        len(data) != _BINARY_BYTES
        or data[0] != 1
        or data[1] not in CODECS
        or data[2:4] != _SHA2_256
    ):
        raise MalformedMessage("not a CIDv1 with sha2-256 and codec raw, dag-pb or dag-cbor")
    return Cid("b" + base64.b32encode(data).decode().lower().rstrip("="))


def parse(text: str) -> Cid:
    """Return `text` as a CID if it is the one canonical spelling.

    Raises:
        MalformedMessage: it is not.
    """
    try:
        if text.startswith("b") and len(text) < 80:
            cid = from_binary(to_binary(Cid(text)))
            if cid == text:
                return cid
    except ValueError:
        pass
    raise MalformedMessage(
        f"{text[:80]!r} is not a CID of the kind Assay uses (CIDv1, base32, sha2-256)"
    )
