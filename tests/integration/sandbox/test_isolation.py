"""What a job can see and reach: nothing of the machine, the daemon or another job."""

import asyncio
import errno
import os
import platform
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pyseccomp
import pytest

from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.environment import default_variables
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunRequest, Verdict
from tests.integration.sandbox.conftest import PROCESSES_SHOWN, RunShell, needs_root
from tests.integration.sandbox.traces import until


async def test_there_is_no_network_but_a_loopback_of_its_own(shell: RunShell) -> None:
    result = await shell("tail -n +3 /proc/net/dev | cut -d: -f1; cat /proc/net/route")

    assert result.log_tail.split()[0] == b"lo"
    assert len(result.log_tail.splitlines()) == 2, "only lo, and no route below the header"


async def test_listeners_of_the_host_cannot_be_reached(python: RunShell) -> None:
    name = f"\0assay-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(name)
        abstract.listen()
        port = tcp.getsockname()[1]
        result = await python(
            "import socket, sys\n"
            f"for kind, address in ((socket.AF_INET, ('127.0.0.1', {port})),"
            f" (socket.AF_UNIX, {name!r})):\n"
            "    try: socket.socket(kind).connect(address)\n"
            "    except OSError as error: print(type(error).__name__)\n"
            "    else: sys.exit('connected')\n"
        )

    assert result.verdict is Verdict.OK, result.log_tail
    assert result.log_tail.split() == [b"ConnectionRefusedError"] * 2


async def test_no_process_shows_a_secret_of_the_daemon(
    sandbox_settings: SandboxSettings,
    make_request: Callable[..., RunRequest],
    monkeypatch: pytest.MonkeyPatch,
    tier: str,
) -> None:
    """PID 1 is started by us and readable by the job: bwrap itself, or a container's keeper."""
    secret = "correct-horse-battery-staple"
    monkeypatch.setenv("ASSAY_TEST_PASSWORD", secret)
    sandbox = BubblewrapSandbox(sandbox_settings)
    try:
        request = make_request(
            "/bin/sh",
            "-c",
            "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/[0-9]*/task/*/environ;"
            "echo; wc -c < /proc/1/environ; tr '\\0' ' ' < /proc/1/cmdline",
            log_bytes=1 << 20,
        )
        result = await sandbox.run(request, 0)
    finally:
        sandbox.close()

    text = result.log_tail.decode()
    assert secret not in text
    assert "ASSAY" not in text
    for path in (sandbox_settings.instance, str(request.input_directory), "assay-sandbox"):
        assert path not in text
    environ_bytes, command_line = text.splitlines()[-2:]
    assert environ_bytes == "0"
    first = {"t1": "bwrap --args 3 -- /bin/sh", "t2": "/usr/bin/sleep infinity"}
    assert command_line.startswith(first[tier])


