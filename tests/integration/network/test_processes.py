"""Peers in processes of their own: killed, frozen, restarted, measured."""

import asyncio
import gc
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay_node.network import (
    Libp2pNetwork,
    NetworkSettings,
    new_peer_key,
    open_network,
    peer_id_of,
)
from assay_node.ports import Stream
from assay_node.protocol.errors import LocalError, RemoteError
from assay_node.protocol.ids import PeerId

SCRIPT = Path(__file__).with_name("peer_process.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerProcess:
    """A child that runs peer_process.py."""

    process: asyncio.subprocess.Process
    address: str

    @property
    def peer_id(self) -> PeerId:
        return PeerId(self.address.rsplit("/", 1)[1])

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return (await self.process.stdout.readline()).decode().strip()

    async def publish(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


StartPeer = Callable[..., Awaitable[PeerProcess]]


@pytest.fixture
async def start_peer() -> AsyncIterator[StartPeer]:
    children: list[asyncio.subprocess.Process] = []

    async def start(key: bytes, listen: str = "/ip4/127.0.0.1/tcp/0") -> PeerProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            key.hex(),
            listen,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        children.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            address = (await process.stdout.readline()).decode().strip()
        return PeerProcess(process=process, address=address)

    yield start
    for process in children:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def network() -> AsyncIterator[Libp2pNetwork]:
    settings = NetworkSettings(keep_alive_interval_s=0.5, keep_alive_timeout_s=1.0)
    async with open_network(settings, new_peer_key()) as opened:
        yield opened


async def test_a_killed_peer_is_noticed_and_comes_back_under_the_same_address(
    network: Libp2pNetwork, start_peer: StartPeer
) -> None:
    key = new_peer_key()
    peer = await start_peer(key)
    gone = asyncio.Event()
    network.on_disconnect(lambda _: gone.set())
    await network.connect(peer.address)
    hanging = asyncio.create_task(network.request(peer.peer_id, "/hang/1", b"", timeout_s=3600))
    assert await peer.line() == "hanging"
    stream = await network.open_stream(peer.peer_id, "/pour/1")
    assert await stream.receive()
    await peer.kill()
    async with asyncio.timeout(10):
        with pytest.raises(RemoteError):
            await hanging
        with pytest.raises(RemoteError):  # never a clean end: the transfer was not complete
            await drained(stream)
        await gone.wait()
        with pytest.raises(RemoteError, match="not connected"):
            await network.request(peer.peer_id, "/echo/1", b"", timeout_s=3600)
        # libp2p itself would now refuse to dial this peer for 60 s.
        with pytest.raises(RemoteError):
            await network.connect(peer.address)
    again = await start_peer(key, peer.address.split("/p2p/")[0])
    assert again.address == peer.address
    async with asyncio.timeout(10):
        await network.connect(peer.address)
        assert await network.request(peer.peer_id, "/echo/1", b"hi", timeout_s=10) == b"hi"
    await stream.close()


async def test_a_peer_that_comes_back_elsewhere_is_found_there(
    network: Libp2pNetwork, start_peer: StartPeer
) -> None:
    key = new_peer_key()
    first = await start_peer(key)
    await network.connect(first.address)
    await first.kill()
    second = await start_peer(key)
    assert second.address != first.address
    await nobody_connected(network)
    async with asyncio.timeout(10):
        await network.connect(second.address)
        assert await network.request(second.peer_id, "/echo/1", b"hi", timeout_s=10) == b"hi"


async def test_a_frozen_peer_is_noticed_by_the_keep_alive(
    network: Libp2pNetwork, start_peer: StartPeer
) -> None:
    peer = await start_peer(new_peer_key())
    await network.connect(peer.address)
    peer.process.send_signal(signal.SIGSTOP)  # its kernel still acknowledges what we send
    try:
        with pytest.raises(RemoteError, match="lost"):
            await network.request(peer.peer_id, "/echo/1", b"", timeout_s=60)
    finally:
        peer.process.send_signal(signal.SIGCONT)


async def test_gossip_survives_a_kill_and_a_restart_with_the_same_key(
    network: Libp2pNetwork, start_peer: StartPeer
) -> None:
    key = new_peer_key()
    subscription = network.subscribe("adverts")
    for life in ("first", "second"):
        peer = await start_peer(key)
        await network.connect(peer.address)
        await peer.publish(f"{life} hello")
        async with asyncio.timeout(20):
            assert (await anext(subscription)).data == f"{life} hello".encode()
        # Sequence numbers that start over would make these look like repetitions.
        for number in range(60):
            await peer.publish(f"{life} {number}")
            async with asyncio.timeout(20):
                message = await anext(subscription)
            assert message.data == f"{life} {number}".encode()
            assert message.source == peer_id_of(key)
        await network.publish("adverts", f"to the {life}".encode())
        # A newcomer is also sent what was said shortly before it came.
        while (line := await peer.line()) != f"heard {network.peer_id} to the {life}":
            assert line == f"heard {network.peer_id} to the first"
        await peer.kill()
        await nobody_connected(network)


async def test_closing_in_the_middle_of_everything_is_clean(
    start_peer: StartPeer, recwarn: pytest.WarningsRecorder
) -> None:
    """No thread, task, socket or warning is left, and it takes no time-out."""
    peer = await start_peer(new_peer_key())
    before = threading.active_count()
    async with open_network(NetworkSettings(), new_peer_key()) as network:
        await network.connect(peer.address)
        network.subscribe("adverts")
        stream = await network.open_stream(peer.peer_id, "/pour/1")
        assert await stream.receive()
        hanging = asyncio.create_task(network.request(peer.peer_id, "/hang/1", b"", timeout_s=60))
        dialling = asyncio.create_task(network.connect(silent_address()))
        assert await peer.line() == "hanging"
    for task in (hanging, dialling):
        with pytest.raises((RemoteError, LocalError)):
            await task
    assert threading.active_count() == before
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


async def drained(stream: Stream) -> None:
    while await stream.receive() is not None:
        pass


async def nobody_connected(network: Libp2pNetwork) -> None:
    async with asyncio.timeout(10):
        while network.connected_peers():  # noqa: ASYNC110 - asks the very thing under test
            await asyncio.sleep(0.01)


def silent_address() -> str:
    """A port that accepts connections and never says a word."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    _keep.append(listener)
    return f"/ip4/127.0.0.1/tcp/{listener.getsockname()[1]}/p2p/{peer_id_of(new_peer_key())}"


_keep: list[socket.socket] = []


@pytest.fixture(autouse=True)
def close_listeners() -> AsyncIterator[None]:
    yield
    while _keep:
        _keep.pop().close()


async def test_streams_cut_in_the_middle_of_a_write_leave_the_others_whole(
    network: Libp2pNetwork, start_peer: StartPeer
) -> None:
    """All streams share one encrypted connection; half a message would end it for all."""
    peer = await start_peer(new_peer_key())
    await network.connect(peer.address)
    lost: list[PeerId] = []
    network.on_disconnect(lost.append)
    for round_number in range(40):
        stream = await network.open_stream(peer.peer_id, "/slow-drain/1")
        sending = asyncio.gather(*(stream.send(b"x" * 1_000_000) for _ in range(8)))
        await asyncio.sleep(round_number / 2000)
        sending.cancel()
        stream.abort()
        assert await network.request(peer.peer_id, "/echo/1", b"ok", timeout_s=30) == b"ok"
    assert lost == []


async def test_a_cancelled_dial_ends(network: Libp2pNetwork) -> None:
    address = silent_address()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await network.connect(address)


async def test_a_port_in_use_is_refused() -> None:
    async with open_network(NetworkSettings(), new_peer_key()) as first:
        listen = first.addresses[0].split("/p2p/")[0]
        with pytest.raises(LocalError, match="Address already in use"):
            async with open_network(NetworkSettings(listen=(listen,)), new_peer_key()):
                pass
    async with open_network(NetworkSettings(listen=(listen,)), new_peer_key()) as again:
        assert again.addresses[0].startswith(listen)


@pytest.mark.parametrize("listen", ["nonsense", "/ip4/203.0.113.7/tcp/0", "/ip4/127.0.0.1/udp/0"])
async def test_an_address_that_cannot_be_listened_on_is_refused(listen: str) -> None:
    before = threading.active_count()
    with pytest.raises(LocalError):
        async with open_network(NetworkSettings(listen=(listen,)), new_peer_key()):
            pass
    assert threading.active_count() == before


async def test_all_interfaces_are_announced_by_their_addresses() -> None:
    async with open_network(
        NetworkSettings(listen=("/ip4/0.0.0.0/tcp/0",)), new_peer_key()
    ) as network:
        assert network.addresses
        assert not any("/0.0.0.0/" in address for address in network.addresses)


async def test_announced_addresses_replace_the_others() -> None:
    settings = NetworkSettings(announce=("/dns4/gpu.example.org/tcp/4001",))
    async with open_network(settings, new_peer_key()) as network:
        expected = f"/dns4/gpu.example.org/tcp/4001/p2p/{network.peer_id}"
        assert network.addresses == (expected,)


async def test_nothing_of_libp2p_reaches_the_terminal(start_peer: StartPeer) -> None:
    peer = await start_peer(new_peer_key())
    code = (
        "import asyncio, logging, sys\n"
        "from assay_node.network import NetworkSettings, new_peer_key, open_network\n"
        "async def main():\n"
        "    async with open_network(NetworkSettings(), new_peer_key()) as network:\n"
        "        for address in sys.argv[1:]:\n"
        "            try:\n"
        "                print(await network.connect(address))\n"
        "                await network.open_stream(address.rsplit('/', 1)[1], '/nothing/1')\n"
        "            except Exception as error:\n"
        "                print(repr(error))\n"
        "asyncio.run(main())\n"
        "print(logging.getLogger().handlers)\n"
    )
    nobody = f"/ip4/127.0.0.1/tcp/1/p2p/{peer.peer_id}"
    somebody_else = peer.address.replace(peer.peer_id, peer_id_of(new_peer_key()))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, nobody, somebody_else, peer.address,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await child.communicate()
    assert out.decode().count("RemoteError") == 3
    assert out.decode().splitlines()[-1] == "[]"  # libp2p must not set up logging for us
    assert err == b""


async def test_a_failure_of_the_body_passes_unchanged() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_network(NetworkSettings(), new_peer_key()):
            _ = 1 / 0
