"""The device, its engines, and whether the corpus has the same digests on it as on CPUs."""

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import exact_torch
from bench.gpu.part import Findings, Settings, progress
from exact_torch.arithmetic import contraction
from exact_torch.arithmetic.contraction import Precision
from exact_torch.engines import kernels_for, using
from exact_torch.kernels import TorchKernels

MODES = ("E21", "E14", "FMA")
CORPUS_S = 240
"""Time for the corpus, a third for each mode: programs that do not start in it are left out."""

DRY_PROGRAMS = 2


def machine(settings: Settings) -> Findings:
    """Describe the device and the software."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cpus": torch.get_num_threads(),
    }
    if settings.device == "cuda":
        from exact_torch.cuda.compiler import _Compiler

        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "driver": _driver(),
            "nvrtc": _Compiler().version,
        }
    else:
        facts["device"] = f"{platform.machine()} CPU"
    return Findings(facts=facts, head=["", ""], rows=[[k, str(v)] for k, v in facts.items()])


def _driver() -> str:
    command = shutil.which("nvidia-smi")
    if command is None:
        return "unknown: there is no nvidia-smi"
    query = ["--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(
        [command, *query], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip() or f"unknown: {done.stderr.strip()}"


def engines(settings: Settings) -> Findings:
    """Let every engine test itself."""
    found = Findings(head=["engine", "self-test", "s"])
    wanted = ("cuda", "float64", "int8") if settings.device == "cuda" else ("native", "float64")
    for engine in ("auto", *wanted):
        progress(f"self-test of {engine}")
        started = time.monotonic()
        with using(engine):
            result = exact_torch.self_test(settings.device)
        seconds = round(time.monotonic() - started, 2)
        found.facts[engine] = {
            "engine": result.engine,
            "reason": result.reason,
            "seconds": seconds,
        }
        verdict = f"passed as {result.engine}" if result.passed else f"refused: {result.reason}"
        found.rows.append([engine, verdict, str(seconds)])
        if not result.passed:
            found.problems.append(f"{engine}: {verdict}")
        if engine == "auto" and settings.device == "cuda" != result.engine:
            found.problems.append("auto does not choose the CUDA engine")
    return found


def routes(settings: Settings) -> Findings:
    """Compare products of real sizes with int64 ones of the same quantised operands.

    The self-test's products are small; a library may take another path for large ones.
    """
    found = Findings(head=["product", "engine", "equal"])
    sizes = (
        [(64, 96, 32)]
        if settings.dry
        else [(4096, 4096, 4096), (1000, 70_000, 520), (17, 9000, 33)]
    )
    for rows, inner, columns in sizes:
        generator = torch.Generator().manual_seed(rows)
        a = torch.randn(rows, inner, generator=generator).to(settings.device)
        b = torch.randn(inner, columns, generator=generator).to(settings.device)
        for precision in (Precision.E14, Precision.E21):
            expected = _few_rows(a, b, precision)
            for name, kernels in _kernels(settings):
                progress(f"{rows}x{inner}x{columns} {precision} by {name}")
                got = kernels.contract(a, b, precision)[:: max(1, rows // 8)].cpu()
                equal = bool(torch.equal(got, expected))
                found.rows.append([f"{rows}x{inner}x{columns} {precision}", name, str(equal)])
                if not equal:
                    found.problems.append(f"{rows}x{inner}x{columns} {precision} by {name} differs")
    return found


def _kernels(settings: Settings) -> Iterator[tuple[str, TorchKernels]]:
    device = torch.device(settings.device)
    with using("float64"):
        yield "float64", kernels_for(device)
    if settings.device == "cuda":
        from exact_torch.cuda.kernels import CudaKernels, Route

        chosen = CudaKernels()
        yield "cuda", chosen
        for route in Route:
            yield f"cuda, {route}", CudaKernels(chosen.program, route)


def _few_rows(a: torch.Tensor, b: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Return some rows of the product by int64 arithmetic on the CPU."""
    bits = contraction.BITS[precision]
    left, left_unit = contraction.quantise(a.cpu()[:: max(1, a.shape[0] // 8)], -1, bits)
    right, right_unit = contraction.quantise(b.cpu(), -2, bits)
    product = left.to(torch.int64) @ right.to(torch.int64)
    return ((product.to(torch.float64) * left_unit) * right_unit).to(torch.float32)


def corpus(settings: Settings) -> Findings:
    """Run the corpus with tensors on the device and compare with the committed digests."""
    from tests.exact import matrix, runner

    found = Findings(head=["mode", "equal", "different", "failed", "left out", "s"])
    expected = matrix.expected()["digests"]
    names = list(runner.ALL)[: DRY_PROGRAMS if settings.dry else None]
    with _every_torch(found), _default_device(settings.device):
        for mode in MODES:
            started, outcome = time.monotonic(), dict.fromkeys(("equal", "different", "failed"), 0)
            left_out = []
            for name in names:
                if time.monotonic() - started > CORPUS_S / len(MODES):
                    left_out.append(name)
                    continue
                document = runner.run(mode, [name])
                result = document["programs"].get(name, {"error": document.get("refused")})
                if "missing" in result:
                    left_out.append(f"{name}: {result['missing']}")
                elif "error" in result:
                    outcome["failed"] += 1
                    found.problems.append(f"{mode} {name}: {result['error']}")
                elif result["digest"] != expected[mode][name]:
                    outcome["different"] += 1
                    found.problems.append(f"{mode} {name}: the digest differs")
                else:
                    outcome["equal"] += 1
            seconds = round(time.monotonic() - started, 1)
            progress(f"corpus, {mode}: {outcome}")
            found.facts[mode] = {**outcome, "left_out": left_out, "seconds": seconds}
            counts = [str(count) for count in outcome.values()]
            found.rows.append([mode, *counts, str(len(left_out)), str(seconds)])
    return found


@contextmanager
def _default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def _every_torch(found: Findings) -> Iterator[None]:
    """Let modes run under a torch that was never compared: comparing is what this does."""
    with every_torch() as added:
        if added:
            found.facts["untested_torch"] = torch.__version__
        yield


@contextmanager
def every_torch() -> Iterator[bool]:
    """Let modes run under any torch; yields whether this one is none of the tested."""
    module: Any = sys.modules["exact_torch.mode"]
    tested = module.TESTED_TORCH
    added = not torch.__version__.startswith(tuple(f"{release}." for release in tested))
    if added:
        module.TESTED_TORCH = (*tested, ".".join(torch.__version__.split(".")[:2]))
    try:
        yield added
    finally:
        module.TESTED_TORCH = tested