async def test_files_of_the_daemon_are_not_there(shell: RunShell, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(0o644)
    places = (key, Path(__file__), Path.home(), "/root", "/home", "/var", "/run", "/sys", "/boot")
    result = await shell(
        "; ".join(f"test -e {place} && echo {place}" for place in places) + "; ls /etc"
    )

    seen = set(result.log_tail.decode().split())
    assert seen <= {"alternatives", "group", "hosts", "ld.so.cache", "nsswitch.conf", "passwd"}


async def test_only_packages_of_the_environment_are_there(shell: RunShell) -> None:
    result = await shell("ls / /opt /opt/environment/bin /opt/exact")

    assert set(result.log_tail.decode().split()) <= {
        *("/:", "/opt:", "/opt/environment/bin:", "bin", "dev", "etc", "input", "lib", "lib32"),
        *("lib64", "libx32", "opt", "output", "proc", "sbin", "tmp", "usr", "environment"),
        *("python", "python3", f"python3.{os.sys.version_info.minor}"),
        *("exact", "/opt/exact:", "exact_torch", "kernels"),
    }


async def test_processes_of_the_host_are_not_there(shell: RunShell) -> None:
    result = await shell("ls -d /proc/[0-9]* | wc -l; kill -0 -1 && echo alone")

    assert int(result.log_tail.split()[0]) <= 5


async def test_no_descriptor_of_ours_is_left_open(shell: RunShell) -> None:
    result = await shell("ls /proc/$$/fd; readlink /proc/$$/fd/0")

    assert result.log_tail.split() == [b"0", b"1", b"2", b"/dev/null"]


async def test_a_job_holds_no_capability(shell: RunShell) -> None:
    result = await shell("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")

    status = dict(line.split() for line in result.log_tail.decode().splitlines())
    assert {int(value, 16) for name, value in status.items() if name.startswith("Cap")} == {0}
    assert (status["NoNewPrivs:"], status["Seccomp:"]) == ("1", "2")


# Calls with arguments under which they would succeed, or fail otherwise, without the filter.
FORBIDDEN = {
    "mount": (0, 0, 0, 0, 0),
    "umount2": (0, 0),
    "unshare": (0x10000000,),
    "setns": (-1, 0),
    "ptrace": (0, 0, 0, 0),
    "bpf": (0, 0, 0),
    "keyctl": (0, -3, 0),
    "add_key": (0, 0, 0, 0, -3),
    "userfaultfd": (1,),
    "perf_event_open": (0, 0, -1, -1, 0),
    "io_uring_setup": (1, 0),
    "process_vm_readv": (1, 0, 0, 0, 0, 0),
    "open_by_handle_at": (-1, 0, 0),
    "pidfd_getfd": (-1, 0, 0),
    "mq_open": (0, 0, 0, 0),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="argument order of clone is x86-64's")
async def test_forbidden_system_calls_fail(python: RunShell) -> None:
    number = {
        name: pyseccomp.resolve_syscall(pyseccomp.system_arch(), name)
        for name in (*FORBIDDEN, "clone3", "clone", "personality")
    }
    calls = [(name, number[name], args) for name, args in FORBIDDEN.items()]
    calls += [(f"clone+{bit}", number["clone"], (1 << bit,)) for bit in (17, *range(25, 31))]
    calls += [("clone3", number["clone3"], (0, 0)), ("personality", number["personality"], (4,))]
    result = await python(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, number, args in {calls!r}:\n"
        "    failed = libc.syscall(number, *map(ctypes.c_long, args)) == -1\n"
        "    print(name, errno.errorcode[ctypes.get_errno()] if failed else 'passed', flush=True)\n"
    )

    seen = dict(line.split() for line in result.log_tail.decode().splitlines())
    assert seen.pop("clone3") == "ENOSYS"
    assert seen.pop("personality") == "ENOSYS"
    assert set(seen.values()) == {"EPERM"}, seen
    assert len(seen) == len(FORBIDDEN) + 7


async def test_unusual_socket_families_are_refused(python: RunShell) -> None:
    result = await python(
        "import socket\n"
        "for family in (17, 29, 31, 38, 40, 44):\n"
        "    try: socket.socket(family, socket.SOCK_DGRAM)\n"
        "    except OSError as error: print(error.errno)\n"
    )

    assert result.log_tail.split() == [str(errno.EAFNOSUPPORT).encode()] * 6


async def test_everything_but_scratch_and_output_is_read_only(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    request = make_request(
        "/bin/sh",
        "-c",
        "for d in / /usr /usr/bin /etc /dev /input /opt /opt/environment"
        " /opt/environment/lib/*/*; do touch $d/probe 2>&1; done; (echo x >> /input/greeting) 2>&1;"
        " cat /input/greeting; touch /tmp/ok /dev/shm/ok /output/ok && echo done; pwd",
    )
    request.input_directory.chmod(0o777)
    (request.input_directory / "greeting").chmod(0o666)

    result = await sandbox.run(request, 0)

    lines = result.log_tail.decode().splitlines()
    assert lines[-2:] == ["hellodone", "/tmp"]
    refused = [line for line in lines if re.search("Read-only|Permission denied", line)]
    assert len(refused) == len(lines) - 2 >= 10


async def test_input_of_a_strict_umask_can_be_read(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    request = make_request("/bin/sh", "-c", "cat /input/deep/file")
    (request.input_directory / "deep").mkdir(mode=0o700)
    (request.input_directory / "deep" / "file").write_text("content")
    (request.input_directory / "deep" / "file").chmod(0o600)
    request.input_directory.chmod(0o700)

    result = await sandbox.run(request, 0)

    assert result.log_tail == b"content"


async def test_variables_are_the_documented_ones_and_the_jobs_own(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    request = make_request("/usr/bin/env", env={"ALPHA": "a=b c", "OMP_NUM_THREADS": "2"})

    result = await sandbox.run(request, 0)

    seen = dict(line.split("=", 1) for line in result.log_tail.decode().splitlines())
    expected = default_variables(platform.machine()) | {"ALPHA": "a=b c", "OMP_NUM_THREADS": "2"}
    assert seen == expected | {"PWD": "/tmp"}


async def test_slots_do_not_see_each_others_files(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    marker = f"marker-{os.getpid()}"
    script = (
        f"echo secret > /tmp/{marker}-$SLOT; cp /tmp/{marker}-$SLOT /dev/shm; sleep 0.5;"
        f" find / -name '{marker}*' 2>/dev/null; sleep 0.5"
    )
    one, two = await asyncio.gather(
        *(
            sandbox.run(make_request("/bin/sh", "-c", script, env={"SLOT": str(slot)}), slot)
            for slot in (0, 1)
        )
    )

    for slot, result in enumerate((one, two)):
        assert sorted(result.log_tail.decode().split()) == [
            f"/dev/shm/{marker}-{slot}",
            f"/tmp/{marker}-{slot}",
        ]


@needs_root
@pytest.mark.parametrize("slot", [3, 4])
async def test_a_job_runs_under_its_slots_uid_on_the_host(
    sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest], slot: int, tier: str
) -> None:
    name = f"visible-{os.getpid()}-{tier}-{slot}"
    running = asyncio.ensure_future(
        sandbox.run(make_request("/bin/sh", "-c", f"sleep 600; : {name}"), slot)
    )
    await until(lambda: len(_real_uids(name)) == PROCESSES_SHOWN[tier])
    uids = {uid for uids in _real_uids(name) for uid in uids}
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert uids == {str(sandbox.settings.uid_first + slot)}


def _real_uids(name: str) -> list[list[str]]:
    """Return the uids of each process whose command line holds a name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            if name.encode() in line:
                uids = re.search(r"^Uid:(.*)$", (folder / "status").read_text(), re.MULTILINE)
                found.append(uids[1].split())
        except OSError:
            continue
    return found


async def test_every_mount_but_the_jobs_own_is_read_only_and_none_honours_set_user_id(
    shell: RunShell,
) -> None:
    """File modes alone would pass for it: the kernel is asked what is mounted how."""
    result = await shell("cat /proc/self/mountinfo")

    # What is mounted later at the same place is what is seen.
    seen = {
        line.split()[4]: line.split()[5].split(",")
        for line in result.log_tail.decode().splitlines()
    }
    nodes = {path for path in seen if path.startswith(("/dev/", "/proc/"))} - {"/dev/shm"}
    writable = {path for path, options in seen.items() if "rw" in options} - nodes
    assert writable == {"/tmp", "/dev/shm", "/output", "/proc"}
    assert {"/", "/dev", "/input", "/usr", "/etc"} <= set(seen)
    # crun 1.8 mounts /proc without its options; nothing in there is set-user-id or a device.
    assert {path for path in set(seen) - nodes if "nosuid" not in seen[path]} <= {"/proc"}
