"""Starting, ending, cancelling and being killed: nothing may stay behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.protocol.units import GIB, MIB
from assay_provider.runtime.bubblewrap import BubblewrapSandbox, open_sandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunRequest, SandboxUnavailable, Verdict
from tests.integration.sandbox.conftest import PROCESSES_SHOWN, RunShell
from tests.integration.sandbox.traces import (
    cgroup_folders,
    host_mounts,
    processes_named,
    processes_of,
    sandbox_processes,
    until,
)

MakeRequest = Callable[..., RunRequest]


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -SEGV $$", 139), ("kill -9 $$", 137)],
)
async def test_exit_codes_arrive(shell: RunShell, command: str, code: int) -> None:
    result = await shell(command)

    assert result.exit_code == code
    assert result.verdict is (Verdict.ERROR if code else Verdict.OK)


async def test_a_missing_program_is_the_jobs_error(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    result = await sandbox.run(make_request("no-such-program"), 0)

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 127)
    assert b"no-such-program" in result.log_tail


async def test_torch_and_numpy_work_inside(python: RunShell) -> None:
    pytest.importorskip("torch", reason="torch is not installed beside this Python")
    result = await python(
        "import torch, numpy\n"
        "x = torch.ones(64, 64); print(int((x @ x).sum()), torch.get_num_threads())\n"
        "numpy.save('/output/x.npy', x.numpy())\n",
        memory_bytes=GIB,
    )

    assert result.verdict is Verdict.OK, result
    assert result.log_tail.split() == [b"262144", b"1"]


@pytest.mark.parametrize(
    "change",
    [
        {"memory_bytes": 1},
        {"pids_max": 0},
        {"scratch_bytes": 0},
        {"wall_seconds": 0},
        {"cpus": 0},
        {"output_bytes": -1},
        {"log_bytes": GIB},
        {"memory_bytes": 1 << 50},
    ],
)
async def test_limits_that_are_none_are_refused(shell: RunShell, change: dict[str, int]) -> None:
    with pytest.raises(LocalError):
        await shell("true", **change)


async def test_a_slot_runs_one_job_at_a_time(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    first = asyncio.ensure_future(sandbox.run(make_request("sleep", "0.3"), 2))
    await asyncio.sleep(0)
    with pytest.raises(LocalError, match="slot 2"):
        await sandbox.run(make_request("true"), 2)

    assert (await first).verdict is Verdict.OK
    assert (await sandbox.run(make_request("true"), 2)).verdict is Verdict.OK


async def test_requests_that_cannot_be_run_are_refused(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    with pytest.raises(LocalError, match="slot"):
        await sandbox.run(make_request("true"), sandbox.settings.slots_max)
    with pytest.raises(LocalError, match="command"):
        await sandbox.run(make_request(), 0)
    with pytest.raises(LocalError, match="environment variable"):
        await sandbox.run(make_request("true", env={"A=B": ""}), 0)


async def test_a_machines_own_fault_is_no_verdict(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    request = make_request("true")
    (request.input_directory / "greeting").unlink()
    request.input_directory.rmdir()

    with pytest.raises(SandboxUnavailable, match="input"):
        await sandbox.run(request, 0)


async def test_cancelling_kills_every_process(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, tier: str
) -> None:
    name = f"cancelled-{os.getpid()}"
    script = f"trap '' TERM HUP INT; setsid sh -c 'sleep 600; : {name}' & sleep 600; : {name}"
    running = asyncio.ensure_future(sandbox.run(make_request("/bin/sh", "-c", script), 0))
    await until(lambda: len(processes_named(name)) >= PROCESSES_SHOWN[tier] + 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert processes_named(name) == []
    await until(lambda: not sandbox_processes(sandbox))
    assert cgroup_folders(sandbox.settings.instance) == []


async def test_cancelling_at_any_moment_leaves_nothing(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    for milliseconds in range(0, 30, 2):
        running = asyncio.ensure_future(sandbox.run(make_request("sleep", "600"), 0))
        await asyncio.sleep(milliseconds / 1000)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert cgroup_folders(sandbox.settings.instance) == []
    await until(lambda: not sandbox_processes(sandbox))


async def test_a_hundred_kills_in_a_row_leak_nothing(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    await sandbox.run(make_request("true"), 0)
    launcher = sandbox._launcher.process.pid

    def seen() -> tuple[object, ...]:
        return (
            host_mounts(),
            host_mounts(launcher),
            _open_descriptors(os.getpid()),
            _open_descriptors(launcher),
        )

    before = seen()
    script = "setsid sleep 600 & head -c 1M /dev/zero > /tmp/x; sleep 600"
    for number in range(100):
        running = asyncio.ensure_future(sandbox.run(make_request("/bin/sh", "-c", script), 0))
        await asyncio.sleep(0.001 * (number % 60))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    await until(lambda: not sandbox_processes(sandbox))
    assert cgroup_folders(sandbox.settings.instance) == []
    assert processes_of(sandbox.host_uid(0)) == [] or os.getuid() != 0
    assert seen() == before


async def test_a_killed_sandbox_program_is_the_owners_doing(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, tier: str
) -> None:
    name = f"owner-kills-{os.getpid()}"
    running = asyncio.ensure_future(
        sandbox.run(make_request("/bin/sh", "-c", f"sleep 600; : {name}"), 0)
    )
    await until(lambda: len(processes_named(name)) == PROCESSES_SHOWN[tier])
    keepers = sandbox_processes(sandbox) & set(processes_named("infinity"))
    os.kill(min(keepers if tier == "t2" else processes_named(name)), signal.SIGKILL)

    result = await running

    assert result.verdict is Verdict.KILLED_BY_OWNER
    assert result.exit_code is None
    assert processes_named(name) == []


@pytest.fixture
async def own_sandbox(sandbox_settings: SandboxSettings) -> AsyncIterator[BubblewrapSandbox]:
    async with open_sandbox(sandbox_settings) as opened:
        yield opened


async def test_a_killed_launcher_takes_its_jobs_along_and_is_started_anew(
    own_sandbox: BubblewrapSandbox, make_request: MakeRequest, tier: str
) -> None:
    name = f"launcher-dies-{os.getpid()}"
    running = asyncio.ensure_future(
        own_sandbox.run(make_request("/bin/sh", "-c", f"sleep 600; : {name}"), 0)
    )
    await until(lambda: len(processes_named(name)) == PROCESSES_SHOWN[tier])
    own_sandbox._launcher.process.kill()

    with pytest.raises(SandboxUnavailable):
        await running
    await until(lambda: not processes_named(name))
    assert cgroup_folders(own_sandbox.settings.instance) == []
    assert (await own_sandbox.run(make_request("true"), 0)).verdict is Verdict.OK


DAEMON = """
import asyncio, sys
from pathlib import Path
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunLimits, RunRequest

