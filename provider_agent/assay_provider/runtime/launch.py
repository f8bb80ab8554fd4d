"""One job's own process: mounts what the job sees, starts bwrap, watches it, hands over output.

Runs in a child of the launcher (see `launcher`), in a mount namespace of its own that vanishes with
it. It kills through the PID namespace: when the namespace's first process dies, the kernel kills
every other process in it, whatever sessions or groups they hid in.
"""

import dataclasses
import errno
import json
import os
import re
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay_provider.runtime import mounts, oci_process, output
from assay_provider.runtime.bubblewrap_process import StartedProcess, start_bubblewrap
from assay_provider.runtime.launch_messages import (
    COLLECT,
    MESSAGE_BYTES_MAX,
    Collected,
    LauncherConfig,
    LaunchExit,
    LaunchSpec,
    Staging,
    encode,
)

SCRATCH_FILES_MAX: Final = 262_144
"""Inodes of the scratch tmpfs: each costs about 1 KiB of kernel memory, charged to the job."""

WATCH_SECONDS: Final = 0.05
"""How often full file systems are looked for; a job that fills one, frees it and fails within this
time is reported as an ordinary error."""

EXIT_CODE_NOT_FOUND: Final = 127
"""What shells report for a command that cannot be started."""

_COMMAND_FAULTS: Final = (
    errno.ENOENT,
    errno.EACCES,
    errno.ENOEXEC,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.E2BIG,
)
_RUNTIME_FAULTS: Final = re.compile(
    r"\bexec(?:utable)?\b.*(?:not found|no such file|permission denied|exec format error|"
    r"not a directory|is a directory|too many levels|argument list too long)",
    re.IGNORECASE,
)
"""How crun, runc and runsc say that a command cannot be started."""
_RUNSC_FAILED: Final = 128
_RUNSC_COMPLAINS: Final = b"running container: "
"""gVisor's own end without a job, which its exit code does not tell from a job's."""

_PIPE_READ_BYTES: Final = 1 << 16
_COMPLAINT_BYTES_MAX: Final = 2000


@dataclass(slots=True)
class _Watched:
    """What has been seen of the job so far."""

    log: bytearray = field(default_factory=bytearray)
    timed_out: bool = False
    abandoned: bool = False
    """The daemon has let go of the control socket: cancelled, or dead."""
    scratch_full: bool = False
    output_full: bool = False
    killed_outside: bool = False
    """Somebody killed PID 1 of the container."""

    @property
    def ended(self) -> bool:
        """Whether the job is to be killed, whatever it has come to."""
        return self.timed_out or self.abandoned


@dataclass(slots=True, kw_only=True)
class _Reaped:
    """Sums over every process waited for."""

    monitor_status: int = 0
    cpu_seconds: float = 0.0
    memory_peak_bytes: int = 0


