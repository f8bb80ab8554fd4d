"""What a provider daemon at rest costs its owner: processor time and memory, its helpers included.

A daemon with nothing to do, connected to a scheduler in a market on this machine, is watched for a
minute through the kernel's own counters. The reference, in the same minute, is a Python that has
imported the same libraries and sleeps.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from assay_node.devnet.market import Market, MarketSettings
from bench.figures import Figure

WATCH_S = 60.0
SETTLE_S = 15.0
"""After its start a daemon still introduces itself and its caches fill."""
CPU_GOAL_PERCENT = 1.0
MEMORY_GOAL_MB = 200.0
FLOOR_TEXT = "import assay_provider.compose, time; print('ready', flush=True); time.sleep(3600)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """One process tree over the minute: percent of one core, and resident MB at its end."""

    cpu_percent: float
    memory_mb: float


def run() -> list[Figure]:
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    floor = await asyncio.to_thread(_start_floor)
    try:
        settings = MarketSettings(directory=folder / "market", providers=3)
        async with Market(settings, tell=lambda text: print(f"  {text}", flush=True)) as market:
            daemon = next(
                process.pid
                for name, process in market.processes.items()
                if name.startswith("provider") and process.pid
            )
            await asyncio.sleep(SETTLE_S)
            pids = (daemon, floor.pid)
            before = [_cpu_seconds(pid) for pid in pids]
            started = time.monotonic()
            await asyncio.sleep(WATCH_S)
            took_s = time.monotonic() - started
            seen = [
                Rest(
                    cpu_percent=100 * (_cpu_seconds(pid) - cpu) / took_s,
                    memory_mb=_memory_mb(pid),
                )
                for pid, cpu in zip(pids, before, strict=True)
            ]
    finally:
        floor.kill()
        floor.wait()
        shutil.rmtree(folder, ignore_errors=True)
    return _figures(*seen)


def _start_floor() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOR_TEXT], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _tree(int(child)))]


def _cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and its living descendants (proc(5), stat)."""
    ticks = 0
    for one in _tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its descendants, shared pages in each."""
    kilobytes = 0
    for one in _tree(pid):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return kilobytes / 1024


def _figures(daemon: Rest, floor: Rest) -> list[Figure]:
    reference = "a Python that imported the same and sleeps"
    return [
        Figure(
            figure="provider daemon at rest: processor time",
            value=round(daemon.cpu_percent, 3),
            unit="percent of one core",
            spread=(round(daemon.cpu_percent, 3), round(daemon.cpu_percent, 3)),
            reference=reference,
            reference_value=round(floor.cpu_percent, 3),
            ratio=round(daemon.cpu_percent / max(floor.cpu_percent, 0.01), 1),
            goal=f"<= {CPU_GOAL_PERCENT:g} %",
            holds=daemon.cpu_percent <= CPU_GOAL_PERCENT,
        ),
        Figure(
            figure="provider daemon at rest: resident memory",
            value=round(daemon.memory_mb, 1),
            unit="MB",
            spread=(round(daemon.memory_mb, 1), round(daemon.memory_mb, 1)),
            reference=reference,
            reference_value=round(floor.memory_mb, 1),
            ratio=round(daemon.memory_mb / floor.memory_mb, 2),
            goal=f"<= {MEMORY_GOAL_MB:g} MB",
            holds=daemon.memory_mb <= MEMORY_GOAL_MB,
        ),
    ]
