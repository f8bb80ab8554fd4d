"""What the daemon and its launcher process tell each other. Pure.

JSON, because both ends are this version of this package on this machine: nothing here is ever read
from a stranger.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MESSAGE_BYTES_MAX: Final = 16 << 10
"""Messages on the control socket; the longest carries bwrap's complaint."""

COLLECT: Final = b"collect"
RUN: Final = b"run"
MOUNT: Final = b"mount"
UNMOUNT: Final = b"unmount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """Paths in the launcher's private mount namespace from which bwrap builds the sandbox."""

    root: Path

    @property
    def etc(self) -> Path:
        """The sandbox's /etc."""
        return self.root / "etc"

    @property
    def python(self) -> Path:
        """The base Python, bound from the host."""
        return self.root / "python"

    @property
    def environment(self) -> Path:
        """A virtual environment made for the sandbox, with the host's packages bound in."""
        return self.root / "environment"

    @property
    def exact(self) -> Path:
        """The folder that holds the package exact_torch."""
        return self.root / "exact"

    def mounted(self, environment: str) -> Path:
        """An environment's root, by its name."""
        return self.root / "environments" / environment

    @property
    def wasm(self) -> Path:
        """The folder that holds wasmtime and what runs modules in it."""
        return self.root / "wasm"

    @property
    def input(self) -> Path:
        """The job's input directory."""
        return self.root / "input"

    @property
    def output(self) -> Path:
        """The job's output tmpfs."""
        return self.root / "output"

    @property
    def socket(self) -> Path:
        """The job's socket."""
        return self.root / "socket"

    @property
    def bundle(self) -> Path:
        """The job's OCI bundle: its configuration and root."""
        return self.root / "bundle"

    @property
    def scratch(self) -> Path:
        """The job's scratch tmpfs; holds `tmp` and `shm`."""
        return self.root / "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherConfig:
    """What is the same for every job of one daemon."""

    staging_point: str
    bubblewrap: str
    seccomp_hex: str
    python_base: str | None
    """Directory to bind as the base Python; None when it is below /usr, which is bound anyway."""
    site_packages: str | None
    exact_torch: str | None
    """Directory of the package exact_torch; None where it is not installed."""
    exact_kernels: str | None
    """Directory of the kernels that were built for it here; None if there can be none."""
    wasm_packages: dict[str, str]
    """Directories of what T0 needs: path below its folder to path on the host; empty without T0."""
    keeper: str
    """The program that is PID 1 of containers; empty where there is none."""
    pyvenv_config: str
    environment_links: dict[str, str]
    """Links to make in the sandbox's virtual environment: path below it to target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What an OCI runtime needs to know besides."""

    command: list[str]
    """Starts the runtime on the bundle."""
    foreground: bool
    """Whether the runtime stays as the job's parent."""
    joins_by_path: bool
    """Whether the runtime moves the job into its cgroups, instead of being in them."""
    configuration: dict[str, Any]
    users: list[list[int]]
    """Uids, and gids, inside and on the host; the job's own last."""
    places: list[list[str]]
    """Mount points of the root that is made in the bundle, each with what is bound there, if so."""
    links: list[list[str]]
    """Path and target of links in it."""
    keeper: list[str]
    """A program that does nothing, as PID 1."""
    hidden_mounts: list[str]
    """To take away for the runtime alone: cgroup hierarchies that it must not use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """One job, ready to start."""

    uid: int
    gid: int
    """Host uid and gid to run under."""
    drop_privileges: bool
    """False when the launcher runs under them already."""
    cgroup_procs: list[str]
    """Files to write "0" to, to join the job's cgroups."""
    arguments: list[str]
    """For bwrap's `--args`."""
    command: list[str]
    input_directory: str
    output_directory: str
    scratch_tmpfs_bytes: int
    output_tmpfs_bytes: int
    output_bytes: int
    output_files_max: int
    wall_seconds: float
    log_bytes: int
    socket: str = ""
    """The job's socket on the host; empty where nobody listens."""
    container: ContainerSpec | None = None
    """Starts the job in a container; None in bwrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """An environment to mount, with its images, the lowest first; or one to unmount, by name."""

    name: str
    images: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchExit:
    """How the sandbox ended."""

    exit_code: int | None
    timed_out: bool
    setup_failure: str
    """Why the sandbox never ran the command; empty when it did."""
    wall_seconds: float
    cpu_seconds: float
    """From wait4, for machines without cgroups."""
    memory_peak_bytes: int
    """Largest single process, for machines without cgroups."""
    scratch_full: bool
    output_full: bool
    started_ns: int = 0
    exited_ns: int = 0
    """Monotonic, of this machine; `wall_seconds` lies between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What became of the output."""

    refused: str = ""
    too_large: str = ""
    failed: str = ""
    """The provider's own disk or memory failed."""


def encode(
    message: LauncherConfig | LaunchSpec | EnvironmentSpec | LaunchExit | Collected,
) -> bytes:
    """Return a message as JSON."""
    return json.dumps(dataclasses.asdict(message)).encode()


def decode_config(data: bytes) -> LauncherConfig:
    """Return the message `encode` made."""
    return LauncherConfig(**_fields(data))


def decode_spec(data: bytes) -> LaunchSpec:
    """Return the message `encode` made."""
    fields = _fields(data)
    container = fields.pop("container")
    return LaunchSpec(**fields, container=ContainerSpec(**container) if container else None)


def decode_environment(data: bytes) -> EnvironmentSpec:
    """Return the message `encode` made."""
    return EnvironmentSpec(**_fields(data))


def decode_exit(data: bytes) -> LaunchExit:
    """Return the message `encode` made."""
    return LaunchExit(**_fields(data))


def decode_collected(data: bytes) -> Collected:
    """Return the message `encode` made."""
    return Collected(**_fields(data))


def _fields(data: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(data)
    return fields
