"""`assay provider benchmark` for real: child processes, this processor and this disk."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.offer import Gpu
from assay_provider.inventory.benchmark import running
from assay_provider.inventory.benchmark.gpus import MeasuredGpu
from assay_provider.inventory.benchmark.record import keep, kept, standing
from assay_provider.inventory.benchmark.running import machine_facts, run_benchmark
from assay_provider.inventory.machine import detect_machine

NO_GPU = MeasuredGpu(
    uuid="GPU-00000000-0000-0000-0000-000000000000",
    offered=Gpu(device=Digest(b"\x01" * 32), model="Absent GPU", memory_bytes=1, driver="1"),
)


def benchmark(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assay_node", "provider", "benchmark", *words],
        env={**os.environ, "ASSAY_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_quick_look_at_this_machine(tmp_path: Path) -> None:
    done = benchmark(tmp_path / "home", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (device,) = document["benchmark"]["devices"]
    assert device["device"] is None
    assert device["gemm_mflops"]["float32"] > 0
    assert device["memory_bytes"] == 64 << 20
    assert document["benchmark"]["network_bytes_per_second"] == 0
    assert any("the network was not measured" in remark for remark in document["remarks"])
    assert (document["quick"], document["file"]) == (True, None)
    assert "processor: float32" in done.stderr
    home = tmp_path / "home" / "provider"
    assert list(home.iterdir()) == []


async def test_what_was_measured_is_kept_and_offered_here(tmp_path: Path) -> None:
    machine = detect_machine(tmp_path)
    told: list[str] = []
    measured = await run_benchmark(tmp_path, machine, (), quick=True, tell=told.append)
    keep(tmp_path, measured)
    assert kept(tmp_path) == measured
    now = float(measured.benchmark.measured_at)
    found = standing(tmp_path, machine_facts(detect_machine(tmp_path), ()), now=now)
    assert (found.benchmark, found.warnings) == (measured.benchmark, ())
    elsewhere = standing(tmp_path, machine_facts(machine, [NO_GPU.offered]), now=now)
    assert elsewhere.benchmark is None
    assert len(told) >= 4


async def test_a_gpu_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"sees no GPU|measured through PyTorch"):
        await run_benchmark(
            tmp_path, detect_machine(tmp_path), (NO_GPU,), quick=True, tell=lambda _: None
        )


async def test_a_benchmark_that_is_given_up_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    started = asyncio.Event()
    task = asyncio.create_task(
        run_benchmark(
            tmp_path,
            detect_machine(tmp_path),
            (),
            quick=False,
            tell=lambda _: started.set(),
        )
    )
    async with asyncio.timeout(120):
        await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == []
    assert files(tmp_path) == []


async def test_a_child_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHILD_S_MAX", 0.2)
    with pytest.raises(LocalError, match="took more than 0 s and was given up"):
        await run_benchmark(
            tmp_path, detect_machine(tmp_path), (), quick=False, tell=lambda _: None
        )
    assert children() == []


def children() -> list[Any]:
    path = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    pids = path.read_text().split() if path.exists() else []
    lines = [
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids if Path(f"/proc/{pid}").exists()
    ]
    return [line for line in lines if b"inventory.benchmark" in line]


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
