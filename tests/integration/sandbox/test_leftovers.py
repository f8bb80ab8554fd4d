"""What is swept from a real machine: processes, mounts, loop devices; and what is let be."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assay_provider.claims import UidRange
from assay_provider.runtime import leftovers
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.leftovers import Leftover, Territory, find, sweep
from assay_provider.runtime.sandbox import RunRequest, SandboxUnavailable, Verdict
from tests.integration.sandbox.conftest import PROCESSES_SHOWN, needs_root
from tests.integration.sandbox.traces import (
    cgroup_folders,
    host_mounts,
    processes_named,
    until,
)

MakeRequest = Callable[..., RunRequest]


@pytest.fixture
def territory(tmp_path: Path) -> Territory:
    first = 1_300_000_000 + os.getpid() % 100_000 * 10
    (tmp_path / "environments").mkdir()
    return Territory(
        uids=UidRange(first=first, last=first + 3),
        folders=(tmp_path / "environments",),
        work_directory=tmp_path / "work",
    )


@needs_root
def test_processes_of_the_slots_uids_are_killed_and_no_others(territory: Territory) -> None:
    uids = territory.uids
    assert uids is not None
    script = "trap '' TERM HUP; sleep 600 & sleep 600"
    ours = [
        subprocess.Popen(["/bin/sh", "-c", script], user=uid, start_new_session=True)
        for uid in (uids.first, uids.last)
    ]
    stranger = subprocess.Popen(["sleep", "600"], user=uids.last + 1)
    try:
        pids = [f"{process.pid} ('sh')" for process in ours]
        assert set(pids) <= {one.what for one in find(territory)}
        swept = sweep(territory)
        assert len(swept) >= 4
        assert {one.kind for one in swept} == {"process"}
        assert all(not one.trouble for one in swept)
        assert [process.wait(10) for process in ours] == [-9, -9]
        assert find(territory) == ()
        assert stranger.poll() is None
    finally:
        for process in (*ours, stranger):
            process.kill()
            process.wait()


@needs_root
def test_processes_are_let_be_where_the_uids_are_also_somebody_elses(
    territory: Territory, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = territory.uids
    assert uids is not None
    monkeypatch.setattr(leftovers, "_subordinate_ids", lambda: iter([("anna", uids.first, 1)]))
    process = subprocess.Popen(["sleep", "600"], user=uids.first)
    try:
        assert sweep(territory) == ()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def image(territory: Territory) -> Path:
    """A small file system in a file, as an environment's layer is."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    path = territory.folders[0] / "a layer.img"
    with path.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(path)], check=True)
    return path


def loop_on(path: Path) -> str:
    done = subprocess.run(
        ["losetup", "--find", "--show", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no loop device can be made here: {done.stderr.strip()}")
    return done.stdout.strip()


def loops() -> str:
    return subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout


@needs_root
def test_mounts_and_loop_devices_below_the_folders_go_innermost_first(
    territory: Territory, image: Path
) -> None:
    device = loop_on(image)
    outer = territory.folders[0] / "mounted here"
    outer.mkdir()
    subprocess.run(["mount", device, str(outer)], check=True)
    assert str(image.parent) in host_mounts()
    inner = outer / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(inner)], check=True)
    assert [one.kind for one in find(territory)] == ["mount", "mount"], "its device is in use"
    assert sweep(territory) == (
        Leftover(kind="mount", what=str(inner)),
        Leftover(kind="mount", what=str(outer)),
        Leftover(kind="loop device", what=f"{device} on {image}"),
    )
    assert str(image) not in loops()
    assert str(image.parent) not in host_mounts()


@needs_root
def test_what_lies_elsewhere_is_let_be(
    territory: Territory, image: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    moved = image.rename(elsewhere / "theirs.img")
    place = elsewhere / "place"
    place.mkdir()
    device = loop_on(moved)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
        try:
            assert sweep(territory) == ()
            assert str(moved) in loops()
            assert place.is_mount()
        finally:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


async def test_ipc_objects_and_mounts_go_with_a_launcher_that_is_killed_alone(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, tier: str
) -> None:
    ipc = host_ipc()
    name = f"ipc-{os.getpid()}"
    code = (
        "import ctypes, os, time\n"
        "libc = ctypes.CDLL(None)\n"
        "assert libc.shmget(0x61737361, 4096, 0o1600) >= 0\n"
        "assert libc.semget(0x61737361, 1, 0o1600) >= 0\n"
        "assert libc.msgget(0x61737361, 0o1600) >= 0\n"
        "open('/dev/shm/left', 'w').write('x')\n"
        "open('/tmp/made', 'w')\n"
        f"time.sleep(600)  # {name}\n"
    )
    running = asyncio.ensure_future(sandbox.run(make_request("python", "-c", code), 0))
    await until(lambda: len(processes_named(name)) >= PROCESSES_SHOWN[tier])
    await asyncio.sleep(0.5)
    assert host_ipc() == ipc, "they are in the job's namespace from the start"
    sandbox._launcher.process.kill()
    with pytest.raises(SandboxUnavailable):
        await running
    await until(lambda: not processes_named(name))
    assert host_ipc() == ipc
    assert sandbox.parts.launcher_config.staging_point not in host_mounts()
    assert "left" not in shared_files()
    assert cgroup_folders(sandbox.settings.instance) == []
    assert (await sandbox.run(make_request("true"), 0)).verdict is Verdict.OK


def shared_files() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}


def host_ipc() -> tuple[str, ...]:
    return tuple(Path(f"/proc/sysvipc/{kind}").read_text() for kind in ("shm", "sem", "msg"))


@pytest.fixture(autouse=True)
def _tidy(tmp_path: Path) -> Iterator[None]:
    yield
    if shutil.which("losetup") is None:
        return
    for line in loops().splitlines():
        if str(tmp_path) in line:
            subprocess.run(["losetup", "-d", line.split(":")[0]], check=False)
