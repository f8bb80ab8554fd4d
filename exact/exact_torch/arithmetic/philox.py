"""Philox4x32-10 in int64 torch ops (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3").

One draw of n numbers uses the blocks with counters (i, 0, 0, 0), i = 0 … ceil(n/4)-1, of a 64-bit
key; the four words of a block are four consecutive numbers.
"""

from collections.abc import Iterator
from typing import Final

import torch

from exact_torch.arithmetic import functions
from exact_torch.arithmetic.bits import F32, F64, I64, constant

ROUNDS: Final = 10
MULTIPLIER_0: Final = 0xD2511F53
MULTIPLIER_1: Final = 0xCD9E8D57
WEYL_0: Final = 0x9E3779B9
WEYL_1: Final = 0xBB67AE85
MASK: Final = 0xFFFFFFFF
TWO_PI: Final = float.fromhex("0x1.921fb54442d18p+2")

PIECE_PAIRS: Final = 1 << 16
"""Pairs of normal numbers made at a time: a few MiB in all their steps."""


def blocks(counter: tuple[torch.Tensor, ...], key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Return the four words, int64 in [0, 2^32), of each block.

    Args:
        counter: four int64 tensors in [0, 2^32).
        key: two words.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(MULTIPLIER_0, c0)
        high1, low1 = _multiply(MULTIPLIER_1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL_0) & MASK, (k1 + WEYL_1) & MASK
    return c0, c1, c2, c3


def _multiply(a: int, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the high and low words of a·b, in halves so that no int64 overflows."""
    low = (b & 0xFFFF) * a
    high = (b >> 16) * a + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def words(key: int, count: int, device: torch.device | str, start: int = 0) -> torch.Tensor:
    """Return words `start` to `start + count`, int64 in [0, 2^32), of a 64-bit key's stream."""
    first = start // 4
    index = torch.arange(first, (start + count + 3) // 4, dtype=I64, device=device)
    zero = torch.zeros_like(index)
    counter = (index & MASK, index >> 32, zero, zero)
    drawn = torch.stack(blocks(counter, (key & MASK, key >> 32)), 1).reshape(-1)
    return drawn[start - 4 * first :][:count]


def uniform(key: int, count: int, device: torch.device | str) -> torch.Tensor:
    """Return float32 in [0, 1): the upper 24 bits of a word over 2^24."""
    return ((words(key, count, device) >> 8).to(F64) * 2.0**-24).to(F32)


def uniform64(key: int, count: int, device: torch.device | str) -> torch.Tensor:
    """Return float64 in [0, 1): 53 bits of two words over 2^53."""
    both = words(key, 2 * count, device).reshape(-1, 2)
    return ((both[:, 0] << 21) | (both[:, 1] >> 11)).to(F64) * 2.0**-53


def normal(key: int, count: int, device: torch.device | str) -> torch.Tensor:
    """Return standard normal float64; `normal_pieces` has the formula."""
    result = torch.empty(count, dtype=F64, device=device)
    for where, piece in normal_pieces(key, count, device):
        result[where] = piece
    return result


def normal_pieces(
    key: int, count: int, device: torch.device | str
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield standard normal float64 by Box and Muller, a piece and its place at a time.

    u1 = (word + 1)/2^32 in (0, 1], u2 = word/2^32 of the first and the second half of 2·ceil(n/2)
    words: sqrt(-2 ln u1)·cos(2 pi u2) of all pairs, then the sines.
    """
    pairs = (count + 1) // 2
    for start in range(0, pairs, PIECE_PAIRS):
        size = min(PIECE_PAIRS, pairs - start)
        u1 = (words(key, size, device, start).to(F64) + 1.0) * 2.0**-32
        u2 = words(key, size, device, pairs + start).to(F64) * 2.0**-32
        radius = torch.sqrt(functions.log64(u1) * constant(-2.0, u1))
        sine, cosine = functions.sin_cos(u2 * constant(TWO_PI, u2))
        yield slice(start, start + size), radius * cosine
        rest = min(size, count - pairs - start)
        yield slice(pairs + start, pairs + start + rest), (radius * sine)[:rest]
