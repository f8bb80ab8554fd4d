"""A provider with its real sandbox, artifacts, network and database; only the chain is a fake."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay_node.app import SystemClock
from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.network import Libp2pNetwork, NetworkSettings, new_peer_key, open_network
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol import job_spec
from assay_node.protocol.ids import Cid, Digest
from assay_node.protocol.job_spec import JobSpec, Resources
from assay_node.protocol.messages import Reveal
from assay_node.protocol.offer import Slot
from assay_node.protocol.order import Order, SignedOrder, job_id
from assay_node.protocol.units import GIB, MIB
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.assembly import ProviderParts
from assay_provider.daemon import serve
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.environment import HOST_PYTHON
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import SandboxUnavailable
from assay_provider.supply import Supply
from tests.unit.provider_agent.world import (
    DOMAIN,
    HARDWARE,
    OPERATOR,
    REQUESTER,
    SCHEDULER,
    SIGNER,
    FakeChain,
    FakeScheduler,
    a_commit_set,
)

LIMITS = ArtifactLimits(bytes_max=64 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One scheduler and one provider, connected over TCP."""

    directory: Path
    scheduler: FakeScheduler
    scheduler_artifacts: EmbeddedArtifacts
    provider_artifacts: EmbeddedArtifacts
    provider_network: Libp2pNetwork

    async def order(self, code: str, **changes: Any) -> SignedOrder:
        """Return an order for a Python program, its spec and input held by the scheduler."""
        folder = self.directory / f"job-{time.monotonic_ns()}"
        write(folder / "main.py", code)
        inputs = await self.scheduler_artifacts.add(folder, limits=LIMITS)
        spec = JobSpec(
            name="example",
            command=("python", "/input/main.py"),
            environment={"GREETING": "hello"},
            inputs=inputs,
            resources=changes.pop("resources", Resources(memory_bytes=256 * MIB)),
        )
        cid, block = job_spec.encode(spec)
        assert await self.scheduler_artifacts.add_bytes(block, codec=cids.DAG_CBOR) == cid
        fields: dict[str, Any] = {
            "requester": REQUESTER.address,
            "spec": cids.to_digest(cid),
            "hardware_class": HARDWARE,
            "scheduler": SCHEDULER,
            "fee_microusd": 1000,
            "max_rate_microusd": 500,
            "max_seconds": 20,
            "bond_microusd": 1_000_000,
            "replicas": 2,
            "quorum": 2,
            "max_ticket": 3,
            "commit_window_s": 30,
            "reveal_window_s": 20,
            "seed_block": 5,
            "expiry": int(time.time()) + 600,
            "nonce": os.urandom(32),
        }
        order = Order(**{**fields, **changes})
        return SignedOrder(order=order, signature=REQUESTER.sign_digest(job_id(order, DOMAIN)))

    async def reveal(self, signed: SignedOrder) -> Reveal:
        """Lease, wait for the commitment, show a set and return the reveal."""
        count = len(self.scheduler.commits)
        answer = await self.scheduler.lease(signed)
        assert answer.accepted, answer.reason
        await self.scheduler.until(
            lambda: len(self.scheduler.commits) > count or self.scheduler.hand_backs
        )
        assert not self.scheduler.hand_backs, self.scheduler.hand_backs
        commit = self.scheduler.commits[-1]
        return await self.scheduler.reveal(a_commit_set(commit))

    async def output(self, cid: Cid) -> dict[str, bytes]:
        """Fetch an output from the provider as a requester would, and read it."""
        peer = self.provider_network.peer_id
        await self.scheduler_artifacts.fetch(cid, [peer], limits=LIMITS)
        target = self.directory / f"out-{cid[-8:]}-{time.monotonic_ns()}"
        await self.scheduler_artifacts.export(cid, target)
        return read(target)


def write(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)


