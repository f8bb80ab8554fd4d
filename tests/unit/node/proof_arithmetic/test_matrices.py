"""The epoch's matrices and permutations, held to the bit by the document's vectors."""

import numpy as np
import pytest

from assay_node.proof_arithmetic.matrices import (
    ENTRY_MAX,
    Matrix,
    blocks_of,
    mixed_rows,
    permutation_of,
    rows_of,
)
from assay_node.protocol.ids import Digest

BEACON = Digest(bytes(range(32)))
SEED = Digest(bytes(range(32, 64)))


def test_the_vectors_of_the_document():
    assert rows_of(BEACON, 256, Matrix.A, 0, 1)[0, :6].tolist() == VECTORS["A"]
    assert rows_of(BEACON, 256, Matrix.B, 255, 1)[0, :6].tolist() == VECTORS["B"]
    permutation = permutation_of(SEED, 1, 2, 256)
    assert permutation.order[:6].tolist() == VECTORS["order"]
    assert permutation.sign[:6].tolist() == VECTORS["sign"]


@pytest.mark.parametrize("matrix", Matrix)
def test_rows_are_had_one_by_one(matrix):
    whole = np.concatenate([rows for _, rows in blocks_of(BEACON, 256, matrix)])
    assert whole.shape == (256, 256)
    for row in (0, 1, 127, 128, 255):
        assert np.array_equal(rows_of(BEACON, 256, matrix, row, 1)[0], whole[row])


def test_entries_fill_the_range_that_int8_does_not_hold():
    entries = rows_of(BEACON, 1024, Matrix.A, 0, 1024)
    assert entries.min() == -ENTRY_MAX
    assert entries.max() == ENTRY_MAX
    assert abs(entries.mean()) < 1
    assert 147 < entries.std() < 148


def test_matrices_differ_by_all_that_names_them():
    other = Digest(bytes(32))
    firsts = [
        rows_of(BEACON, 256, Matrix.A, 0, 1)[0, :64],
        rows_of(BEACON, 256, Matrix.B, 0, 1)[0, :64],
        rows_of(other, 256, Matrix.A, 0, 1)[0, :64],
        rows_of(BEACON, 512, Matrix.A, 0, 1)[0, :64],
    ]
    assert len({first.tobytes() for first in firsts}) == len(firsts)


def test_permutations_are_permutations_and_differ():
    seen = set()
    for part, work in ((0, 0), (0, 1), (1, 0)):
        permutation = permutation_of(SEED, part, work, 512)
        assert sorted(permutation.order.tolist()) == list(range(512))
        assert set(permutation.sign.tolist()) == {-1, 1}
        seen.add(permutation.order.tobytes())
    assert len(seen) == 3


def test_mixing_rows_of_a_is_multiplying_by_the_permutation():
    left, right = (
        np.concatenate([rows for _, rows in blocks_of(BEACON, 256, m)]).astype(np.int64)
        for m in Matrix
    )
    permutation = permutation_of(SEED, 0, 7, 256)
    mixed = permutation.sign[:, None].astype(np.int64) * right[permutation.order]
    rows = mixed_rows(rows_of(BEACON, 256, Matrix.A, 3, 2), permutation).astype(np.int64)
    assert np.array_equal(rows @ right, (left @ mixed)[3:5])


VECTORS = {
    "A": [125, 135, 197, -80, 88, 189],
    "B": [67, 223, 233, 24, -82, 68],
    "order": [138, 66, 76, 81, 203, 85],
    "sign": [1, 1, -1, 1, 1, 1],
}
