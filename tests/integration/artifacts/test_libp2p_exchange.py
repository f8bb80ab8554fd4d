"""Fetching over real libp2p hosts in separate processes."""

import os
import signal
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.artifacts.blockstore import Block
from assay_node.artifacts.operation import Operation
from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.ids import Cid
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
