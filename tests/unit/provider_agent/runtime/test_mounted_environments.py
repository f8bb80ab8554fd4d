"""Which environments stay mounted: those in use, and a few that were used last."""

import asyncio
from pathlib import Path

import pytest

from assay_provider.runtime.mounted_environments import IDLE_MAX, MountedEnvironments
from assay_provider.runtime.sandbox import EnvironmentRoot, SandboxUnavailable


class FakeMounter:
    """Knows what is mounted, and insists that it is mounted once."""

    def __init__(self) -> None:
        self.mounted: list[str] = []
        self.fault: SandboxUnavailable | None = None

    def mount(self, root: EnvironmentRoot) -> None:
        if self.fault is not None:
            raise self.fault
        assert root.digest not in self.mounted
        self.mounted.append(root.digest)

    def unmount(self, root: EnvironmentRoot) -> None:
        if self.fault is not None:
            raise self.fault
        self.mounted.remove(root.digest)


def a_root(name: str) -> EnvironmentRoot:
    return EnvironmentRoot(digest=name, layers=(Path(name),), variables={})


async def test_an_environment_is_mounted_once_for_all_jobs() -> None:
    mounter = FakeMounter()
    mounted = MountedEnvironments(mounter)
    async with mounted.held(a_root("a")), mounted.held(a_root("a")), mounted.held(a_root("b")):
        assert mounter.mounted == ["a", "b"]
    async with mounted.held(a_root("a")):
        assert mounter.mounted == ["a", "b"]


async def test_those_used_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    mounter = FakeMounter()
    mounted = MountedEnvironments(mounter)
    for name in ("a", "b", "a", "c"):
        async with mounted.held(a_root(name)):
            pass
    assert IDLE_MAX == 2
    assert sorted(mounter.mounted) == ["a", "c"]


async def test_what_is_in_use_stays_however_many_there_are() -> None:
    mounter = FakeMounter()
    mounted = MountedEnvironments(mounter)
    names = ["a", "b", "c", "d", "e"]
    inside, leave = asyncio.Event(), asyncio.Event()

    async def job(name: str) -> None:
        async with mounted.held(a_root(name)):
            if len(mounter.mounted) == len(names):
                inside.set()
            await leave.wait()

    jobs = [asyncio.create_task(job(name)) for name in names]
    async with asyncio.timeout(20):
        await inside.wait()
    assert sorted(mounter.mounted) == names
    leave.set()
    await asyncio.gather(*jobs)
    assert len(mounter.mounted) == IDLE_MAX


async def test_no_environment_needs_no_mount() -> None:
    mounter = FakeMounter()
    async with MountedEnvironments(mounter).held(None):
        assert mounter.mounted == []


async def test_one_that_cannot_be_mounted_is_tried_again() -> None:
    mounter = FakeMounter()
    mounted = MountedEnvironments(mounter)
    mounter.fault = SandboxUnavailable("no loop device")
    with pytest.raises(SandboxUnavailable, match="no loop device"):
        async with mounted.held(a_root("a")):
            raise AssertionError("it is not there")
    mounter.fault = None
    async with mounted.held(a_root("a")):
        assert mounter.mounted == ["a"]


async def test_a_launcher_that_is_gone_harms_nobody() -> None:
    mounter = FakeMounter()
    mounted = MountedEnvironments(mounter)
    for name in ("a", "b"):
        async with mounted.held(a_root(name)):
            pass
    async with mounted.held(a_root("c")):
        mounter.fault = SandboxUnavailable("the launcher is gone")


async def test_a_cancelled_job_lets_go() -> None:
    mounter = FakeMounter()
    mounted = MountedEnvironments(mounter)

    async def job() -> None:
        async with mounted.held(a_root("a")):
            await asyncio.Event().wait()

    task = asyncio.create_task(job())
    async with asyncio.timeout(20):
        while not mounter.mounted:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    for name in ("b", "c"):
        async with mounted.held(a_root(name)):
            pass
    assert sorted(mounter.mounted) == ["b", "c"]