def read(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@asynccontextmanager
async def open_market(directory: Path, **artifact_changes: Any) -> AsyncIterator[Market]:
    sandbox_settings = SandboxSettings(instance=f"test-{os.getpid()}", uid_first=310_000)
    clock = SystemClock()
    local = NetworkSettings()

    def store(name: str) -> ArtifactSettings:
        return ArtifactSettings(root=directory / name, quota_bytes=1 * GIB, **artifact_changes)

    async with (
        open_network(local, new_peer_key()) as scheduler_network,
        open_artifacts(store("scheduler"), scheduler_network) as scheduler_artifacts,
        open_database(f"sqlite:///{directory}/provider.sqlite", role="provider") as database,
        open_sandbox(sandbox_settings) as sandbox,
        open_network(local, new_peer_key()) as network,
        open_artifacts(store("provider"), network) as artifacts,
    ):
        scheduler = FakeScheduler(scheduler_network, scheduler_artifacts)  # type: ignore[arg-type]
        supply = Supply(
            operator=OPERATOR,
            hardware_class=HARDWARE,
            cpu_model="some CPU",
            tiers=("t1",),
            runtimes=(HOST_PYTHON,),
            software_digest=Digest(b"\x05" * 32),
            slots=2,
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
            schedulers=scheduler_network.addresses,
            work_directory=directory / "work",
            allow_weak_isolation=True,
        )
        parts = ProviderParts(
            network=network,
            artifacts=artifacts,
            chain=FakeChain(clock),  # type: ignore[arg-type]
            leases=ProviderLeases(database),
            signer=SIGNER,
            sandbox=sandbox,
            clock=clock,
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(serve(parts, supply, stop=stop))
            await scheduler.until(lambda: scheduler.heartbeats)
            yield Market(
                directory=directory,
                scheduler=scheduler,
                scheduler_artifacts=scheduler_artifacts,
                provider_artifacts=artifacts,
                provider_network=network,
            )
            stop.set()


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    # a fixture's task group must be left in the task that entered it, so it gets one of its own
    opened: asyncio.Future[Market] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:
        async with open_market(tmp_path) as found:
            opened.set_result(found)
            await done.wait()

    task = asyncio.create_task(hold())
    await asyncio.wait({task, opened}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        error = task.exception()
        if isinstance(error, SandboxUnavailable):
            pytest.skip(f"no sandbox on this machine: {error}")
        task.result()
    yield opened.result()
    done.set()
    await task


async def test_a_job_runs_and_its_output_is_fetched_by_cid(market: Market) -> None:
    code = (
        "import os, pathlib\n"
        "pathlib.Path('/output/answer.txt').write_text(os.environ['GREETING'] + ' 42')\n"
        "pathlib.Path('/output/more').mkdir()\n"
        "pathlib.Path('/output/more/data.bin').write_bytes(bytes(300_000))\n"
        "print('working')\n"
    )
    reveal = await market.reveal(await market.order(code))
    assert reveal.verdict == "ok"
    assert 1 <= reveal.seconds <= 20
    assert await market.output(reveal.output) == {
        "answer.txt": b"hello 42",
        "more/data.bin": bytes(300_000),
    }
    assert reveal.log is not None
    log = await market.provider_artifacts.read_bytes(reveal.log, bytes_max=MIB)
    assert log == b"working\n"


async def test_two_runs_of_one_job_agree_on_result_and_on_failure(market: Market) -> None:
    good = "open('/output/x', 'w').write('1')"
    first = await market.reveal(await market.order(good))
    second = await market.reveal(await market.order(good))
    assert first.output == second.output
    assert first.tag != second.tag
    bad = "import os, sys; print(os.getpid(), os.urandom(4)); sys.exit(3)"
    first = await market.reveal(await market.order(bad))
    second = await market.reveal(await market.order(bad))
    assert first.output == second.output
    failure = (await market.output(first.output))["failure.json"]
    assert json.loads(failure) == {"verdict": "error", "exit_code": 3}


async def test_a_run_at_its_time_limit_is_committed_as_such(market: Market) -> None:
    forever = "while True: pass"
    signed = await market.order(forever, max_seconds=1)
    reveal = await market.reveal(signed)
    assert market.scheduler.commits[-1].at_limit
    assert (reveal.verdict, reveal.seconds) == ("timeout", 1)
    failure = (await market.output(reveal.output))["failure.json"]
    assert json.loads(failure) == {"verdict": "timeout", "limits": {"wall_seconds": 1}}


async def test_a_release_kills_what_runs(market: Market) -> None:
    signed = await market.order("import time\nwhile True: time.sleep(1)")
    job = job_id(signed.order, DOMAIN)
    assert (await market.scheduler.lease(signed)).accepted
    await market.scheduler.until(
        lambda: any(told.stage == "running" for told in market.scheduler.progress)
    )
    await market.scheduler.release(job, "the job failed")
    await market.scheduler.until(lambda: market.scheduler.heartbeats[-1].slots_free == 2)
    assert list((market.directory / "work").iterdir()) == []


async def test_inputs_beyond_the_specs_limit_are_not_fetched(market: Market) -> None:
    tiny = Resources(memory_bytes=256 * MIB, input_bytes=4)
    signed = await market.order("print('more than four bytes')", resources=tiny)
    assert (await market.scheduler.lease(signed)).accepted
    await market.scheduler.until(lambda: market.scheduler.hand_backs)
    assert market.scheduler.commits == []
