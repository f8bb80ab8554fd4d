"""The parts about giving GPUs out, on made-up devices: what they would say on real ones."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench.gpu import devices
from bench.gpu.part import Findings, Settings

from assay_provider.gpus import clearing
from assay_provider.gpus.device_memory import Clearing
from assay_provider.gpus.driver import GpuProcess, ProcessKind
from assay_provider.gpus.finding import GpuDrivers, GpuTerms, Machine, find_gpus
from assay_provider.runtime.sandbox import GpuGrant
from tests.fakes.gpus import H100, FakeGpuDriver, host_with, idle

REAL = Settings(device="cuda", exhaustive=False, dry=False)
PARTS = (devices.detection, devices.clearing, devices.tenancy, devices.device_rules)

Set = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeGpuDriver:
    """A machine with one H100 that CUDA and NVML agree about."""
    driver = FakeGpuDriver((H100,))

    def found() -> Any:
        where = Machine(
            drivers=GpuDrivers([driver]), host=host_with(H100), held=lambda _: frozenset()
        )
        return find_gpus(GpuTerms(use=("none",)), where, for_daemon=False)

    properties = SimpleNamespace(
        uuid=H100.uuid.removeprefix("GPU-"), name=H100.model, total_memory=H100.memory_bytes
    )
    monkeypatch.setattr(devices, "_found", found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    return driver


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Say what a job in the sandbox prints, or why none runs."""

    def set_it(said: dict[str, str], why: str = "") -> None:
        monkeypatch.setattr(devices, "_in_sandbox", lambda script, given: (said, why))

    return set_it


@pytest.mark.parametrize("part", PARTS)
def test_a_dry_run_leaves_every_part_out_and_says_so(part: Callable[..., Findings]) -> None:
    found = part(replace(REAL, dry=True))
    assert found.left_out
    assert not found.problems


@pytest.mark.parametrize("part", PARTS)
def test_a_python_without_assays_packages_is_a_reason(
    part: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name}")

    monkeypatch.setattr(devices.importlib, "import_module", missing)
    assert "requirements.lock" in part(REAL).left_out


def test_nvml_and_cuda_have_to_agree(
    machine: FakeGpuDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = devices.detection(REAL)
    assert good.problems == []
    assert good.rows == [[H100.model, H100.driver, "yes"]]
    assert good.facts[H100.uuid]["pcie"] == "5.0 x16"

    machine.facts = (replace(H100, model="NVIDIA H100 PCIe", memory_bytes=1 << 30),)
    assert len(devices.detection(REAL).problems) == 2
    machine.facts = (replace(H100, uuid="GPU-another"),)
    assert "NVML's answers do not" in devices.detection(REAL).problems[0]


def test_an_old_driver_is_reported_and_no_problem_of_the_code(machine: FakeGpuDriver) -> None:
    machine.facts = (replace(H100, driver="535.54.03"),)
    found = devices.detection(REAL)

    assert found.problems == []
    assert "535.309.01" in found.rows[0][2]


def test_clearing_is_timed_and_its_fault_is_a_problem(
    machine: FakeGpuDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = ""

    async def clear(self: object, device: object) -> Clearing:
        return Clearing(cleared_bytes=80 * 10**9, read_bytes=80 * 10**6, fault=fault)

    monkeypatch.setattr(clearing.CudaClearer, "clear", clear)
    good = devices.clearing(REAL)
    assert good.problems == []
    assert good.rows[0][1] == "80.0"
    fault = "its memory does not hold what was written to it"
    assert fault in devices.clearing(REAL).problems[0]
    process = GpuProcess(pid=7, kind=ProcessKind.COMPUTE, memory_bytes=1)
    machine.states[H100.uuid] = replace(idle(H100), processes=(process,))
    assert H100.uuid in devices.clearing(REAL).left_out


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ({"cuInit": "0", "devices": "1", "nodes": "nvidia-uvm nvidia0 nvidiactl"}, 0),
        ({"cuInit": "100", "devices": "-1", "nodes": "nvidia0 nvidiactl"}, 1),
        ({"cuInit": "0", "devices": "2", "nodes": "nvidia0 nvidia1 nvidiactl"}, 2),
        ({"": "the sandbox was killed"}, 1),
    ],
)
def test_a_tenant_sees_its_device_and_no_other(
    machine: FakeGpuDriver, job: Set, said: dict[str, str], problems: int
) -> None:
    job(said)
    assert len(devices.tenancy(REAL).problems) == problems
    job({}, "there is no sandbox here")
    assert devices.tenancy(REAL).left_out == "there is no sandbox here"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may write device rules")
def test_a_rule_that_lets_a_card_be_opened_is_a_problem(machine: FakeGpuDriver, job: Set) -> None:
    job({"/dev/nvidia0": "PermissionError", "/dev/nvidiactl": "opened"})
    assert devices.device_rules(REAL).problems == []
    job({"/dev/nvidia0": "opened", "/dev/nvidiactl": "opened"})
    assert len(devices.device_rules(REAL).problems) == 1
    job({"/dev/nvidia0": "PermissionError", "/dev/nvidiactl": "PermissionError"})
    assert len(devices.device_rules(REAL).problems) == 1


def test_a_job_of_the_check_runs_in_the_real_sandbox() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed: no sandbox can be tried here")
    nothing = GpuGrant(nodes=(), mounts=(), variables={})
    script = devices._OPEN_JOB.format(paths=["/dev/null", "/dev/nvidia0"])

    said, why = devices._in_sandbox(script, nothing)
    assert (said, why) == ({"/dev/null": "opened", "/dev/nvidia0": "FileNotFoundError"}, "")
