"""A provider in a process of its own, to be killed: everything is real but the chain.

    python provider_process.py CONFIG

CONFIG is a JSON file, see `Config`. The process kills itself with SIGKILL right after the write
that `dies_after` names has become durable, before anything else can happen; with "" it lives.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from assay_node.app import SystemClock
from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.cli.daemon import stop_on_signals
from assay_node.cli.logs import start_logging
from assay_node.network import NetworkSettings, open_network
from assay_node.protocol.ids import Digest
from assay_node.protocol.offer import Slot
from assay_node.protocol.units import GIB, MIB
from assay_node.settings import Settings
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.assembly import ProviderParts
from assay_provider.claims import UidRange, hold_home
from assay_provider.daemon import serve
from assay_provider.disk_room import DiskRoom, wait_for_room
from assay_provider.runtime import leftovers
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.environment import HOST_PYTHON
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.supply import Supply
from tests.unit.provider_agent.world import HARDWARE, OPERATOR, SIGNER, FakeChain

PEER_KEY = b"\x44" * 32
SLOTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a provider process is told."""

    home: str
    schedulers: tuple[str, ...]
    instance: str
    uid_first: int
    dies_after: str = ""
    disk_free_bytes_min: int = 1

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Config":
        fields = json.loads(path.read_text())
        return cls(**{**fields, "schedulers": tuple(fields["schedulers"])})

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.home}/provider.sqlite"

    @property
    def uids(self) -> UidRange | None:
        if os.getuid() != 0:
            return None
        return UidRange(first=self.uid_first, last=self.uid_first + SLOTS - 1)

    @property
    def territory(self) -> leftovers.Territory:
        home = Path(self.home)
        return leftovers.Territory(
            uids=self.uids, folders=(home / "environments",), work_directory=home / "work"
        )


class DyingLeases(ProviderLeases):
    """Kills its process once a lease is in the state, or at the stage, that it is told."""

    dies_after = ""

    async def add(self, lease: Any, *args: Any, **kwargs: Any) -> bool:
        added = await super().add(lease, *args, **kwargs)
        self._die(lease)
        return added

    async def save(self, before: Any, after: Any, **kwargs: Any) -> Any:
        saved = await super().save(before, after, **kwargs)
        self._die(saved)
        return saved

    async def sign_set(self, before: Any, after: Any, **kwargs: Any) -> Any:
        signed = await super().sign_set(before, after, **kwargs)
        self._die(signed)
        return signed

    def _die(self, lease: Any) -> None:
        if lease is not None and self.dies_after == (lease.stage or lease.state):
            os.kill(os.getpid(), signal.SIGKILL)


async def run(config: Config) -> None:
    home = Path(config.home)
    room = DiskRoom(folders=(home,), free_bytes_min=config.disk_free_bytes_min)
    stop = stop_on_signals()
    with hold_home(home):
        if not await wait_for_room(room, stop):
            return
        leftovers.tell(await asyncio.to_thread(leftovers.sweep, config.territory))
        settings = SandboxSettings(instance=config.instance, uid_first=config.uid_first)
        async with (
            open_database(config.database_url, role="provider") as database,
            open_sandbox(settings) as sandbox,
            open_network(NetworkSettings(), PEER_KEY) as network,
            open_artifacts(
                ArtifactSettings(root=home / "artifacts", quota_bytes=1 * GIB), network
            ) as artifacts,
        ):
            leases = DyingLeases(database)
            leases.dies_after = config.dies_after
            clock = SystemClock()
            parts = ProviderParts(
                network=network,
                artifacts=artifacts,
                chain=FakeChain(clock),  # type: ignore[arg-type]
                leases=leases,
                signer=SIGNER,
                sandbox=sandbox,
                clock=clock,
            )
            ready = partial(print, "ready", flush=True)
            await serve(parts, _supply(config, room), stop=stop, on_ready=ready)


def _supply(config: Config, room: DiskRoom) -> Supply:
    return Supply(
        operator=OPERATOR,
        hardware_class=HARDWARE,
        cpu_model="some CPU",
        tiers=("t1",),
        runtimes=(HOST_PYTHON,),
        software_digest=Digest(b"\x05" * 32),
        slots=SLOTS,
        slot=Slot(
            memory_bytes=1 * GIB,
            cpus_milli=1000,
            scratch_bytes=512 * MIB,
            output_bytes=256 * MIB,
            input_bytes=1 * GIB,
            seconds_max=60,
        ),
        price_microusd_per_second=400,
        bond_max_microusd=10_000_000,
        scheduler_bond_min_microusd=100_000_000,
        schedulers=config.schedulers,
        work_directory=Path(config.home) / "work",
        allow_weak_isolation=True,
        disk=room,
    )


if __name__ == "__main__":
    start_logging(Settings(log_level="info"))
    asyncio.run(run(Config.read(Path(sys.argv[1]))))
