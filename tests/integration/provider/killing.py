"""Starting provider processes beside a scheduler that lives here, and watching them end."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol import job_spec
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.job_spec import JobSpec, Resources
from assay_node.protocol.messages import LeaseAnswer
from assay_node.protocol.order import Order, SignedOrder, job_id
from assay_node.protocol.units import GIB, MIB
from tests.integration.provider import provider_process
from tests.integration.provider.provider_process import Config
from tests.unit.provider_agent.world import (
    DOMAIN,
    HARDWARE,
    REQUESTER,
    SCHEDULER,
    FakeScheduler,
)

LIMITS = ArtifactLimits(bytes_max=64 * MIB)
ROOT = Path(__file__).parents[3]
START_S = 60.0
AGAIN_S = 0.05


@dataclass
class ProviderProcess:
    """One provider, in as many processes as it takes."""

    config: Config
    directory: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        path = self.directory / "provider.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self, *, dies_after: str = "", log: Path | None = None) -> None:
        """Start it; returns when it serves, or has killed itself already."""
        path = replace(self.config, dies_after=dies_after).write(self.directory / "config.json")
        with (log or self.directory / "provider.log").open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", provider_process.__name__, str(path)),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            said = await self.process.stdout.readline()
        assert said == b"ready\n" or dies_after, self.log

    async def killed(self) -> None:
        """Wait until it has killed itself."""
        assert self.process is not None
        async with asyncio.timeout(START_S):
            assert await self.process.wait() == -9, self.log

    async def kill(self) -> None:
        """Kill it from here."""
        assert self.process is not None
        self.process.kill()
        await self.killed()

    async def leave(self) -> None:
        """End it politely."""
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(START_S):
            assert await self.process.wait() == 0, self.log


@dataclass
class Desk:
    """A scheduler's side: orders jobs, and keeps at it while the provider dies."""

    scheduler: FakeScheduler
    artifacts: EmbeddedArtifacts
    directory: Path
    addresses: tuple[str, ...]
    _numbers: int = field(default=0)

    async def order(self, code: str, **changes: Any) -> SignedOrder:
        self._numbers += 1
        folder = self.directory / f"job-{self._numbers}"
        folder.mkdir()
        (folder / "main.py").write_text(code)
        spec = JobSpec(
            name="example",
            command=("python", "/input/main.py"),
            environment={},
            inputs=await self.artifacts.add(folder, limits=LIMITS),
            resources=Resources(memory_bytes=256 * MIB),
        )
        cid, block = job_spec.encode(spec)
        assert await self.artifacts.add_bytes(block, codec=cids.DAG_CBOR) == cid
        fields: dict[str, Any] = {
            "requester": REQUESTER.address,
            "spec": cids.to_digest(cid),
            "hardware_class": HARDWARE,
            "scheduler": SCHEDULER,
            "fee_microusd": 1000,
            "max_rate_microusd": 500,
            "max_seconds": 30,
            "bond_microusd": 1_000_000,
            "replicas": 2,
            "quorum": 2,
            "max_ticket": 3,
            "commit_window_s": 30,
            "reveal_window_s": 20,
            "seed_block": 5,
            "expiry": int(time.time()) + 1200,
            "nonce": os.urandom(32),
        }
        order = Order(**{**fields, **changes})
        return SignedOrder(order=order, signature=REQUESTER.sign_digest(job_id(order, DOMAIN)))

    async def lease(self, signed: SignedOrder) -> LeaseAnswer | None:
        """Offer a lease; None if the provider died before it answered."""
        await self.scheduler.until(lambda: self.scheduler.heartbeats)
        try:
            return await self.scheduler.lease(signed)
        except RemoteError:
            return None


@asynccontextmanager
async def open_desk(directory: Path) -> AsyncIterator[Desk]:
    settings = ArtifactSettings(root=directory / "scheduler", quota_bytes=1 * GIB)
    async with (
        open_network(NetworkSettings(), new_peer_key()) as network,
        open_artifacts(settings, network) as artifacts,
    ):
        scheduler = FakeScheduler(network, artifacts)  # type: ignore[arg-type]
        yield Desk(
            scheduler=scheduler,
            artifacts=artifacts,
            directory=directory,
            addresses=network.addresses,
        )


@asynccontextmanager
async def provider_beside(
    desk: Desk, directory: Path, home: Path, **changes: Any
) -> AsyncIterator[ProviderProcess]:
    """Yield a provider that is not started yet; none of its processes outlives the block."""
    config = Config(
        home=str(home),
        schedulers=desk.addresses,
        instance=f"kill-{os.getpid()}",
        uid_first=1_200_000_000 + os.getpid() % 100_000 * 10,
        **changes,
    )
    provider = ProviderProcess(config=config, directory=directory)
    try:
        yield provider
    finally:
        if provider.process is not None and provider.process.returncode is None:
            provider.process.kill()
            await provider.process.wait()
