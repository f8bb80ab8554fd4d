"""Starts a container in the launcher: a bundle, a keeper of its namespaces, and the OCI runtime.

The keeper is PID 1 of the job and owns nothing. With a job of its own as PID 1, signals it sends
itself would be ignored and its orphans would stay zombies; so the job is a child as it is at T1. As
there, everything ends when PID 1 does, and PID 1 when the launcher's process does.
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Final

from assay_provider.runtime import mounts
from assay_provider.runtime.bubblewrap_process import (
    StartedProcess,
    arrange_descriptors,
    join_groups,
    set_resource_limits,
)
from assay_provider.runtime.launch_messages import ContainerSpec, LaunchSpec, Staging
from assay_provider.runtime.oci_configuration import ROOTFS, join, with_mounts_below

_BUNDLE_BYTES: Final = 4 << 20
_BUNDLE_FILES_MAX: Final = 1024
_PID_BYTES_MAX: Final = 32
_PF_EXITING: Final = 0x4


def start_container(spec: LaunchSpec, container: ContainerSpec, staging: Staging) -> StartedProcess:
    """Have the runtime set a container up; what it complains of shows in the log.

    Raises:
        OSError: the bundle or the keeper cannot be made.
    """
    log_read, log_write = os.pipe()
    for path in container.hidden_mounts:
        mounts.unmount(Path(path))
    _make_bundle(container, staging)
    at = time.monotonic()
    keeper = None if container.foreground else _start_keeper(spec, container)
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    configured = with_mounts_below(container.configuration, mountinfo)
    if keeper is not None:
        spaces = {"user": f"/proc/{keeper}/ns/user", "pid": f"/proc/{keeper}/ns/pid"}
        configured = join(configured, spaces)
    (staging.bundle / "config.json").write_text(json.dumps(configured), encoding="utf-8")
    pid = os.fork()
    if pid == 0:
        try:
            _become_runtime(spec, container, log_write)
        finally:
            os._exit(127)
    os.close(log_write)
    os.set_blocking(log_read, False)
    return StartedProcess(
        pid=pid, log=log_read, status=None, at=at, keeper=keeper, sets_up=not container.foreground
    )


def main_process(started: StartedProcess, staging: Staging) -> StartedProcess | None:
    """Return the job's own process once the runtime is done with it; None if it failed."""
    _, status = os.waitpid(started.pid, 0)
    if status != 0:
        return None
    try:
        pid = int((staging.bundle / "pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return StartedProcess(
        pid=pid, log=started.log, status=None, at=started.at, keeper=started.keeper
    )


def keeper_is_gone(started: StartedProcess) -> bool:
    """Whether somebody killed PID 1, and the job with it.

    It is seen exiting and not dead: the kernel lets it go only once the job was waited for, which
    is a child of ours (pid_namespaces(7)). Flags are field 9 of proc_pid_stat(5).
    """
    if started.keeper is None:
        return False
    text = Path(f"/proc/{started.keeper}/stat").read_text(encoding="utf-8", errors="replace")
    return bool(int(text.rpartition(")")[2].split()[6]) & _PF_EXITING)


def _make_bundle(container: ContainerSpec, staging: Staging) -> None:
    staging.bundle.mkdir(exist_ok=True)
    mounts.tmpfs(staging.bundle, size_bytes=_BUNDLE_BYTES, inodes=_BUNDLE_FILES_MAX, uid=0, gid=0)
    root = staging.bundle / ROOTFS
    root.mkdir()
    for path, source in container.places:
        place = root / path.lstrip("/")
        if source and not Path(source).is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        else:
            place.mkdir(parents=True, exist_ok=True)
    for path, target in container.links:
        (root / path.lstrip("/")).symlink_to(target)


def _start_keeper(spec: LaunchSpec, container: ContainerSpec) -> int:
    """Make a user and a PID namespace, and leave a process in them that waits for ever."""
    told_read, told_write = os.pipe()
    go_read, go_write = os.pipe()
    maker = os.fork()
    if maker == 0:
        try:
            # Without these copies, the ends of the pipes tell when the other side is gone.
            os.close(told_read)
            os.close(go_write)
            _make_namespaces(spec, container, told_write, go_read)
        finally:
            os._exit(127)
    os.close(told_write)
    os.close(go_read)
    try:
        os.read(told_read, 1)
        _map_users(maker, container.users)
        os.write(go_write, b"m")
        keeper = int(os.read(told_read, _PID_BYTES_MAX) or b"0")
        os.waitpid(maker, 0)
        # Only now is the keeper a child of ours: told earlier, it would die with its maker.
        os.write(go_write, b"g")
        os.read(told_read, 1)  # its end: the keeper has become another program
    except BrokenPipeError:
        keeper = 0
    finally:
        os.close(told_read)
        os.close(go_write)
    if not keeper:
        raise OSError("the namespaces of a container cannot be made")
    return keeper


def _map_users(pid: int, users: list[list[int]]) -> None:
    lines = "".join(f"{inside} {outside} 1\n" for inside, outside in users)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(lines, encoding="ascii")


def _make_namespaces(spec: LaunchSpec, container: ContainerSpec, told: int, go: int) -> None:
    if not container.joins_by_path:
        join_groups(spec)
    mounts.unshare(mounts.CLONE_NEWUSER | mounts.CLONE_NEWPID)
    os.write(told, b"n")
    if not os.read(go, 1):
        return
    keeper = os.fork()
    if keeper:
        os.write(told, str(keeper).encode())
        os._exit(0)
    if not os.read(go, 1):
        return
    uid = container.users[-1][0]
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    mounts.die_with_parent()
    # Ignored children are reaped by the kernel, in the next program too.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.chdir("/")
    os.closerange(0, told)
    os.closerange(told + 1, 1 << 16)
    os.execve(container.keeper[0], container.keeper, {})  # noqa: S606 # no shell is the point


def _become_runtime(spec: LaunchSpec, container: ContainerSpec, log_write: int) -> None:
    arrange_descriptors({0: os.open(os.devnull, os.O_RDONLY), 1: log_write, 2: log_write})
    with contextlib.suppress(OSError):
        os.setsid()
    try:
        if not container.joins_by_path:
            join_groups(spec)
        if not container.foreground:
            set_resource_limits()
        os.chdir("/")
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        os.execve(container.command[0], container.command, variables)  # noqa: S606
    except OSError as error:
        os.write(2, str(error).encode())
