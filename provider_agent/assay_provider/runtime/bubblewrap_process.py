"""Starts bwrap as a child: in its cgroups, under its uid, with nothing of ours in its reach."""

import fcntl
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_provider.runtime.arguments import ARGUMENTS_FD, SECCOMP_FD, STATUS_FD
from assay_provider.runtime.launch_messages import LauncherConfig, LaunchSpec

OPEN_FILES_MAX: Final = 4096
"""RLIMIT_NOFILE of a job: data loaders need a few hundred."""

LOCKED_MEMORY_BYTES: Final = 8 << 20
"""RLIMIT_MEMLOCK: the kernel's own default since 5.16."""

_DESCRIPTORS_MAX: Final = 1 << 16
_MOVED_FROM: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedProcess:
    """The process to wait for (bwrap's monitor, or a container's), and our ends of its output."""

    pid: int
    log: int
    """Read end of the job's stdout and stderr, not blocking."""
    status: int | None
    """Read end of bwrap's status documents; without them the process's own exit tells."""
    at: float
    """Monotonic time of the start."""
    keeper: int | None = None
    """PID 1 of a container, which is not the job's."""
    sets_up: bool = False
    """The process only sets a container up, and leaves another one behind."""
    failed: bool = False
    """It did not: there is no job, and the log says why."""


def start_bubblewrap(config: LauncherConfig, spec: LaunchSpec) -> StartedProcess:
    """Fork and exec bwrap; what fails in the child shows in its log."""
    log_read, log_write = os.pipe()
    status_read, status_write = os.pipe()
    at = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            _become_bubblewrap(config, spec, log_write, status_write)
        finally:
            os._exit(127)
    os.close(log_write)
    os.close(status_write)
    os.set_blocking(log_read, False)
    return StartedProcess(pid=pid, log=log_read, status=status_read, at=at)


def arrange_descriptors(wanted: dict[int, int]) -> None:
    """Give descriptors their numbers, 0 and on without a gap, and close all others."""
    # Out of the way first: a source may sit on a number that is a target.
    moved = {target: _duplicate_above(source) for target, source in wanted.items()}
    for target, source in moved.items():
        os.dup2(source, target, inheritable=True)
    # Whatever else is open would be handed on to the job.
    os.closerange(max(wanted) + 1, _DESCRIPTORS_MAX)


def join_groups(spec: LaunchSpec) -> None:
    """Move this process into the job's cgroups."""
    for path in spec.cgroup_procs:
        Path(path).write_bytes(b"0")


def set_resource_limits() -> None:
    """Set what every process of a job may have at most."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, _at_most(resource.RLIMIT_NOFILE, OPEN_FILES_MAX))
    memlock = _at_most(resource.RLIMIT_MEMLOCK, LOCKED_MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, memlock)
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))


def _become_bubblewrap(
    config: LauncherConfig, spec: LaunchSpec, log_write: int, status_write: int
) -> None:
    arrange_descriptors(
        {
            0: os.open(os.devnull, os.O_RDONLY),
            1: log_write,
            2: log_write,
            ARGUMENTS_FD: _memory_file(b"".join(os.fsencode(a) + b"\0" for a in spec.arguments)),
            SECCOMP_FD: _memory_file(bytes.fromhex(config.seccomp_hex)),
            STATUS_FD: status_write,
        }
    )
    try:
        join_groups(spec)
        set_resource_limits()
        if spec.drop_privileges:
            os.setgroups([])
            os.setresgid(spec.gid, spec.gid, spec.gid)
            os.setresuid(spec.uid, spec.uid, spec.uid)
        os.chdir("/")
        # The empty environment and the arguments by descriptor keep this process's secrets out of
        # /proc/1/environ and /proc/1/cmdline, which the job can read.
        arguments = ["bwrap", "--args", str(ARGUMENTS_FD), "--", *spec.command]
        os.execve(config.bubblewrap, arguments, {})  # noqa: S606 # no shell is the point
    except OSError as error:
        os.write(2, str(error).encode())


def _duplicate_above(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _MOVED_FROM)


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("assay-launch")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _at_most(kind: int, value: int) -> tuple[int, int]:
    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    return limit, limit
