"""What a run under a mode changes: the command, and the variables that only torch reads."""

import pytest

from assay_provider.runtime.environment import default_variables, variables_inside
from assay_provider.runtime.exact import (
    ExactSetup,
    elsewhere,
    under_mode,
    variables_under_mode,
)

PINNED = default_variables("x86_64")
TORCH_READS = {
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
}


def variables(own=None, *, machine="x86_64", cpus=1.0, **setup):
    return variables_under_mode(PINNED, own or {}, ExactSetup(**setup), machine=machine, cpus=cpus)


def test_a_script_keeps_its_python_and_its_arguments() -> None:
    command = under_mode(("python3", "/input/train.py", "--rate", "0.1"), "E14")
    assert command == (
        *("python3", "-m", "exact_torch", "--mode", "E14"),
        *("/input/train.py", "--rate", "0.1"),
    )


def test_a_native_run_frees_torch_and_keeps_everything_else_pinned() -> None:
    found = variables(threads=3)
    assert not {"ATEN_CPU_CAPABILITY", "MKL_CBWR", "ONEDNN_MAX_CPU_ISA"} & found.keys()
    assert "EXACT_TORCH_ISA" not in found
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("3", "3")
    kept = {name: value for name, value in PINNED.items() if name not in TORCH_READS}
    assert "GLIBC_TUNABLES" in kept
    assert "OPENBLAS_NUM_THREADS" in kept
    assert kept.items() <= found.items()


@pytest.mark.parametrize(
    ("cap", "aten", "mkl", "onednn"),
    [
        ("avx512", None, None, "AVX512_CORE"),
        ("avx2", "avx2", "AVX2", "AVX2"),
        ("baseline", "default", "COMPATIBLE", "SSE41"),
    ],
)
def test_a_cap_reaches_every_library_of_torch(cap, aten, mkl, onednn) -> None:
    found = variables(instruction_set=cap)
    assert found["EXACT_TORCH_ISA"] == cap
    assert found.get("ATEN_CPU_CAPABILITY") == aten
    assert found.get("MKL_CBWR") == mkl
    assert found["ONEDNN_MAX_CPU_ISA"] == onednn
    elsewhere = variables(instruction_set=cap, machine="aarch64")
    assert elsewhere["EXACT_TORCH_ISA"] == cap
    assert "ONEDNN_MAX_CPU_ISA" not in elsewhere


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, "1"), (1.0, "1"), (2.9, "2"), (8.0, "8")])
def test_without_a_choice_a_job_has_as_many_threads_as_cores(cpus, threads) -> None:
    assert variables(cpus=cpus)["OMP_NUM_THREADS"] == threads


def test_a_job_chooses_neither_engine_nor_threads_nor_the_package() -> None:
    own = {
        "EXACT_TORCH_ENGINE": "int8",
        "OMP_NUM_THREADS": "64",
        "PYTHONPATH": "/input/lib",
        "SEED": "7",
    }
    found = variables(own, engine="float64", threads=1)
    assert found["EXACT_TORCH_ENGINE"] == "float64"
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["PYTHONPATH"] == "/opt/exact:/input/lib"
    assert found["SEED"] == "7"


def test_an_environment_chooses_its_engine_and_keeps_its_search_path() -> None:
    setup = ExactSetup(engine="native", threads=3, instruction_set="avx2")
    assert elsewhere(setup) == ExactSetup(engine="auto", threads=3, instruction_set="avx2")
    inside = variables_inside({"PYTHONPATH": "/app", "OMP_NUM_THREADS": "1"}, "x86_64")

    def under(own: dict[str, str]) -> dict[str, str]:
        return variables_under_mode(inside, own, elsewhere(setup), machine="x86_64", cpus=1.0)

    assert under({})["PYTHONPATH"] == "/opt/exact:/app"
    assert under({"PYTHONPATH": "/mine"})["PYTHONPATH"] == "/opt/exact:/mine"
    assert under({})["EXACT_TORCH_ENGINE"] == "auto"
    assert under({})["OMP_NUM_THREADS"] == "3", "pinned for others, the owner's under a mode"
