"""Messages as canonical DAG-CBOR: one value, one byte string.

A message is a frozen dataclass. Its wire form is a map of its fields, by name, plus the key "type".
Decoding is strict: unknown or missing fields, wrong types, trailing or non-canonical bytes are all
`MalformedMessage`; nothing else is ever raised, whatever the bytes. That the library refuses every
non-canonical form is held by tests.

Source: https://ipld.io/specs/codecs/dag-cbor/spec/
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

import dag_cbor

from assay_node.protocol.errors import MalformedMessage

MESSAGE_BYTES_MAX = 1 << 20
"""No message needs more; a larger one is refused before it is parsed."""

_M = TypeVar("_M")
_INT_MAX = (1 << 64) - 1  # DAG-CBOR integers; larger numbers travel as 32-byte strings


def encode(message: Any) -> bytes:
    """Return the canonical bytes of a message dataclass."""
    return bytes(dag_cbor.encode(_to_wire(message)))


def decode(kind: type[_M], data: bytes) -> _M:
    """Return the message of this kind that `data` is the canonical encoding of.

    Raises:
        MalformedMessage: it is not one.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise MalformedMessage(
            f"message of {len(data)} bytes; at most {MESSAGE_BYTES_MAX} accepted"
        )
    try:
        wire = dag_cbor.decode(data)
    except Exception as error:  # noqa: BLE001 - hostile bytes, and the decoder's errors are many
        raise MalformedMessage(f"not DAG-CBOR: {_first_line(error)}") from None
    message: _M = _from_wire(kind, wire, kind.__name__)
    return message


def _to_wire(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        wire = {f.name: _to_wire(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **wire}
    if isinstance(value, tuple):
        return [_to_wire(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _to_wire(item) for key, item in value.items()}
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and not -_INT_MAX <= value <= _INT_MAX
    ):
        raise MalformedMessage("integers on the wire have at most 64 bits")
    return value


@lru_cache(maxsize=256)
def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _from_wire(kind: Any, wire: Any, path: str) -> Any:
    kind = getattr(kind, "__supertype__", kind)  # a NewType is its base on the wire
    kind = getattr(kind, "__supertype__", kind)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if wire is None:
            if type(None) in typing.get_args(kind):
                return None
            raise MalformedMessage(f"{path} is missing")
        (inner,) = [a for a in typing.get_args(kind) if a is not type(None)]
        return _from_wire(inner, wire, path)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(wire, list):
            raise MalformedMessage(f"{path} is not a list")
        return tuple(_from_wire(item, w, f"{path}[{i}]") for i, w in enumerate(wire))
    if origin in (dict, Mapping):
        if not isinstance(wire, dict):
            raise MalformedMessage(f"{path} is not a map")
        item = typing.get_args(kind)[1]
        return {k: _from_wire(item, w, f"{path}.{k}") for k, w in wire.items()}
    if dataclasses.is_dataclass(kind):
        return _message_from_wire(typing.cast("type", kind), wire, path)
    if type(wire) is not kind:  # exact: bool is not int here
        raise MalformedMessage(f"{path} is not of type {kind.__name__}")
    return wire


def _message_from_wire(kind: type, wire: Any, path: str) -> Any:
    fields = _fields(kind)
    if not isinstance(wire, dict) or wire.get("type") != kind.__name__:
        raise MalformedMessage(f"{path} is not a {kind.__name__}")
    unknown = sorted(wire.keys() - fields.keys() - {"type"})
    missing = sorted(fields.keys() - wire.keys())
    if unknown or missing:
        what = f"unknown field {unknown[0]!r:.60}" if unknown else f"no field {missing[0]!r}"
        raise MalformedMessage(f"{path} has {what}")
    values = {name: _from_wire(hint, wire[name], f"{path}.{name}") for name, hint in fields.items()}
    return kind(**values)  # __post_init__ checks ranges and raises MalformedMessage


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    line = text.splitlines()[0] if text else type(error).__name__
    return line[:120].encode("ascii", "backslashreplace").decode()
