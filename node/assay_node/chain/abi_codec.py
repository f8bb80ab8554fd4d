"""What a contract's JSON ABI says, as functions, events and errors that encode and decode.

Source: https://docs.soliditylang.org/en/latest/abi-spec.html
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from assay_node.protocol.errors import ChainError, LocalError
from assay_node.protocol.ids import Address

_SELECTOR_BYTES = 4
_WORD_BYTES = 32
_BUILT_IN_ERRORS = (  # the compiler's own, https://docs.soliditylang.org/en/latest/control-structures.html
    {"type": "error", "name": "Error", "inputs": [{"name": "text", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)


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
        return self.hash[:_SELECTOR_BYTES]

    def decode_members(self, data: bytes) -> dict[str, Any]:
        """Return the members by name, from what follows the selector."""
        return dict(zip(self.names, _decode(self.types, data, self.name), strict=True))


@dataclass(frozen=True)
class Function(AbiEntry):
    """A function; `outputs` are the ABI types of what it returns."""

    outputs: tuple[str, ...]

    def encode_call(self, *arguments: Any) -> bytes:
        """Return the call data."""
        return self.selector + abi_encode(self.types, arguments)

    def decode_result(self, data: bytes) -> tuple[Any, ...]:
        """Return what a call returned.

        Raises:
            ChainError: the bytes are not of the declared types.
        """
        return _decode(self.outputs, data, self.name)


@dataclass(frozen=True)
class Event(AbiEntry):
    """An event; `indexed` tells for each member whether it is a topic."""

    indexed: tuple[bool, ...]

    def decode_log(self, log: Log) -> dict[str, Any]:
        """Return the members by name. Indexed members of dynamic type are not used by Assay."""
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


@dataclass(frozen=True)
class Interface:
    """A contract's ABI. Errors include the compiler's own `Error(string)` and `Panic(uint256)`."""

    functions: Mapping[str, Function]
    events: Mapping[bytes, Event]
    errors: Mapping[bytes, AbiEntry]

    def event(self, name: str) -> Event:
        """Return an event by name."""
        return next(event for event in self.events.values() if event.name == name)


def parse(abi: Sequence[Mapping[str, Any]]) -> Interface:
    """Return the interface that a JSON ABI describes. Overloads keep the first definition."""
    functions: dict[str, Function] = {}
    events: dict[bytes, Event] = {}
    errors: dict[bytes, AbiEntry] = {}
    for item in (*abi, *_BUILT_IN_ERRORS):
        inputs = item.get("inputs", ())
        names = tuple(member["name"] or f"_{i}" for i, member in enumerate(inputs))
        types = tuple(map(_canonical, inputs))
        match item["type"]:
            case "function":
                outputs = tuple(map(_canonical, item["outputs"]))
                function = Function(item["name"], names, types, outputs)
                functions.setdefault(function.name, function)
            case "event":
                indexed = tuple(bool(member["indexed"]) for member in inputs)
                event = Event(item["name"], names, types, indexed)
                events[event.hash] = event
            case "error":
                error = AbiEntry(item["name"], names, types)
                errors[error.selector] = error
    return Interface(functions, events, errors)


@lru_cache(maxsize=16)
def packaged(contract: str) -> Interface:
    """Return the interface of one of Assay's contracts, from the ABI shipped in the package.

    Raises:
        LocalError: the package lacks it.
    """
    try:
        text = resources.files("assay_node.chain").joinpath("abi", f"{contract}.json").read_text()
    except FileNotFoundError:
        raise LocalError(f"the ABI of {contract} is missing from this installation") from None
    abi = json.loads(text)
    return parse(abi["abi"] if isinstance(abi, dict) else abi)


def _canonical(member: Mapping[str, Any]) -> str:
    kind: str = member["type"]
    if kind.startswith("tuple"):
        inner = ",".join(map(_canonical, member["components"]))
        return f"({inner}){kind.removeprefix('tuple')}"
    return kind


def _decode(types: Sequence[str], data: bytes, name: str) -> tuple[Any, ...]:
    try:
        return tuple(abi_decode(types, data))
    except (DecodingError, OverflowError):
        raise ChainError(
            f"what the chain says of {name} is not as declared; "
            "does the deployment file belong to this version?"
        ) from None
