"""The kernels as a `Program` on CPU tensors."""

import ctypes
import functools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from exact_torch.cuda import compiler, program
from exact_torch.cuda.program import Argument, Blocks

HEADER = Path(__file__).parent / "emulation.hpp"
COMPILE = (
    "g++",
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    "-Wno-psabi",
    *(f"-I{folder}" for folder in compiler.INCLUDES),
    "-include",
    str(HEADER),
)
_FOLDER = tempfile.TemporaryDirectory(prefix="emulated-cuda-")  # removed when the process ends
KERNEL = re.compile(r'extern "C" __attribute__\(\(used\)\) void\s+(exact_\w+)\(')
TURNS = ("forwards", "backwards", "warp by warp")
OUTCOMES = ("done", "unknown kernel", "wrong arguments", "a barrier that not all threads reach")
_DISPATCH = """
extern "C" int emulate(
    const char* name, unsigned x, unsigned y, unsigned z, unsigned threads, const char* codes,
    void** arguments, int turns
) {{
#define CASE(NAME) if (!strcmp(name, #NAME)) \\
    return emulated::launch(NAME, {{x, y, z}}, threads, codes, arguments, emulated::Turns(turns));
{cases}
    return emulated::UNKNOWN_KERNEL;
}}
"""


class EmulatedProgram:
    """Launches on CPU tensors; the threads of a block take turns in one of the orders `TURNS`."""

    device_type = "cpu"

    def __init__(self, turns: str = "forwards") -> None:
        self._library = ctypes.CDLL(str(library()))
        self._turns = TURNS.index(turns)
        self.launched: set[str] = set()

    def launch(
        self, name: str, blocks: Blocks, threads: int, arguments: Sequence[Argument]
    ) -> None:
        """See `Program.launch`."""
        assert threads % 32 == 0
        assert all(0 < count <= limit for count, limit in zip(blocks, GRID_MAX, strict=True))
        self.launched.add(name)
        codes = "".join(_code(argument) for argument in arguments).encode()
        packed = program.packed(arguments)
        outcome = self._library.emulate(name.encode(), *blocks, threads, codes, packed, self._turns)
        if outcome:
            raise AssertionError(f"{name}: {OUTCOMES[outcome]}: {codes.decode()}")


GRID_MAX = (2**31 - 1, 65535, 65535)
"""CUDA's limits for blocks along x, y and z."""


def _code(argument: Argument) -> str:
    if argument is None or isinstance(argument, torch.Tensor):
        return "p"
    return "d" if isinstance(argument, float) else "i"


@functools.cache
def library() -> Path:
    """Compile the sources as C++, once a process."""
    work = Path(_FOLDER.name)
    cases = "\n".join(f"    CASE({name})" for name in kernel_names())
    source = work / "emulated.cpp"
    source.write_text('#include "program.cu"\n' + _DISPATCH.format(cases=cases))
    built = work / "emulated.so"
    _run([*COMPILE, "-shared", str(source), "-o", str(built)])
    return built


@functools.cache
def kernel_names() -> tuple[str, ...]:
    """Return the names of all kernels, as the preprocessor sees them."""
    text = _run([*COMPILE, "-E", "-x", "c++", str(compiler.SOURCES / "program.cu")])
    return tuple(KERNEL.findall(text))


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
