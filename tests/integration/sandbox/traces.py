"""What a sandbox may leave on its machine: looked for from outside."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from assay_provider.runtime.bubblewrap import BubblewrapSandbox

PATIENCE_SECONDS = 30


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def command_lines() -> dict[int, bytes]:
    """Return every process's command line, zombies left out."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:
            continue
    return {pid: line for pid, line in found.items() if line}


def processes_named(name: str) -> list[int]:
    """Return the processes whose command line holds `name`."""
    return [pid for pid, line in command_lines().items() if name.encode() in line]


def sandbox_processes(sandbox: BubblewrapSandbox) -> set[int]:
    """Return all descendants of the sandbox's launcher."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents[int(folder.name)] = int(fields[1])
    launcher = sandbox._launcher.process.pid
    found: set[int] = set()
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor != launcher:
            ancestor = parents[ancestor]
        if ancestor == launcher and pid != launcher:
            found.add(pid)
    return found


def cgroup_folders(instance: str) -> list[Path]:
    """Return the groups of jobs of one instance, in every hierarchy."""
    root = Path("/sys/fs/cgroup")
    patterns = (f"assay/{instance}/*-*", f"*/assay/{instance}/*-*")
    return [path for pattern in patterns for path in root.glob(pattern) if path.is_dir()]


def host_mounts(pid: int | str = "self") -> str:
    """Return a process's mount table; this one's is the host's."""
    return Path(f"/proc/{pid}/mountinfo").read_text()


def processes_of(uid: int) -> list[int]:
    """Return the processes that run under a host uid."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == uid:
                found.append(int(folder.name))
        except OSError:
            continue
    return found
