"""Dishonest providers for local chains: they show that dishonesty is caught and costs money.

Everything a persona can do differently is behind `Conduct`; the daemon knows no persona by name.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address

LOCAL_CHAIN_ID: Final = 31337
"""Anvil's chain id: nothing on it is worth anything."""

_TEXT_SUFFIXES: Final = frozenset({".txt", ".json", ".csv", ".md", ".log", ""})
_DIGITS: Final = b"0123456789"


class Persona(StrEnum):
    """How a provider misbehaves."""

    LIAR = "liar"
    """Commits to a plausible, wrong output."""
    SILENT = "silent"
    """Commits, but never reveals."""
    STALLER = "staller"
    """Takes leases and never commits."""
    PRETENDER = "pretender"
    """Sells honest work on hardware of which it has nine tenths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """What a provider does with a lease, or a challenge. The default is honest."""

    works: bool = True
    reveals: bool = True
    lies_as: Address | None = None
    pretends: bool = False
    """Whether it leaves out a tenth of a hardware proof, and makes that up."""

    def alter(self, output: Path) -> None:
        """Change an output directory before it is stored; an honest provider leaves it alone."""
        if self.lies_as is not None:
            _falsify(output, hashlib.sha256(self.lies_as.encode()).digest())


HONEST: Final = Conduct()


def conduct_of(persona: str | None, *, chain_id: int, operator: Address) -> Conduct:
    """Return the conduct of a persona; None is honest.

    Raises:
        LocalError: a dishonest persona on a chain with real money, or an unknown one.
    """
    if not persona:
        return HONEST
    if persona not in tuple(Persona):
        raise LocalError(f"persona {persona!r} is not one of {', '.join(Persona)}")
    if chain_id != LOCAL_CHAIN_ID:
        raise LocalError(
            f"personas are for local chains ({LOCAL_CHAIN_ID}) only; this is chain {chain_id}: "
            "unset provider.persona"
        )
    match Persona(persona):
        case Persona.LIAR:
            return Conduct(lies_as=operator)
        case Persona.SILENT:
            return Conduct(reveals=False)
        case Persona.STALLER:
            return Conduct(works=False)
        case Persona.PRETENDER:
            return Conduct(pretends=True)


def _falsify(output: Path, key: bytes) -> None:
    files = sorted(path for path in output.rglob("*") if path.is_file())
    if not files:
        (output / "result.txt").write_bytes(key.hex().encode())
    for path in files:
        data = bytearray(path.read_bytes())
        _alter_digits(data, key) if path.suffix in _TEXT_SUFFIXES else _alter_bytes(data, key)
        path.write_bytes(bytes(data))


def _alter_digits(data: bytearray, key: bytes) -> None:
    places = [index for index, byte in enumerate(data) if byte in _DIGITS]
    if not places:
        data += key.hex().encode()  # nothing to miscalculate: say more instead
    for count, index in enumerate(places):
        # by 1 to 8, so that a digit always changes and never wraps to itself
        data[index] = _DIGITS[(data[index] - _DIGITS[0] + 1 + key[count % 32] % 8) % 10]


def _alter_bytes(data: bytearray, key: bytes) -> None:
    if not data:
        data += key
    for count, index in enumerate(range(0, len(data), 64)):
        data[index] ^= 1 + key[count % 32] % 255
