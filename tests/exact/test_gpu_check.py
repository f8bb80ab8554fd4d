"""The script for GPUs, tried without one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bench import gpu_check
from bench.gpu import operations
from bench.gpu.part import Findings, Settings

DRY = Settings(device="cpu", exhaustive=False, dry=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    assert gpu_check.main(["--dry-run", "--out", str(folder)]) == 0
    return folder


def test_a_dry_run_passes_every_part(written: Path) -> None:
    [path] = written.glob("*.json")
    results = json.loads(path.read_text())
    assert list(results) == list(gpu_check.PARTS)
    assert [result["problems"] for result in results.values()] == [[]] * len(results)
    for name in ("operations", "functions"):
        outcomes = [fact for fact in results[name]["facts"].values() if "tried" in fact]
        assert len(outcomes) > 10
        assert all(outcome["tried"] > 4000 for outcome in outcomes)
    for mode in ("E21", "E14", "FMA"):
        assert results["corpus"]["facts"][mode]["equal"] >= 2


def test_the_page_has_every_table(written: Path) -> None:
    [page] = (path.read_text() for path in written.glob("*.md"))
    for part in gpu_check.PARTS:
        assert f"## {part}" in page
    assert "| E21 | 2 | 0 | 0 |" in page


def test_what_differs_is_a_problem() -> None:
    found = Findings()

    def arguments() -> Iterator[tuple[torch.Tensor, ...]]:
        yield (torch.tensor([1.0, -2.0, float("nan")]),)

    operations._compare(found, "abs", torch.abs, lambda x: x, arguments(), DRY)
    assert found.problems == ["abs: 1 of 3 differ, first -2.0: -2.0 instead of 2.0"]


def script(folder: Path, line: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


def test_a_part_that_dies_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check.sys, "executable", script(tmp_path, "exit 7"))
    found = gpu_check._run("machine", DRY, 60)
    assert found["problems"] == ["its process ended with status 7"]


def test_a_part_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check.sys, "executable", script(tmp_path, "exec sleep 60"))
    assert gpu_check._run("machine", DRY, 0.2)["problems"] == ["it was stopped after 0 s"]


def test_a_part_that_raises_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("broken")

    monkeypatch.setattr("exact_torch.kernels.TorchKernels.unary", broken)
    monkeypatch.setattr("bench.gpu.operations.kernels_for", lambda device: None)
    found = gpu_check._findings("functions", DRY)
    assert len(found["problems"]) == 1
    assert "traceback" in found["facts"]


def test_without_a_gpu_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        gpu_check.main(["--out", str(tmp_path)])
    assert "sees no CUDA device" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu_check.main(["--dry-run"])
    assert list(tmp_path.iterdir()) == []
