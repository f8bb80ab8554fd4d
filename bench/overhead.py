"""What the market adds to a job.

A no-op job (`true`) at k = 3 goes through a whole market on this machine, thirty times one after
the other and then ten at once. The reference is the same no-op in the same sandbox, bare.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay_node.app import open_requester
from assay_node.devnet.market import Market, MarketSettings
from assay_node.job_file import read_job
from assay_node.keys import LocalKey, load_keystore
from assay_node.ports import ArtifactLimits
from assay_node.services.requesting import Requester
from assay_node.settings import Settings, load_settings
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunLimits, RunRequest
from bench.figures import Figure, percentile

JOBS = 30
AT_ONCE = 10
PROVIDERS = 6
SETTLED_GOAL_S = 1.0
MEMORY_GOAL_MB = 200.0
STAGES = (
    ("admitted", "inputs added, order signed, admitted"),
    ("drawn", "seed block mined, draw read"),
    ("accepted", "leases taken by all three"),
    ("running", "spec and inputs fetched by all"),
    ("committed", "run, stored and committed by all"),
    ("commit_set", "commit set fixed"),
    ("revealed", "revealed by all"),
    ("receipt", "receipt complete"),
    ("settled", "settlement mined and read"),
)


@dataclass(slots=True, kw_only=True)
class Run:
    """One job: seconds from the start of submitting, by client and by event kind."""

    settled_s: float = 0.0
    result_s: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


def run() -> list[Figure]:
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    try:
        settings = MarketSettings(directory=folder / "market", providers=PROVIDERS)
        async with Market(settings, tell=lambda text: print(f"  {text}", flush=True)) as market:
            home = folder / "requester"
            await market.new_requester(home)
            job = _write_job(folder)
            await asyncio.sleep(2)
            memory = {name: _memory_mb(p.pid) for name, p in market.processes.items() if p.pid}
            async with _requester(market, home) as (requester, key):
                await _one(requester, key, job, folder / "warm")  # first imports, first blocks
                runs = [
                    await _one(requester, key, job, folder / f"result-{n}") for n in range(JOBS)
                ]
                together, took = await _at_once(requester, key, job, folder)
        bare = await _bare(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print_stages(runs, together)
    return _figures(runs, together, took, bare, memory)


async def _one(requester: Requester, key: LocalKey, job: Path, target: Path) -> Run:
    terms = await requester.terms()
    request = read_job(job, {}, default_class="cpu-x86_64")
    run = Run()
    started, started_wall = time.monotonic(), time.time()
    prepared = await requester.prepare(request, terms)
    submitted = await requester.submit(prepared, terms, key)

    async def collect() -> None:
        result = await requester.result(submitted.job)
        await requester.fetch(result, target, limits=ArtifactLimits(bytes_max=1 << 20))
        run.result_s = time.monotonic() - started

    collecting: asyncio.Task[None] | None = None
    async for document in requester.follow(submitted.job):
        for event in document["events"]:
            run.stages[event["kind"]] = event["at"] - started_wall  # the last of its kind
        if collecting is None and "receipt" in run.stages:
            collecting = asyncio.create_task(collect())
    run.settled_s = time.monotonic() - started
    assert document["state"] == "settled", document["reason"]
    assert collecting is not None
    await collecting
    return run


async def _at_once(
    requester: Requester, key: LocalKey, job: Path, folder: Path
) -> tuple[list[Run], float]:
    started = time.monotonic()
    runs = await asyncio.gather(
        *(_one(requester, key, job, folder / f"together-{n}") for n in range(AT_ONCE))
    )
    return list(runs), time.monotonic() - started


async def _bare(folder: Path) -> list[float]:
    """Return the seconds of the same no-op in the same sandbox, without a market."""
    limits = RunLimits(
        memory_bytes=256 << 20,
        cpus=1.0,
        pids_max=64,
        scratch_bytes=16 << 20,
        output_bytes=1 << 20,
        output_files_max=10,
        wall_seconds=60,
        log_bytes=1 << 16,
    )
    source = folder / "bare-input"
    await asyncio.to_thread(source.mkdir)
    seconds = []
    async with open_sandbox(SandboxSettings(instance="bench")) as sandbox:
        for number in range(JOBS + 1):
            output = folder / f"bare-{number}"
            await asyncio.to_thread(output.mkdir)
            request = RunRequest(
                command=("true",),
                environment={},
                input_directory=source,
                output_directory=output,
                limits=limits,
                runtime="host-python",
            )
            started = time.monotonic()
            await sandbox.run(request, 0)
            seconds.append(time.monotonic() - started)
    return seconds[1:]


class _requester:  # noqa: N801 - used like a function
    """Opens what `assay submit` opens, once for all jobs."""

    def __init__(self, market: Market, home: Path) -> None:
        environment = market.environment(home)
        self._settings: Settings = load_settings(
            config=market.config,
            flags={
                "requester.home": str(home / "requester"),
                "requester.scheduler": market.scheduler_address,
            },
        )
        password = (market.settings.directory / "password").read_text().strip()
        self._key = load_keystore(home / "wallets" / "default.json", password)
        self._open = open_requester(self._settings)
        assert environment

    async def __aenter__(self) -> tuple[Requester, LocalKey]:
        return await self._open.__aenter__(), self._key

    async def __aexit__(self, *error: object) -> None:
        await self._open.__aexit__(*error)  # type: ignore[arg-type]


def _write_job(folder: Path) -> Path:
    job = folder / "noop"
    job.mkdir()
    (job / "job.toml").write_text(
        'name = "noop"\ncommand = ["true"]\nexact = "as-is"\nmax_price = "0.002"\ntimeout_s = 60\n'
        '[resources]\nmemory = "256M"\nscratch = "16M"\noutput = "1M"\n'
    )
    return job


def _memory_mb(pid: int) -> float:
    """Return the resident memory of a daemon and its helper processes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) / 1024 + sum(_memory_mb(int(child)) for child in children)


