"""Merkle paths prove a place, and nothing else."""

import hashlib

import pytest

from assay_node.protocol import merkle


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf(bytes((number,))) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_every_place_has_a_path_to_the_root(count):
    levels = merkle.tree(leaves(count))
    for place, leaf in enumerate(leaves(count)):
        path = merkle.path(levels, place)
        assert len(path) == merkle.depth(count)
        assert merkle.root_over(leaf, place, path) == merkle.root(levels)


def test_a_path_proves_one_place_and_one_leaf():
    levels = merkle.tree(leaves(8))
    path = merkle.path(levels, 3)
    proven = [
        (place, number)
        for place in range(8)
        for number, leaf in enumerate(leaves(8))
        if merkle.root_over(leaf, place, path) == merkle.root(levels)
    ]
    assert proven == [(3, 3)]


def test_the_tree_is_what_the_document_says():
    def sha(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    one, two, three = (sha(b"\x00" + bytes((n,))) for n in range(3))
    left, right = sha(b"\x01" + one + two), sha(b"\x01" + three + bytes(32))
    assert merkle.root(merkle.tree(leaves(3))) == sha(b"\x01" + left + right)
    assert merkle.root(merkle.tree(leaves(1))) == one
