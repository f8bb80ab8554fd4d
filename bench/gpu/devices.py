"""GPUs as a provider gives them out, on a real driver: found, cleared, granted, and no others.

The provider's own code does it; what cannot be had on a machine (its packages in this Python, root,
bubblewrap) is named, not counted as passed.
"""

import asyncio
import importlib
import os
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from bench.gpu.part import Findings, Settings

_JOB_SECONDS = 60
_CUDA_JOB = """
import ctypes, os, sys
cuda = ctypes.CDLL("libcuda.so.1")
status = cuda.cuInit(0)
count = ctypes.c_int(-1)
cuda.cuDeviceGetCount(ctypes.byref(count))
print("cuInit", status)
print("devices", count.value)
print("nodes", *sorted(name for name in os.listdir("/dev") if name.startswith("nvidia")))
"""
_OPEN_JOB = """
import os
for path in {paths!r}:
    try:
        os.close(os.open(path, os.O_RDWR))
        print(path, "opened")
    except OSError as error:
        print(path, type(error).__name__)
"""

Part = Callable[[Settings], Findings]


def _on_a_driver(part: Callable[[], Findings]) -> Part:
    """Leave a part out where it cannot be tried, with the reason."""

    @wraps(part)
    def tried(settings: Settings) -> Findings:
        if settings.dry:
            return Findings(left_out="a dry run asks no driver")
        try:
            importlib.import_module("assay_provider.gpus.opening")
            importlib.import_module("pynvml")
        except ImportError as error:
            return Findings(
                left_out=f"this Python lacks what Assay needs ({error}): install requirements.lock"
            )
        return part()

    return tried


@_on_a_driver
def detection() -> Findings:
    """Ask NVML, and hold its answers to what CUDA says."""
    found = Findings(head=["", "", "offered"])
    machine = _found()
    by_uuid = {gpu.device.facts.uuid: gpu for gpu in machine.gpus}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        uuid = f"GPU-{properties.uuid}"
        gpu = by_uuid.get(uuid)
        if gpu is None:
            found.problems.append(f"CUDA shows {uuid}, NVML's answers do not: {machine.absent}")
            continue
        facts, state = gpu.device.facts, gpu.state
        if facts.model != properties.name:
            found.problems.append(f"NVML says {facts.model}, CUDA {properties.name}")
        if not facts.memory_bytes * 0.9 <= properties.total_memory <= facts.memory_bytes:
            found.problems.append(
                f"NVML says {facts.memory_bytes} bytes, CUDA {properties.total_memory}"
            )
        found.facts[uuid] = {
            "class": gpu.device.hardware_class,
            "driver": facts.driver,
            "memory_bytes": facts.memory_bytes,
            "reserved_bytes": facts.memory_reserved_bytes,
            "ecc": facts.ecc,
            "pcie": f"{facts.pcie_generation}.0 x{facts.pcie_width}",
            "power_limit_mw": facts.power_limit_mw,
            "compute_mode": facts.compute_mode.value,
            "used_bytes": state.memory_used_bytes if state else None,
            "temperature_c": state.temperature_c if state else None,
            "power_mw": state.power_mw if state else None,
            "reasons": list(gpu.reasons),
            "remarks": list(gpu.remarks),
        }
        offered = "yes" if not gpu.reasons else "; ".join(gpu.reasons)
        found.rows.append([facts.model, facts.driver, offered])
    return found


@_on_a_driver
def clearing() -> Findings:
    """Clear every device's memory as between two tenants, and time it."""
    from assay_provider.gpus.clearing import CudaClearer, least_bytes

    found = Findings(head=["", "GB cleared", "GB asked for", "MB read back", "s"])
    machine = _found()
    clearer = CudaClearer(library=machine.cuda_library or "libcuda.so.1")
    for gpu in machine.gpus:
        if gpu.state is None or gpu.state.processes:
            found.left_out = f"other processes use {gpu.device.uuid}, or its state is unknown"
            continue
        started = time.monotonic()
        done = asyncio.run(clearer.clear(gpu.device))
        seconds = time.monotonic() - started
        if done.fault:
            found.problems.append(f"{gpu.device.uuid}: {done.fault}")
        least = least_bytes(gpu.device)
        found.facts[gpu.device.uuid] = {
            "cleared_bytes": done.cleared_bytes,
            "least_bytes": least,
            "usable_bytes": gpu.device.usable_bytes,
            "read_bytes": done.read_bytes,
            "seconds": round(seconds, 2),
        }
        sizes = (done.cleared_bytes / 1e9, least / 1e9, done.read_bytes / 1e6)
        found.rows.append([gpu.device.model, *(f"{size:.1f}" for size in sizes), f"{seconds:.2f}"])
    return found


