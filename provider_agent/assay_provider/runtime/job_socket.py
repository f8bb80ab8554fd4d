"""The one way out of a sandbox: a unix socket on which a job says how far it is.

    {"progress": "epoch 3 of 10"}

One JSON object a line, answered with `{"ok": true}` or `{"error": "..."}`. The daemon listens; the
socket shows in the job's sandbox alone, and the kernel says who calls (SO_PEERCRED, unix(7)): only
the slot's own uid is heard. What is said is for people and changes nothing.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LINE_BYTES_MAX: Final = 1024
TEXT_CHARACTERS_MAX: Final = 200
CONNECTIONS_MAX: Final = 4
"""At once; a job needs one."""
PAUSE_SECONDS: Final = 0.02
"""Between two lines of a connection: a job that talks without end costs the daemon little."""
TELLINGS_MAX: Final = 50
"""How often a run's progress is passed on at most, evenly over its time: each is a row somewhere
else. In between, the last word counts."""
TELL_SECONDS_MIN: Final = 1.0

_NAME: Final = "job.sock"
_CREDENTIALS: Final = struct.Struct("3i")


@asynccontextmanager
async def listening(
    directory: Path, *, uid: int, wall_seconds: int, tell: Callable[[str], None]
) -> AsyncIterator[Path]:
    """Listen for one job inside the block; yield the socket's path, for the sandbox to show.

    Args:
        directory: to make the socket in; nobody else may enter it.
        uid: whose processes are heard.
        wall_seconds: how long the job may take.
        tell: is given what the job says, cut and escaped.
    """
    path = directory / _NAME
    served = _Served(uid=uid, tell=tell)
    server = await asyncio.start_unix_server(
        served.connected, sock=_bound(directory), limit=LINE_BYTES_MAX
    )
    passing_on = asyncio.ensure_future(
        served.pass_on(max(TELL_SECONDS_MIN, wall_seconds / TELLINGS_MAX))
    )
    try:
        yield path
    finally:
        passing_on.cancel()
        server.close()
        for connection in list(served.connections):
            connection.cancel()
        path.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class _Served:
    """One job's connections, and what it said last."""

    uid: int
    tell: Callable[[str], None]
    connections: "set[asyncio.Task[None]]" = field(default_factory=set)
    said: str = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's lines until it ends."""
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        refused = self._refusal(writer)
        if not refused:
            self.connections.add(task)
        try:
            if refused:
                await _answer(writer, error=refused)
            else:
                await self._serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the job went away, or its run ended
        finally:
            self.connections.discard(task)
            writer.close()

    async def pass_on(self, seconds: float) -> None:
        """Tell the last word from time to time, for as long as nobody cancels it."""
        told = ""
        while True:
            if self.said != told:
                told = self.said
                self.tell(told)
                await asyncio.sleep(seconds)
            else:
                await asyncio.sleep(TELL_SECONDS_MIN)

    def _refusal(self, writer: asyncio.StreamWriter) -> str:
        connection: socket.socket = writer.get_extra_info("socket")
        size = _CREDENTIALS.size
        _, uid, _ = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        if uid != self.uid:
            return "this socket belongs to another job"
        if len(self.connections) >= CONNECTIONS_MAX:
            return f"at most {CONNECTIONS_MAX} connections at once; close one"
        return ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                await _answer(writer, error=f"a line has at most {LINE_BYTES_MAX} bytes")
                return
            if not line:
                return
            text, error = progress_in(line)
            self.said = text or self.said
            await _answer(writer, error=error)
            await asyncio.sleep(PAUSE_SECONDS)


def progress_in(line: bytes) -> tuple[str, str]:
    """Return what a line says, or why it is none that is understood. Pure."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return "", "not a line of JSON"
    if not isinstance(document, dict) or list(document) != ["progress"]:
        return "", 'say {"progress": "..."} and nothing else'
    text = document["progress"]
    if not isinstance(text, str) or not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        return "", f"progress is a text of 1 to {TEXT_CHARACTERS_MAX} characters"
    return "".join(c if c.isprintable() else "?" for c in text), ""


async def _answer(writer: asyncio.StreamWriter, *, error: str) -> None:
    document = {"error": error} if error else {"ok": True}
    writer.write(json.dumps(document).encode() + b"\n")
    await writer.drain()


def _bound(directory: Path) -> socket.socket:
    """Return a socket bound in a directory, however long its path: sun_path has 108 bytes."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_NAME, dir_fd=folder)
        made.bind(f"/proc/self/fd/{folder}/{_NAME}")
        # Whoever gets to see it may call: the directory keeps others away, and the uid is asked.
        os.chmod(_NAME, 0o666, dir_fd=folder)  # noqa: S103
    except BaseException:
        made.close()
        raise
    finally:
        os.close(folder)
    return made
