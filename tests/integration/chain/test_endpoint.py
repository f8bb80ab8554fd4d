"""Endpoints that misbehave on the wire: all of it ends as `ChainUnavailable`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from assay_node.chain import rpc
from assay_node.chain.rpc import open_rpc
from assay_node.protocol.errors import ChainUnavailable

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'


@asynccontextmanager
async def endpoint(answer: Answer) -> AsyncIterator[str]:
    """A server that treats each connection as `answer` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"}")
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def talk_rubbish(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xffnot HTTP\r\n\r\n")


async def stop_half_way(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + OK[:10])


async def talk_without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


@pytest.mark.parametrize(
    "answer", [hang_up, say_nothing, talk_rubbish, stop_half_way, talk_without_end]
)
async def test_every_fault_on_the_wire_is_chain_unavailable(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "RESPONSE_BYTES_MAX", 1 << 20)
    async with endpoint(answer) as url, open_rpc(url, timeout_s=0.5) as connection:
        with pytest.raises(ChainUnavailable):
            await connection.call("eth_chainId")


async def test_a_read_survives_one_dropped_connection_and_a_write_does_not() -> None:
    calls = 0

    async def drop_the_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(OK)}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode() + OK)

    async with endpoint(drop_the_first) as url, open_rpc(url, timeout_s=5) as connection:
        assert await connection.read("eth_chainId") == "0x1"
        with pytest.raises(ChainUnavailable):
            await connection.call("eth_sendRawTransaction", "0x")
        assert calls == 3
