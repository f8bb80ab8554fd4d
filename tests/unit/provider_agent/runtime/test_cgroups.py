import os
from pathlib import Path

import pytest

from assay_provider.runtime import cgroups
from assay_provider.runtime.cgroup_v1 import CgroupV1, CgroupV1Driver, controller_mounts
from assay_provider.runtime.cgroup_v2 import CgroupV2, hierarchy_mount, own_group
from assay_provider.runtime.cgroups import CgroupLimits, CgroupNames, counter
from assay_provider.runtime.device_rules import EVERY_JOB, rules_for
from assay_provider.runtime.sandbox import DeviceNode

LIMITS = CgroupLimits(memory_bytes=64 << 20, pids_max=10, cpus=0.5)

HYBRID = """\
30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 25 0:29 / /sys/fs/cgroup/memory rw,nosuid shared:10 - cgroup cgroup rw,memory
34 25 0:30 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids
35 25 8:1 / / rw - ext4 /dev/sda1 rw
"""


def test_mounts_of_controllers_are_found_in_a_hybrid() -> None:
    found = controller_mounts(HYBRID)

    assert found["cpu"] == found["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found["memory"] == Path("/sys/fs/cgroup/memory")
    assert set(found) == {"cpu", "cpuacct", "memory", "pids"}
    assert hierarchy_mount(HYBRID) == Path("/sys/fs/cgroup/unified")
    assert hierarchy_mount("35 25 8:1 / / rw - ext4 /dev/sda1 rw\n") is None


def test_the_own_group_of_v2_is_found() -> None:
    text = "4:memory:/other\n0::/user.slice/user-1000.slice/assay.service\n"

    expected = Path("/c/user.slice/user-1000.slice/assay.service")
    assert own_group(Path("/c"), text) == expected
    assert own_group(Path("/c"), "0::/\n") == Path("/c")


def test_counters_are_read_by_their_whole_key() -> None:
    text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"

    assert counter(text, "oom_kill") == 3
    assert counter(text, "oom") == 0


def test_a_quota_is_never_less_than_the_kernel_takes() -> None:
    assert LIMITS.cpu_quota_us == 50_000
    assert CgroupLimits(memory_bytes=1, pids_max=1, cpus=0.001).cpu_quota_us == 1000


def test_names_are_unique_and_name_their_daemon() -> None:
    names = CgroupNames()

    first, second = names.next(), names.next()
    assert first != second
    assert first.split("-")[0] == str(os.getpid())


def test_v2_writes_every_limit_and_reads_every_counter(tmp_path: Path) -> None:
    group = CgroupV2(directory=tmp_path)
    (tmp_path / "memory.swap.max").touch()

    group.set_limits(LIMITS)

    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "10",
        "cpu.max": "50000 100000",
    }
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n")
    (tmp_path / "memory.peak").write_text("12345\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "pids.events").write_text("max 4\n")
    assert group.usage() == cgroups.CgroupUsage(
        oom_kills=1, cpu_seconds=2.5, memory_peak_bytes=12345, pids_refused=4
    )


def test_v1_writes_every_limit_and_reads_every_counter(tmp_path: Path) -> None:
    directories = {name: tmp_path / name for name in ("memory", "pids", "cpu", "cpuacct")}
    for directory in directories.values():
        directory.mkdir()
    (tmp_path / "memory/memory.memsw.limit_in_bytes").touch()
    group = CgroupV1(directories=directories)

    group.set_limits(LIMITS)

    assert (tmp_path / "memory/memory.memsw.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "memory/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "pids/pids.max").read_text() == "10"
    assert (tmp_path / "cpu/cpu.cfs_quota_us").read_text() == "50000"
    (tmp_path / "memory/memory.oom_control").write_text("oom_kill_disable 0\noom_kill 2\n")
    (tmp_path / "memory/memory.max_usage_in_bytes").write_text("77\n")
    (tmp_path / "cpuacct/cpuacct.usage").write_text("1500000000\n")
    (tmp_path / "pids/pids.events").write_text("max 1\n")
    assert group.usage() == cgroups.CgroupUsage(
        oom_kills=2, cpu_seconds=1.5, memory_peak_bytes=77, pids_refused=1
    )


def test_v1_denies_every_device_and_then_allows_those_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []
    directories = {name: tmp_path / name for name in ("memory", "pids", "cpu", "devices")}
    for directory in directories.values():
        directory.mkdir()
    write = Path.write_text
    monkeypatch.setattr(
        Path,
        "write_text",
        lambda path, text, **options: (
            written.append((path.name, text)) or write(path, text, **options)
        ),
    )
    nodes = [DeviceNode(path=Path("/dev/nvidia0"), major=195, minor=0)]
    limits = CgroupLimits(memory_bytes=1, pids_max=1, cpus=1.0, devices=rules_for(nodes))

    CgroupV1(directories=directories).set_limits(limits)

    devices = [(name, text) for name, text in written if name.startswith("devices")]
    assert devices[0] == ("devices.deny", "a")
    assert ("devices.allow", "c 1:3 rwm") in devices
    assert devices[-1] == ("devices.allow", "c 195:0 rw")
    assert len(devices) == len(EVERY_JOB) + 2


def test_only_groups_of_dead_daemons_of_this_instance_are_cleaned(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        folder = tmp_path / name / "assay"
        for path in (
            f"mine/{CgroupNames().next()}",
            f"mine/{os.getpid()}-1-0",
            "mine/999999999-5-0",
            "other/999999999-5-0",
        ):
            (folder / path).mkdir(parents=True)
    (tmp_path / "pids/assay/mine/999999999-5-0").rmdir()
    driver = CgroupV1Driver(
        mounts={name: tmp_path / name for name in ("memory", "pids")}, instance="mine"
    )
    for path in tmp_path.glob("*/assay/mine/*"):
        assert path.is_dir()
    kernel = _PretendKernel(driver)

    assert cgroups.clean_leftovers(kernel) == 2
    assert driver.names() == [CgroupNames().next()]
    assert (tmp_path / "memory/assay/other/999999999-5-0").is_dir()


class _PretendKernel:
    """A driver on plain directories, which hold no processes to kill."""

    def __init__(self, driver: CgroupV1Driver) -> None:
        self._driver = driver

    def names(self) -> list[str]:
        return self._driver.names()

    def open(self, name: str) -> "_Group":
        return _Group(self._driver.open(name))


class _Group:
    def __init__(self, group: cgroups.Cgroup) -> None:
        self._group = group

    def kill(self) -> None:
        pass

    def remove(self) -> None:
        self._group.remove()


def test_a_group_that_stays_busy_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "KILL_SECONDS_MAX", 0.0)
    (tmp_path / "group/child").mkdir(parents=True)

    with pytest.raises(cgroups.CgroupStuck):
        cgroups.remove_directory(tmp_path / "group")
    cgroups.remove_directory(tmp_path / "missing")
