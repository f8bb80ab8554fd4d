"""A real provider process whose disk, a tiny file system of its own, is full."""

import asyncio
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay_node.protocol.units import MIB
from assay_provider.disk_room import START_BYTES_MIN
from tests.integration.provider.killing import open_desk, provider_beside
from tests.integration.sandbox.traces import until
from tests.unit.provider_agent.world import a_commit_set

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

DISK_BYTES = 48 * MIB
FREE_BYTES_MIN = 8 * MIB
PROGRAM = """
import time
from pathlib import Path
Path("/output/answer").write_bytes(bytes({output_bytes}))
time.sleep({seconds})
"""


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system, mounted for the test."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system to fill up")
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    else:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES + 16 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no {request.param} can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Write until not one byte more fits."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast


@pytest.mark.parametrize(("disk", "output_bytes"), [("tmpfs", MIB), ("ext4", 0)], indirect=["disk"])
async def test_a_disk_that_fills_up_while_a_job_runs_costs_at_most_that_lease(
    tmp_path: Path, disk: Path, output_bytes: int
) -> None:
    """A run whose output has no place is handed back; one that only waits to be noted is kept."""
    home = disk / "provider"
    home.mkdir(mode=0o700)
    async with (
        open_desk(tmp_path) as desk,
        provider_beside(desk, tmp_path, home, disk_free_bytes_min=FREE_BYTES_MIN) as provider,
    ):
        # Its log is on the full disk too.
        await provider.start(log=disk / "provider.log")
        first = await desk.order(PROGRAM.format(seconds=2, output_bytes=output_bytes))
        answer = await desk.lease(first)
        assert answer is not None
        assert answer.accepted, answer.reason
        stages = desk.scheduler.progress
        await desk.scheduler.until(lambda: any(told.stage == "running" for told in stages))
        ballast = fill(disk)

        refused = await desk.lease(await desk.order("print('more')"))
        assert refused is not None
        assert not refused.accepted
        assert "of disk left and takes no new jobs below" in refused.reason
        await asyncio.sleep(4)  # the job has ended; its end cannot be written
        assert provider.process is not None
        assert provider.process.returncode is None, "it lives"
        assert desk.scheduler.commits == []
        assert desk.scheduler.hand_backs == []
        assert desk.scheduler.heartbeats[-1].slots_free == 0

        ballast.unlink()
        await desk.scheduler.until(lambda: desk.scheduler.commits or desk.scheduler.hand_backs)
        reasons = [message.reason for message in desk.scheduler.hand_backs]
        assert len(reasons) == (1 if output_bytes else 0)
        assert all("No space left on device" in reason for reason in reasons)
        for commit in desk.scheduler.commits:
            assert (await desk.scheduler.reveal(a_commit_set(commit))).verdict == "ok"

        count = len(desk.scheduler.commits)
        again = await desk.lease(await desk.order(PROGRAM.format(seconds=0, output_bytes=9)))
        assert again is not None
        assert again.accepted, again.reason
        await desk.scheduler.until(lambda: len(desk.scheduler.commits) > count)
        commit = desk.scheduler.commits[-1]
        assert (await desk.scheduler.reveal(a_commit_set(commit))).verdict == "ok"
        await provider.leave()


@pytest.mark.parametrize("disk", ["tmpfs"], indirect=True)
async def test_a_start_on_a_full_disk_waits_for_room(tmp_path: Path, disk: Path) -> None:
    home = disk / "provider"
    home.mkdir(mode=0o700)
    async with (
        open_desk(tmp_path) as desk,
        provider_beside(desk, tmp_path, home) as provider,
    ):
        ballast = fill(disk)
        starting = asyncio.create_task(provider.start())
        await until(lambda: "waiting until" in provider.log)
        assert shutil.disk_usage(disk).free < START_BYTES_MIN
        assert not starting.done()
        ballast.unlink()
        await starting
        await desk.scheduler.until(lambda: desk.scheduler.heartbeats)
        await provider.leave()
        assert json.loads((tmp_path / "config.json").read_text())["home"] == str(home)