async def main(instance, uid_first, folder, name, tier):
    limits = RunLimits(memory_bytes=64 << 20, cpus=1, pids_max=16, scratch_bytes=1 << 20,
        output_bytes=1 << 20, output_files_max=4, wall_seconds=600, log_bytes=100)
    async with open_sandbox(SandboxSettings(instance=instance, uid_first=uid_first)) as sandbox:
        await sandbox.run(RunRequest(
            command=("/bin/sh", "-c", f"setsid sleep 600 & sleep 600; : {name}"), environment={},
            input_directory=Path(folder), output_directory=Path(folder), limits=limits,
            runtime="host-python", tier=tier), 0)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
"""


async def test_nothing_outlives_a_killed_daemon_but_empty_groups_that_are_cleaned(
    tmp_path: Path, sandbox_settings: SandboxSettings, tier: str
) -> None:
    instance, name = f"killed-{os.getpid()}", f"orphan-{os.getpid()}-{tier}"
    mounts = host_mounts()
    uid_first = sandbox_settings.uid_first + 50
    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DAEMON, instance, str(uid_first), str(tmp_path), name, tier),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: len(processes_named(f": {name}")) == PROCESSES_SHOWN[tier])
        launchers = processes_named("assay_provider.runtime.launcher")
    finally:
        daemon.kill()
        await daemon.wait()
    await until(lambda: not processes_named(f": {name}"))
    await until(lambda: not set(launchers) & set(_children_of_nobody()))

    async with open_sandbox(SandboxSettings(instance=instance, uid_first=uid_first)):
        assert cgroup_folders(instance) == []
    assert host_mounts() == mounts
    assert _instance_folders(instance) == []


def _open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _instance_folders(instance: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"*/assay/{instance}"))


def _children_of_nobody() -> list[int]:
    """Return launchers whose daemon is gone."""
    found = []
    for pid in processes_named("assay_provider.runtime.launcher"):
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        if text.rpartition(")")[2].split()[1] == "1":
            found.append(pid)
    return found


async def test_many_slots_run_side_by_side(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    results = await asyncio.gather(
        *(
            sandbox.run(
                make_request("/bin/sh", "-c", f"echo {slot} > /output/x", memory_bytes=32 * MIB),
                slot,
            )
            for slot in range(12)
        )
    )

    assert {result.verdict for result in results} == {Verdict.OK}