def _print_stages(runs: Sequence[Run], together: Sequence[Run]) -> None:
    print(f"  {'stage ends with':<40} {'alone':>8} {'ten at once':>12}   (median, since submit)")
    for kind, label in STAGES:
        alone = percentile([r.stages[kind] for r in runs if kind in r.stages], 0.5)
        ten = percentile([r.stages[kind] for r in together if kind in r.stages], 0.5)
        print(f"  {label:<40} {alone:7.2f}s {ten:11.2f}s")


def _figures(
    runs: Sequence[Run],
    together: Sequence[Run],
    took_s: float,
    bare: Sequence[float],
    memory: Mapping[str, float],
) -> list[Figure]:
    floor = percentile(bare, 0.5)
    reference = "the same no-op bare in the same sandbox, p50"
    figures = []
    for name, totals, goal_s in (
        ("overhead: submit to settled", [r.settled_s for r in runs], SETTLED_GOAL_S),
        ("overhead: submit to verified result", [r.result_s for r in runs], SETTLED_GOAL_S),
    ):
        over = [total - floor for total in totals]
        for label, share in (("p50", 0.5), ("p95", 0.95)):
            value = percentile(over, share)
            goal = f"<= {goal_s:g} s" if share == 0.5 else "none"
            figures.append(
                Figure(
                    figure=f"{name} {label}",
                    value=round(value, 3),
                    unit="s",
                    spread=(round(percentile(over, 0.05), 3), round(percentile(over, 0.95), 3)),
                    reference=reference,
                    reference_value=round(floor, 4),
                    ratio=round(value / floor, 1),
                    goal=goal,
                    holds=share != 0.5 or value <= goal_s,
                )
            )
    figures.append(_throughput(runs, together, took_s))
    figures += [_resident(role, memory) for role in ("scheduler", "provider")]
    return figures


def _throughput(runs: Sequence[Run], together: Sequence[Run], took_s: float) -> Figure:
    alone = 1.0 / percentile([r.settled_s for r in runs], 0.5)
    rates = [len(together) / took_s]
    return Figure(
        figure="overhead: ten jobs at once",
        value=round(rates[0], 2),
        unit="jobs/s",
        spread=(round(rates[0], 2), round(rates[0], 2)),
        reference="one after the other, p50",
        reference_value=round(alone, 2),
        ratio=round(rates[0] / alone, 2),
        goal="none",
        holds=True,
    )


def _resident(role: str, memory: Mapping[str, float]) -> Figure:
    found = [mb for name, mb in memory.items() if name.startswith(role)]
    worst = max(found)
    bare = _memory_mb_of_bare_python()
    return Figure(
        figure=f"overhead: memory of a {role} at rest",
        value=round(worst, 1),
        unit="MB",
        spread=(round(min(found), 1), round(worst, 1)),
        reference="an empty Python process",
        reference_value=round(bare, 1),
        ratio=round(worst / bare, 1),
        goal=f"<= {MEMORY_GOAL_MB:g} MB",
        holds=worst <= MEMORY_GOAL_MB,
    )


def _memory_mb_of_bare_python() -> float:
    import subprocess
    import sys

    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(0.3)
        return _memory_mb(process.pid)
    finally:
        process.kill()
        process.wait()
