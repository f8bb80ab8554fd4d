"""Functions, events and errors of contracts: encoded and decoded as their ABI types say.

`assay_node.chain.bindings` holds one of these for each that our contracts have.

Source: https://docs.soliditylang.org/en/latest/abi-spec.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address

SELECTOR_BYTES: Final = 4


@dataclass(frozen=True)
class Log:
    """One event as the node reports it."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    transaction: bytes
    block_number: int


@dataclass(frozen=True)
class AbiEntry:
    """A function, event or error: its name and its members' names and ABI types, in order."""

    name: str
    names: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def signature(self) -> str:
        """The canonical signature, such as `transfer(address,uint256)`."""
        return f"{self.name}({','.join(self.types)})"

    @cached_property
    def hash(self) -> bytes:
        """keccak256 of the signature: an event's topic; its first 4 bytes select a function."""
        return keccak(text=self.signature)

    @property
    def selector(self) -> bytes:
        """The 4 bytes that select a function or name an error."""
        return self.hash[:SELECTOR_BYTES]

    def decode_members(self, data: bytes) -> dict[str, Any]:
        """Return the members by name, from what follows the selector."""
        return dict(zip(self.names, _decode(self.types, data, self.name), strict=True))


@dataclass(frozen=True)
class Function(AbiEntry):
    """A function; `outputs` are the ABI types of what it returns."""

    outputs: tuple[str, ...]

    def encode_call(self, arguments: Sequence[Any]) -> bytes:
        """Return the call data."""
        return self.selector + abi_encode(self.types, arguments)

    def decode_call(self, data: bytes) -> tuple[Any, ...]:
        """Return the arguments of call data that begins with this function's selector.

        Raises:
            ChainError: the bytes are not of the declared types.
        """
        return _decode(self.types, data[SELECTOR_BYTES:], self.name)

    def decode_result(self, data: bytes) -> tuple[Any, ...]:
        """Return what a call returned.

        Raises:
            ChainError: the bytes are not of the declared types.
        """
        return _decode(self.outputs, data, self.name)


@dataclass(frozen=True)
class ErrorType(AbiEntry):
    """An error that a contract reverts with."""


@dataclass(frozen=True)
class EventType(AbiEntry):
    """An event; `indexed` tells for each member whether it is a topic."""

    indexed: tuple[bool, ...]

    def decode_log(self, log: Log) -> dict[str, Any]:
        """Return the members by name. Indexed members of dynamic type are not used by Assay.

        Raises:
            ChainError: topics or data are not as declared.
        """
        topic_types = [t for t, i in zip(self.types, self.indexed, strict=True) if i]
        data_types = [t for t, i in zip(self.types, self.indexed, strict=True) if not i]
        if len(log.topics) != len(topic_types) + 1:
            raise ChainError(f"an event {self.name} has another number of topics than declared")
        topics = iter(
            _decode([kind], topic, self.name)[0]
            for kind, topic in zip(topic_types, log.topics[1:], strict=True)
        )
        data = iter(_decode(data_types, log.data, self.name))
        values = [next(topics) if i else next(data) for i in self.indexed]
        return dict(zip(self.names, values, strict=True))


@dataclass(frozen=True, slots=True)
class DecodedEvent:
    """An event of a contract; its members are the fields of its own class, one for each kind."""

    ABI: ClassVar[EventType]

    @classmethod
    def decode(cls, log: Log) -> Self:
        """Return the event that a log is.

        Raises:
            ChainError: topics or data are not as declared.
        """
        return cls(**cls.ABI.decode_log(log))


BUILT_IN_ERRORS: Final = (
    ErrorType("Error", ("text",), ("string",)),
    ErrorType("Panic", ("code",), ("uint256",)),
)
"""The compiler's own: https://docs.soliditylang.org/en/latest/control-structures.html."""


def _decode(types: Sequence[str], data: bytes, name: str) -> tuple[Any, ...]:
    try:
        return tuple(abi_decode(types, data))
    except (DecodingError, OverflowError, UnicodeDecodeError):
        raise ChainError(
            f"what the chain says of {name} is not as declared; "
            "does the deployment file belong to this version?"
        ) from None
