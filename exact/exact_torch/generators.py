"""Keys of random draws, from torch's own generators.

A draw takes two consecutive 32-bit outputs of the generator's MT19937 (Matsumoto and Nishimura,
ACM TOMACS 8(1), 1998), the high word first, as the 64-bit key of a Philox stream. So `manual_seed`,
`get_state`, `fork_rng` and checkpoints work as ever, and a draw costs the generator the same
whatever its size. Tensors on any device draw from the CPU's default generator.

CUDA generators count words; the key of draw n of one is the n-th of an MT19937 with its seed.
"""

from typing import Final

import torch

OFFSET_PER_DRAW: Final = 4
"""What a draw adds to a CUDA generator's offset, which is always a multiple of four."""

FOLLOWED_MAX: Final = 16
"""CUDA generators whose MT19937 is kept between draws; others are run up again from the seed."""

_SKIPPED_AT_ONCE: Final = 1 << 20

_followed: dict[int, tuple[int, torch.Generator]] = {}


def next_key(generator: torch.Generator | None = None) -> int:
    """Return the key, in [0, 2^64), of the generator's next draw (None: the default generator)."""
    if generator is None:
        return _draw(torch.default_generator)
    if generator.device.type == "cpu":
        return _draw(generator)
    offset = generator.get_offset()
    key = _key_of_draw(generator.initial_seed(), offset // OFFSET_PER_DRAW)
    generator.set_offset(offset + OFFSET_PER_DRAW)
    return key


def _draw(generator: torch.Generator) -> int:
    """Return two outputs of an MT19937: what torch's full-range int64 is made of."""
    drawn = torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return int(drawn) & (2**64 - 1)


def _key_of_draw(seed: int, index: int) -> int:
    """Return key number `index` of the MT19937 with this seed."""
    position, generator = _followed.pop(seed, (0, None))
    if generator is None or position > index:
        position, generator = 0, torch.Generator().manual_seed(seed)
    while position < index:
        count = min(index - position, _SKIPPED_AT_ONCE)
        torch.empty(count, dtype=torch.int64).random_(-(2**63), None, generator=generator)
        position += count
    if len(_followed) >= FOLLOWED_MAX:
        _followed.pop(next(iter(_followed)))
    key = _draw(generator)
    _followed[seed] = (index + 1, generator)
    return key