@_on_a_driver
def tenancy() -> Findings:
    """Run CUDA in the sandbox: it sees the one device it was granted, and the nodes of no other."""
    from assay_provider.gpus.granting import grant

    found = Findings(head=["", "files from", "the job saw"])
    for gpu in _found().gpus:
        equipment = gpu.equipment
        if equipment.faults:
            found.problems += equipment.faults
            continue
        given = grant([equipment])
        said, why = _in_sandbox(_CUDA_JOB, given)
        if why:
            found.left_out = why
            return found
        own = {str(node.path) for node in given.nodes}
        seen = {f"/dev/{name}" for name in said.get("nodes", "").split()}
        if said.get("cuInit") != "0" or said.get("devices") != "1":
            found.problems.append(f"CUDA does not work in the sandbox: {said}")
        if not {path for path in seen if path != "/dev/nvidia-caps"} <= own:
            found.problems.append(f"the job saw {sorted(seen - own)}, which it was not granted")
        found.facts[gpu.device.uuid] = {
            "nodes": sorted(own),
            "files": [inside for _, inside in given.mounts],
            "left_out": list(equipment.files.left_out),
            "said": said,
        }
        found.rows.append([gpu.device.model, equipment.source, f"{said}"])
    return found


@_on_a_driver
def device_rules() -> Findings:
    """Show a job a card whose number it was not granted: the kernel refuses to open it."""
    from dataclasses import replace

    from assay_provider.gpus.granting import grant

    found = Findings(head=["", "", ""])
    if os.getuid() != 0:
        return Findings(left_out="only root may write device rules")
    for gpu in _found().gpus:
        given = grant([gpu.equipment])
        card, *rest = given.nodes
        # the same node under the number of /dev/null, which every job may open
        mistaken = replace(card, major=1, minor=3)
        paths = [str(card.path), "/dev/nvidiactl"]
        job = _OPEN_JOB.format(paths=paths)
        said, why = _in_sandbox(job, replace(given, nodes=(mistaken, *rest)))
        if why:
            found.left_out = why
            return found
        wanted = {paths[0]: "PermissionError", paths[1]: "opened"}
        if said != wanted:
            found.problems.append(f"the kernel did not keep to the rules: {said}")
        found.rows += [[gpu.device.model, path, outcome] for path, outcome in said.items()]
    return found


def _found() -> Any:
    from assay_provider.gpus.finding import GpuTerms, find_gpus, this_machine

    machine = this_machine()
    try:
        return find_gpus(GpuTerms(use=("none",)), machine, for_daemon=False)
    finally:
        machine.drivers.close()


def _in_sandbox(script: str, given: Any) -> tuple[dict[str, str], str]:
    """Run a script in tier T1; return its lines as first word and rest, or why it could not run."""
    from assay_node.protocol.errors import LocalError
    from assay_node.protocol.units import GIB, MIB
    from assay_provider.runtime.bubblewrap import BubblewrapSandbox
    from assay_provider.runtime.preparation import SandboxSettings
    from assay_provider.runtime.sandbox import RunLimits, RunRequest

    limits = RunLimits(
        memory_bytes=8 * GIB,
        cpus=2.0,
        pids_max=256,
        scratch_bytes=256 * MIB,
        output_bytes=MIB,
        output_files_max=4,
        wall_seconds=_JOB_SECONDS,
        log_bytes=16 << 10,
    )
    with tempfile.TemporaryDirectory(prefix="assay-gpu-check-") as folder:
        for name in ("input", "output"):
            (Path(folder) / name).mkdir()
        request = RunRequest(
            command=("python", "-c", script),
            environment={},
            input_directory=Path(folder) / "input",
            output_directory=Path(folder) / "output",
            limits=limits,
            runtime="host-python",
            gpus=given,
        )
        try:
            sandbox = BubblewrapSandbox(SandboxSettings(instance="gpu-check"))
        except LocalError as error:
            return {}, f"there is no sandbox here: {error}"
        try:
            result = asyncio.run(sandbox.run(request, 0))
        except LocalError as error:
            return {}, f"the sandbox runs nothing here: {error}"
        finally:
            sandbox.close()
    lines = result.log_tail.decode(errors="replace").splitlines()
    if not lines:
        return {"": result.detail}, ""
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}, ""
