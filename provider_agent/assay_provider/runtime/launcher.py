"""The launcher: a small process that starts every job of one daemon.

    python -m assay_provider.runtime.launcher CONTROL_FD

It exists for three reasons. A private mount namespace needs a process to live in: in it the owner's
Python is bound to a path that a slot's uid may traverse, and it vanishes with the process, SIGKILL
or not. A process that is small and has one thread may fork and unshare, which the daemon may not.
And forking it costs about a millisecond, where starting an interpreter per job costs twenty.

It ends when the daemon's end of the socket closes, and takes its jobs along.
"""

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from assay_provider.runtime import mounts
from assay_provider.runtime.environment_mounts import EnvironmentMounts
from assay_provider.runtime.launch import run_job
from assay_provider.runtime.launch_messages import (
    MOUNT,
    UNMOUNT,
    LauncherConfig,
    LaunchSpec,
    Staging,
    decode_config,
    decode_environment,
    decode_spec,
)

READY: Final = b"ready"
_DESCRIPTORS_PER_MESSAGE_MAX: Final = 3
_STAGING_BYTES: Final = 4 << 20
_STAGING_FILES_MAX: Final = 16_384
_ETC_FILES: Final = {
    "passwd": "job:x:1000:1000:job:/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "job:x:1000:\nnogroup:x:65534:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost job\n::1 localhost\n",
}


def main() -> None:
    """Serve launches until the daemon closes its end."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    os.umask(0o022)
    message, descriptors, _, _ = socket.recv_fds(control, 16, 1, socket.MSG_CMSG_CLOEXEC)
    if not message:
        return
    config = decode_config(_read_and_close(descriptors[0]))
    try:
        environments = prepare(config)
    except OSError as error:
        control.send(str(error).encode())
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps finished jobs
    control.send(READY)
    serve(config, control, environments)


def prepare(config: LauncherConfig) -> EnvironmentMounts:
    """Enter the private mount namespace and stage what every job sees; no environment yet.

    Raises:
        OSError: the kernel refuses; for an ordinary user, most often user namespaces are off.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        mounts.unshare(mounts.CLONE_NEWNS)
    else:
        mounts.unshare(mounts.CLONE_NEWUSER | mounts.CLONE_NEWNS)
        mounts.map_only(uid, gid)
    mounts.stop_propagation()
    staging = Staging(root=Path(config.staging_point))
    mounts.tmpfs(
        staging.root, size_bytes=_STAGING_BYTES, inodes=_STAGING_FILES_MAX, uid=uid, gid=gid
    )
    for directory in (staging.input, staging.output, staging.scratch):
        directory.mkdir()
    _stage_etc(staging)
    _stage_python(config, staging)
    if config.exact_torch is not None:
        _stage_exact_torch(config.exact_torch, config.exact_kernels, staging)
    for name, source in config.wasm_packages.items():
        (staging.wasm / name).mkdir(parents=True)
        mounts.bind(Path(source), staging.wasm / name)
    environments = EnvironmentMounts(staging.root)
    environments.make_frame(_ETC_FILES)
    return environments


def serve(config: LauncherConfig, control: socket.socket, environments: EnvironmentMounts) -> None:
    """Fork a child for every job asked for, and mount environments, until the daemon is gone."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(
            control, 16, _DESCRIPTORS_PER_MESSAGE_MAX, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return
        if message in (MOUNT, UNMOUNT):
            _serve_environment(environments, message, *descriptors)
            continue
        job_fd, spec_fd, log_file = descriptors
        if os.fork() == 0:
            control.close()
            _serve_job(config, socket.socket(fileno=job_fd), spec_fd, log_file)
        for descriptor in descriptors:
            os.close(descriptor)


def _serve_environment(
    environments: EnvironmentMounts, message: bytes, answer_fd: int, environment_fd: int
) -> None:
    """Mount or unmount; answer `READY`, or with what the kernel says."""
    asked = decode_environment(_read_and_close(environment_fd))
    with socket.socket(fileno=answer_fd) as answer, contextlib.suppress(ConnectionError):
        try:
            if message == MOUNT:
                environments.mount(asked.name, asked.images)
            else:
                environments.unmount(asked.name)
        except OSError as error:
            answer.send(str(error).encode())
        else:
            answer.send(READY)


def _serve_job(config: LauncherConfig, job: socket.socket, spec_fd: int, log_file: int) -> NoReturn:
    # A daemon that is gone wants no report; its job is dead by then.
    with contextlib.suppress(ConnectionError):
        run_job(config, _read_spec(spec_fd), job, log_file)
    # The kernel closes the socket, so that its end means this process and its mounts are gone.
    os._exit(0)


def _stage_etc(staging: Staging) -> None:
    staging.etc.mkdir()
    for name, text in _ETC_FILES.items():
        (staging.etc / name).write_text(text, encoding="ascii")
    cache = Path("/etc/ld.so.cache")
    if cache.exists():
        (staging.etc / cache.name).write_bytes(cache.read_bytes())
    alternatives = Path("/etc/alternatives")
    if alternatives.is_dir():
        (staging.etc / alternatives.name).mkdir()
        mounts.bind(alternatives, staging.etc / alternatives.name)


def _stage_python(config: LauncherConfig, staging: Staging) -> None:
    if config.python_base is not None:
        staging.python.mkdir()
        mounts.bind(Path(config.python_base), staging.python)
    staging.environment.mkdir()
    (staging.environment / "pyvenv.cfg").write_text(config.pyvenv_config, encoding="utf-8")
    for name, target in config.environment_links.items():
        link = staging.environment / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    if config.site_packages is not None:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = staging.environment / "lib" / version / "site-packages"
        packages.mkdir(parents=True)
        mounts.bind(Path(config.site_packages), packages)


def _stage_exact_torch(package: str, kernels: str | None, staging: Staging) -> None:
    for source, name in ((package, "exact_torch"), (kernels, "kernels")):
        if source is None:
            continue
        target = staging.exact / name
        target.mkdir(parents=True)
        mounts.bind(Path(source), target)


def _read_spec(descriptor: int) -> LaunchSpec:
    return decode_spec(_read_and_close(descriptor))


def _read_and_close(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


if __name__ == "__main__":
    main()
