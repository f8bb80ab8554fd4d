"""Merkle trees over SHA-256 whose paths prove places. Pure.

Leaves and inner nodes are hashed under different prefixes, so neither passes for the other (RFC
6962, section 2.1). A tree is filled up to a power of two with `EMPTY`, so a path's length and its
turns say exactly which place it proves.

Source: https://www.rfc-editor.org/rfc/rfc6962#section-2.1
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from assay_node.protocol.ids import DIGEST_BYTES, Digest

EMPTY: Final = Digest(bytes(DIGEST_BYTES))
"""Fills a tree up; nothing hashes to it."""
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"

Levels = list[list[bytes]]
"""All nodes of a tree, the leaves first, the root last."""


def leaf(data: bytes | bytearray | memoryview) -> bytes:
    """Return the hash of what stands at one place."""
    hashed = hashlib.sha256(_LEAF)
    hashed.update(data)
    return hashed.digest()


def depth(places: int) -> int:
    """Return the length of a path in a tree of so many places."""
    assert places > 0, "a tree has a place"
    return (places - 1).bit_length()


def tree(leaves: Sequence[bytes]) -> Levels:
    """Return the tree over these leaf hashes. Complexity: O(leaves) hashes."""
    level = [*leaves, *[EMPTY] * ((1 << depth(len(leaves))) - len(leaves))]
    levels = [level]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [_node(left, right) for left, right in pairs]
        levels.append(level)
    return levels


def root(levels: Levels) -> Digest:
    """Return the root of a tree."""
    return Digest(levels[-1][0])


def path(levels: Levels, place: int) -> list[bytes]:
    """Return the siblings of a place, from the leaf's to the one below the root."""
    return [level[(place >> height) ^ 1] for height, level in enumerate(levels[:-1])]


def root_over(leaf_hash: bytes, place: int, siblings: Sequence[bytes]) -> bytes:
    """Return the root of the tree in which this leaf stands at this place beside these siblings."""
    node = leaf_hash
    for height, sibling in enumerate(siblings):
        right = place >> height & 1
        node = _node(sibling, node) if right else _node(node, sibling)
    return node


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
