"""What a job is: command, inputs, limits and how its replicas' results are compared.

A spec is one DAG-CBOR block. The sha2-256 digest in its CID is the order's `spec`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from assay_node.protocol import cid as cids
from assay_node.protocol import codec
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid, Digest
from assay_node.protocol.units import GIB, MIB, UINT64_MAX

SPEC_BYTES_MAX: Final = 64 * 1024
"""A spec names its data by CID; what is larger is data."""

SPEC_VERSION: Final = 3
"""Version 2 knew one tier, one environment and no GPU; version 1 had no field `exact`."""
GPUS_MAX: Final = 64
"""More than any machine has; a bound keeps sums small."""
ARGUMENTS_MAX: Final = 256
NAME_CHARACTERS_MAX: Final = 80
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Comparison(StrEnum):
    """When two replicas' outputs count as the same."""

    EXACT = "exact"
    """Output digests are equal, on whatever hardware of the order's class. Needs `JobSpec.exact`:
    honest machines agree on floating-point results only where something makes them."""

    CLASS = "class"
    """As `exact`, and every replica runs with the same software: on providers with one and the same
    software digest, or in an environment that the spec names by its CID."""


class Exactness(StrEnum):
    """Why a job's output does not depend on the machine."""

    E21 = "E21"
    """The PyTorch program runs under exact_torch, contractions in 21-bit integers."""

    E14 = "E14"
    """As `E21`, in 14-bit integers."""

    FMA = "FMA"
    """As `E21`, in float32 with fused multiply-adds of a fixed order."""

    AS_IS = "as-is"
    """The requester's word that all its operations are exact anyway: integers, hashing, text,
    single IEEE operations. Nothing is done for it and nothing is checked."""


EXACT_MODES: Final = frozenset({Exactness.E21, Exactness.E14, Exactness.FMA})
"""What exact_torch can be told to compute in."""

EXACT_SPECIFICATION: Final = 1
"""The version of exact_torch's specification that these modes mean: replicas agree only within one,
so a provider offers modes only if its exact_torch implements this one."""

_PYTHON: Final = ("python", "python3")


class Tier(StrEnum):
    """How a job is isolated from the provider's machine; a spec names the weakest it accepts."""

    T0 = "t0"
    """A WebAssembly module in wasmtime: deterministic, CPU only, no system calls of its own."""
    T1 = "t1"
    """Bubblewrap with every limit enforced: namespaces, own uid, seccomp, cgroups."""
    T2 = "t2"
    """An OCI runtime with every limit enforced; gVisor where the owner has a current one."""


def tiers_accepted(tier: str) -> tuple[str, ...]:
    """Return the tiers that do for a spec's tier, the one it names first.

    A module for T0 runs nowhere else; what asks for T1 may get the stronger T2.
    """
    return (Tier.T1.value, Tier.T2.value) if tier == Tier.T1 else (tier,)


