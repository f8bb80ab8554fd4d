"""Fetching over real libp2p hosts in separate processes."""

import asyncio
import os
import signal
import sys
import threading
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol

from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.artifacts.blockstore import Block
from assay_node.artifacts.exchange_frames import PROTOCOL
from assay_node.artifacts.operation import Operation
from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.ids import Cid, PeerId
from tests.integration.artifacts import serving_peer
from tests.integration.artifacts.trees import (
    ROOMY,
    SAMPLE,
    Tree,
    block_files,
    noise,
    read_tree,
    write_tree,
)
from tests.integration.network.raw_peer import as_raw_peer

StartPeer = Callable[[str, "bytes | Tree"], Awaitable[tuple[Process, str, Cid]]]


@pytest.fixture
async def start_peer(tmp_path: Path) -> AsyncIterator[StartPeer]:
    """Starts processes that serve a tree; each gives its multiaddr and the tree's CID."""
    children: list[Process] = []

    async def start(name: str, tree: "bytes | Tree") -> tuple[Process, str, Cid]:
        path = write_tree(tmp_path / f"{name}.in", tree)
        command = (sys.executable, serving_peer.__file__, tmp_path / name, path)
        child = await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        children.append(child)
        assert child.stdout is not None
        address, cid = (await child.stdout.readline()).decode().split()
        return child, address, Cid(cid)

    yield start
    for child in children:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_a_tree_travels_between_two_hosts(
    settings: ArtifactSettings, start_peer: StartPeer, tmp_path: Path
) -> None:
    tree: Tree = {"sample": SAMPLE, "large": noise(60 << 20)}
    _, address, cid = await start_peer("source", tree)
    async with (
        open_network(NetworkSettings(), new_peer_key()) as network,
        open_artifacts(settings, network) as artifacts,
    ):
        source = await network.connect(address)
        assert await artifacts.fetch(cid, [source], limits=ROOMY) == 600_015 + (60 << 20)
        await artifacts.export(cid, tmp_path / "out")
    assert read_tree(tmp_path / "out") == tree


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_source_that_dies_or_freezes_midway_is_left_for_the_next(
    settings: ArtifactSettings,
    start_peer: StartPeer,
    monkeypatch: pytest.MonkeyPatch,
    blow: signal.Signals,
) -> None:
    data = noise(60 << 20)
    failing, failing_address, cid = await start_peer("failing", data)
    _, healthy_address, _ = await start_peer("healthy", data)
    store, stores = Operation.store, 0

    def store_and_strike(operation: Operation, blocks: Sequence[Block]) -> None:
        nonlocal stores
        stores += 1
        if stores == 2:
            os.kill(failing.pid, blow)
        store(operation, blocks)

    monkeypatch.setattr(Operation, "store", store_and_strike)
    async with (
        open_network(NetworkSettings(), new_peer_key()) as network,
        open_artifacts(replace(settings, block_timeout_s=2), network) as artifacts,
    ):
        sources = [await network.connect(a) for a in (failing_address, healthy_address)]
        with pytest.raises(RemoteError, match=f"{sources[0]} .*(stalled|was lost|broke off)"):
            await artifacts.fetch(cid, sources[:1], limits=ROOMY)
        assert 0 < len(block_files(settings.root)) < 241
        assert await artifacts.fetch(cid, sources[1:], limits=ROOMY) == 60 << 20
        assert await artifacts.has(cid)


ONE_BYTE_S = 0.05
WHOLE_FRAME = b"\x00\x00\x10\x00"
"""The length of a frame of 4096 bytes."""


@pytest.mark.parametrize(
    ("begins", "fault"),
    [
        (WHOLE_FRAME, "stalled: no block for 1 s"),  # and then byte by byte
        (b"\xff\xff\xff\xff", "lost|broke off|cut|closed"),  # claims four gigabytes
    ],
)
async def test_a_source_that_sends_byte_by_byte_or_claims_too_much_is_left_in_time(
    settings: ArtifactSettings, begins: bytes, fault: str
) -> None:
    """A bare host: what no Assay peer would put on the wire."""
    connected, fetched = threading.Event(), threading.Event()  # of two loops' threads
    peer_ids: list[str] = []

    async def answer(stream: INetStream) -> None:
        await stream.read(64)
        with suppress(Exception):  # it is cut off, in whatever way
            await stream.write(begins)
            while not fetched.is_set():
                await stream.write(b"\x02")
                await trio.sleep(ONE_BYTE_S)

    async def script(host: IHost) -> None:
        host.set_stream_handler(TProtocol(PROTOCOL), answer)
        peer_ids.append(str(host.get_id()))
        connected.set()
        await trio.to_thread.run_sync(fetched.wait)

    async with (
        open_network(NetworkSettings(), new_peer_key()) as network,
        open_artifacts(replace(settings, block_timeout_s=1), network) as artifacts,
    ):
        hostile = asyncio.create_task(as_raw_peer(network.addresses[0], script))
        try:
            await asyncio.to_thread(connected.wait, 20)
            (source,) = peer_ids
            absent = cids.of_block(cids.RAW, b"absent")
            with pytest.raises(RemoteError, match=f"{source} .*({fault})"):
                await artifacts.fetch(absent, [PeerId(source)], limits=ROOMY)
        finally:
            fetched.set()
            await hostile
        assert not block_files(settings.root)
