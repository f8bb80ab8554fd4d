"""The epoch's matrices and the permutations of each product, from AES in counter mode.

C_t = A P_t B. A and B have n x n entries in [-255, 255]; (P_t B)[k, :] = sign[k] B[order[k], :].

AES-256 in counter mode is the generator because any part of its stream is had at once (a verifier
makes single rows of A), it runs at gigabytes a second wherever there is OpenSSL, and nobody needs
this file to write it again.

Sources: NIST SP 800-38A section 6.5 (counter mode); FIPS 197 (AES).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from assay_node.protocol.ids import Digest

ENTRY_MAX: Final = 255
"""Entries need 9 bits: exact in float32, tfloat32, float16 and bfloat16, not in int8 or float8."""
BLOCK_ROWS: Final = 128
"""Rows made at a time: 2 MiB of the widest matrix, which stay in a core's cache."""
_AES_BLOCK_BYTES: Final = 16
_LABEL: Final = b"assay hardware proof, "

Int16s = npt.NDArray[np.int16]


class Matrix(StrEnum):
    """One of the epoch's matrices."""

    A = "A"
    B = "B"


@dataclass(frozen=True, slots=True)
class Permutation:
    """P_t: where each row of B comes from, and with which sign. Both of length n."""

    order: npt.NDArray[np.int64]
    sign: npt.NDArray[np.int8]


def rows_of(beacon: Digest, size: int, matrix: Matrix, first: int, count: int) -> Int16s:
    """Return rows first .. first + count - 1 of a matrix, shape (count, size)."""
    key = _key("matrix " + matrix, beacon, size.to_bytes(4, "little"))
    words = _words(key, count * size, first * size)
    # a multiple of 511 / 65536 of a uniform word, rounded down: uniform to one part in 128
    entries = (words.astype(np.uint32) * np.uint32(2 * ENTRY_MAX + 1)) >> np.uint32(16)
    return (entries.astype(np.int16) - np.int16(ENTRY_MAX)).reshape(count, size)


def blocks_of(beacon: Digest, size: int, matrix: Matrix) -> Iterator[tuple[int, Int16s]]:
    """Yield a whole matrix as (number of the first row, rows)."""
    for first in range(0, size, BLOCK_ROWS):
        count = min(BLOCK_ROWS, size - first)
        yield first, rows_of(beacon, size, matrix, first, count)


def permutation_of(seed: Digest, part: int, work: int, size: int) -> Permutation:
    """Return P_t of product `work` of the part with this number.

    `order` sorts `size` 16-bit words, equal ones by their index; the signs are the bits of the
    size / 8 bytes that follow, each byte's lowest first, and 1 means minus.
    """
    key = _key("permutation", seed, part.to_bytes(4, "little"), work.to_bytes(4, "little"))
    words = _words(key, size + size // 16, 0)
    bits = np.unpackbits(words[size:].view(np.uint8), bitorder="little")
    return Permutation(
        order=np.argsort(words[:size], kind="stable"),
        sign=np.where(bits == 1, np.int8(-1), np.int8(1)),
    )


def mixed_rows(left: Int16s, permutation: Permutation) -> Int16s:
    """Return rows of A P_t, given those of A: times B they are rows of C_t."""
    mixed = np.empty_like(left)
    mixed[:, permutation.order] = left * permutation.sign
    return mixed


def _key(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(_LABEL + label.encode() + b"\0" + b"".join(parts)).digest()


def _words(key: bytes, count: int, first: int) -> npt.NDArray[np.uint16]:
    """Return little-endian 16-bit words of the key's stream; `first` is a multiple of 8."""
    offset = 2 * first
    assert offset % _AES_BLOCK_BYTES == 0, "streams are entered at whole AES blocks"
    counter = (offset // _AES_BLOCK_BYTES).to_bytes(_AES_BLOCK_BYTES, "big")
    stream = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor()
    return np.frombuffer(stream.update(bytes(2 * count)), dtype="<u2")