WASM: Final = "wasm"
"""The runtime of T0: the command's first word is a WebAssembly module (WASI preview 1)."""
HOST_PYTHON: Final = "host-python"
"""The runtime that is the provider's own Python, for development."""
ENVIRONMENTS: Final = "environment"
"""In an offer: any environment that a spec names by its CID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Hard limits of one run; what exceeds them ends with a verdict that names the limit.

    `gpus` are whole devices (or MIG instances) that no other job sees meanwhile, each with at least
    `gpu_memory_bytes`.
    """

    memory_bytes: int = 1 * GIB
    cpus_milli: int = 1000
    pids_max: int = 128
    scratch_bytes: int = 256 * MIB
    output_bytes: int = 64 * MIB
    output_files_max: int = 1000
    input_bytes: int = 256 * MIB
    gpus: int = 0
    gpu_memory_bytes: int = 0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            least = 0 if name.startswith("gpu") else 1
            if not least <= getattr(self, name) <= UINT64_MAX:
                raise MalformedMessage(f"{name} is at least {least}")
        if self.gpus > GPUS_MAX:
            raise MalformedMessage(f"a job has at most {GPUS_MAX} GPUs")
        if self.gpu_memory_bytes and not self.gpus:
            raise MalformedMessage("gpu_memory_bytes asks for memory of a GPU, and gpus is 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job, as every replica runs it.

    `inputs` is a directory, mounted read-only at /input; what the command leaves in /output is the
    result. `runtime` is the CID of an environment, or "wasm" (T0), or "host-python" (the provider's
    own Python, for development). `comparison` is a `Comparison`, `tier` a `Tier`, by value; `exact`
    is an `Exactness` by value, or None.
    """

    version: int = SPEC_VERSION
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: Cid
    runtime: str = HOST_PYTHON
    comparison: str = Comparison.CLASS.value
    exact: str | None = None
    tier: str = Tier.T1.value
    resources: Resources = Resources()

    def __post_init__(self) -> None:
        if self.version != SPEC_VERSION:
            raise MalformedMessage(f"spec version {self.version} is not {SPEC_VERSION}")
        if not 1 <= len(self.name) <= NAME_CHARACTERS_MAX or not self.name.isprintable():
            raise MalformedMessage(
                f"a job's name is 1 to {NAME_CHARACTERS_MAX} printable characters"
            )
        if not 1 <= len(self.command) <= ARGUMENTS_MAX or not self.command[0]:
            raise MalformedMessage(f"a command has 1 to {ARGUMENTS_MAX} arguments")
        if any("\0" in argument for argument in (*self.command, *self.environment.values())):
            raise MalformedMessage("arguments and environment values cannot contain NUL")
        for name in self.environment:
            if not _VARIABLE.fullmatch(name):
                raise MalformedMessage(f"{name[:64]!r} is not the name of an environment variable")
        check_exactness(self.command, self.comparison, self.exact)
        check_runtime(self.tier, self.runtime, self.resources)
        cids.parse(self.inputs)

    @property
    def mode(self) -> str | None:
        """The mode of exact_torch that the command runs under; None when it runs as it is."""
        return self.exact if self.exact in EXACT_MODES else None


def runtime_kind(runtime: str) -> str:
    """Return under which name an offer lists what a spec runs in."""
    return runtime if runtime in (WASM, HOST_PYTHON) else ENVIRONMENTS


def check_runtime(tier: str, runtime: str, resources: Resources) -> None:
    """Refuse a tier and a runtime that do not go together.

    Raises:
        MalformedMessage: with what to write instead.
    """
    if tier not in tuple(Tier):
        raise MalformedMessage(f"tier {tier[:32]!r} is not t0, t1 or t2")
    if (tier == Tier.T0) != (runtime == WASM):
        raise MalformedMessage('tier "t0" and the runtime "wasm" go together: say both or neither')
    if tier == Tier.T0 and resources.gpus:
        raise MalformedMessage('tier "t0" has no GPUs; use tier "t1"')
    if runtime not in (WASM, HOST_PYTHON):
        try:
            cids.parse(Cid(runtime))
        except MalformedMessage:
            raise MalformedMessage(
                f"runtime {runtime[:64]!a} is not an environment's CID, {WASM!r} or {HOST_PYTHON!r}"
            ) from None


def check_exactness(command: tuple[str, ...], comparison: str, exact: str | None) -> None:
    """Refuse a job whose results could differ between honest machines and are compared as if not.

    Raises:
        MalformedMessage: with what to write instead.
    """
    if comparison not in tuple(Comparison):
        raise MalformedMessage(f"comparison {comparison[:32]!r} is not exact or class")
    if exact is not None and exact not in tuple(Exactness):
        raise MalformedMessage(f"exact {exact[:32]!r} is not E21, E14, FMA or as-is")
    if exact is None and comparison == Comparison.EXACT:
        raise MalformedMessage(
            'comparison "exact" needs one of three: exact = "E21" (or "E14", "FMA") runs a PyTorch '
            'program with the same bits on any machine; exact = "as-is" is your word that all its '
            'operations are exact anyway (integers, hashing, text); or comparison = "class" '
            "compares only machines with the same software"
        )
    if exact in EXACT_MODES and not _is_script(command):
        raise MalformedMessage(
            f'exact = "{exact}" runs a Python script: write the command as ["python", SCRIPT, '
            f'...], not {" ".join(command)[:64]!r}, or say exact = "as-is" if its operations are '
            "exact anyway"
        )


def _is_script(command: tuple[str, ...]) -> bool:
    return len(command) >= 2 and command[0] in _PYTHON and not command[1].startswith("-")


def encode(spec: JobSpec) -> tuple[Cid, bytes]:
    """Return a spec's block and CID.

    Raises:
        MalformedMessage: the block would exceed `SPEC_BYTES_MAX`.
    """
    data = codec.encode(spec)
    if len(data) > SPEC_BYTES_MAX:
        raise MalformedMessage(f"the spec has {len(data)} bytes; at most {SPEC_BYTES_MAX}")
    return cids.of_block(cids.DAG_CBOR, data), data


def decode(data: bytes) -> JobSpec:
    """Return the spec in a block.

    Raises:
        MalformedMessage: it holds none.
    """
    if len(data) > SPEC_BYTES_MAX:
        raise MalformedMessage(f"the spec has {len(data)} bytes; at most {SPEC_BYTES_MAX}")
    return codec.decode(JobSpec, data)


def spec_cid(spec: Digest) -> Cid:
    """Return the CID of the spec an order names."""
    return cids.from_digest(cids.DAG_CBOR, spec)
