"""Runs the whole benchmark: a child process for each device, one after the other."""

import asyncio
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.benchmark import Benchmark, DeviceBenchmark
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.offer import Gpu
from assay_provider.inventory.benchmark.disk import FILE_PREFIX
from assay_provider.inventory.benchmark.gpus import MeasuredGpu, facts_of
from assay_provider.inventory.benchmark.report import MachineFacts, Measured
from assay_provider.inventory.machine import Machine

CHILD_S_MAX: Final = 900.0
"""Five dtypes at ten seconds, memory, copies and disk take two minutes; the slowest of them, a
dtype that a processor only emulates, some more."""
BUSY_SHARE: Final = 0.2
"""Of the processor, used by others: beyond it figures are theirs as much as this machine's."""
LINE_BYTES_MAX: Final = 1 << 16
_ERROR_BYTES: Final = 2000
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Tell = Callable[[str], None]


def machine_facts(machine: Machine, gpus: Iterable[Gpu]) -> MachineFacts:
    """Return what figures of this machine depend on."""
    return MachineFacts(
        cpu_model=machine.cpu_model,
        cpus=machine.cpus,
        memory_bytes=machine.memory_bytes,
        library=_library(),
        gpus=facts_of(gpus),
    )


async def run_benchmark(
    home: Path, machine: Machine, gpus: Sequence[MeasuredGpu], *, quick: bool, tell: Tell
) -> Measured:
    """Measure the processor, the disk below `home` and every GPU; takes minutes unless `quick`.

    Raises:
        LocalError: nothing to measure with is installed, a child failed, or memory is faulty.
    """
    started = time.monotonic()
    others = os.getloadavg()[0]
    _remove_leftovers(home)
    try:
        host = await _child(
            _plan(machine, device="cpu", name="processor", quick=quick, folder=home), {}, tell
        )
        devices = [_device(None, host["figures"])]
        remarks = list(host["figures"]["remarks"])
        for gpu in gpus:
            found = await _child(
                _plan(machine, device="gpu", name=gpu.offered.model, quick=quick, folder=None),
                {gpu.variable: gpu.uuid},
                tell,
            )
            devices.append(_device(gpu.offered.device, found["figures"]))
            remarks += found["figures"]["remarks"]
    finally:
        _remove_leftovers(home)  # of a child that was killed
    disk = host["disk"]
    if disk["remark"]:
        remarks.append(disk["remark"])
    if others > BUSY_SHARE * machine.cpus:
        remarks.append(f"some {others:.1f} cores were busy when it began: the figures are low")
    remarks.append("the network was not measured: nothing on this machine alone can")
    return Measured(
        benchmark=Benchmark(
            measured_at=int(time.time()),
            devices=tuple(devices),
            disk_read_bytes_per_second=disk["read_bytes_per_second"],
            disk_write_bytes_per_second=disk["write_bytes_per_second"],
            network_bytes_per_second=0,
        ),
        machine=machine_facts(machine, [gpu.offered for gpu in gpus]),
        names=("processor", *(gpu.offered.model for gpu in gpus)),
        remarks=tuple(remarks),
        took_s=round(time.monotonic() - started, 1),
        quick=quick,
    )


def _plan(
    machine: Machine, *, device: str, name: str, quick: bool, folder: Path | None
) -> dict[str, Any]:
    return {
        "device": device,
        "name": name,
        "quick": quick,
        "memory_available_bytes": machine.memory_available_bytes,
        "folder": None if folder is None else str(folder),
    }


def _device(device: Digest | None, figures: Mapping[str, Any]) -> DeviceBenchmark:
    measured = {name: value for name, value in figures.items() if name != "remarks"}
    return DeviceBenchmark(device=device, **measured)


async def _child(
    plan: Mapping[str, Any], environment: Mapping[str, str], tell: Tell
) -> Mapping[str, Any]:
    """Return the last line of a child; passes on what it tells before."""
    # what an owner set for other programs must not decide how many cores are measured
    kept = {name: value for name, value in os.environ.items() if name not in _THREADS}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assay_provider.inventory.benchmark", json.dumps(plan)),
        env={**kept, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    assert process.stderr is not None, "it is a pipe"
    errors = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(CHILD_S_MAX):
            last = await _listen(process, tell)
            code = await process.wait()
            said = (await errors)[-_ERROR_BYTES:].decode(errors="replace").strip()
    except TimeoutError:
        raise LocalError(
            f"measuring {plan['name']} took more than {CHILD_S_MAX:.0f} s and was given up"
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        errors.cancel()
    if "refused" in last:
        raise LocalError(str(last["refused"]))
    if code != 0 or "figures" not in last:
        why = said.splitlines()[-1] if said else f"exit code {code}"
        raise LocalError(f"measuring {plan['name']} failed: {why!a}")
    return last


async def _listen(process: asyncio.subprocess.Process, tell: Tell) -> Mapping[str, Any]:
    assert process.stdout is not None, "it is a pipe"
    last: Mapping[str, Any] = {}
    async for line in process.stdout:
        last = json.loads(line)
        if "tell" in last:
            tell(str(last["tell"]))
    return last


def _remove_leftovers(home: Path) -> None:
    for path in home.glob(f"{FILE_PREFIX}*"):
        path.unlink(missing_ok=True)


def _library() -> str:
    for name in ("torch", "numpy"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "none"
