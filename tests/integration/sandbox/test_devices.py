"""A job opens exactly the device nodes it was granted: on this kernel, with nodes of mknod."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay_provider.runtime import bubblewrap
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.cgroup_v2 import CgroupV2Driver, hierarchy_mount
from assay_provider.runtime.device_limit import can_limit_devices, limit_devices
from assay_provider.runtime.device_rules import EVERY_JOB, DeviceRule, rules_for
from assay_provider.runtime.sandbox import DeviceNode, GpuGrant, RunRequest, Verdict
from tests.integration.sandbox.conftest import needs_root

pytestmark = needs_root

HARMLESS = ((10, 229), (10, 235), (10, 237), (1, 11))
"""fuse, autofs, loop-control, kmsg: opening them for reading does nothing, and no job may."""

MakeRequest = Callable[..., RunRequest]


@pytest.fixture
def nodes() -> Iterator[list[DeviceNode]]:
    """Two nodes that root can open here, under names of our own, open to everybody."""
    folder = Path(f"/dev/assay-test-{os.getpid()}")
    folder.mkdir()
    made = [_make(folder / f"nvidia{n}", number) for n, number in enumerate(HARMLESS)]
    usable = [node for node in made if _opens(node.path)]
    try:
        if len(usable) < 2:
            pytest.skip("this kernel has too few harmless devices to try")
        yield usable[:2]
    finally:
        for node in made:
            node.path.unlink()
        folder.rmdir()


def _make(path: Path, number: tuple[int, int]) -> DeviceNode:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*number))
    path.chmod(0o666)
    return DeviceNode(path=path, major=number[0], minor=number[1])


def _opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def _grant(*nodes: DeviceNode, mounts: tuple[tuple[Path, str], ...] = ()) -> GpuGrant:
    return GpuGrant(nodes=nodes, mounts=mounts, variables={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})


def _opening(*paths: Path) -> str:
    return (
        "import os\n"
        f"for path in {[str(path) for path in paths]!r}:\n"
        "    try: os.close(os.open(path, os.O_RDONLY)); print('opened')\n"
        "    except OSError as error: print(type(error).__name__)\n"
    )


async def test_a_job_opens_the_node_it_was_granted_and_no_other(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, nodes: list[DeviceNode]
) -> None:
    granted, other = nodes
    request = make_request("python", "-c", _opening(granted.path, other.path))

    result = await sandbox.run(replace(request, gpus=_grant(granted)), 0)

    assert result.log_tail.split() == [b"opened", b"FileNotFoundError"], result.detail


async def test_a_job_without_a_grant_sees_none(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, nodes: list[DeviceNode]
) -> None:
    result = await sandbox.run(
        make_request("python", "-c", _opening(*(node.path for node in nodes))), 0
    )

    assert result.log_tail.split() == [b"FileNotFoundError"] * 2


@pytest.mark.usefixtures("has_cgroups")
async def test_a_node_whose_number_was_not_granted_is_refused_by_the_kernel(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, nodes: list[DeviceNode]
) -> None:
    """The second wall by itself: the node is in /dev, and its number is on no list."""
    driver = sandbox.parts.detection.driver
    if driver is None or not driver.limits_devices:
        pytest.skip("device numbers are not limited here")
    granted, other = nodes
    mistaken = replace(other, major=granted.major, minor=granted.minor)
    request = make_request("python", "-c", _opening(granted.path, other.path))

    result = await sandbox.run(replace(request, gpus=_grant(granted, mistaken)), 0)

    assert result.log_tail.split() == [b"opened", b"PermissionError"]


async def test_the_drivers_files_are_there_and_cannot_be_written(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, library: Path
) -> None:
    request = make_request(
        "/bin/sh",
        "-c",
        "ls /opt/driver/lib; (echo x > /opt/driver/lib/libcuda.so.1) 2>&1;"
        " touch /opt/driver/lib/other 2>&1; echo $LD_LIBRARY_PATH $CUDA_DEVICE_ORDER",
    )
    grant = _grant(mounts=((library, "/opt/driver/lib/libcuda.so.1"),))

    result = await sandbox.run(replace(request, gpus=grant), 0)

    lines = result.log_tail.decode().splitlines()
    assert result.verdict is Verdict.OK, lines
    assert lines[0] == "libcuda.so.1"
    assert "Read-only" in lines[1]
    assert "Read-only" in lines[2]
    assert lines[3].startswith("/opt/driver/lib")
    assert lines[3].endswith("PCI_BUS_ID")


async def test_a_job_without_a_grant_does_not_see_the_drivers_tables(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "_GPU_TABLES", Path("/proc/tty"))
    script = "ls /proc/tty | wc -l; touch /proc/tty/x 2>/dev/null || echo closed"

    hidden = await sandbox.run(make_request("/bin/sh", "-c", script), 0)
    request = make_request("/bin/sh", "-c", script)
    granted = await sandbox.run(replace(request, gpus=_grant()), 0)

    assert hidden.log_tail.split() == [b"0", b"closed"], hidden.detail
    assert int(granted.log_tail.split()[0]) > 0


@pytest.fixture
def library() -> Iterator[Path]:
    """A file that a slot's uid may reach and write."""
    folder = Path(tempfile.mkdtemp(prefix="assay-test-"))
    folder.chmod(0o755)
    path = folder / "libcuda.so.580.159.03"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o666)
    yield path
    path.unlink()
    folder.rmdir()


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of the unified hierarchy, which need have no controllers for this."""
    mount = hierarchy_mount(Path("/proc/self/mountinfo").read_text())
    if mount is None:
        pytest.skip("cgroup v2 is not mounted here")
    path = mount / f"assay-test-{os.getpid()}"
    if not can_limit_devices(path):
        pytest.skip("this kernel takes no device programs from us")
    assert not path.exists(), "trying leaves nothing behind"
    path.mkdir()
    yield path
    path.rmdir()


def _opened_in(group: Path, *paths: Path) -> list[bool]:
    """Try to open paths in a process of the group, and return which opened."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            (group / "cgroup.procs").write_text("0")
            os.write(writing, bytes(_opens(path) for path in paths))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as file:
        return [bool(byte) for byte in file.read()]


