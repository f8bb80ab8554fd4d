"""Stores on disk, alone and with peers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from tests.fakes.network import FakeHub, FakeNetwork
from tests.integration.artifacts.peers import Peer

OpenPeer = Callable[..., Awaitable[Peer]]


@pytest.fixture
def settings(tmp_path: Path) -> ArtifactSettings:
    """A roomy store without grace."""
    return ArtifactSettings(root=tmp_path / "store", quota_bytes=1 << 30, grace_s=0)


@pytest.fixture
async def artifacts(settings: ArtifactSettings) -> AsyncIterator[EmbeddedArtifacts]:
    """A store without a network."""
    async with open_artifacts(settings, None) as opened:
        yield opened


@pytest.fixture
async def open_peer(settings: ArtifactSettings) -> AsyncIterator[OpenPeer]:
    """Opens peers that are connected to each other, each with a store named after it."""
    hub = FakeHub()

    async with AsyncExitStack() as stack:

        async def open_one(name: str, **changes: Any) -> Peer:
            others = list(hub.networks)
            network = await stack.enter_async_context(FakeNetwork(hub))
            for address in others:
                await network.connect(address)
            own = replace(settings, root=settings.root.with_name(name), **changes)
            opened = await stack.enter_async_context(open_artifacts(own, network))
            return Peer(artifacts=opened, network=network)

        yield open_one
