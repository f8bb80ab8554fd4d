"""Fills a device's memory, checks that it took it, and leaves zeros. Pure but for what it drives.

1. Allocate until nothing is left, in blocks that halve when a size no longer fits.
2. What was got must be as much as nobody else may hold.
3. Fill each block with a word of its own, so that two that are one memory show.
4. Read back a piece of every stretch of each block, at places nobody could foresee.
5. Fill with zeros, read back the same way.
6. Give everything back.

Reading all of it back would take ten seconds and more for 80 GB; a piece of every stretch takes
less than one, and a driver that skips or mixes up memory does so in whole pages.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from assay_node.protocol.units import GIB, KIB, MIB, size_to_text

BLOCK_BYTES: Final = 1 * GIB
BLOCK_BYTES_MIN: Final = 2 * MIB
"""NVIDIA's page of device memory: smaller blocks would find nothing more."""

BLOCKS_MAX: Final = 4096
STRETCH_BYTES: Final = 4 * MIB
PIECE_BYTES: Final = 4 * KIB
"""A thousandth is read: 80 MB of 80 GB, in 20,000 pieces."""

_WORD_BYTES: Final = 4
_FILL: Final = 0xA5A50000
"""Block n is filled with this and n; neither zero nor what allocators poison memory with."""


class DeviceOutOfMemory(Exception):
    """The device has no room for a block of this size."""


class DeviceFault(Exception):
    """The device or its driver failed; the text says how."""


class DeviceMemory(Protocol):
    """One device's memory. Every call may raise `DeviceFault`."""

    def allocate(self, size: int) -> int:
        """Return the address of a new block. Raises `DeviceOutOfMemory`."""
        ...

    def fill(self, address: int, size: int, word: int) -> None:
        """Write a 32-bit word all over a block; returns when it is done."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Copy from the device."""
        ...

    def free(self, address: int) -> None:
        """Give a block back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """What clearing a device came to; `fault` says why it may not be given to a tenant."""

    cleared_bytes: int
    read_bytes: int
    fault: str = ""


@dataclass(slots=True)
class _Block:
    address: int
    size: int
    word: int


def clear_memory(
    memory: DeviceMemory, *, least_bytes: int, draw: Callable[[int], int] = secrets.randbelow
) -> Clearing:
    """Clear all of a device's memory that can be had.

    Args:
        memory: the device's.
        least_bytes: what must be had, or somebody else holds the rest.
        draw: returns a number below its argument, to choose where to read.
    """
    blocks: list[_Block] = []
    read_bytes = 0
    fault = ""
    try:
        _allocate_all(memory, blocks)  # 1
        total = sum(block.size for block in blocks)
        if total < least_bytes:  # 2
            fault = (
                f"only {size_to_text(total)} of its memory could be had, "
                f"{size_to_text(least_bytes)} must be free: another program holds the rest"
            )
        for word_of in (lambda block: block.word, lambda _: 0):  # 3 and 4, then 5
            for block in blocks:
                memory.fill(block.address, block.size, word_of(block))
            for block in blocks:
                read, wrong = _check(memory, block, word_of(block), draw)
                read_bytes += read
                fault = fault or wrong
    except DeviceFault as error:
        fault = fault or str(error)
    finally:
        fault = _free_all(memory, blocks) or fault  # 6
    return Clearing(
        cleared_bytes=sum(block.size for block in blocks), read_bytes=read_bytes, fault=fault
    )


def _allocate_all(memory: DeviceMemory, blocks: list[_Block]) -> None:
    size = BLOCK_BYTES
    while size >= BLOCK_BYTES_MIN and len(blocks) < BLOCKS_MAX:
        try:
            address = memory.allocate(size)
        except DeviceOutOfMemory:
            size //= 2
            continue
        blocks.append(_Block(address=address, size=size, word=_FILL + len(blocks)))


def _check(
    memory: DeviceMemory, block: _Block, word: int, draw: Callable[[int], int]
) -> tuple[int, str]:
    """Return how much was read, and what was wrong with it."""
    expected = word.to_bytes(_WORD_BYTES, "little") * (PIECE_BYTES // _WORD_BYTES)
    pieces = list(_pieces(block, draw))
    for address in pieces:
        if memory.read(address, PIECE_BYTES) != expected:
            return len(pieces) * PIECE_BYTES, (
                f"its memory does not hold what was written to it ({PIECE_BYTES} bytes at "
                f"{address:#x}): the card or its driver is broken"
            )
    return len(pieces) * PIECE_BYTES, ""


def _pieces(block: _Block, draw: Callable[[int], int]) -> Iterable[int]:
    for start in range(0, block.size, STRETCH_BYTES):
        room = min(STRETCH_BYTES, block.size - start)
        yield block.address + start + draw(room // PIECE_BYTES) * PIECE_BYTES


def _free_all(memory: DeviceMemory, blocks: Iterable[_Block]) -> str:
    fault = ""
    for block in blocks:
        try:
            memory.free(block.address)
        except DeviceFault as error:
            fault = str(error)
    return fault
