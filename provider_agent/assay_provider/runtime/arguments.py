"""The command line of bwrap, and with it the whole shape of the sandbox. Pure.

Mounts are made in the order of the arguments. The root and /dev are remounted read-only at the end:
both are tmpfs that bwrap makes without a size and that would belong to the job. /dev/shm is part of
the scratch tmpfs for the same reason. Source: bwrap(1), version 0.8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_provider.runtime.exact import FOLDER_INSIDE
from assay_provider.runtime.launch_messages import Staging
from assay_provider.runtime.sandbox import GpuGrant

ARGUMENTS_FD: Final = 3
SECCOMP_FD: Final = 4
STATUS_FD: Final = 5

WASM_INSIDE: Final = "/opt/wasm"
"""Where a T0 sandbox holds wasmtime and what runs modules in it."""

SOCKET_INSIDE: Final = "/dev/assay"
"""Where a job finds its socket, as programs find their log's in /dev/log: /dev is always ours."""

JOB_UID: Final = 1000
"""Uid and gid the job sees as its own; the host knows it under its slot's uid."""

SANDBOX_PIDS: Final = 2
"""bwrap's monitor and the reaper it runs as PID 1; both are in the job's cgroup."""

_NAMESPACES: Final = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup",
    "--unshare-net",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRoot:
    """How the host lays out /bin, /lib and the like."""

    bound: tuple[str, ...]
    """Directories to bind read-only, /usr first."""
    links: tuple[tuple[str, str], ...]
    """Path and target of links, where /bin is a link into /usr."""


def bubblewrap_arguments(
    *,
    root: SystemRoot,
    staging: Staging,
    python_bound: bool,
    exact_torch_bound: bool,
    wasm_bound: bool,
    socket_bound: bool = False,
    environment: Mapping[str, str],
    gpus: GpuGrant | None = None,
    mounted: Path | None = None,
    hidden: Sequence[str] = (),
) -> list[str]:
    """Return bwrap's options, without the program's name and the command.

    `mounted` is the root of an environment; without one the job sees the host's system and Python.
    `hidden` are folders below /proc, which exist there, to show empty.
    """
    return [
        *_NAMESPACES,
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--uid", str(JOB_UID), "--gid", str(JOB_UID), "--hostname", "job"),
        *("--seccomp", str(SECCOMP_FD), "--json-status-fd", str(STATUS_FD)),
        *(
            ("--ro-bind", str(mounted), "/")
            if mounted
            else (*_host_system(root, staging), *_host_python(staging, python_bound=python_bound))
        ),
        *("--proc", "/proc", "--dev", "/dev"),
        *(word for path in hidden for word in ("--tmpfs", path, "--remount-ro", path)),
        *(("--ro-bind", str(staging.exact), FOLDER_INSIDE) if exact_torch_bound else ()),
        *(("--ro-bind", str(staging.wasm), WASM_INSIDE) if wasm_bound else ()),
        *(_gpus(gpus) if gpus else ()),
        *_job_directories(staging),
        *(("--bind", str(staging.socket), SOCKET_INSIDE) if socket_bound else ()),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        "--clearenv",
        *_variables(environment),
        *("--chdir", "/tmp"),  # noqa: S108 # the sandbox's own /tmp
    ]


def limited_per_process(
    command: Sequence[str], *, memory_bytes: int, pids_max: int, prlimit: Path
) -> list[str]:
    """Return a command under resource limits, the fallback where no cgroup can be had.

    Applied inside the sandbox: set before bwrap makes its user namespace, RLIMIT_NPROC would count
    every process of the owner.
    """
    limits = (f"--as={memory_bytes}", f"--nproc={pids_max + SANDBOX_PIDS}")
    return [str(prlimit), *limits, "--", *command]


def check_variables(environment: Mapping[str, str]) -> None:
    """Refuse names and values that cannot be environment variables.

    Raises:
        LocalError: naming the variable.
    """
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise LocalError(f"{name[:64]!r} cannot be an environment variable; rename it")


def _host_system(root: SystemRoot, staging: Staging) -> list[str]:
    arguments: list[str] = []
    for directory in root.bound:
        arguments += ["--ro-bind", directory, directory]
    for path, target in root.links:
        arguments += ["--symlink", target, path]
    return [*arguments, "--ro-bind", str(staging.etc), "/etc"]


def _host_python(staging: Staging, *, python_bound: bool) -> list[str]:
    environment = ["--ro-bind", str(staging.environment), "/opt/environment"]
    if not python_bound:
        return environment
    return ["--ro-bind", str(staging.python), "/opt/python", *environment]


def _gpus(grant: GpuGrant) -> list[str]:
    """Show the nodes and what of the driver's files their libraries are, and nothing else of it."""
    arguments: list[str] = []
    for node in grant.nodes:
        arguments += ["--dev-bind", str(node.path), str(node.path)]
    for source, inside in grant.mounts:
        arguments += ["--ro-bind", str(source), inside]
    return arguments


def _job_directories(staging: Staging) -> list[str]:
    return [
        *("--bind", str(staging.scratch / "tmp"), "/tmp"),  # noqa: S108 # the sandbox's own
        *("--bind", str(staging.scratch / "shm"), "/dev/shm"),  # noqa: S108 # the sandbox's own
        *("--bind", str(staging.output), "/output"),
        *("--ro-bind", str(staging.input), "/input"),
    ]


def _variables(environment: Mapping[str, str]) -> list[str]:
    return [word for name in sorted(environment) for word in ("--setenv", name, environment[name])]
