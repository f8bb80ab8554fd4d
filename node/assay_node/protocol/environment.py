"""What an environment is: the root file system of a job, as layers that travel by their CIDs.

A manifest is one DAG-CBOR block; its CID is the `runtime` of the specs that use it. A layer is a
tar archive in the one form that docs/protocol/environments.md describes, stored as a UnixFS file.
Never a file system image: whoever mounts one hands its bytes to the kernel.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from assay_node.protocol import cid as cids
from assay_node.protocol import codec
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid
from assay_node.protocol.units import check_uint

MANIFEST_VERSION: Final = 1
MANIFEST_BYTES_MAX: Final = 64 * 1024
"""64 layers take 10 KiB; the rest is for variables."""
LAYERS_MAX: Final = 64
"""Each is a mount and a loop device on every machine; images in use have about ten."""
LAYER_FILES_MAX: Final = 500_000
"""Entries of one layer; PyTorch with CUDA has 40,000."""
NAME_CHARACTERS_MAX: Final = 80
VARIABLES_MAX: Final = 256

_ARCHITECTURE: Final = re.compile(r"[a-z0-9_]{1,32}")
_PYTHON: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
VARIABLES_REFUSED: Final = ("LD_", "NVIDIA_")
"""Variables with these beginnings steer loaders and driver tools, also those of the provider that
come before the job: several escapes from containers went this way. A job's own may set them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLayer:
    """One layer: where its tar is, how long that is, and what is in it.

    `unpacked_bytes` is the sum of its files' sizes, `files` counts its entries of every kind. Both
    are exact, and whoever unpacks stops at the first byte or entry more.
    """

    cid: Cid
    tar_bytes: int
    unpacked_bytes: int
    files: int

    def __post_init__(self) -> None:
        if cids.codec_of(cids.parse(self.cid)) == cids.DAG_CBOR:
            raise MalformedMessage("a layer is a file, not a DAG-CBOR block")
        check_uint(self.tar_bytes, 64, "tar_bytes")
        check_uint(self.unpacked_bytes, 64, "unpacked_bytes")
        if not 0 < self.files <= LAYER_FILES_MAX:
            raise MalformedMessage(f"a layer has 1 to {LAYER_FILES_MAX} entries")
        if self.unpacked_bytes > self.tar_bytes:
            raise MalformedMessage("a layer's files are no larger than its tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentManifest:
    """An environment: layers, the lowest first, and the variables of every job in it.

    `architecture` is the machine it was built for, as uname(2) names it. `python` is the version of
    the Python it holds ("3.11"), for people; None without one.
    """

    version: int = MANIFEST_VERSION
    name: str
    architecture: str
    layers: tuple[EnvironmentLayer, ...]
    variables: Mapping[str, str]
    python: str | None = None

    def __post_init__(self) -> None:
        if self.version != MANIFEST_VERSION:
            raise MalformedMessage(
                f"environment version {self.version} is not {MANIFEST_VERSION}; update Assay"
            )
        if not 1 <= len(self.name) <= NAME_CHARACTERS_MAX or not self.name.isprintable():
            raise MalformedMessage(
                f"an environment's name is 1 to {NAME_CHARACTERS_MAX} printable characters"
            )
        if not _ARCHITECTURE.fullmatch(self.architecture):
            raise MalformedMessage("an architecture is a word such as x86_64")
        if not 1 <= len(self.layers) <= LAYERS_MAX:
            raise MalformedMessage(f"an environment has 1 to {LAYERS_MAX} layers")
        if len({layer.cid for layer in self.layers}) < len(self.layers):
            raise MalformedMessage("an environment has each layer once")
        if self.python is not None and not _PYTHON.fullmatch(self.python):
            raise MalformedMessage("a Python version is two numbers such as 3.11")
        _check_variables(self.variables)

    @property
    def tar_bytes(self) -> int:
        """What has to be fetched if nothing of it is here."""
        return sum(layer.tar_bytes for layer in self.layers)

    @property
    def unpacked_bytes(self) -> int:
        """The sum of the sizes of all files in all layers."""
        return sum(layer.unpacked_bytes for layer in self.layers)


def is_variable_allowed(name: str) -> bool:
    """Whether an environment may set this variable."""
    return bool(_VARIABLE.fullmatch(name)) and not name.startswith(VARIABLES_REFUSED)


def encode(manifest: EnvironmentManifest) -> tuple[Cid, bytes]:
    """Return a manifest's CID and block.

    Raises:
        MalformedMessage: the block would exceed `MANIFEST_BYTES_MAX`.
    """
    data = codec.encode(manifest)
    _check_size(data)
    return cids.of_block(cids.DAG_CBOR, data), data


def decode(data: bytes) -> EnvironmentManifest:
    """Return the manifest in a block.

    Raises:
        MalformedMessage: it holds none.
    """
    _check_size(data)
    return codec.decode(EnvironmentManifest, data)


def _check_size(data: bytes) -> None:
    if len(data) > MANIFEST_BYTES_MAX:
        raise MalformedMessage(
            f"the environment's manifest has {len(data)} bytes; at most {MANIFEST_BYTES_MAX}"
        )


def _check_variables(variables: Mapping[str, str]) -> None:
    if len(variables) > VARIABLES_MAX:
        raise MalformedMessage(f"an environment has at most {VARIABLES_MAX} variables")
    for name, value in variables.items():
        if not is_variable_allowed(name):
            raise MalformedMessage(f"an environment cannot set the variable {name[:64]!a}")
        if "\0" in value:
            raise MalformedMessage(f"the variable {name} contains NUL")
