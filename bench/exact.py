"""What exact_torch costs: times and memory beside plain PyTorch's in the same run.

Each number of threads is a process of its own, because libraries read it once. Inside, plain and
exact runs of the same work take turns, so that whatever else the machine does meets both; ratios
are medians over the turns. Peak memory comes from one process for each kind of run, less what a
process needs that only imports.

    python -m bench.exact times 2          what one process of it prints
    python -m bench.exact memory gpt E21   the same, for memory
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.figures import Figure, percentile

ROOT = Path(__file__).parents[1]
NATIVE = "native"
MODES = ("FMA", "E14", "E21")
THREADS = (1, 2)
SIZES = (256, 512, 1024, 2048)
TURNS = 7
SENTENCES, SENTENCES_A_TURN = 1000, 100
TIMEOUT_S = 3600

GEMM_GOALS = {"FMA": 1.05, "E14": 0.8, "E21": 1.4}
GPT_GOALS = {"E14": 1.5, "E21": 2.0}
MINILM_GOAL = 2.0
MEMORY_GOAL = 1.5
MEMORY_TASKS = ("gpt", "minilm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Seconds of a task by mode, one for each turn; plain PyTorch's under `native`."""

    task: str
    seconds: Mapping[str, list[float]]


def run() -> list[Figure]:
    figures = []
    for threads in THREADS:
        for line in _process("times", str(threads), threads=threads):
            timed = Timed(**line)
            figures += [_time(timed, mode, threads) for mode in timed.seconds if mode != NATIVE]
    figures += [_memory(task, mode) for task in MEMORY_TASKS for mode in ("E14", "E21")]
    _print(figures)
    return figures


def main() -> None:
    """Run one part in this process and print its results, one line of JSON each."""
    match sys.argv[1:]:
        case ["times", threads]:
            _times(int(threads))
        case ["memory", task, mode]:
            _measure_memory(task, mode)
        case _:
            sys.exit("python -m bench.exact times THREADS | memory TASK MODE")


# --- one process ----------------------------------------------------------------------------------


