"""The driver for cgroup v1: one hierarchy per controller.

Source: Documentation/admin-guide/cgroup-v1 of the kernel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_provider.runtime.cgroups import (
    CPU_PERIOD_US,
    PARENT,
    Cgroup,
    CgroupLimits,
    CgroupUsage,
    counter,
    kill_all,
    kill_frozen,
    remove_directory,
    remove_if_empty,
)

CONTROLLERS_NEEDED: Final = ("memory", "pids", "cpu")
CONTROLLERS_USED: Final = (*CONTROLLERS_NEEDED, "cpuacct", "devices", "freezer")


def controller_mounts(mountinfo: str) -> dict[str, Path]:
    """Return where each controller we use is mounted, from the text of /proc/self/mountinfo."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        place, _, kind = line.partition(" - ")
        words = kind.split()
        if words[:1] != ["cgroup"]:
            continue
        for controller in words[2].split(","):
            if controller in CONTROLLERS_USED:
                found.setdefault(controller, Path(place.split()[4]))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupV1:
    """One job's groups, one per controller."""

    directories: dict[str, Path]

    def procs_files(self) -> list[str]:
        """See `Cgroup`. Hierarchies may share a mount ("cpu,cpuacct"), hence without repeats."""
        return [str(path / "cgroup.procs") for path in dict.fromkeys(self.directories.values())]

    def usage(self) -> CgroupUsage:
        """See `Cgroup`."""
        cpu = self.directories.get("cpuacct")
        return CgroupUsage(
            oom_kills=counter(self._read("memory", "memory.oom_control"), "oom_kill"),
            cpu_seconds=int(self._read("cpuacct", "cpuacct.usage")) / 1e9 if cpu else None,
            memory_peak_bytes=int(self._read("memory", "memory.max_usage_in_bytes")),
            pids_refused=counter(self._read("pids", "pids.events"), "max"),
        )

    def anonymous_bytes(self) -> int:
        """See `Cgroup`."""
        return counter(self._read("memory", "memory.stat"), "total_rss")

    def kill(self) -> None:
        """See `Cgroup`. With no room for new processes the loop cannot be outrun."""
        procs = self.directories["pids"] / "cgroup.procs"
        (self.directories["pids"] / "pids.max").write_text("0", encoding="ascii")
        freezer = self.directories.get("freezer")
        if freezer is not None and freezer.is_dir():
            kill_frozen(procs, freezer / "freezer.state", frozen="FROZEN", thawed="THAWED")
        kill_all(procs)

    def remove(self) -> None:
        """See `Cgroup`."""
        for path in dict.fromkeys(self.directories.values()):
            remove_directory(path)

    def set_limits(self, limits: CgroupLimits) -> None:
        """Write every limit; memory before memory with swap, which may not be smaller."""
        self._write("memory", "memory.limit_in_bytes", limits.memory_bytes)
        if (self.directories["memory"] / "memory.memsw.limit_in_bytes").exists():
            self._write("memory", "memory.memsw.limit_in_bytes", limits.memory_bytes)
        self._write("pids", "pids.max", limits.pids_max)
        self._write("cpu", "cpu.cfs_period_us", CPU_PERIOD_US)
        self._write("cpu", "cpu.cfs_quota_us", limits.cpu_quota_us)
        if "devices" in self.directories:
            self._write("devices", "devices.deny", "a")
            for rule in limits.devices:
                self._write("devices", "devices.allow", str(rule))

    def _read(self, controller: str, name: str) -> str:
        return (self.directories[controller] / name).read_text(encoding="ascii")

    def _write(self, controller: str, name: str, value: int | str) -> None:
        (self.directories[controller] / name).write_text(str(value), encoding="ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupV1Driver:
    """Makes groups below `assay/<instance>` in every hierarchy."""

    mounts: dict[str, Path]
    instance: str

    @property
    def version(self) -> str:
        """See `CgroupDriver`."""
        return "v1"

    @property
    def limits_devices(self) -> bool:
        """See `CgroupDriver`."""
        return "devices" in self.mounts

    @property
    def counts_swap(self) -> bool:
        """See `CgroupDriver`. Absent where the kernel was started without swap accounting."""
        return (self.mounts["memory"] / "memory.memsw.limit_in_bytes").exists()

    def create(self, name: str, limits: CgroupLimits) -> Cgroup:
        """See `CgroupDriver`."""
        group = CgroupV1(directories=self._directories(name))
        try:
            for path in dict.fromkeys(group.directories.values()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
            group.set_limits(limits)
        except OSError:
            group.remove()
            raise
        return group

    def names(self) -> list[str]:
        """See `CgroupDriver`."""
        found = {
            path.name
            for mount in self.mounts.values()
            for path in (mount / PARENT / self.instance).glob("*-*-*")
            if path.is_dir()
        }
        return sorted(found)

    def open(self, name: str) -> Cgroup:
        """See `CgroupDriver`. A daemon killed half-way leaves only some of the groups."""
        found = {c: p for c, p in self._directories(name).items() if p.exists()}
        return CgroupV1Remains(directories=found)

    def forget(self) -> None:
        """See `CgroupDriver`."""
        parents = [mount / PARENT for mount in self.mounts.values()]
        remove_if_empty([parent / self.instance for parent in parents] + parents)

    def _directories(self, name: str) -> dict[str, Path]:
        return {c: mount / PARENT / self.instance / name for c, mount in self.mounts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupV1Remains(CgroupV1):
    """Groups of a dead daemon, of which some may be missing."""

    def kill(self) -> None:
        """See `Cgroup`."""
        pids = self.directories.get("pids")
        if pids is not None:
            (pids / "pids.max").write_text("0", encoding="ascii")
        for path in self.directories.values():
            kill_all(path / "cgroup.procs")
