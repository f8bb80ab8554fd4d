"""The daemon's control socket: how its owner's commands reach it. A Unix socket in the home.

One request a connection: a line of JSON each way, `{"command": ..., ...}` and `{"answer": ...}` or
`{"code": ..., "refused": ...}`. The file is 0600 in a directory of 0700, and whoever connects is
asked of the kernel (SO_PEERCRED): only the daemon's own user and root are served.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.errors import AssayError, LocalError, Refused

logger = logging.getLogger(__name__)

SOCKET_FILE: Final = "control.sock"
REQUEST_BYTES_MAX: Final = 4096
"""A command and its few options."""
ANSWER_BYTES_MAX: Final = 4 << 20
"""A status with as many open leases as a provider ever holds is below 1 MB."""
REQUEST_S_MAX: Final = 10.0
"""Whoever connects and says nothing is let go."""
CONNECTIONS_MAX: Final = 16
"""An owner has a handful of terminals; more would only hold the daemon's file descriptors."""
_CREDENTIALS: Final = struct.Struct("iII")  # struct ucred of unix(7): pid, uid, gid

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Gets the request's document, returns the answer's; raises `AssayError` to refuse."""


@asynccontextmanager
async def serve_control(home: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Answer the owner's commands while the block runs; the daemon holds its home.

    Raises:
        LocalError: the socket cannot be made.
    """
    server = _Server(commands)
    with _in_directory(home) as place:
        path = Path(place) / SOCKET_FILE
        path.unlink(missing_ok=True)  # of a daemon that was killed: the lock says it is gone
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        except OSError as error:
            listening.close()
            raise LocalError(f"cannot listen on {home / SOCKET_FILE}: {error.strerror}") from None
        finally:
            os.umask(before)
    serving = await asyncio.start_unix_server(
        server.connected, sock=listening, limit=REQUEST_BYTES_MAX
    )
    try:
        yield
    finally:
        serving.close()
        await server.close()
        (home / SOCKET_FILE).unlink(missing_ok=True)


def ask_daemon(home: Path, command: str, *, timeout_s: float = 10.0, **options: Any) -> Any:
    """Return a running daemon's answer to a command; blocks.

    Raises:
        NoDaemon: none runs in this home.
        Refused: it refuses, and says why.
        LocalError: it does not answer, or the socket is somebody else's.
    """
    request = json.dumps({"command": command, **options}).encode() + b"\n"
    try:
        with (
            _in_directory(home) as place,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            connection.settimeout(timeout_s)
            connection.connect(f"{place}/{SOCKET_FILE}")
            connection.sendall(request)
            data = _read_all(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoDaemon(
            f"no provider daemon runs in {home}; start one with: assay provider run"
        ) from None
    except OSError as error:
        why = "it does not answer" if isinstance(error, TimeoutError) else error.strerror
        raise LocalError(f"cannot talk to the provider daemon in {home}: {why}") from None
    return _answer(data, home)


class NoDaemon(LocalError):
    """No provider daemon runs in this home."""


class _Server:
    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server's callback runs in a task"
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                writer.write(await self._reply(reader, writer))
                await writer.drain()
        except (TimeoutError, ConnectionError) as error:
            logger.debug("a command was not answered: %s", type(error).__name__)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """End what is being answered; returns when it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            request = await _request(reader)
            check_peer(peer_uid(writer.get_extra_info("socket")))
            answer = {"answer": await self._obey(request)}
        except AssayError as error:
            answer = {"code": error.code, "refused": str(error)}
        except Exception:  # a fault here must not end the daemon, nor be silent
            logger.exception("a command of the owner failed")
            answer = {"code": LocalError.code, "refused": "a fault of the daemon; see its log"}
        return json.dumps(answer).encode() + b"\n"

    async def _obey(self, request: Mapping[str, Any]) -> Any:
        command = self._commands.get(str(request.get("command")))
        if command is None:
            raise Refused(f"this daemon knows the commands {', '.join(sorted(self._commands))}")
        return await command(request)


def peer_uid(connection: Any) -> int:
    """Return the user at the other end of a Unix socket, as the kernel noted it at connecting."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


def check_peer(uid: int) -> None:
    """Serve the daemon's own user and root, nobody else.

    Raises:
        Refused: it is somebody else.
    """
    if uid not in (0, os.geteuid()):
        raise Refused(f"this daemon obeys its own user and root, not user {uid}")


async def _request(reader: asyncio.StreamReader) -> Mapping[str, Any]:
    try:
        document = json.loads(await reader.readline())
    except ValueError:  # not JSON, not text, or a line beyond the limit
        document = None
    if not isinstance(document, dict):
        raise Refused(f"a request is one line of JSON, at most {REQUEST_BYTES_MAX} bytes")
    return document


@contextmanager
def _in_directory(home: Path) -> Iterator[str]:
    """Give a short name of a directory: a socket's path has at most 108 bytes (unix(7))."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _read_all(connection: socket.socket) -> bytes:
    data = b""
    while len(data) <= ANSWER_BYTES_MAX and (part := connection.recv(1 << 16)):
        data += part
    return data


def _answer(data: bytes, home: Path) -> Any:
    document = None
    with contextlib.suppress(ValueError):
        document = json.loads(data)
    if isinstance(document, dict) and "answer" in document:
        return document["answer"]
    if isinstance(document, dict) and "refused" in document:
        kind = Refused if document.get("code") == Refused.code else LocalError
        raise kind(str(document["refused"]))
    raise LocalError(f"the provider daemon in {home} gave no answer; see its log")
