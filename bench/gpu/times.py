"""Times and memory on a device, beside plain PyTorch's in the same run."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from statistics import median

import torch
from torch.nn import functional

import exact_torch
from bench.gpu.agreement import every_torch
from bench.gpu.part import Findings, Settings, progress
from exact_torch.arithmetic.contraction import Precision

SIZES, DRY_SIZES = (1024, 4096, 8192), (32,)
REPEATS, WARM_UPS = 10, 3
MODES = ("E14", "E21", "FMA")
GOAL_SIZE_MIN = 4096
E14_TO_BFLOAT16_MAX, E21_TO_FLOAT32_MAX = 2.1, 0.5
ROUTE_SIZES, DRY_ROUTE_SIZES = (128, 256, 512, 1024, 2048), (16,)
BATCH, BATCH_ROWS, BATCH_INNER = 96, 512, 64
"""Of the batched product: the scores of attention with 12 heads of 64 for 8 texts of 512."""


def products(settings: Settings) -> Findings:
    """Time square products in every mode and by cuBLAS."""
    found = Findings(head=["n", *PLAIN, *MODES, "E14/bfloat16", "E21/float32"])
    for size in DRY_SIZES if settings.dry else SIZES:
        a, b = (torch.randn(size, size, device=settings.device) for _ in range(2))
        seconds = {}
        for name, prepare in PLAIN.items():
            progress(f"n = {size}, {name}")
            left, right = prepare(a), prepare(b)
            with _tf32(name == "TF32"):
                seconds[name] = _seconds(lambda x=left, y=right: x @ y, settings)
        with every_torch():
            for mode in MODES:
                progress(f"n = {size}, {mode}")
                with exact_torch.mode(mode):
                    seconds[mode] = _seconds(lambda x=a, y=b: x @ y, settings)
        ratios = {
            "E14/bfloat16": seconds["E14"] / seconds["bfloat16"],
            "E21/float32": seconds["E21"] / seconds["float32"],
        }
        found.facts[f"n = {size}"] = {"seconds": seconds, "ratios": ratios}
        times = [f"{value * 1e3:.3f} ms" for value in seconds.values()]
        found.rows.append([str(size), *times, *(f"{value:.2f}" for value in ratios.values())])
        if size >= GOAL_SIZE_MIN:
            found.facts[f"n = {size}"]["goals hold"] = {
                f"E14/bfloat16 <= {E14_TO_BFLOAT16_MAX}": ratios["E14/bfloat16"]
                <= E14_TO_BFLOAT16_MAX,
                f"E21/float32 <= {E21_TO_FLOAT32_MAX}": ratios["E21/float32"] <= E21_TO_FLOAT32_MAX,
            }
    return found


PLAIN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "float32": lambda x: x,
    "TF32": lambda x: x,
    "bfloat16": lambda x: x.to(torch.bfloat16),
}


class _tf32:  # noqa: N801 - used like torch.no_grad
    """Allow TF32 in float32 products inside, or forbid it."""

    def __init__(self, allowed: bool) -> None:
        self._precision = "high" if allowed else "highest"

    def __enter__(self) -> None:
        self._before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self._precision)

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self._before)


def route_times(settings: Settings) -> Findings:
    """Time the ways to one product, which tells where the engine's limits between them belong."""
    found = Findings(head=["product", "precision"])
    if settings.device != "cuda":
        found.facts["left out"] = "the routes are the CUDA engine's"
        return found
    from exact_torch.cuda.kernels import CudaKernels, Route

    found.head += list(Route)
    chosen = CudaKernels()
    engines = {route: CudaKernels(chosen.program, route) for route in Route}
    shapes = {f"n = {n}": ((n, n), (n, n)) for n in ROUTE_SIZES}
    scores = (BATCH, BATCH_ROWS, BATCH_INNER), (BATCH, BATCH_INNER, BATCH_ROWS)
    for name, (left, right) in {**shapes, "attention scores": scores}.items():
        a, b = torch.randn(left, device="cuda"), torch.randn(right, device="cuda")
        for precision in (Precision.E14, Precision.E21):
            progress(f"{name}, {precision}")
            seconds = {
                route: _seconds(partial(engine.contract, a, b, precision), settings)
                for route, engine in engines.items()
            }
            found.facts[f"{name}, {precision}"] = seconds
            times = [f"{value * 1e6:.0f} us" for value in seconds.values()]
            found.rows.append([name, precision, *times])
    return found


def model(settings: Settings) -> Findings:
    """Time a GPT's forward pass and training step, and find the peak of memory."""
    found = Findings(head=["task", "mode", "ms", "ratio", "peak MB", "ratio"])
    forward, step = _gpt(settings)
    for task, work in (("forward", forward), ("training step", step)):
        plain: tuple[float, float] | None = None
        for mode in ("float32", "TF32", *MODES):
            progress(f"GPT {task}, {mode}")
            with every_torch(), _context(mode):
                seconds = _seconds(work, settings)
                peak = _peak(work, settings)
            plain = plain or (seconds, peak)
            ratios = seconds / plain[0], peak / plain[1] if plain[1] else 1.0
            found.facts[f"{task}, {mode}"] = {
                "seconds": seconds,
                "peak_bytes": peak,
                "ratios": ratios,
            }
            times = f"{seconds * 1e3:.2f}", f"{ratios[0]:.2f}"
            found.rows.append([task, mode, *times, f"{peak / 1e6:.0f}", f"{ratios[1]:.2f}"])
    return found


def _context(mode: str) -> AbstractContextManager[object]:
    if mode in PLAIN:
        return _tf32(mode == "TF32")
    return exact_torch.mode(mode) if mode in MODES else nullcontext()


def _gpt(settings: Settings) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a forward pass and a training step of a GPT of GPT-2's width, on 8 texts of 512."""
    from tests.exact.programs.inputs import fill, integers
    from tests.exact.programs.transformers import GPT

    sizes = {"tokens": 8192, "width": 768, "layers": 6, "heads": 12, "length": 512}
    texts = 8
    if settings.dry:
        sizes, texts = {"tokens": 64, "width": 32, "layers": 1, "heads": 2, "length": 16}, 2
    torch.set_default_device(settings.device)  # the model makes tensors of its own
    network = GPT(**sizes)
    fill(network, seed=1)
    tokens = integers(texts, sizes["length"] + 1, seed=2, below=sizes["tokens"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def forward() -> None:
        with torch.no_grad():
            network(tokens[:, :-1])

    def step() -> None:
        optimizer.zero_grad()
        logits = network(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()

    return forward, step


def _seconds(work: Callable[[], object], settings: Settings) -> float:
    """Return the median time of some runs, after some that warm up."""
    for _ in range(1 if settings.dry else WARM_UPS):
        work()
    return median(_timed(work, settings) for _ in range(2 if settings.dry else REPEATS))


def _timed(work: Callable[[], object], settings: Settings) -> float:
    if settings.device != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def _peak(work: Callable[[], object], settings: Settings) -> int:
    """Return the most memory in use on the device during a run, in bytes; 0 on a CPU."""
    if settings.device != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()
