"""Values as JSON-RPC writes them: "0x" and hexadecimal digits. A node may answer anything."""

from typing import Any, Final

from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest

ADDRESS_BYTES: Final = 20


def to_bytes(value: Any) -> bytes:
    """Return bytes that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise ChainError("the chain node answered something that is not hexadecimal bytes")


def to_int(value: Any) -> int:
    """Return a number that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise ChainError("the chain node answered something that is not a hexadecimal number")


def to_digest(value: Any) -> Digest:
    """Return 32 bytes that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    data = to_bytes(value)
    if len(data) != DIGEST_BYTES:
        raise ChainError("the chain node answered a hash that has not 32 bytes")
    return Digest(data)


def to_address(value: Any) -> Address:
    """Return an address that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    data = to_bytes(value)
    if len(data) != ADDRESS_BYTES:
        raise ChainError("the chain node answered an address that has not 20 bytes")
    return Address("0x" + data.hex())
