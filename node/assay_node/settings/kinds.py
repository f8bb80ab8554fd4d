"""Kinds of values that settings have: how each is read, and what it allows in words.

The word "allowed" of a kind's JSON schema is what errors and `docs/settings.md` show.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_settings import NoDecode

from assay_node.protocol.errors import AssayError
from assay_node.protocol.ids import address
from assay_node.protocol.units import parse_size
from assay_node.settings.places import full_path


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except AssayError as error:
        raise ValueError(str(error)) from None


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _gpus(value: tuple[str, ...]) -> tuple[str, ...]:
    if value in (("none",), ("auto",)):
        return value
    if not value or not all(name.startswith(("GPU-", "MIG-")) for name in value):
        raise ValueError("say auto, none, or UUIDs as `assay provider gpus` shows them")
    if len(set(value)) < len(value):
        raise ValueError("a GPU is named twice")
    return value


def _multiaddr(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("a multiaddr starts with a slash")
    return value


def _peer_multiaddr(value: str) -> str:
    if "/p2p/" not in _multiaddr(value):
        raise ValueError("a peer's multiaddr ends in /p2p/ and its peer ID")
    return value


def _rpc_url(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError("an RPC endpoint starts with http:// or https://")
    return value


def _database_url(value: str) -> str:
    if not value.startswith(("sqlite:", "sqlite+aiosqlite:", "postgresql:", "postgresql+psycopg:")):
        raise ValueError("a database URL starts with sqlite:/// or postgresql://")
    return value


def _address(value: str) -> str:
    try:
        return address(value)
    except AssayError as error:
        raise ValueError(str(error)) from None


FullPath = Annotated[
    Path,
    AfterValidator(full_path),
    WithJsonSchema({"type": "string", "allowed": "a path; ~ is your home"}),
]
FullPaths = Annotated[
    tuple[FullPath, ...],
    NoDecode,
    BeforeValidator(_split),
    WithJsonSchema({"type": "array", "allowed": "paths, with commas between; ~ is your home"}),
]
AddressText = Annotated[
    str,
    AfterValidator(_address),
    WithJsonSchema({"type": "string", "allowed": "an Ethereum address: 0x and 40 hex digits"}),
]
Addresses = Annotated[
    tuple[AddressText, ...],
    NoDecode,
    BeforeValidator(_split),
    WithJsonSchema({"type": "array", "allowed": "Ethereum addresses, with commas between"}),
]
Tiers = Annotated[
    tuple[Literal["t0", "t1", "t2"], ...],
    NoDecode,
    BeforeValidator(_split),
    WithJsonSchema({"type": "array", "allowed": "t0, t1 or t2, with commas between"}),
]
GpuNames = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(_split),
    AfterValidator(_gpus),
    WithJsonSchema(
        {"type": "array", "allowed": "auto, none, or UUIDs of GPUs, with commas between"}
    ),
]
RpcUrl = Annotated[
    str,
    AfterValidator(_rpc_url),
    WithJsonSchema({"type": "string", "allowed": "a URL that starts with http:// or https://"}),
]
DatabaseUrl = Annotated[
    str,
    AfterValidator(_database_url),
    Field(repr=False),
    WithJsonSchema(
        {"type": "string", "allowed": "a URL that starts with sqlite:/// or postgresql://"}
    ),
]
Multiaddr = Annotated[
    str,
    AfterValidator(_multiaddr),
    WithJsonSchema({"type": "string", "allowed": "a multiaddr such as /ip4/127.0.0.1/tcp/4001"}),
]
PeerMultiaddr = Annotated[
    str,
    AfterValidator(_peer_multiaddr),
    WithJsonSchema({"type": "string", "allowed": "a multiaddr that ends in /p2p/ and a peer ID"}),
]
Multiaddrs = Annotated[
    tuple[Multiaddr, ...],
    NoDecode,
    BeforeValidator(_split),
    WithJsonSchema(
        {
            "type": "array",
            "allowed": "multiaddrs such as /ip4/127.0.0.1/tcp/4001, with commas between",
        }
    ),
]
PeerMultiaddrs = Annotated[
    tuple[PeerMultiaddr, ...],
    NoDecode,
    BeforeValidator(_split),
    WithJsonSchema(
        {
            "type": "array",
            "allowed": "multiaddrs that end in /p2p/ and a peer ID, with commas between",
        }
    ),
]
Bytes = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1, le=1 << 50),
    WithJsonSchema({"type": "integer", "allowed": "a size such as 512M, 2G or a number of bytes"}),
]
BytesOrNone = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=0, le=1 << 50),
    WithJsonSchema({"type": "integer", "allowed": "a size such as 512M, 2G; 0 is no limit"}),
]
Microusd = Annotated[int, Field(ge=0, le=10**15)]
Seconds = Annotated[int, Field(ge=1, le=365 * 86_400)]
Interval = Annotated[float, Field(gt=0, le=86_400)]
Gwei = Annotated[float, Field(ge=0, le=100_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]
