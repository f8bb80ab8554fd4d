"""Checks opened rows: each is what binds it says, and is that row of C_t = A P_t B.

Freivalds' check, at the opened rows: for a secret r, row i of C_t is right only if
`row . r == (A P_t)[i, :] . (B r)`. A wrong row passes for at most one in 2^20 choices of r, because
at any column where it is wrong at most one value of r's entry makes the sums equal. r never leaves
the verifier, so B r is computed once an epoch; rows of A are made when they are asked for. All
sums are exact in int64:
|C| <= 2^13 * 255^2 < 2^29, |r| <= 2^19, so |row . r| < 2^61, and |A| |B r| < 2^62 likewise.

Source: R. Freivalds, Probabilistic machines can use less running time, 1977.
"""

import secrets
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from assay_node.proof_arithmetic.matrices import (
    ENTRY_MAX,
    Matrix,
    blocks_of,
    mixed_rows,
    permutation_of,
    rows_of,
)
from assay_node.protocol import merkle
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.hardware_proof import ProofOpening, ProofPart, ProofQuestion, path_bytes
from assay_node.protocol.ids import DIGEST_BYTES, Digest

SECRET_BITS: Final = 20
"""Of each entry of r: a wrong row passes once in a million, and no sum leaves int64."""


class WrongProof(RemoteError):
    """An opening is not what honest work on the challenge gives; the text says where."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A verifier's random vector r for one epoch and side, and B r. Whoever knows r can cheat."""

    beacon: Digest
    size: int
    vector: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, beacon: Digest, size: int) -> "Secret":
        """Draw r and compute B r; 0.4 to 0.8 s for the largest side, once an epoch."""
        half = 1 << (SECRET_BITS - 1)
        entries = np.frombuffer(secrets.token_bytes(4 * size), np.uint32) % (2 * half)
        vector = entries.astype(np.int64) - half
        # exact: |B r| <= 2^13 * 2^8 * 2^19 is an integer far below 2^53
        as_float, image = vector.astype(np.float64), np.empty(size, np.int64)
        for first, rows in blocks_of(beacon, size, Matrix.B):
            image[first : first + len(rows)] = rows.astype(np.float64) @ as_float
        return cls(beacon=beacon, size=size, vector=vector, image=image)


def check_opening(
    opening: ProofOpening,
    question: ProofQuestion,
    part: ProofPart,
    *,
    seed: Digest,
    root: Digest,
    secret: Secret,
) -> None:
    """Check one page of an opening.

    1. It answers this question, with as many bytes as its rows and paths have.
    2. Every entry is one that a product of these matrices can have.
    3. Each row stands at its place below the root that was committed to.
    4. Each row is that row of its product (Freivalds).

    Raises:
        WrongProof: naming the first of these that does not hold.
    """
    assert secret.size == part.size, "a secret is for one side"
    values = _values(opening, question, part)  # 1
    largest = part.size * ENTRY_MAX**2
    if values.max() > largest or values.min() < -largest:  # 2
        raise WrongProof("an opened row has entries that no product can have")
    places = zip(question.works, question.rows, strict=True)
    for index, (work, row) in enumerate(places):
        _check_place(values[index], opening.paths[index], work, row, part, root)  # 3
    _check_rows(values, question, part, seed, secret)  # 4


def _values(
    opening: ProofOpening, question: ProofQuestion, part: ProofPart
) -> npt.NDArray[np.int32]:
    count = len(question.rows)
    sound = (
        opening.round == question.round
        and len(opening.values) == 4 * part.size * count
        and [len(path) for path in opening.paths] == [path_bytes(part)] * count
    )
    if not sound:
        raise WrongProof("the opening does not have the form of what was asked for")
    return np.frombuffer(opening.values, dtype="<i4").reshape(count, part.size)


def _check_place(
    values: npt.NDArray[np.int32], path: bytes, work: int, row: int, part: ProofPart, root: Digest
) -> None:
    siblings = [path[at : at + DIGEST_BYTES] for at in range(0, len(path), DIGEST_BYTES)]
    height = merkle.depth(part.size)
    work_root = merkle.root_over(merkle.leaf(values.data), row, siblings[:height])
    if merkle.root_over(work_root, work, siblings[height:]) != root:
        raise WrongProof(f"row {row} of product {work} is not the one that was committed to")


def _check_rows(
    values: npt.NDArray[np.int32],
    question: ProofQuestion,
    part: ProofPart,
    seed: Digest,
    secret: Secret,
) -> None:
    permutations = {
        work: permutation_of(seed, question.part, work, part.size) for work in set(question.works)
    }
    for index, (work, row) in enumerate(zip(question.works, question.rows, strict=True)):
        left = rows_of(secret.beacon, part.size, Matrix.A, row, 1)
        mixed = mixed_rows(left, permutations[work])[0]
        due = int(mixed.astype(np.int64) @ secret.image)
        if int(values[index].astype(np.int64) @ secret.vector) != due:
            raise WrongProof(f"row {row} of product {work} is not that row of the product")
