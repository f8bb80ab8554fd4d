"""Everything that takes a real GPU to know, with one command: exact_torch on it, and giving it out.

    python -m bench.gpu_check                         all parts, in less than nine minutes
    python -m bench.gpu_check --exhaustive --only operations functions
    python -m bench.gpu_check --dry-run --out FOLDER  tiny and on the CPU: tries this script

Each part runs in a process of its own, so that one that fails, hangs or leaves the device unusable
does not take the others with it. The results go to FOLDER/<device>.json, and a page for people to
FOLDER/<device>.md; FOLDER is bench/gpu. Exits with 1 where a part found something wrong.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.gpu.part import Findings, Settings, progress

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "gpu"
PARTS = {
    "machine": 60,
    "detection": 30,
    "clearing": 120,
    "tenancy": 90,
    "device_rules": 60,
    "engines": 120,
    "routes": 120,
    "operations": 90,
    "functions": 60,
    "corpus": 300,
    "products": 90,
    "route_times": 60,
    "model": 90,
}
"""Every part, in this order, and the seconds after which it is stopped."""

ALL_S = 540
"""All parts together: what is left out then says so."""

EXHAUSTIVE_S = 1200
MARK = "findings: "
Result = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check", description=__doc__)
    parser.add_argument("--exhaustive", action="store_true", help="try all 2^32 float32")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the CPU")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", default=list(PARTS))
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.dry_run and options.out == OUT:
        parser.error("a dry run proves nothing about a GPU: give it another folder by --out")
    settings = Settings(
        device="cpu" if options.dry_run else "cuda",
        exhaustive=options.exhaustive,
        dry=options.dry_run,
    )
    if options.part:
        print(MARK + json.dumps(_findings(options.part, settings)))
        return 0
    if not settings.dry and not torch.cuda.is_available():
        parser.error(
            f"torch {torch.__version__} of {sys.executable} sees no CUDA device; name a Python "
            "whose torch does: make gpu-check GPU_PYTHON=/path/to/python3"
        )
    results = _run_all(options.only, settings)
    _write(results, options.out)
    return 1 if any(result["problems"] for result in results.values()) else 0


def _findings(name: str, settings: Settings) -> Result:
    """Run a part in this process; an exception is its problem."""
    from bench.gpu import agreement, devices, operations, times

    modules = (agreement, devices, operations, times)
    part: Callable[[Settings], Findings] = next(
        getattr(module, name) for module in modules if hasattr(module, name)
    )
    try:
        found = part(settings)
    except Exception as error:  # noqa: BLE001 - whatever it was belongs to its part
        found = Findings(facts={"traceback": traceback.format_exc()})
        found.problems.append(f"{type(error).__name__}: {error}")
    return dataclasses.asdict(found)


def _run_all(names: list[str], settings: Settings) -> dict[str, Result]:
    ends = time.monotonic() + (EXHAUSTIVE_S if settings.exhaustive else ALL_S)
    results = {}
    for name in names:
        progress(f"== {name}")
        limit = EXHAUSTIVE_S if settings.exhaustive else PARTS[name]
        started = time.monotonic()
        results[name] = _run(name, settings, min(limit, ends - started))
        results[name]["seconds"] = round(time.monotonic() - started, 1)
        for words in (*results[name]["problems"], results[name]["left_out"]):
            if words:
                progress(f"   {words}")
    return results


def _run(name: str, settings: Settings, limit_s: float) -> Result:
    """Run a part in a process; whatever ends it without findings is its problem."""
    if limit_s <= 0:
        return _nothing("no time was left for it")
    command = [sys.executable, "-m", "bench.gpu_check", "--part", name]
    command += ["--exhaustive"] * settings.exhaustive
    command += ["--dry-run", "--out", os.devnull] if settings.dry else []
    sources = [str(ROOT / name) for name in ("exact", "node", "provider_agent")]
    paths = [str(ROOT), *sources, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=limit_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _nothing(f"it was stopped after {limit_s:.0f} s")
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not lines:
        return _nothing(f"its process ended with status {done.returncode}")
    found: Result = json.loads(lines[-1].removeprefix(MARK))
    return found


def _nothing(problem: str) -> Result:
    return dataclasses.asdict(Findings(problems=[problem]))


# ---- what is written -----------------------------------------------------------------------------


def _write(results: dict[str, Result], folder: Path) -> None:
    device = str(results.get("machine", {}).get("facts", {}).get("device", "unknown device"))
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    page = _page(device, results)
    (folder / f"{name}.md").write_text(page)
    print(page)


def _page(device: str, results: dict[str, Result]) -> str:
    """Return the results for people."""
    summary = [
        [name, _outcome(result), f"{result['seconds']:.1f}"] for name, result in results.items()
    ]
    lines = [f"# exact_torch and tenants on {device}", "", "Written by `make gpu-check`.", ""]
    lines += _table(["part", "", "s"], summary)
    for name, result in results.items():
        lines += ["", f"## {name}", ""]
        if result["rows"]:
            lines += _table(result["head"], result["rows"])
        if result["left_out"]:
            lines += ["", f"Not possible here: {result['left_out']}"]
        if result["problems"]:
            lines += ["", "Problems:", "", *(f"- {problem}" for problem in result["problems"])]
    return "\n".join(lines) + "\n"


def _outcome(result: Result) -> str:
    if result["problems"]:
        return "problems"
    return "not possible here" if result["left_out"] else "passed"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]


if __name__ == "__main__":
    sys.exit(main())
