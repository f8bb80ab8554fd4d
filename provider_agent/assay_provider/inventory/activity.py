"""Signs that somebody uses this machine: input, and programs that are neither ours nor jobs.

Input is seen two ways. Terminals: the kernel notes when one was last typed at, in steps of 8 s.
Desktops: the login manager (`loginctl`) knows since when a graphical session is idle, as far as its
desktop tells; one that never tells counts as in use. Keyboards themselves are not listened to: a
daemon that could read them would read passwords too. Who starts a desktop without a login manager,
or works over a remote display, is seen by other programs' load only.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay_provider.owner.schedule import Activity

LOGINCTL: Final = ("loginctl", "--no-pager")
LOGINCTL_S_MAX: Final = 5.0
"""It answers in milliseconds, or its bus is dead."""
SESSIONS_MAX: Final = 32
_GRAPHICAL: Final = frozenset({"x11", "wayland", "mir"})
_PROPERTIES: Final = ("Type", "Class", "IdleHint", "IdleSinceHint", "State")

Run = Callable[[tuple[str, ...]], str | None]
"""Runs a program and returns its output, None when it cannot be run or fails."""
GpuPrograms = Callable[[], Collection[int] | None]
"""Returns the processes on GPUs that are for sale, jobs included; None where no driver tells."""


def run_program(arguments: tuple[str, ...]) -> str | None:
    """Return what a program of the system prints; `Run` for real."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, timeout=LOGINCTL_S_MAX, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def no_gpu_programs() -> Collection[int] | None:
    """Return None: no GPU is for sale."""
    return None


@dataclass(slots=True, kw_only=True)
class OwnerSigns:
    """Fulfils `SeesOwner`. Processes of `uids`, those of jobs, and this daemon's are not signs."""

    uids: range
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    run: Run = run_program
    gpu_programs: GpuPrograms = no_gpu_programs
    pid: int = field(default_factory=os.getpid)
    monotonic: Callable[[], float] = time.monotonic
    _ticks: Mapping[int, int] = field(default_factory=dict)
    _ticks_at: float | None = None

    def read(self, now: float) -> Activity:
        """Return the signs there are at `now` (Unix seconds); load needs a reading before."""
        unknown: list[str] = []
        idle = [*self._terminals(now), *self._desktops(now, unknown)]
        if not idle:
            unknown.append("no terminal and no desktop is here to be idle")
        ours, ticks = self._processes()
        on_gpus = self.gpu_programs()
        return Activity(
            idle_s=max(0.0, min(idle)) if idle else None,
            other_cpus=self._other_cpus(ticks),
            other_gpu_programs=None if on_gpus is None else len(set(on_gpus) - ours),
            unknown=tuple(unknown),
        )

    def _terminals(self, now: float) -> Iterator[float]:
        for path in (*self.dev.glob("pts/[0-9]*"), *self.dev.glob("tty[0-9]*")):
            with contextlib.suppress(OSError):
                yield now - path.stat().st_atime

    def _desktops(self, now: float, unknown: list[str]) -> Iterator[float]:
        listed = self.run((*LOGINCTL, "list-sessions", "--no-legend"))
        if listed is None:
            unknown.append("no login manager tells of desktops")
            return
        for line in listed.splitlines()[:SESSIONS_MAX]:
            session = line.split()[0] if line.split() else ""
            shown = self.run((*LOGINCTL, "show-session", session, *_wanted())) if session else None
            facts = dict(part.split("=", 1) for part in (shown or "").splitlines() if "=" in part)
            if facts.get("Class") != "user" or facts.get("Type") not in _GRAPHICAL:
                continue
            if facts.get("State") == "closing":
                continue
            yield _idle_s(facts, now)

    def _other_cpus(self, ticks: Mapping[int, int]) -> float | None:
        """Return the cores that other programs used since the last reading, None at the first."""
        at = self.monotonic()
        before, before_at = self._ticks, self._ticks_at
        self._ticks, self._ticks_at = ticks, at
        if before_at is None or at <= before_at:
            return None
        # a program that is new since then started at 0; one that is gone is not counted
        used = sum(max(0, now - before.get(pid, 0)) for pid, now in ticks.items())
        return used / os.sysconf("SC_CLK_TCK") / (at - before_at)

    def _processes(self) -> tuple[set[int], dict[int, int]]:
        """Return the daemon's processes and its jobs', and what others used, in ticks."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        ours: set[int] = set()
        for path in self.proc.glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid = int(path.name)
                # the name in brackets may hold anything: fields are counted behind it
                fields = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
                parents[pid] = int(fields[1])
                ticks[pid] = int(fields[11]) + int(fields[12])
                if path.stat().st_uid in self.uids:
                    ours.add(pid)
        ours.update(pid for pid in ticks if self._is_ours(pid, parents))
        others = {
            pid: used
            for pid, used in ticks.items()
            if pid not in ours and not _is_kernel(pid, parents)
        }
        return ours, others

    def _is_ours(self, pid: int, parents: Mapping[int, int]) -> bool:
        for _ in range(len(parents)):
            if pid == self.pid:
                return True
            if pid not in parents:
                return False
            pid = parents[pid]
        return False


def _is_kernel(pid: int, parents: Mapping[int, int]) -> bool:
    """Tell whether this is a thread of the kernel: it may work for a job as well as for anybody."""
    return pid == 2 or parents[pid] == 2


def _wanted() -> Iterator[str]:
    for name in _PROPERTIES:
        yield f"--property={name}"


def _idle_s(facts: Mapping[str, str], now: float) -> float:
    since = facts.get("IdleSinceHint", "0")
    if facts.get("IdleHint") != "yes" or not since.isdecimal():
        return 0.0
    return now - int(since) / 1e6
