"""The daemon's end of the launcher: starts it, and opens one control socket per job."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from assay_provider.runtime.launch_messages import (
    COLLECT,
    MESSAGE_BYTES_MAX,
    MOUNT,
    RUN,
    UNMOUNT,
    Collected,
    EnvironmentSpec,
    LauncherConfig,
    LaunchExit,
    LaunchSpec,
    decode_collected,
    decode_exit,
    encode,
)
from assay_provider.runtime.sandbox import EnvironmentRoot, SandboxUnavailable

_START_SECONDS_MAX: Final = 30.0
"""A cold Python on a loaded machine takes seconds; beyond this something hangs."""

_STOP_SECONDS_MAX: Final = 10.0
_MOUNT_SECONDS_MAX: Final = 30.0
"""It takes milliseconds; a disk that has to wake up takes seconds."""
_READY: Final = b"ready"


class LaunchedJob:
    """One job at the launcher. Closing it kills whatever is left of the job."""

    def __init__(self, control: socket.socket, log_file: int) -> None:
        self._control = control
        self._log_file = log_file

    async def exited(self) -> LaunchExit:
        """Wait until the sandbox has ended and every process of the job is gone.

        Raises:
            SandboxUnavailable: the launcher died.
        """
        return decode_exit(await self._receive())

    async def collect(self) -> Collected:
        """Have the output handed over; only after `exited`."""
        await asyncio.get_running_loop().sock_sendall(self._control, COLLECT)
        return decode_collected(await self._receive())

    def log_tail(self) -> bytes:
        """Return the kept end of the log; only after `exited`."""
        return os.pread(self._log_file, os.fstat(self._log_file).st_size, 0)

    def close(self) -> None:
        """Let go of the job and wait until its launcher process is gone. Blocks; idempotent."""
        if self._log_file < 0:
            return
        with contextlib.suppress(OSError):
            # The other end sees this even while a reader here still holds the descriptor.
            self._control.shutdown(socket.SHUT_WR)
        self._control.settimeout(_STOP_SECONDS_MAX)
        with contextlib.suppress(OSError):
            while self._control.recv(MESSAGE_BYTES_MAX):
                pass
        self._control.close()
        os.close(self._log_file)
        self._log_file = -1

    async def _receive(self) -> bytes:
        message = await asyncio.get_running_loop().sock_recv(self._control, MESSAGE_BYTES_MAX)
        if not message:
            raise SandboxUnavailable("the sandbox launcher ended unexpectedly; see its message")
        return message


@dataclass(slots=True)
class Launcher:
    """A running launcher process."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    @classmethod
    def start(cls, config: LauncherConfig) -> "Launcher":
        """Start a launcher and wait until it is ready. Blocks.

        Raises:
            SandboxUnavailable: it could not make its private mount namespace.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "assay_provider.runtime.launcher", str(theirs.fileno())],
                env=_import_path(),
                cwd="/",
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        launcher = cls(process=process, control=ours)
        try:
            launcher._greet(config)
        except BaseException:
            launcher.stop()
            raise
        return launcher

    def launch(self, spec: LaunchSpec) -> LaunchedJob:
        """Start one job. Blocks for the moment it takes to hand it over.

        Raises:
            SandboxUnavailable: the launcher is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log_file = os.memfd_create("assay-log")
        spec_file = _memory_file(encode(spec))
        ours.setblocking(False)
        try:
            with theirs:
                socket.send_fds(self.control, [RUN], [theirs.fileno(), spec_file, log_file])
        except OSError as error:
            ours.close()
            os.close(log_file)
            raise SandboxUnavailable("the sandbox launcher is gone; it is started anew") from error
        finally:
            os.close(spec_file)
        return LaunchedJob(ours, log_file)

    def mount(self, root: EnvironmentRoot) -> None:
        """Mount an environment for the jobs that are started from now on. Blocks.

        Raises:
            SandboxUnavailable: the kernel refuses, or the launcher is gone.
        """
        self._ask(MOUNT, root)

    def unmount(self, root: EnvironmentRoot) -> None:
        """Take an environment away from jobs that are started from now on. Blocks.

        Raises:
            SandboxUnavailable: it is not mounted, or the launcher is gone.
        """
        self._ask(UNMOUNT, root)

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End the launcher and every job with it. Blocks; idempotent."""
        self.control.close()
        try:
            self.process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _ask(self, message: bytes, root: EnvironmentRoot) -> None:
        spec = EnvironmentSpec(name=root.digest, images=[str(layer) for layer in root.layers])
        spec_file = _memory_file(encode(spec))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with ours:
                with theirs:
                    socket.send_fds(self.control, [message], [theirs.fileno(), spec_file])
                ours.settimeout(_MOUNT_SECONDS_MAX)
                answer = ours.recv(MESSAGE_BYTES_MAX)
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox launcher does not answer: {error}") from error
        finally:
            os.close(spec_file)
        if answer != _READY:
            reason = answer.decode(errors="replace") or "the launcher is gone"
            raise SandboxUnavailable(f"{message.decode()}ing an environment failed: {reason}")

    def _greet(self, config: LauncherConfig) -> None:
        config_file = _memory_file(encode(config))
        try:
            socket.send_fds(self.control, [b"configure"], [config_file])
            self.control.settimeout(_START_SECONDS_MAX)
            answer = self.control.recv(MESSAGE_BYTES_MAX)
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox launcher does not start: {error}") from error
        finally:
            os.close(config_file)
        self.control.settimeout(None)
        if answer != _READY:
            reason = answer.decode(errors="replace") or "it ended without a word"
            raise SandboxUnavailable(f"the sandbox launcher does not start: {reason}")


def _import_path() -> dict[str, str]:
    """Return all the launcher gets of our environment: where its interpreter finds this package."""
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _memory_file(data: bytes) -> int:
    descriptor = os.memfd_create("assay-launch")
    os.write(descriptor, data)
    return descriptor
