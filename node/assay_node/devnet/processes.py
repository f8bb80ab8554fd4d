"""Child processes of a development market: each logs to a file, none outlives its parent."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError

STOP_S: Final = 15.0
"""How long a daemon may take to end after SIGTERM before it is killed."""
_LOG_TAIL_BYTES: Final = 2_000

# PR_SET_PDEATHSIG has to be set in the child and survives exec; see also `anvil.py`
_LAUNCHER: Final = """\
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.executable, [sys.executable, "-m", "assay_node", *sys.argv[2:]])
"""


class ManagedProcess:
    """One `assay ...` daemon in a process of its own."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._arguments = tuple(arguments)
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process ID while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def exit_code(self) -> int | None:
        """The exit code once it has ended."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        """Start it; its output is appended to the log."""
        assert self.pid is None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _LAUNCHER, str(os.getpid()), *self._arguments),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the parent, which stops us in order
            )

    async def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL if it does not listen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """Kill it outright, as a power cut would."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def freeze(self) -> None:
        """Stop it from running, as a hung machine would; `thaw` lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            LocalError: with the end of its log.
        """
        if self._process is not None and self._process.returncode is not None:
            raise LocalError(
                f"{self.name} ended with exit code {self._process.returncode}: {self.tail()}"
            )

    def tail(self) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()


async def run_command(
    arguments: Sequence[str], *, environment: Mapping[str, str], timeout_s: float
) -> str:
    """Run one `assay` command to its end and return what it printed on standard output.

    Raises:
        LocalError: it failed; the text is what it said.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assay_node", *arguments),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        shown = err.decode(errors="replace").strip() or out.decode(errors="replace").strip()
        raise LocalError(f"`assay {' '.join(arguments[:2])}` failed: {shown}")
    return out.decode()
