"""Run programs of the corpus in this process and print the digests of what they return.

    python -m tests.exact.runner --mode E21 --threads 2 [NAME ...]

Prints one JSON document: the torch version and, for each program, either its digests (one over all
its tensors and one for each tensor), or the error that it ended with, or what data it lacks here;
or, in place of all programs, why the engine was refused. `--mode native` runs plain PyTorch and
never imports exact_torch. The digests are made here and not by the package, so that the package is
not asked about itself.
"""

import argparse
import ctypes
import hashlib
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from tests.exact.models.programs import MODELS, Missing
from tests.exact.programs import PROGRAMS, Tensors
from tests.exact.settings import NATIVE

ALL = PROGRAMS | MODELS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.exact.runner")
    parser.add_argument("--mode", default="E21", help="E21, E14, FMA or native")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("programs", nargs="*", metavar="NAME", help="all by default")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    document = run(arguments.mode, arguments.programs or list(ALL))
    sys.stdout.write(json.dumps(document) + "\n")


def run(mode: str, names: list[str]) -> dict[str, Any]:
    """Run the named programs under a mode; a program that fails does not stop the others."""
    started = time.monotonic()
    context, refusal = _mode(mode)
    programs: dict[str, dict[str, Any]] = {}
    if refusal:
        names = []
    for name in names:
        began = time.monotonic()
        try:
            with warnings.catch_warnings(action="ignore"), context():
                tensors = ALL[name]()
        except Missing as missing:
            programs[name] = {"missing": str(missing)}
        except Exception as error:  # noqa: BLE001 - whatever it was belongs to its program
            programs[name] = {"error": _said(error)}
        else:
            programs[name] = {"digest": digest(tensors), "tensors": digests(tensors)}
        programs[name]["seconds"] = round(time.monotonic() - began, 3)
    return {
        "torch": torch.__version__,
        "mode": mode,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "seconds": round(time.monotonic() - started, 1),
        "programs": programs,
        **({"refused": refusal} if refusal else {}),
    }


def digest(tensors: Tensors) -> str:
    """Return one digest over names and values."""
    whole = hashlib.sha256()
    for name, value in sorted(digests(tensors).items()):
        whole.update(f"{name}={value}\n".encode())
    return whole.hexdigest()


def digests(tensors: Tensors) -> dict[str, str]:
    """Return the SHA-256 of each tensor's dtype, shape and canonical bytes."""
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: torch.Tensor) -> str:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.is_floating_point():  # one NaN: its sign and payload carry no meaning
        tensor = torch.where(tensor.isnan(), torch.full_like(tensor, float("nan")), tensor)
    header = f"{tensor.dtype} {tuple(tensor.shape)}\n".encode()
    # Not through NumPy, which an older torch may not fit, and which has no bfloat16.
    body = ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size())
    return hashlib.sha256(header + body).hexdigest()


def _mode(name: str) -> tuple[Callable[[], Any], str]:
    """Return what to run a program under, and why no engine can, if none can."""
    if name == NATIVE:
        return nullcontext, ""
    import exact_torch

    try:
        with exact_torch.mode(name):
            pass
    except exact_torch.EngineRefused as refusal:
        return nullcontext, str(refusal)
    return lambda: exact_torch.mode(name), ""


def _said(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "/programs/" in f.filename), frames[-1])
    return f"{type(error).__name__}: {error} (line {place.lineno}: {place.line})"


if __name__ == "__main__":
    main()