def _times(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    for size in SIZES:
        a, b = torch.randn(size, size), torch.randn(size, size)
        repeats = max(1, (1024 // size) ** 2)
        _tell(_take_turns(f"GEMM n={size}", lambda a=a, b=b: a @ b, MODES, repeats=repeats))
    forward, step = _gpt()
    _tell(_take_turns("GPT forward", forward, ("E14", "E21")))
    _tell(_take_turns("GPT training step", step, ("E14", "E21")))
    encode = _minilm()
    if encode is not None:
        _tell(_sentences(encode))


def _take_turns(
    task: str, work: Callable[[], object], modes: tuple[str, ...], *, repeats: int = 1
) -> Timed:
    """Time plain and exact runs of the same work in turns; the first turn only warms up."""
    seconds: dict[str, list[float]] = {mode: [] for mode in (NATIVE, *modes)}
    for turn in range(TURNS + 1):
        for mode, kept in seconds.items():
            with _context(mode):
                started = time.perf_counter()
                for _ in range(repeats):
                    work()
                took = (time.perf_counter() - started) / repeats
            if turn:
                kept.append(took)
    return Timed(task=task, seconds=seconds)


def _sentences(encode: Callable[[list[str]], object]) -> Timed:
    """Encode all sentences once in each mode, a hundred at a time in turns."""
    from tests.exact.models import texts

    lines = texts.sentences(SENTENCES)
    seconds: dict[str, list[float]] = {mode: [] for mode in (NATIVE, "E14", "E21")}
    for mode in seconds:
        with _context(mode):
            encode(lines[:8])
    for start in range(0, SENTENCES, SENTENCES_A_TURN):
        for mode, kept in seconds.items():
            with _context(mode):
                started = time.perf_counter()
                encode(lines[start : start + SENTENCES_A_TURN])
                kept.append(time.perf_counter() - started)
    return Timed(task=f"MiniLM, {SENTENCES_A_TURN} of {SENTENCES} sentences", seconds=seconds)


def _gpt() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a forward pass and a training step of a GPT with four layers of width 256."""
    import torch
    from tests.exact.programs.inputs import fill, integers
    from tests.exact.programs.transformers import GPT
    from torch.nn import functional

    model = GPT(tokens=1024, width=256, layers=4, heads=4, length=128)
    fill(model, seed=1)
    tokens = integers(4, 129, seed=2, below=1024)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def forward() -> None:
        with torch.no_grad():
            model(tokens[:, :-1])

    def step() -> None:
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()

    return forward, step


def _minilm() -> Callable[[list[str]], object] | None:
    """Return what encodes sentences, or None where the weights are not installed."""
    from tests.exact.models import minilm

    folder = minilm.model_folder()
    if folder is None:
        print(f"  MiniLM left out: the package {minilm.PACKAGE} is not installed", file=sys.stderr)
        return None
    model, tokenizer = minilm.load(folder)
    return lambda lines: minilm.encode(model, tokenizer, lines)


def _measure_memory(task: str, mode: str) -> None:
    """Print the peak of this process, in kB, after the task; "nothing" does none."""
    import torch

    torch.set_num_threads(1)
    with _context(mode):
        if task == "gpt":
            _, step = _gpt()
            for _ in range(3):
                step()
        elif task == "minilm" and (encode := _minilm()) is not None:
            from tests.exact.models import texts

            encode(texts.sentences(64))
        else:
            torch.ones(8, 8) @ torch.ones(8, 8)
    _tell({"peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})


def _context(mode: str) -> AbstractContextManager[object]:
    if mode == NATIVE:
        return nullcontext()
    import exact_torch

    return exact_torch.mode(mode)


def _tell(result: Timed | dict[str, Any]) -> None:
    if isinstance(result, Timed):
        result = {"task": result.task, "seconds": dict(result.seconds)}
    print(json.dumps(result), flush=True)


# --- all of them ----------------------------------------------------------------------------------


def _process(*arguments: str, threads: int) -> list[dict[str, Any]]:
    """Run one part in a process of its own and return what it printed."""
    number = str(threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "exact"), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.exact", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _time(timed: Timed, mode: str, threads: int) -> Figure:
    native = timed.seconds[NATIVE]
    taken = timed.seconds[mode]
    ratios = [mine / plain for mine, plain in zip(taken, native, strict=True)]
    whole = SENTENCES / SENTENCES_A_TURN if timed.task.startswith("MiniLM") else 1.0
    name = timed.task.replace(f"{SENTENCES_A_TURN} of ", "")
    ratio = round(median(ratios), 3)
    goal = _goal(timed.task, mode)
    return Figure(
        figure=f"exact: {name}, {mode}, {threads} thread{'s' * (threads > 1)}",
        value=round(median(taken) * whole * 1000, 3),
        unit="ms",
        spread=(
            round(percentile(taken, 0.05) * whole * 1000, 3),
            round(percentile(taken, 0.95) * whole * 1000, 3),
        ),
        reference="plain PyTorch float32, in turns with it",
        reference_value=round(median(native) * whole * 1000, 3),
        ratio=ratio,
        goal="none" if goal is None else f"ratio <= {goal:g}",
        holds=goal is None or ratio <= goal,
    )


def _goal(task: str, mode: str) -> float | None:
    if task == f"GEMM n={SIZES[-1]}":
        return GEMM_GOALS[mode]
    if task.startswith("GPT"):
        return GPT_GOALS[mode]
    if task.startswith("MiniLM") and mode == "E21":
        return MINILM_GOAL
    return None


def _memory(task: str, mode: str) -> Figure:
    """Compare peaks above what importing alone takes, each floor with its own imports."""
    peaks = {
        (part, kind): _process("memory", part, kind, threads=1)[-1]["peak_kb"] / 1024
        for part in ("nothing", task)
        for kind in (NATIVE, mode)
    }
    exact = peaks[task, mode] - peaks["nothing", mode]
    native = peaks[task, NATIVE] - peaks["nothing", NATIVE]
    ratio = round(exact / native, 3)
    return Figure(
        figure=f"exact: peak memory, {task}, {mode}",
        value=round(exact, 1),
        unit="MB",
        spread=(round(exact, 1), round(exact, 1)),
        reference="plain PyTorch float32, above what imports take",
        reference_value=round(native, 1),
        ratio=ratio,
        goal=f"ratio <= {MEMORY_GOAL:g}",
        holds=ratio <= MEMORY_GOAL,
    )


def _print(figures: list[Figure]) -> None:
    print(f"  {'':48} {'exact':>12} {'plain':>12} {'ratio':>7}")
    for figure in figures:
        verdict = "" if figure.goal == "none" else f"  {'holds' if figure.holds else 'MISSED'}"
        goal = "" if figure.goal == "none" else f"  goal {figure.goal}:{verdict.strip():>7}"
        values = (
            f"{figure.value:>9,.1f} {figure.unit} {figure.reference_value:>9,.1f} {figure.unit}"
        )
        print(f"  {figure.figure.removeprefix('exact: '):48} {values} {figure.ratio:>7.2f}{goal}")


if __name__ == "__main__":
    main()
