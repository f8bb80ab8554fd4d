"""DAG-PB, the protobuf form of IPFS nodes, in the one byte form that Kubo writes.

Links come first, each with hash, name and Tsize, then the data. Anything else that protobuf would
let pass (other field orders, unknown fields, overlong varints) is refused, so that
`encode(decode(block)) == block` for every block that decodes.

Source: https://ipld.io/specs/codecs/dag-pb/spec/
"""

from dataclasses import dataclass

from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid

BLOCK_BYTES_MAX = 1 << 20
"""Largest block Assay stores or accepts; IPFS peers need not exchange larger ones."""

UINT64_MAX = (1 << 64) - 1

_LINK_KEY = 0x12  # field 2, length-delimited
_DATA_KEY = 0x0A  # field 1, length-delimited
_HASH_KEY = 0x0A
_NAME_KEY = 0x12
_TSIZE_KEY = 0x18  # field 3, varint
_VARINT_BYTES_MAX = 10  # 64 bits in groups of seven


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An edge to a block; `tsize` counts the bytes of that block and of all blocks below it."""

    cid: Cid
    name: str
    tsize: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Links in their stored order, and opaque data (None when the field is absent)."""

    links: tuple[Link, ...]
    data: bytes | None


def encode(node: Node) -> bytes:
    """Return the block of a node."""
    parts = [_delimited(_LINK_KEY, _encode_link(link)) for link in node.links]
    if node.data is not None:
        parts.append(_delimited(_DATA_KEY, node.data))
    return b"".join(parts)


def decode(block: bytes) -> Node:
    """Return the node that `block` is the canonical encoding of.

    Raises:
        MalformedMessage: it is not one, or is larger than `BLOCK_BYTES_MAX`.
    """
    if len(block) > BLOCK_BYTES_MAX:
        raise MalformedMessage(f"block of {len(block)} bytes; at most {BLOCK_BYTES_MAX} accepted")
    links: list[Link] = []
    data: bytes | None = None
    offset = 0
    while offset < len(block):
        if data is not None:
            raise MalformedMessage("DAG-PB data is not the last field")
        key, offset = read_varint(block, offset)
        value, offset = read_delimited(block, offset)
        if key == _LINK_KEY:
            links.append(_decode_link(value))
        elif key == _DATA_KEY:
            data = value
        else:
            raise MalformedMessage(f"DAG-PB node has an unknown field (key {key:#x})")
    node = Node(links=tuple(links), data=data)
    if encode(node) != block:
        raise MalformedMessage("DAG-PB node is not in canonical form")
    return node


def varint(value: int) -> bytes:
    """Return an unsigned integer below 2**64 as a protobuf varint."""
    assert 0 <= value <= UINT64_MAX
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return the varint at `offset` and the offset behind it.

    Raises:
        MalformedMessage: it is cut short or exceeds 64 bits.
    """
    value = 0
    for index in range(_VARINT_BYTES_MAX):
        if offset + index >= len(data):
            raise MalformedMessage("protobuf varint is cut short")
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value > UINT64_MAX:
                break
            return value, offset + index + 1
    raise MalformedMessage("protobuf varint exceeds 64 bits")


def read_delimited(data: bytes, offset: int) -> tuple[bytes, int]:
    """Return the length-delimited bytes at `offset` and the offset behind them.

    Raises:
        MalformedMessage: fewer bytes follow than the length says.
    """
    length, offset = read_varint(data, offset)
    if length > len(data) - offset:
        raise MalformedMessage("protobuf field is cut short")
    return data[offset : offset + length], offset + length


def _delimited(key: int, value: bytes) -> bytes:
    return bytes((key,)) + varint(len(value)) + value


def _encode_link(link: Link) -> bytes:
    return (
        _delimited(_HASH_KEY, cids.to_binary(link.cid))
        + _delimited(_NAME_KEY, link.name.encode())
        + bytes((_TSIZE_KEY,))
        + varint(link.tsize)
    )


def _decode_link(data: bytes) -> Link:
    offset = _expect(data, 0, _HASH_KEY)
    binary, offset = read_delimited(data, offset)
    offset = _expect(data, offset, _NAME_KEY)
    name, offset = read_delimited(data, offset)
    offset = _expect(data, offset, _TSIZE_KEY)
    tsize, offset = read_varint(data, offset)
    if offset != len(data):
        raise MalformedMessage("DAG-PB link has bytes behind its Tsize")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("DAG-PB link name is not UTF-8") from None
    return Link(cid=cids.from_binary(binary), name=text, tsize=tsize)


def _expect(data: bytes, offset: int, key: int) -> int:
    if offset >= len(data) or data[offset] != key:
        raise MalformedMessage("DAG-PB link is not exactly hash, name, Tsize")
    return offset + 1