def run_job(
    config: LauncherConfig, spec: LaunchSpec, control: socket.socket, log_file: int
) -> None:
    """Run one job from its mounts to its output, reporting over `control`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mounts.die_with_parent()
    mounts.adopt_orphans()
    staging = Staging(root=Path(config.staging_point))
    try:
        _mount_job(staging, spec)
        started = _start(config, spec, staging)
    except OSError as error:
        control.send(encode(_setup_failed(str(error))))
        return
    watched = _watch(started, spec, staging, control, _Watched())
    if started.sets_up and not watched.ended:
        job = oci_process.main_process(started, staging)
        started = job or dataclasses.replace(started, failed=True)
        watched = _watch(job, spec, staging, control, watched) if job else watched
    watched.killed_outside = oci_process.keeper_is_gone(started)
    exited_at = time.monotonic()
    reaped = _kill_and_reap(started.pid)
    _drain(started.log, watched, spec.log_bytes)
    if watched.abandoned:
        return
    os.write(log_file, bytes(watched.log[-spec.log_bytes :]) if spec.log_bytes else b"")
    control.send(encode(_exit_message(started, watched, reaped, exited_at)))
    if control.recv(MESSAGE_BYTES_MAX) == COLLECT:
        control.send(encode(_collect(staging, spec)))


def _start(config: LauncherConfig, spec: LaunchSpec, staging: Staging) -> StartedProcess:
    if spec.container is None:
        return start_bubblewrap(config, spec)
    return oci_process.start_container(spec, spec.container, staging)


def _mount_job(staging: Staging, spec: LaunchSpec) -> None:
    mounts.unshare(mounts.CLONE_NEWNS)
    mounts.bind(Path(spec.input_directory), staging.input)
    if spec.socket:
        staging.socket.touch()
        mounts.bind(Path(spec.socket), staging.socket)
    mounts.tmpfs(
        staging.output,
        size_bytes=spec.output_tmpfs_bytes,
        inodes=spec.output_files_max + 1,  # the root directory is one
        uid=spec.uid,
        gid=spec.gid,
    )
    mounts.tmpfs(
        staging.scratch,
        size_bytes=spec.scratch_tmpfs_bytes,
        inodes=SCRATCH_FILES_MAX,
        uid=spec.uid,
        gid=spec.gid,
    )
    for name in ("tmp", "shm"):
        directory = staging.scratch / name
        directory.mkdir(mode=0o700)
        os.chown(directory, spec.uid, spec.gid)


def _watch(
    started: StartedProcess,
    spec: LaunchSpec,
    staging: Staging,
    control: socket.socket,
    watched: _Watched,
) -> _Watched:
    """Wait until the process ends, its time is up or the daemon lets go; keep its log meanwhile."""
    deadline = started.at + spec.wall_seconds
    exited = os.pidfd_open(started.pid)
    poller = select.poll()
    for descriptor in (exited, started.log, control.fileno()):
        poller.register(descriptor, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        ready = {fd for fd, _ in poller.poll(max(0.0, min(WATCH_SECONDS, left)) * 1000)}
        _look_for_full(staging, watched)
        if control.fileno() in ready:
            watched.abandoned = True
        if started.log in ready and not _read_log(started.log, watched, spec.log_bytes):
            poller.unregister(started.log)
        if exited in ready or watched.abandoned:
            return watched
        if time.monotonic() >= deadline:
            watched.timed_out = True
            return watched


def _look_for_full(staging: Staging, watched: _Watched) -> None:
    watched.scratch_full = watched.scratch_full or _is_full(staging.scratch)
    watched.output_full = watched.output_full or _is_full(staging.output)


def _is_full(mount_point: Path) -> bool:
    status = os.statvfs(mount_point)
    return status.f_bfree == 0 or status.f_ffree == 0


def _read_log(descriptor: int, watched: _Watched, keep: int) -> bool:
    """Read once; return False at the end of the log."""
    try:
        data = os.read(descriptor, _PIPE_READ_BYTES)
    except BlockingIOError:
        return True
    watched.log += data
    if len(watched.log) > 2 * keep + _PIPE_READ_BYTES:
        del watched.log[: -keep or None]
    return bool(data)


def _drain(descriptor: int, watched: _Watched, keep: int) -> None:
    # Every writer is dead, so the end of the pipe is there.
    while _read_log(descriptor, watched, keep):
        pass


def _kill_and_reap(monitor: int) -> _Reaped:
    """Kill every descendant and wait until none is left.

    Orphans come to this process, so the list of its children is complete in the end.
    """
    reaped = _Reaped()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while True:
        for child in children.read_text(encoding="ascii").split():
            os.kill(int(child), signal.SIGKILL)
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return reaped
        if pid == monitor:
            reaped.monitor_status = status
        reaped.cpu_seconds += usage.ru_utime + usage.ru_stime
        reaped.memory_peak_bytes = max(reaped.memory_peak_bytes, usage.ru_maxrss * 1024)


def _exit_message(
    started: StartedProcess, watched: _Watched, reaped: _Reaped, exited_at: float
) -> LaunchExit:
    exit_code = _exit_code(started, watched, reaped)
    if exit_code is None and _could_not_execute(watched.log):
        exit_code = EXIT_CODE_NOT_FOUND
    killed = watched.timed_out or _killed_outside(started, watched, reaped)
    return LaunchExit(
        exit_code=None if killed else exit_code,
        timed_out=watched.timed_out,
        setup_failure="" if killed or exit_code is not None else _complaint(watched.log),
        wall_seconds=exited_at - started.at,
        cpu_seconds=reaped.cpu_seconds,
        memory_peak_bytes=reaped.memory_peak_bytes,
        scratch_full=watched.scratch_full,
        output_full=watched.output_full,
        started_ns=round(started.at * 1e9),
        exited_ns=round(exited_at * 1e9),
    )


def _exit_code(started: StartedProcess, watched: _Watched, reaped: _Reaped) -> int | None:
    """Return the job's exit code, 128 + signal for one that killed itself; None if it never ran."""
    if started.status is not None:
        return _reported_exit_code(started.status)
    if started.failed:
        return None
    if os.WIFSIGNALED(reaped.monitor_status):
        return 128 + os.WTERMSIG(reaped.monitor_status)
    code = os.WEXITSTATUS(reaped.monitor_status)
    if code == _RUNSC_FAILED and watched.log.startswith(_RUNSC_COMPLAINS):
        # A job that says and does the same goes without a verdict, to nobody's harm but its own.
        return None
    return code


def _killed_outside(started: StartedProcess, watched: _Watched, reaped: _Reaped) -> bool:
    """Whether somebody killed what stands between the job and us: bwrap, a keeper, a runtime."""
    if started.keeper is not None:
        return watched.killed_outside
    return os.WIFSIGNALED(reaped.monitor_status)


def _reported_exit_code(status: int) -> int | None:
    """Return the exit code bwrap wrote down; it does so only once the command could run."""
    with open(status, encoding="ascii") as file:
        documents = [json.loads(line) for line in file if line.strip()]
    return next((d["exit-code"] for d in documents if "exit-code" in d), None)


def _could_not_execute(log: bytearray) -> bool:
    """Tell from the last words whether it was the job's command that could not be started.

    They are bwrap's or an OCI runtime's own: without a reported exit code no word of the job's can
    be in the log.
    """
    text = log.decode(errors="replace")
    if text.startswith("bwrap: execvp "):
        return any(text.endswith(f": {os.strerror(code)}\n") for code in _COMMAND_FAULTS)
    return bool(_RUNTIME_FAULTS.search(text))


def _complaint(log: bytearray) -> str:
    text = ascii(bytes(log[-_COMPLAINT_BYTES_MAX:]).decode(errors="replace"))
    return text if log else "bwrap ended without a word"


def _setup_failed(reason: str) -> LaunchExit:
    return LaunchExit(
        exit_code=None,
        timed_out=False,
        setup_failure=reason,
        wall_seconds=0.0,
        cpu_seconds=0.0,
        memory_peak_bytes=0,
        scratch_full=False,
        output_full=False,
    )


def _collect(staging: Staging, spec: LaunchSpec) -> Collected:
    limits = output.OutputLimits(bytes_max=spec.output_bytes, files_max=spec.output_files_max)
    try:
        output.collect(str(staging.output), spec.output_directory, limits)
    except output.OutputRefused as error:
        return Collected(refused=str(error))
    except output.OutputTooLarge as error:
        return Collected(too_large=str(error))
    except OSError as error:
        return Collected(failed=str(error))
    return Collected()
