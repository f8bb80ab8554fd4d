"""Every limit, by a job that breaks it."""

import os

import pytest

from assay_node.protocol.units import MIB
from assay_provider.runtime.sandbox import Verdict
from tests.integration.sandbox.conftest import RunShell
from tests.integration.sandbox.traces import processes_named

pytestmark = pytest.mark.usefixtures("has_cgroups")

HOARD = "x = bytearray(400 << 20); x[::4096] = b'1' * len(x[::4096])"


async def test_memory_over_the_limit_is_out_of_memory(python: RunShell) -> None:
    result = await python(HOARD)

    assert result.verdict is Verdict.OUT_OF_MEMORY
    assert result.memory_peak_bytes > 200 * MIB


async def test_a_killed_child_counts_although_the_parent_exits_0(python: RunShell) -> None:
    result = await python(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOARD!r}]); print('fine')"
    )

    assert result.verdict is Verdict.OUT_OF_MEMORY


async def test_files_do_not_eat_the_memory_of_the_order(python: RunShell) -> None:
    """Scratch, output and 48 MiB of memory together exceed 64 MiB, and each is within its own."""
    result = await python(
        "open('/tmp/a', 'wb').write(bytes(40 << 20));"
        "open('/output/a', 'wb').write(bytes(30 << 20));"
        "x = bytearray(40 << 20); x[::4096] = b'1' * len(x[::4096])",
        memory_bytes=64 * MIB,
        scratch_bytes=48 * MIB,
        output_bytes=32 * MIB,
    )

    assert result.verdict is Verdict.OK, result


async def test_double_forked_children_that_ignore_term_end_at_the_wall_clock(
    python: RunShell,
) -> None:
    name = f"asleep-{os.getpid()}"
    result = await python(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            os.close(1); os.close(2)\n"
        f"            os.execv('/bin/sh', ['{name}', '-c', 'trap \"\" TERM HUP; sleep 600; :'])\n"
        "        os._exit(0)\n"
        "print('up', flush=True)\n"
        "signal.pause()\n",
        wall_seconds=1,
    )

    assert result.verdict is Verdict.TIMEOUT
    assert result.exit_code is None
    assert result.log_tail == b"up\n"
    assert result.wall_seconds >= 1
    assert processes_named(name) == []


async def test_children_left_behind_end_with_the_command(python: RunShell) -> None:
    name = f"left-{os.getpid()}"
    result = await python(
        "import os\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    os.execv('/bin/sh', ['{name}', '-c', 'sleep 600; :'])\n"
    )

    assert result.verdict is Verdict.OK
    assert processes_named(name) == []


async def test_full_scratch_is_disk_full(shell: RunShell) -> None:
    result = await shell("head -c 64M /dev/zero > /tmp/x")

    assert result.verdict is Verdict.DISK_FULL
    assert result.exit_code == 1


async def test_shared_memory_is_part_of_scratch(shell: RunShell) -> None:
    result = await shell("head -c 10M /dev/zero > /tmp/x && head -c 10M /dev/zero > /dev/shm/x")

    assert result.verdict is Verdict.DISK_FULL


async def test_a_job_that_copes_with_full_scratch_is_ok(shell: RunShell) -> None:
    result = await shell("head -c 64M /dev/zero > /tmp/x; rm /tmp/x; exit 0")

    assert result.verdict is Verdict.OK


async def test_a_full_disk_does_not_explain_an_earlier_failure(shell: RunShell) -> None:
    result = await shell("head -c 1M /dev/zero > /tmp/x; exit 7")

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 7)


@pytest.mark.parametrize(
    "script",
    [
        "head -c 64M /dev/zero > /output/x",
        "head -c 64M /dev/zero > /output/x; exit 0",
        "head -c 4194305 /dev/zero > /output/x",
        "truncate -s 1T /output/x",
        "for i in $(seq 5); do head -c 1M /dev/zero > /output/$i; done",
    ],
)
async def test_more_output_than_ordered_is_too_large(shell: RunShell, script: str) -> None:
    assert (await shell(script)).verdict is Verdict.OUTPUT_TOO_LARGE


@pytest.mark.parametrize(("files", "verdict"), [(16, Verdict.OK), (17, Verdict.OUTPUT_TOO_LARGE)])
async def test_files_of_output_are_counted(shell: RunShell, files: int, verdict: Verdict) -> None:
    result = await shell(f"set -e; for i in $(seq {files}); do echo $i > /output/$i; done")

    assert result.verdict is verdict


async def test_a_job_cannot_make_more_files_than_it_may_hand_over(shell: RunShell) -> None:
    result = await shell("touch $(seq -f /output/%g 100); ls /output | wc -l")

    assert b"No space left on device" in result.log_tail
    assert result.log_tail.split()[-1] == b"16"


async def test_the_exact_limit_of_output_is_ok(shell: RunShell) -> None:
    assert (await shell("head -c 4194304 /dev/zero > /output/x")).verdict is Verdict.OK


async def test_processes_are_bounded(python: RunShell) -> None:
    result = await python(
        "import os, signal\n"
        "n = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0: signal.pause()\n"
        "        n += 1\n"
        "except BlockingIOError: print(n)\n",
        pids_max=20,
    )

    assert result.verdict is Verdict.OK
    assert int(result.log_tail) == 19


async def test_a_fork_bomb_is_over_at_the_wall_clock(shell: RunShell) -> None:
    result = await shell("bomb() { bomb | bomb & }; bomb; sleep 60", wall_seconds=2)
    after = await shell("true")

    assert result.verdict in {Verdict.TIMEOUT, Verdict.ERROR}
    assert after.verdict is Verdict.OK


async def test_cpu_time_is_bounded(python: RunShell) -> None:
    result = await python(
        "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass", cpus=0.2
    )

    assert result.cpu_seconds < 0.5 * result.wall_seconds


async def test_a_flood_of_log_is_drained_and_its_end_kept(shell: RunShell) -> None:
    result = await shell("head -c 200M /dev/zero; echo; echo end >&2", log_bytes=1000)

    assert result.verdict is Verdict.OK
    assert len(result.log_tail) == 1000
    assert result.log_tail.endswith(b"\0\nend\n")


async def test_no_log_is_kept_when_none_is_wanted(shell: RunShell) -> None:
    assert (await shell("echo word", log_bytes=0)).log_tail == b""
