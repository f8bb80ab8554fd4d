"""Typed identifiers. All are plain immutable values, cheap to hash and to compare."""

import re
from typing import NewType

from assay_node.protocol.errors import MalformedMessage

Address = NewType("Address", str)
"""An Ethereum address: "0x" and 40 lower-case hexadecimal digits (checksums are for people)."""

Digest = NewType("Digest", bytes)
"""32 bytes: a job id, spec digest, tag, salt, block or transaction hash."""

Cid = NewType("Cid", str)
"""A CIDv1 in base32 ("b..."), sha2-256, codec raw, dag-pb or dag-cbor."""

PeerId = NewType("PeerId", str)
"""A libp2p peer ID in base58 ("12D3Koo...")."""

DIGEST_BYTES = 32
ZERO_ADDRESS = Address("0x" + "00" * 20)
"""Nobody's."""
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_PEER_ID = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,64}")


def address(text: str) -> Address:
    """Return `text` as an address in canonical form, in whatever case it came.

    Raises:
        MalformedMessage: it is not 20 bytes of hexadecimal with a leading "0x".
    """
    lowered = text.lower()
    if not _ADDRESS.fullmatch(lowered):
        raise MalformedMessage(f"{text[:64]!r} is not an Ethereum address (0x and 40 hex digits)")
    return Address(lowered)


def digest(data: bytes) -> Digest:
    """Return 32 bytes as a digest.

    Raises:
        MalformedMessage: the length differs.
    """
    if len(data) != DIGEST_BYTES:
        raise MalformedMessage(f"a digest has {DIGEST_BYTES} bytes, not {len(data)}")
    return Digest(bytes(data))


def digest_from_hex(text: str) -> Digest:
    """Return a digest written as 64 hexadecimal digits, with or without a leading "0x".

    Raises:
        MalformedMessage: it is anything else.
    """
    try:
        return digest(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        raise MalformedMessage(f"{text[:80]!r} is not 64 hexadecimal digits") from None


def to_hex(value: Digest | bytes) -> str:
    """Return bytes the way people and JSON see them: "0x" and lower-case hexadecimal."""
    return "0x" + value.hex()


def peer_id(text: str) -> PeerId:
    """Return `text` as a peer ID.

    Raises:
        MalformedMessage: it is not base58 of a plausible length.
    """
    if not _PEER_ID.fullmatch(text):
        raise MalformedMessage(f"{text[:80]!r} is not a libp2p peer ID")
    return PeerId(text)
