"""The driver for cgroup v2, the unified hierarchy.

Root makes its groups in a folder of its own at the top. An ordinary user needs a delegated subtree
(systemd: `Delegate=yes`) and makes them in the group the daemon runs in, which it must first leave
for a leaf: a group with limits on its children may hold no processes itself. Device numbers are
limited where the daemon may load BPF programs (see `device_limit`), so not for an ordinary user:
then the sandbox's /dev, and that no other mount admits device nodes, is what keeps devices away.

Source: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_provider.runtime import device_limit
from assay_provider.runtime.cgroups import (
    CPU_PERIOD_US,
    PARENT,
    Cgroup,
    CgroupLimits,
    CgroupNames,
    CgroupUsage,
    counter,
    kill_all,
    kill_frozen,
    remove_directory,
    remove_if_empty,
)

CONTROLLERS_NEEDED: Final = ("memory", "pids", "cpu")
_DAEMON_LEAF: Final = "assay-daemon"


def hierarchy_mount(mountinfo: str) -> Path | None:
    """Return where cgroup v2 is mounted, from the text of /proc/self/mountinfo."""
    for line in mountinfo.splitlines():
        place, _, kind = line.partition(" - ")
        if kind.split()[:1] == ["cgroup2"]:
            return Path(place.split()[4])
    return None


def own_group(mount: Path, proc_cgroup: str) -> Path:
    """Return the group this process is in, from the text of /proc/self/cgroup."""
    paths = (line[3:] for line in proc_cgroup.splitlines() if line.startswith("0::"))
    return mount / next(paths, "/").lstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupV2:
    """One job's group."""

    directory: Path

    def procs_files(self) -> list[str]:
        """See `Cgroup`."""
        return [str(self.directory / "cgroup.procs")]

    def usage(self) -> CgroupUsage:
        """See `Cgroup`. memory.peak came with Linux 5.19."""
        peak = self.directory / "memory.peak"
        peak = peak if peak.exists() else self.directory / "memory.current"
        return CgroupUsage(
            oom_kills=counter(self._read("memory.events"), "oom_kill"),
            cpu_seconds=counter(self._read("cpu.stat"), "usage_usec") / 1e6,
            memory_peak_bytes=int(peak.read_text(encoding="ascii")),
            pids_refused=counter(self._read("pids.events"), "max"),
        )

    def anonymous_bytes(self) -> int:
        """See `Cgroup`."""
        return counter(self._read("memory.stat"), "anon")

    def kill(self) -> None:
        """See `Cgroup`. cgroup.kill came with Linux 5.14 and takes running forks along."""
        procs, kill_file = self.directory / "cgroup.procs", self.directory / "cgroup.kill"
        if kill_file.exists():
            kill_file.write_text("1", encoding="ascii")
        else:
            (self.directory / "pids.max").write_text("0", encoding="ascii")
            kill_frozen(procs, self.directory / "cgroup.freeze", frozen="1", thawed="0")
        kill_all(procs)

    def remove(self) -> None:
        """See `Cgroup`."""
        remove_directory(self.directory)

    def set_limits(self, limits: CgroupLimits) -> None:
        """Write every limit. One out-of-memory kill ends the whole job: it has failed anyway."""
        self._write("memory.max", limits.memory_bytes)
        if (self.directory / "memory.swap.max").exists():
            self._write("memory.swap.max", 0)
        self._write("memory.oom.group", 1)
        self._write("pids.max", limits.pids_max)
        self._write("cpu.max", f"{limits.cpu_quota_us} {CPU_PERIOD_US}")

    def _read(self, name: str) -> str:
        return (self.directory / name).read_text(encoding="ascii")

    def _write(self, name: str, value: int | str) -> None:
        (self.directory / name).write_text(str(value), encoding="ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupV2Driver:
    """Makes groups below `assay/<instance>` of the group it was given."""

    base: Path
    instance: str
    limits_devices: bool = False
    """See `CgroupDriver`. `cgroup_detection` tries whether the kernel takes a program."""

    @property
    def version(self) -> str:
        """See `CgroupDriver`."""
        return "v2"

    @property
    def counts_swap(self) -> bool:
        """See `CgroupDriver`. Without the file the kernel has no swap accounting."""
        return any(self._parent.glob("memory.swap.max"))

    def prepare(self) -> None:
        """Make the parents and hand the controllers down to them.

        Raises:
            OSError: the hierarchy is not ours to write, or lacks a controller.
        """
        _hand_down(self.base)
        for directory in (self._parent.parent, self._parent):
            directory.mkdir(exist_ok=True)
            _hand_down(directory)

    def create(self, name: str, limits: CgroupLimits) -> Cgroup:
        """See `CgroupDriver`."""
        group = CgroupV2(directory=self._parent / name)
        group.directory.mkdir()
        try:
            group.set_limits(limits)
            if self.limits_devices:
                device_limit.limit_devices(group.directory, limits.devices)
        except OSError:
            group.remove()
            raise
        return group

    def can_limit_devices(self) -> bool:
        """Try it on a group of its own."""
        return device_limit.can_limit_devices(self._parent / f"{CgroupNames().next()}devices")

    def names(self) -> list[str]:
        """See `CgroupDriver`."""
        return sorted(path.name for path in self._parent.glob("*-*-*") if path.is_dir())

    def open(self, name: str) -> Cgroup:
        """See `CgroupDriver`."""
        return CgroupV2(directory=self._parent / name)

    def forget(self) -> None:
        """See `CgroupDriver`."""
        remove_if_empty((self._parent, self._parent.parent))

    @property
    def _parent(self) -> Path:
        return self.base / PARENT / self.instance


def _hand_down(directory: Path) -> None:
    control = directory / "cgroup.subtree_control"
    missing = set(CONTROLLERS_NEEDED) - set(control.read_text(encoding="ascii").split())
    if not missing:
        return
    words = " ".join(f"+{name}" for name in CONTROLLERS_NEEDED if name in missing)
    try:
        control.write_text(words, encoding="ascii")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _step_aside(directory)
        control.write_text(words, encoding="ascii")


def _step_aside(directory: Path) -> None:
    """Move this process into a leaf, so that `directory` may limit its children."""
    leaf = directory / _DAEMON_LEAF
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
