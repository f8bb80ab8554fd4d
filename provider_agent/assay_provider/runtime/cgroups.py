"""Limits on a job as a whole, through control groups of either version.

Which version a machine has is found out by making a group with every limit and removing it again:
v1, v2 and mixtures all occur, and a controller that is listed may still refuse to be written.

A daemon's groups lie at `assay/<instance>/<pid>-<start>-<number>`, where pid and start identify the
daemon: a later daemon of the same instance removes what a killed one left, and nothing else.
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from assay_provider.runtime.device_rules import EVERY_JOB, DeviceRule

PARENT: Final = "assay"
CPU_PERIOD_US: Final = 100_000
"""The kernel's default period for CPU quotas."""

CPU_QUOTA_US_MIN: Final = 1000
"""The smallest quota the kernel takes."""

KILL_SECONDS_MAX: Final = 10.0
"""How long to wait for killed processes to be gone; longer means one hangs in the kernel."""

_RETRY_SECONDS: Final = 0.005


class CgroupStuck(OSError):
    """Processes of a job survived SIGKILL for `KILL_SECONDS_MAX`: they hang in the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """Limits of one group."""

    memory_bytes: int
    """With swap, tmpfs and page cache."""
    pids_max: int
    cpus: float
    devices: tuple[DeviceRule, ...] = EVERY_JOB
    """All other device numbers are refused, where the driver can."""

    @property
    def cpu_quota_us(self) -> int:
        """CPU time per period."""
        return max(round(self.cpus * CPU_PERIOD_US), CPU_QUOTA_US_MIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupUsage:
    """Counters of one group."""

    oom_kills: int
    cpu_seconds: float | None
    """None where the controller is missing."""
    memory_peak_bytes: int
    pids_refused: int
    """How often a fork was refused at `pids_max`."""


class Cgroup(Protocol):
    """One job's group."""

    def procs_files(self) -> list[str]:
        """Files to write "0" to, to join."""
        ...

    def usage(self) -> CgroupUsage:
        """Read the counters."""
        ...

    def anonymous_bytes(self) -> int:
        """Memory of its processes at the moment, without page cache and files in memory."""
        ...

    def kill(self) -> None:
        """Kill every process in it, and return when none is left.

        Raises:
            CgroupStuck: one does not go.
        """
        ...

    def remove(self) -> None:
        """Remove the empty group. Raises `CgroupStuck` when it does not become empty."""
        ...


class CgroupDriver(Protocol):
    """Makes groups in one version's hierarchy."""

    @property
    def version(self) -> str:
        """For people: "v1" or "v2"."""
        ...

    @property
    def limits_devices(self) -> bool:
        """Whether device numbers are limited, besides what the sandbox's /dev holds."""
        ...

    @property
    def counts_swap(self) -> bool:
        """Whether the memory limit holds with swap."""
        ...

    def create(self, name: str, limits: CgroupLimits) -> Cgroup:
        """Make a group with its limits set. Raises `OSError`; nothing is left behind then."""
        ...

    def names(self) -> list[str]:
        """Names of the groups of this instance that exist, from whatever daemon."""
        ...

    def open(self, name: str) -> Cgroup:
        """Return an existing group."""
        ...

    def forget(self) -> None:
        """Remove the empty folders of this instance, and the parent if it was the last."""
        ...


def daemon_tag() -> str:
    """Return what tells this process apart from any other since boot."""
    return f"{os.getpid()}-{_start_ticks(os.getpid())}"


@dataclass(slots=True)
class CgroupNames:
    """Makes names of groups, unique among all daemons of this boot."""

    tag: str = field(default_factory=daemon_tag)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def next(self) -> str:
        """Return a name not used before."""
        return f"{self.tag}-{next(self._numbers)}"


def clean_leftovers(driver: CgroupDriver) -> int:
    """Kill and remove the groups of daemons of this instance that are gone; return how many.

    Raises:
        CgroupStuck: a process in one does not go.
    """
    dead = [name for name in driver.names() if not _owner_lives(name)]
    for name in dead:
        group = driver.open(name)
        group.kill()
        group.remove()
    return len(dead)


def kill_frozen(procs: Path, state: Path, *, frozen: str, thawed: str) -> None:
    """Stop every process, then send each SIGKILL, then let them go to die.

    Frozen, none can fork, or see the others die and do something about it. Whatever is not caught
    that way, `kill_all` is for.
    """
    if not procs.read_text(encoding="ascii").split():
        return
    state.write_text(frozen, encoding="ascii")
    try:
        for pid in procs.read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    finally:
        state.write_text(thawed, encoding="ascii")


def kill_all(procs: Path) -> None:
    """Send SIGKILL to every process listed in `procs` until it is empty.

    The group must refuse new processes by then, or a fork bomb may outrun this loop.
    """
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while pids := procs.read_text(encoding="ascii").split():
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise CgroupStuck(f"processes {', '.join(pids[:8])} do not end after SIGKILL")
        time.sleep(_RETRY_SECONDS)


def remove_directory(path: Path) -> None:
    """Remove a group that has just become empty; the kernel says busy for a moment."""
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise CgroupStuck(f"{path} cannot be removed: {error}") from error
            time.sleep(_RETRY_SECONDS)
        else:
            return


def remove_if_empty(folders: Iterable[Path]) -> None:
    """Remove folders that hold no group any more, and leave the others."""
    for path in folders:
        with contextlib.suppress(OSError):
            path.rmdir()


def counter(text: str, name: str) -> int:
    """Return one value of a flat keyed file ("oom_kill 3"), 0 where the kernel has no such key."""
    pairs = (line.split() for line in text.splitlines())
    return next((int(value) for key, value in pairs if key == name), 0)


def _owner_lives(name: str) -> bool:
    pid, start, _ = name.split("-")
    try:
        return _start_ticks(int(pid)) == int(start)
    except OSError:
        return False


def _start_ticks(pid: int) -> int:
    # Field 22 of /proc/PID/stat; counted from behind the command, which may hold spaces.
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(text.rpartition(")")[2].split()[19])
