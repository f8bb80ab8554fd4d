"""Real processes, killed with SIGKILL at each stage of a lease: it is run to its end, paid once."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from assay_node.protocol.errors import RemoteError
from assay_node.protocol.messages import Commit, CommitSet, Reveal
from assay_node.protocol.order import job_id
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.metering_report import account
from assay_provider.runtime import leftovers
from tests.integration.provider.killing import Desk, ProviderProcess, open_desk, provider_beside
from tests.integration.sandbox.traces import cgroup_folders, host_mounts, processes_named, until
from tests.unit.provider_agent.world import DOMAIN, OPERATOR, a_commit_set

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

SLOW = """
import ctypes, time
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
assert libc.shmget(0x61737361, 4096, 0o1600) >= 0
assert libc.semget(0x61737361, 1, 0o1600) >= 0
Path("/dev/shm/left").write_text("left")
Path("/output/answer").write_text("42")
time.sleep({seconds})
"""
IPC_KINDS = ("shm", "sem", "msg")


async def test_one_job_killed_at_every_stage_in_turn_is_paid_once(tmp_path: Path) -> None:
    home = tmp_path / "provider"
    home.mkdir(mode=0o700)
    ipc = ipc_objects()
    async with (
        open_desk(tmp_path) as desk,
        provider_beside(desk, tmp_path, home) as provider,
    ):
        marker = f"stage-{os.getpid()}"
        signed = await desk.order(SLOW.format(seconds=1) + f"# {marker}\n")
        job = job_id(signed.order, DOMAIN)

        await provider.start(dies_after="accepted")
        assert await desk.lease(signed) is None, "stored, and not yet said"
        await provider.killed()
        for stage in ("fetching", "running"):
            await provider.start(dies_after=stage)
            await provider.killed()
        await provider.start()
        await until(lambda: own_processes(provider))
        await asyncio.sleep(0.3)  # in the midst of the job's own second
        await provider.kill()
        await until(lambda: not own_processes(provider))
        for stage in ("storing", "executed", "committed"):
            await provider.start(dies_after=stage)
            await provider.killed()
        commit = await desk.scheduler.committed()
        committed = a_commit_set(commit)
        await provider.start(dies_after="revealed")
        assert await shown(desk, committed) is None, "signed, and not yet sent"
        await provider.killed()

        await provider.start()
        reveal = await shown(desk, committed)
        assert reveal is not None
        assert await shown(desk, committed) == reveal
        assert same(desk.scheduler.commits) == {commit}
        await desk.scheduler.release(job)
        await provider.leave()

        async with open_database(provider.config.database_url, role="provider") as database:
            leases = ProviderLeases(database)
            lease = await leases.get(job)
            runs = await leases.runs.of_job(job)
            checked = account(lease, runs, await leases.signed_set(job), OPERATOR)  # type: ignore[arg-type]
        assert lease is not None
        assert (lease.state, lease.closed_reason) == ("closed", "settled")
        assert (checked.fault, checked.in_commit_set) == ("", True)
        assert reveal.seconds == checked.seconds_logged
        assert [run.metered is not None for run in runs] == [False, True, True], runs
        assert runs[-1].metered is not None
        assert runs[-1].metered.memory_anonymous_bytes
        assert 1_000_000_000 <= wall_ns(runs[-1].metered) < 20_000_000_000

    assert desk.scheduler.hand_backs == []
    assert cgroup_folders(provider.config.instance) == []
    assert str(tmp_path) not in host_mounts()
    assert ipc_objects() == ipc
    assert leftovers.find(provider.config.territory) == ()
    assert provider.log.count("removed what a killed daemon left") >= 3


def own_processes(provider: ProviderProcess) -> list[int]:
    """Return what runs under the slots' uids: the jobs of this provider."""
    uids = provider.config.uids
    if uids is None:
        return processes_named("/input/main.py")
    return [pid for pid, _ in leftovers._running_under(uids)]


def ipc_objects() -> dict[str, str]:
    """Return the host's System V objects; a job's are in a namespace that ends with it."""
    return {kind: Path(f"/proc/sysvipc/{kind}").read_text() for kind in IPC_KINDS}


def wall_ns(metered: object) -> int:
    return metered.exited_ns - metered.started_ns  # type: ignore[attr-defined]


def same(commits: list[Commit]) -> set[Commit]:
    return set(commits)


async def shown(desk: Desk, committed: CommitSet) -> Reveal | None:
    """Show a commit set; None if the provider died before it answered."""
    heard = len(desk.scheduler.hellos)
    await desk.scheduler.until(lambda: desk.scheduler.heartbeats)
    for _ in range(200):
        try:
            return await desk.scheduler.reveal(committed)
        except RemoteError as error:
            if "not connected" not in str(error):
                return None
            await asyncio.sleep(0.05)
    raise AssertionError(f"no provider came back after {heard} hellos")
