"""Builds the kernels for an instruction set, once, into the first directory that can be written."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from exact_torch.errors import EngineRefused

ISA_VARIABLE: Final = "EXACT_TORCH_ISA"
KERNELS_VARIABLE: Final = "EXACT_TORCH_KERNELS"
"""Names a directory of built libraries, looked at before the others; a job may only read it."""

SOURCES: Final = Path(__file__).parent / "kernels"
UNITS: Final = ("contraction.cpp", "rows.cpp", "elementwise.cpp", "optimizers.cpp", "random.cpp")
FLAGS: Final = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-fopenmp",
    # what the definitions forbid and permit: nothing is contracted or reassociated
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
)
ISAS: Final = {
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3",),
    "baseline": (),
}
"""Instruction sets and the flags that select them; "baseline" is any machine's."""

_FLAGS_OF_V4: Final = frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
_FLAGS_OF_V3: Final = frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"])
_BUILD_TIMEOUT_S: Final = 600


def chosen_isa() -> str:
    """Return the best instruction set of this machine that `EXACT_TORCH_ISA` allows.

    Raises:
        EngineRefused: the variable names none.
    """
    names = list(ISAS)
    cap = os.environ.get(ISA_VARIABLE) or names[0]
    if cap not in ISAS:
        raise EngineRefused(f"{ISA_VARIABLE}={cap}: there are {', '.join(names)}")
    return names[max(names.index(cap), names.index(_best_isa()))]


def _best_isa() -> str:
    flags = _cpu_flags()
    if flags >= _FLAGS_OF_V4 | _FLAGS_OF_V3:
        return "avx512"
    return "avx2" if flags >= _FLAGS_OF_V3 else "baseline"


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(found.partition(":")[2].split())


def compiler_flags(isa: str) -> tuple[str, ...]:
    """Return the flags for an instruction set on this machine."""
    vnni = ("-mavx512vnni",) if isa == "avx512" and "avx512_vnni" in _cpu_flags() else ()
    return (*FLAGS, *ISAS[isa], *vnni)


def library(isa: str) -> Path:
    """Return the built library, building it first where it is missing.

    Raises:
        EngineRefused: there is no compiler, or it failed.
    """
    name = f"exact-{isa}-{_version(isa)}.so"
    for directory in _directories():
        if (directory / name).is_file():
            return directory / name
    return _build(isa, name)


def _version(isa: str) -> str:
    """Return what tells builds apart: sources, flags and machine."""
    digest = hashlib.sha256(" ".join((platform.machine(), *UNITS, *compiler_flags(isa))).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _directories() -> list[Path]:
    """Return where libraries are kept: where one says, beside the sources, in the user's cache."""
    named = os.environ.get(KERNELS_VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [
        *([Path(named)] if named else []),
        Path(__file__).parent / "built",
        Path(cache) / "exact-torch",
    ]


def _build(isa: str, name: str) -> Path:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise EngineRefused(
            "its C++ kernels are not built and there is no C++ compiler: install g++ and build "
            "them with `python -m exact_torch`"
        )
    sys.stderr.write(f"exact_torch: building C++ kernels for {isa}, once (about 15 s) ...\n")
    with tempfile.TemporaryDirectory(prefix="exact-torch-") as work:
        built = Path(work) / name
        objects = _compile(compiler, isa, Path(work))
        _run([compiler, "-shared", "-fopenmp", *map(str, objects), "-o", str(built)])
        return _keep(built)


def _compile(compiler: str, isa: str, work: Path) -> list[Path]:
    objects = [work / f"{unit}.o" for unit in UNITS]
    for unit, path in zip(UNITS, objects, strict=True):
        _run([compiler, *compiler_flags(isa), "-c", str(SOURCES / unit), "-o", str(path)])
    return objects


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineRefused(f"its C++ kernels cannot be built: {error}") from None
    if done.returncode:
        raise EngineRefused(f"its C++ kernels cannot be built: {done.stderr.strip()[-500:]}")


def _keep(built: Path) -> Path:
    """Move a library to where it is found next time; another process may do so at once."""
    for directory in _directories():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=directory, delete=False) as copy:
                copy.write(built.read_bytes())
            Path(copy.name).chmod(0o755)
            return Path(copy.name).replace(directory / built.name)
        except OSError:
            continue
    raise EngineRefused(
        "its C++ kernels cannot be kept: neither the package's directory nor the user's cache can "
        "be written"
    )