def test_on_cgroup_v2_a_program_in_the_kernel_says_the_same(
    group: Path, nodes: list[DeviceNode]
) -> None:
    granted, other = nodes
    paths = (Path("/dev/null"), Path("/dev/urandom"), granted.path, other.path)

    before = _opened_in(group, *paths)
    limit_devices(group, rules_for([granted]))
    after = _opened_in(group, *paths)

    assert before == [True, True, True, True]
    assert after == [True, True, True, False]


def test_on_cgroup_v2_making_a_node_needs_a_rule_too(group: Path, nodes: list[DeviceNode]) -> None:
    limit_devices(group, (*EVERY_JOB, DeviceRule(major=nodes[0].major, minor=None, access="rw")))
    reading, writing = os.pipe()
    path = nodes[0].path.parent / "made"
    pid = os.fork()
    if pid == 0:
        try:
            (group / "cgroup.procs").write_text("0")
            os.mknod(path, stat.S_IFCHR, os.makedev(nodes[0].major, nodes[0].minor))
        except PermissionError:
            os.write(writing, b"refused")
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    path.unlink(missing_ok=True)

    assert os.read(reading, 16) == b"refused"
    os.close(reading)


def test_the_programs_of_every_number_of_gpus_pass_the_kernels_verifier(group: Path) -> None:
    nodes = [DeviceNode(path=Path(f"/dev/nvidia{n}"), major=195, minor=n) for n in range(64)]

    for count in (0, 1, 8, 64):
        limit_devices(group, rules_for(nodes[:count]))


def test_the_driver_finds_out_whether_it_can(group: Path) -> None:
    parent = group / "assay" / "instance"
    parent.mkdir(parents=True)
    try:
        assert CgroupV2Driver(base=group, instance="instance").can_limit_devices()
        assert list(parent.glob("*-*")) == []
    finally:
        parent.rmdir()
        parent.parent.rmdir()
