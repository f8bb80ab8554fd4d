"""What a stranger would try: the kernel's secrets, devices, set-user-id files, tricks, floods."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.units import MIB
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.sandbox import RunRequest, Verdict
from tests.integration.sandbox.conftest import RunShell, needs_root

MakeRequest = Callable[..., RunRequest]


@pytest.mark.parametrize(
    "path",
    [
        *("/proc/kcore", "/proc/1/mem", "/proc/1/root/etc/shadow", "/proc/1/cwd/etc/shadow"),
        *("/proc/1/fd/0", "/proc/keys", "/proc/timer_list", "/proc/slabinfo", "/proc/vmallocinfo"),
        *("/proc/kpageflags", "/proc/iomem", "/dev/mem", "/dev/kmsg", "/dev/port", "/dev/vda"),
        *("/dev/loop-control", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/mapper/control"),
        *(
            "/sys/kernel/notes",
            "/sys/fs/cgroup",
            "/sys/class/net",
            "/etc/shadow",
            "/etc/machine-id",
        ),
        *("/run/docker.sock", "/var/run/dbus/system_bus_socket", "/root/.ssh", "/boot/vmlinuz"),
    ],
)
async def test_secrets_of_kernel_and_machine_cannot_be_read(shell: RunShell, path: str) -> None:
    result = await shell(
        f"exec 2>/dev/null; if [ -d {path} ]; then ls -A {path};"
        f" else head -c 64 {path} | tr -d '\\0' | head -c 64; fi"
    )

    seen = result.log_tail.replace(b"00000000-00000000", b"").strip()
    hidden = path == "/proc/iomem" and all(
        line.split(b":")[0].strip(b" 0-") == b"" for line in seen.splitlines()
    )
    assert seen == b"" or hidden, seen


async def test_addresses_of_the_kernel_are_hidden(shell: RunShell) -> None:
    result = await shell("head -c 4096 /proc/kallsyms 2>/dev/null | cut -d' ' -f1 | sort -u")

    assert set(result.log_tail.split()) <= {b"0000000000000000"}


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/vm/overcommit_memory",
        ),
        *("/proc/sysrq-trigger", "/proc/self/oom_score_adj", "/proc/1/oom_score_adj"),
        *("/proc/self/uid_map", "/proc/self/setgroups", "/proc/irq/default_smp_affinity"),
        *("/proc/sys/kernel/ns_last_pid", "/proc/self/loginuid", "/proc/bus/pci/devices"),
    ],
)
async def test_nothing_of_the_kernel_can_be_set(shell: RunShell, path: str) -> None:
    """An own badness may be raised, never lowered, and nothing else be written."""
    result = await shell(f"printf %s -1000 > {path}")

    assert result.verdict is Verdict.ERROR, result


async def test_devices_cannot_be_made_or_reached_by_name(shell: RunShell) -> None:
    result = await shell(
        "for d in /tmp /output /dev/shm /dev; do"
        " mknod $d/disk b 8 0 && echo made; mknod $d/memory c 1 1 && echo made;"
        " mknod $d/zero c 1 5 && echo made; done; ls -l /dev | grep '^b'; exit 0"
    )

    assert b"made" not in result.log_tail
    assert b"\nb" not in result.log_tail
    assert result.verdict is Verdict.OK


async def test_set_user_id_programs_give_nothing(shell: RunShell) -> None:
    """Neither one made here nor the host's own."""
    result = await shell(
        "cp /bin/sh /tmp/sh; chmod 6755 /tmp/sh; /tmp/sh -p -c 'id -u; id -g';"
        " su -c 'echo worked' </dev/null; mount -t tmpfs none /tmp && echo worked;"
        " umount /proc && echo worked; exit 0"
    )

    assert result.log_tail.split()[:2] == [b"1000", b"1000"]
    assert b"worked" not in result.log_tail.split()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("ln -s / /output/root", "symbolic link"),
        ("ln -s /output/a /output/x", "symbolic link"),
        ("mkdir /output/d; ln -s ../../../../../etc /output/d/x", "symbolic link"),
        ("ln -s /proc/self/root /output/x", "symbolic link"),
        ("ln -s loop /output/loop", "symbolic link"),
        (
            "python -c \"import os; [os.makedirs('/output/' + '/'.join('d' * n)) for n in (40,)]\"",
            "directories deep",
        ),
    ],
)
async def test_output_that_points_outside_or_too_deep_is_refused(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, script: str, reason: str
) -> None:
    request = make_request("/bin/sh", "-c", f"echo fine > /output/a; {script}", output_files_max=64)

    result = await sandbox.run(request, 0)

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 0), result
    assert reason in result.detail
    assert list(request.output_directory.iterdir()) == []


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "/usr/bin/env", "/input/greeting", "/proc/version"]
)
async def test_nothing_outside_can_be_linked_into_the_output(shell: RunShell, source: str) -> None:
    result = await shell(f"ln {source} /output/x")

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 1)


