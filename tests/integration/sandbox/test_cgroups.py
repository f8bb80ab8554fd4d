"""The real driver of this machine ends a group, whatever is in it."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay_node.protocol.units import MIB
from assay_provider.runtime.cgroup_detection import detect
from assay_provider.runtime.cgroups import Cgroup, CgroupDriver, CgroupLimits, CgroupNames
from tests.integration.sandbox.traces import processes_named, until

FORKS = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        child = os.fork()
    except BlockingIOError:
        signal.pause()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        signal.pause()
    os.waitpid(child, 0)
"""


@pytest.fixture
def driver() -> Iterator[CgroupDriver]:
    detection = detect("test-kill")
    if detection.driver is None:
        pytest.skip(f"no writable cgroup here: {detection.reasons}")
    yield detection.driver
    detection.driver.forget()


async def test_a_group_full_of_forks_is_killed_to_the_last(driver: CgroupDriver) -> None:
    limits = CgroupLimits(memory_bytes=256 * MIB, pids_max=40, cpus=1.0)
    group = driver.create(CgroupNames().next(), limits)
    joins = "".join(f"open({path!r}, 'w').write('0')\n" for path in group.procs_files())
    name = f"# kill-{group.procs_files()[0]}"
    forks = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", joins + FORKS + name), stderr=asyncio.subprocess.DEVNULL
    )
    await until(lambda: len(_members(group)) > 30 or forks.returncode is not None)
    assert len(_members(group)) > 30

    group.kill()

    assert _members(group) == []
    await forks.wait()
    assert processes_named(name) == []
    group.remove()


def _members(group: Cgroup) -> list[str]:
    return Path(group.procs_files()[0]).read_text().split()
