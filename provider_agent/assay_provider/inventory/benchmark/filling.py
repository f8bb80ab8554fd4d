"""Whether memory holds what is written: all of it is filled before any of it is read back."""

from collections.abc import Callable
from typing import Protocol

from assay_node.protocol.errors import LocalError


class Chunk(Protocol):
    """A piece of a device's memory."""

    def write(self, seed: int) -> None:
        """Fill it with what no other seed gives."""
        ...

    def holds(self, seed: int) -> bool:
        """Tell whether it reads back as written."""
        ...


class OutOfMemory(Exception):
    """A device has no more memory."""


def filled(allocate: Callable[[], Chunk], *, chunk_bytes: int, bytes_max: int) -> int:
    """Return how much memory was filled and read back, in bytes, up to `bytes_max`.

    Args:
        allocate: gives one more chunk.
        chunk_bytes: the size of each.
        bytes_max: where to end.

    Raises:
        LocalError: some of it came back otherwise: the memory is faulty, or it is not there.
    """
    chunks: list[Chunk] = []
    while (len(chunks) + 1) * chunk_bytes <= bytes_max:
        try:
            chunk = allocate()
            chunk.write(len(chunks))
        except OutOfMemory:
            break
        chunks.append(chunk)
    bad = [seed for seed, chunk in enumerate(chunks) if not chunk.holds(seed)]
    if bad:
        raise LocalError(
            f"{len(bad)} of {len(chunks)} pieces of memory came back otherwise than written; the "
            "memory is faulty, or there is less of it than claimed"
        )
    return len(chunks) * chunk_bytes
