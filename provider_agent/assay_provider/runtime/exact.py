"""How a job runs under exact_torch: the command, and the variables of its math libraries. Pure.

A job that runs as it is gets the variables that every provider pins (see `environment`). A job
under a mode does not need those of torch, whose results no longer depend on threads or instruction
sets: the owner chooses what is fast here. What exact_torch does not compute (NumPy, the C library)
stays pinned.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

FOLDER_INSIDE: Final = "/opt/exact"
"""Holds the package `exact_torch` in the sandbox, and beside it this machine's kernels."""
KERNELS_INSIDE: Final = f"{FOLDER_INSIDE}/kernels"

NATIVE: Final = "native"

_FREED: Final = frozenset(
    {
        "ATEN_CPU_CAPABILITY",
        "MKL_CBWR",
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
        "ONEDNN_MAX_CPU_ISA",
    }
)
"""Pinned variables that only torch's own libraries read."""

_X86_64_CAPS: Final[Mapping[str, Mapping[str, str]]] = {
    # ATen and MKL use no more than AVX-512 anyway, and told to use it they try where it is missing.
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
    "baseline": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactSetup:
    """How one machine computes; nothing of it changes a result.

    `engine` is auto, native, float64 or int8; `threads` 0 means as many as the job's cores;
    `instruction_set` is native, avx512, avx2 or baseline.
    """

    engine: str = "auto"
    threads: int = 0
    instruction_set: str = NATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactRun:
    """That a run is exact: in which mode, and how this machine does it."""

    mode: str
    setup: ExactSetup


def elsewhere(setup: ExactSetup) -> ExactSetup:
    """Return the setup for a Python that is not the one which the self-test was run with.

    The engine that passed there may be refused with another torch or C library, so it is chosen
    again, and tested, when the job starts.
    """
    return replace(setup, engine="auto")


def under_mode(command: tuple[str, ...], mode: str) -> tuple[str, ...]:
    """Return the command of a Python script, run under a mode: `python -m exact_torch ...`.

    Which commands are those of a script, `job_spec.check_exactness` has said.
    """
    python, *script = command
    assert script, "a spec with a mode names a script"
    return (python, "-m", "exact_torch", "--mode", mode, *script)


def variables_under_mode(
    defaults: Mapping[str, str],
    own: Mapping[str, str],
    setup: ExactSetup,
    *,
    machine: str,
    cpus: float,
) -> dict[str, str]:
    """Return the variables of a run under a mode.

    Args:
        defaults: those of every run, the pinned ones among them.
        own: what the job sets; it cannot choose the machine's engine or threads.
        setup: what the owner chose.
        machine: the architecture, as in `platform.machine()`.
        cpus: cores that the job may use.
    """
    threads = str(setup.threads or max(1, int(cpus)))
    kept = {name: value for name, value in defaults.items() if name not in _FREED}
    path = own.get("PYTHONPATH") or _after_ours(defaults.get("PYTHONPATH", ""))
    return {
        **kept,
        **own,
        "EXACT_TORCH_ENGINE": setup.engine,
        "EXACT_TORCH_KERNELS": KERNELS_INSIDE,
        "MKL_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        # Threads that spin while they wait eat the time of those they wait for where cores are
        # shared: training the digits on two busy cores took 98 s instead of 18.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": python_path(path),
        **instruction_set_variables(setup, machine),
    }


def python_path(rest: str) -> str:
    """Return a search path on which exact_torch comes first: nothing else may take its name."""
    return f"{FOLDER_INSIDE}:{rest}" if rest else FOLDER_INSIDE


def instruction_set_variables(setup: ExactSetup, machine: str) -> dict[str, str]:
    """Return the variables that hold torch and exact_torch to an instruction set."""
    if setup.instruction_set == NATIVE:
        return {}
    caps = _X86_64_CAPS[setup.instruction_set] if machine == "x86_64" else {}
    return {**caps, "EXACT_TORCH_ISA": setup.instruction_set}


def _after_ours(path: str) -> str:
    return path.removeprefix(FOLDER_INSIDE).removeprefix(":")