async def test_a_name_changed_while_it_is_taken_over_is_too_late(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    """Children that swap a file for a link go on until everything is dead, and not after."""
    swap = (
        "while :; do rm -f /output/x; ln -s /etc/passwd /output/x; rm /output/x;"
        " echo a > /output/x; done"
    )
    request = make_request(
        "/bin/sh", "-c", f"for i in 1 2 3; do setsid sh -c '{swap}' 2>/dev/null & done; sleep 0.2"
    )
    result = await sandbox.run(request, 0)

    found = list(request.output_directory.iterdir())
    if result.verdict is Verdict.OK:
        assert all(path.is_file() and not path.is_symlink() for path in found)
        assert all(path.read_text() in ("", "a\n") for path in found)
    else:
        assert (result.verdict, found) == (Verdict.ERROR, [])


async def test_names_may_be_as_long_and_as_many_as_was_ordered(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    script = (
        "n=$(printf 'x%.0s' $(seq 255)); echo 1 > /output/$n; touch \"/output/a\nb\" '/output/-rf'"
        " '/output/ ' '/output/*'; touch /output/${n}x"
    )
    request = make_request("/bin/sh", "-c", f"{script} 2>/dev/null; exit 0")
    result = await sandbox.run(request, 0)

    assert result.verdict is Verdict.OK, result
    names = sorted(path.name for path in request.output_directory.iterdir())
    assert names == sorted(["x" * 255, "a\nb", "-rf", " ", "*"])


async def test_a_huge_directory_is_too_large_and_not_a_burden(shell: RunShell) -> None:
    many = "python -c \"[open(f'FOLDER/{n}', 'w').close() for n in range(100000)]\""
    output = await shell(many.replace("FOLDER", "/output"), output_files_max=1000)
    scratch = await shell(many.replace("FOLDER", "/tmp"), memory_bytes=512 * MIB)

    assert output.verdict is Verdict.OUTPUT_TOO_LARGE
    assert scratch.verdict is Verdict.OK, scratch


async def test_scratch_files_are_bounded(shell: RunShell) -> None:
    result = await shell(
        "python -c \"import os\nfor n in range(300000): os.mknod(f'/tmp/{n}')\"",
        memory_bytes=1024 * MIB,
    )

    assert result.verdict is Verdict.DISK_FULL, result


async def test_descriptors_run_out_for_the_job_alone(shell: RunShell) -> None:
    result = await shell(
        'python -c "import os\nn = 0\n'
        "try:\n  while True: os.open('/dev/null', 0); n += 1\n"
        'except OSError as e: print(e.errno, n)"'
    )

    errno, count = map(int, result.log_tail.split())
    assert errno == 24
    assert count <= 4096
    assert (await shell("true")).verdict is Verdict.OK


async def test_there_is_nothing_of_ours_to_write_to(shell: RunShell) -> None:
    result = await shell(
        'python -c "import os\nok = []\n'
        "for n in range(3, 4096):\n  try: os.write(n, b'x'); ok.append(n)\n"
        '  except OSError: pass\nprint(ok)"'
    )

    assert result.log_tail == b"[]\n"


async def test_two_hundred_megabytes_of_log_end_a_job_as_little_as_it(shell: RunShell) -> None:
    """To both streams at once, by a job that is killed at its time limit in the middle of it."""
    result = await shell(
        "head -c 200M /dev/zero & head -c 200M /dev/zero >&2 & wait; yes", wall_seconds=4
    )

    assert result.verdict is Verdict.TIMEOUT
    assert len(result.log_tail) == 16 << 10


@needs_root
async def test_a_job_cannot_signal_or_trace_another_slots_or_the_daemon(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    script = (
        "for p in $(seq 1 400); do kill -9 $p 2>/dev/null && test $p != $$ && echo killed $p; done;"
        f" kill -0 {os.getpid()} && echo seen; exit 0"
    )
    other = asyncio.ensure_future(sandbox.run(make_request("sleep", "1.5"), 1))
    await asyncio.sleep(0.3)
    # The shell kills itself when it comes to its own number; that is its own business.
    request = make_request("/bin/sh", "-c", f"trap '' TERM; sh -c '{script}'; true")
    result = await sandbox.run(request, 0)

    assert b"seen" not in result.log_tail
    assert (await other).verdict is Verdict.OK


@needs_root
async def test_a_job_cannot_enter_another_slots_namespaces(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    request = make_request(
        "/bin/sh",
        "-c",
        "for n in /proc/[0-9]*/ns/*; do nsenter --all=$n true 2>/dev/null && echo entered; done;"
        " unshare -r true 2>/dev/null && echo made; chroot /tmp true 2>/dev/null && echo rooted;"
        " exit 0",
    )
    result = await sandbox.run(replace(request, environment={}), 0)

    assert result.log_tail == b""


def test_the_daemons_own_files_are_out_of_reach_of_a_slots_uid(tmp_path: Path) -> None:
    """What the sandbox stages is listed; of all of it a job may write nothing of another's."""
    staging = Path("/run/assay-sandbox")
    if os.getuid() != 0 or not staging.is_dir():
        pytest.skip("only root's daemon stages in /run/assay-sandbox")
    assert list(staging.iterdir()) == [], "mounted over in the launcher's namespace, not in ours"
    assert staging.stat().st_uid == 0
    assert staging.stat().st_mode & 0o022 == 0
