"""What a daemon and the process that works on one device say to each other.

Each message is a frame on a pipe: four bytes of length, little-endian, then canonical DAG-CBOR.
Questions and openings travel as they came over the network.
"""

from dataclasses import dataclass
from typing import Final

from assay_node.protocol import codec
from assay_node.protocol.ids import Digest

LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load the matrices of an epoch on a device, None for the processor."""

    device: Digest | None
    beacon: Digest
    size: int
    pretends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The device can start at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Compute a part's products and commit to them."""

    seed: Digest
    number: int
    works: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The root over all of a part's products."""

    root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It could not be done; the text is for the owner, and says nothing that must stay here."""

    reason: str


def framed(message: object) -> bytes:
    """Return a message as it stands on the pipe."""
    data = codec.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


def length_of(header: bytes) -> int:
    """Return how many bytes follow a frame's first four."""
    return int.from_bytes(header, "little")
