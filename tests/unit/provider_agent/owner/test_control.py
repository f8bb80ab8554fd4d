"""The control socket: served to its own user and root, bounded, and held by one daemon only."""

import asyncio
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from assay_node.protocol.errors import LocalError, Refused
from assay_provider.owner import control
from assay_provider.owner.control import (
    NoDaemon,
    ask_daemon,
    check_peer,
    peer_uid,
    serve_control,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    # longer than any socket's path may be
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True, mode=0o700)
    return deep


async def echo(request: Mapping[str, Any]) -> Any:
    return {"said": request.get("word")}


async def refuse(_: Mapping[str, Any]) -> Any:
    raise Refused("not now")


async def fail(_: Mapping[str, Any]) -> Any:
    raise ValueError("a secret")


async def ask(home: Path, command: str, **options: Any) -> Any:
    return await asyncio.to_thread(ask_daemon, home, command, **options)


def names(home: Path) -> list[str]:
    return [path.name for path in home.iterdir()]


def open_to_all(home: Path) -> None:
    home.chmod(0o755)
    (home / "control.sock").chmod(0o666)


async def raw(home: Path, data: bytes) -> bytes:
    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            descriptor = os.open(home, os.O_RDONLY)
            connection.settimeout(20)
            connection.connect(f"/proc/self/fd/{descriptor}/control.sock")
            os.close(descriptor)
            connection.sendall(data)
            return connection.recv(65536)

    return await asyncio.to_thread(talk)


async def test_commands_are_answered_and_refusals_carry_their_reason(home: Path) -> None:
    async with serve_control(home, {"echo": echo, "refuse": refuse}):
        assert (home / "control.sock").stat().st_mode & 0o777 == 0o600
        assert await ask(home, "echo", word="hello") == {"said": "hello"}
        with pytest.raises(Refused, match="not now"):
            await ask(home, "refuse")
        with pytest.raises(Refused, match="knows the commands echo, refuse"):
            await ask(home, "explode")
    assert names(home) == []


async def test_a_fault_is_logged_and_does_not_tell(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve_control(home, {"fail": fail, "echo": echo}):
        with pytest.raises(LocalError, match="a fault of the daemon; see its log"):
            await ask(home, "fail")
        assert "a secret" in caplog.text
        assert await ask(home, "echo") == {"said": None}


@pytest.mark.parametrize(
    "data", [b"\n", b"[]\n", b"hello\n", b"\xff\xfe\n", b'{"command": ' + b"x" * 9000 + b"\n"]
)
async def test_what_is_no_request_is_refused(home: Path, data: bytes) -> None:
    async with serve_control(home, {"echo": echo}):
        answer = json.loads(await raw(home, data))
        assert "one line of JSON" in answer["refused"]
        assert await ask(home, "echo") == {"said": None}


async def test_silent_connections_are_let_go(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_S_MAX", 0.05)
    async with serve_control(home, {"echo": echo}):
        assert await raw(home, b'{"command"') == b""


async def test_only_so_many_are_served_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS_MAX", 1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(_: Mapping[str, Any]) -> Any:
        entered.set()
        await leave.wait()
        return {}

    async with serve_control(home, {"wait": wait}):
        first = asyncio.create_task(ask(home, "wait"))
        await entered.wait()
        with pytest.raises(LocalError, match=r"gave no answer|cannot talk"):
            await ask(home, "wait")
        leave.set()
        assert await first == {}


async def test_leaving_ends_what_is_being_answered(home: Path) -> None:
    entered = asyncio.Event()

    async def wait(_: Mapping[str, Any]) -> Any:
        entered.set()
        await asyncio.Event().wait()

    async with serve_control(home, {"wait": wait}):
        asking = asyncio.create_task(ask(home, "wait"))
        await entered.wait()
    with pytest.raises(LocalError):
        await asking


async def test_without_a_daemon_the_answer_says_how_to_start_one(home: Path) -> None:
    for place in (home, home / "nowhere"):
        with pytest.raises(NoDaemon, match="assay provider run"):
            await ask(place, "status")


async def test_the_socket_of_a_killed_daemon_is_replaced(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left, control._in_directory(home) as place:
        left.bind(f"{place}/control.sock")
    with pytest.raises(NoDaemon):
        await ask(home, "echo")
    async with serve_control(home, {"echo": echo}):
        assert await ask(home, "echo") == {"said": None}


def test_the_kernel_says_who_connects() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_uid(one) == os.geteuid()


def test_strangers_are_refused() -> None:
    check_peer(0)
    check_peer(os.geteuid())
    with pytest.raises(Refused, match="not user 65534"):
        check_peer(65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as somebody else")
async def test_a_stranger_who_gets_at_the_socket_is_refused(home: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "c = socket.socket(socket.AF_UNIX)\n"
        "c.connect(f'/proc/self/fd/{sys.argv[1]}/control.sock')\n"
        'c.sendall(b\'{"command": "echo"}\\n\')\n'
        "print(c.recv(9999).decode())\n"
    )
    async with serve_control(home, {"echo": echo}):
        open_to_all(home)
        descriptor = os.open(home, os.O_RDONLY)
        try:
            process = await asyncio.create_subprocess_exec(
                *("/usr/bin/python3", "-c", code, str(descriptor)),
                stdout=asyncio.subprocess.PIPE,
                user=65534,
                group=65534,
                pass_fds=(descriptor,),
            )
            said, _ = await process.communicate()
        finally:
            os.close(descriptor)
    assert "not user 65534" in json.loads(said)["refused"]
