"""The products themselves, C_t = A P_t B, on the processor."""

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from assay_node.proof_arithmetic.matrices import (
    BLOCK_ROWS,
    Int16s,
    Matrix,
    Permutation,
    blocks_of,
)
from assay_node.protocol.ids import Digest

MIXED_ROWS: Final = 16
"""Rows of P_t B made at a time: half a MiB at the largest side, which a core's cache holds."""

Int32s = npt.NDArray[np.int32]


class Products(Protocol):
    """One device that holds an epoch's matrices.

    A device may work ahead: `start` may return before a product is there, and one may be started
    before the rows of the last have been read.
    """

    @property
    def size(self) -> int:
        """The side of the matrices."""
        ...

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        """Begin a product; yields all its rows from the top, in blocks of shape (rows, size)."""
        ...

    def rows(self, mixed: Int16s) -> Int32s:
        """Return rows of a product, given those of A P_t; shapes (rows, size) both."""
        ...


class ProcessorProducts:
    """Products by NumPy's float32 matrix multiplication, with all cores that it may use.

    Exact as long as no sum leaves 2^24: at the largest side that takes 8.5 standard deviations.
    Holds four matrices of float32: 256 MiB at a side of 4096, 1 GiB at 8192.
    """

    def __init__(self, beacon: Digest, size: int) -> None:
        self._left = _whole(beacon, size, Matrix.A)
        self._right = _whole(beacon, size, Matrix.B)
        self._mixed = np.empty((size, size), np.float32)
        self._product = np.empty((size, size), np.float32)
        np.matmul(self._left, self._right, out=self._product)  # pages are there, cores awake

    @property
    def size(self) -> int:
        """The side of the matrices."""
        return len(self._left)

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        """Multiply, and yield all rows in blocks."""
        sign = permutation.sign.astype(np.float32)[:, np.newaxis]
        for first in range(0, self.size, MIXED_ROWS):
            block = slice(first, first + MIXED_ROWS)
            mixed = self._mixed[block]
            # "clip" writes straight into `out`; the indices are in range anyway
            np.take(self._right, permutation.order[block], axis=0, out=mixed, mode="clip")
            mixed *= sign[block]
        np.matmul(self._left, self._mixed, out=self._product)
        for first in range(0, self.size, BLOCK_ROWS):
            yield self._product[first : first + BLOCK_ROWS].astype(np.int32)

    def rows(self, mixed: Int16s) -> Int32s:
        """Return single rows of a product."""
        found: Int32s = np.matmul(mixed.astype(np.float32), self._right).astype(np.int32)
        return found


def _whole(beacon: Digest, size: int, matrix: Matrix) -> npt.NDArray[np.float32]:
    whole = np.empty((size, size), np.float32)
    for first, rows in blocks_of(beacon, size, matrix):
        whole[first : first + len(rows)] = rows
    return whole
