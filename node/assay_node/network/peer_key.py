"""Peer keys and peer IDs, without libp2p: commands that only show an ID must start fast."""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import PeerId

PEER_KEY_BYTES = 32

# https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md: an identity multihash (0x00,
# 36 bytes) of the protobuf {type: Ed25519 (1), data: 32 bytes}.
_PEER_ID_PREFIX = bytes.fromhex("002408011220")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def new_peer_key() -> bytes:
    """Return the 32 private bytes of a fresh Ed25519 key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def peer_id_of(peer_key: bytes) -> PeerId:
    """Return the peer ID that belongs to a private Ed25519 key.

    Raises:
        LocalError: the key does not have 32 bytes.
    """
    try:
        private = Ed25519PrivateKey.from_private_bytes(peer_key)
    except (ValueError, UnsupportedAlgorithm):
        raise LocalError(f"a peer key has {PEER_KEY_BYTES} bytes, not {len(peer_key)}") from None
    return PeerId(_base58(_PEER_ID_PREFIX + private.public_key().public_bytes_raw()))


def _base58(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(digits))
