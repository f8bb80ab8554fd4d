"""Computes one device's part of a round, commits to it, and opens rows of it."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from assay_node.proof_arithmetic.matrices import Matrix, mixed_rows, permutation_of, rows_of
from assay_node.protocol import merkle
from assay_node.protocol.errors import Refused
from assay_node.protocol.hardware_proof import ProofOpening, ProofQuestion
from assay_node.protocol.ids import DIGEST_BYTES, Digest
from assay_provider.proving.products import Int32s, Products

HASHING_ROWS: Final = 32
"""Rows a thread hashes at a time: hashlib lets other threads run while it hashes one."""


class Prover:
    """One part of one round.

    Of what it computes it keeps the rows' fingerprints alone, 32 bytes each; rows that are asked
    for are computed again, which costs one row's share of a product.
    """

    def __init__(self, products: Products, beacon: Digest) -> None:
        self._products = products
        self._beacon = beacon
        self._seed: Digest | None = None
        self._number = 0
        self._leaves: list[bytes] = []
        """For each product, the hashes of all its rows one after the other."""
        self._over_works: merkle.Levels = []
        self._trees: dict[int, merkle.Levels] = {}

    def commit(self, seed: Digest, number: int, works: int) -> Digest:
        """Compute products 0 .. works - 1 of part `number` and return the root over them."""
        self._seed, self._number, self._trees = seed, number, {}
        self._leaves, roots = [], []
        with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as hashing:
            for blocks in self._ahead(works):
                leaves = _fingerprints(hashing, blocks)
                self._leaves.append(b"".join(leaves))
                roots.append(merkle.root(merkle.tree(leaves)))
        self._over_works = merkle.tree(roots)
        return merkle.root(self._over_works)

    def open(self, question: ProofQuestion) -> ProofOpening:
        """Return the rows that are asked for, with their paths.

        Raises:
            Refused: nothing was committed to, or the question is for what was not.
        """
        size = self._products.size
        known = question.part == self._number and max(question.works) < len(self._leaves)
        if self._seed is None or not known or max(question.rows) >= size:
            raise Refused("the question is for rows that were not committed to")
        places = list(zip(question.works, question.rows, strict=True))
        mixed = np.concatenate([self._mixed(work, row) for work, row in places])
        return ProofOpening(
            round=question.round,
            values=self._products.rows(mixed).astype("<i4").tobytes(),
            paths=tuple(self._path(work, row) for work, row in places),
        )

    def _ahead(self, works: int) -> Iterator[Iterator[Int32s]]:
        """Start each product before the one in front of it is hashed."""
        started = self._start(0)
        for work in range(works):
            current = started
            if work + 1 < works:
                started = self._start(work + 1)
            yield current

    def _start(self, work: int) -> Iterator[Int32s]:
        assert self._seed is not None
        size = self._products.size
        return self._products.start(permutation_of(self._seed, self._number, work, size))

    def _mixed(self, work: int, row: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
        assert self._seed is not None
        size = self._products.size
        left = rows_of(self._beacon, size, Matrix.A, row, 1)
        return mixed_rows(left, permutation_of(self._seed, self._number, work, size))

    def _path(self, work: int, row: int) -> bytes:
        if work not in self._trees:
            self._trees[work] = merkle.tree(_split(self._leaves[work]))
        siblings = merkle.path(self._trees[work], row) + merkle.path(self._over_works, work)
        return b"".join(siblings)


def _fingerprints(hashing: ThreadPoolExecutor, blocks: Iterator[Int32s]) -> list[bytes]:
    """Hash all rows of a product, in order."""
    pending = [
        hashing.submit(_hash_rows, block[first : first + HASHING_ROWS])
        for block in blocks
        for first in range(0, len(block), HASHING_ROWS)
    ]
    return [leaf for done in pending for leaf in done.result()]


def _hash_rows(rows: Int32s) -> list[bytes]:
    return [merkle.leaf(row.data) for row in rows.astype("<i4", copy=False)]


def _split(leaves: bytes) -> Sequence[bytes]:
    return [leaves[at : at + DIGEST_BYTES] for at in range(0, len(leaves), DIGEST_BYTES)]
