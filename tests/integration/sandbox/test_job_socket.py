"""The job's one socket: it reaches the daemon, and nobody else does through it."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.job_socket import CONNECTIONS_MAX, listening
from assay_provider.runtime.sandbox import RunRequest, Verdict

CALL = """
import json, socket
def say(*lines):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/dev/assay")
        s.sendall(b"".join(lines))
        s.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in s.makefile()]
"""


async def test_a_job_tells_how_far_it_is(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    told: list[str] = []
    request = make_request(
        "python",
        "-c",
        CALL + "import time\n"
        "print(say(b'{\"progress\": \"one\"}\\n', b'nonsense\\n'))\n"
        "time.sleep(2.5)\n"
        'print(say(*(b\'{"progress": "%d"}\\n\' % n for n in range(20)))[-1])\n'
        "time.sleep(1.5)",
    )
    result = await sandbox.run(replace(request, tell=told.append), 0)

    assert result.verdict is Verdict.OK, result
    first, last = result.log_tail.decode().splitlines()
    assert first == "[{'ok': True}, {'error': 'not a line of JSON'}]"
    assert last == "{'ok': True}"
    assert told[0] == "one"
    assert len(told) <= 3, "what comes in a flood is passed on from time to time"


async def test_without_a_listener_there_is_no_socket(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    request = make_request("/bin/sh", "-c", "test ! -e /dev/assay")
    assert (await sandbox.run(request, 0)).verdict is Verdict.OK


async def test_a_job_cannot_put_something_in_its_place_or_reach_the_folder(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    script = (
        "test -S /dev/assay; rm -f /dev/assay; mv /dev/assay /tmp; chmod 0 /dev/assay;"
        " test -S /dev/assay || exit 9; find / -name '*.sock' 2>/dev/null; exit 0"
    )
    request = make_request("/bin/sh", "-c", script)
    result = await sandbox.run(replace(request, tell=lambda _: None), 0)

    assert result.verdict is Verdict.OK, result
    assert b".sock" not in result.log_tail
    left = [p.name for p in request.output_directory.parent.iterdir()]
    assert sorted(left) == ["input", "output"]


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """A socket for our own uid, below a path that is too long for an address."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    async with listening(folder, uid=os.getuid(), wall_seconds=60, tell=lambda _: None) as found:
        yield found
    assert not found.exists()


async def _open(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


async def _said(path: Path, data: bytes) -> list[dict[str, object]]:
    reader, writer = await _open(path)
    writer.write(data)
    writer.write_eof()
    answers = [json.loads(line) for line in (await reader.read()).splitlines()]
    writer.close()
    return answers


async def test_another_uid_is_refused(tmp_path: Path) -> None:
    told: list[str] = []
    async with listening(tmp_path, uid=os.getuid() + 1, wall_seconds=60, tell=told.append) as found:
        answers = await _said(found, b"")
        with contextlib.suppress(ConnectionError):
            await _said(found, b'{"progress": "mine"}\n' * 100)
        await asyncio.sleep(0)
    assert answers == [{"error": "this socket belongs to another job"}]
    assert told == []


async def test_lines_are_bounded(path: Path) -> None:
    assert await _said(path, b"x" * 5000) == [{"error": "a line has at most 1024 bytes"}]


async def test_connections_are_bounded(path: Path) -> None:
    held = [await _open(path) for _ in range(CONNECTIONS_MAX)]
    for reader, writer in held:
        writer.write(b'{"progress": "x"}\n')
        assert await reader.readline() == b'{"ok": true}\n'
    (answer,) = await _said(path, b"")
    assert "at most 4 connections" in str(answer["error"])
    for _, writer in held:
        writer.close()


async def test_connections_end_with_the_run(tmp_path: Path) -> None:
    async with listening(tmp_path, uid=os.getuid(), wall_seconds=60, tell=lambda _: None) as found:
        reader, writer = await _open(found)
        writer.write(b'{"progress": "x"}\n')
        await reader.readline()
    assert await reader.read() == b""
    writer.close()
