"""Signing keys as a port."""

from typing import Protocol

from assay_node.protocol.ids import Address, Digest


class OrderSigner(Protocol):
    """A secp256k1 key that signs EIP-712 digests; the key itself never leaves it."""

    @property
    def address(self) -> Address:
        """The address of this key."""
        ...

    def sign_digest(self, digest: Digest) -> bytes:
        """Return the 65-byte signature r || s || v, with low s (EIP-2)."""
        ...
