"""The settings of the matrix: what an honest machine may be set to, or made of.

Each is an environment for one real process. `ATEN_CPU_CAPABILITY`, `ONEDNN_MAX_CPU_ISA` and
`MKL_CBWR` make PyTorch's own parts take the paths of older processors; the `EXACT_TORCH_*` ones
choose the engine and cap the instruction set of the C++ kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

NATIVE = "native"
"""The mode of the control: plain PyTorch."""

MODES = ("E21", "E14", "FMA")

OLD = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "EXACT_TORCH_ISA": "baseline",
}
"""A processor of twenty years ago, as far as PyTorch's libraries and the kernels can tell."""

VARIABLES = (*OLD, "EXACT_TORCH_ENGINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Everything a setting may say; what it does not say is taken out of the environment."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """One row of the matrix. `in_tests` rows run with `make test`, all with `make matrix`."""

    name: str
    threads: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)
    modes: tuple[str, ...] = ("E21",)
    older_torch: bool = False
    may_refuse: bool = False
    in_tests: bool = False


def _engine(name: str, **more: str) -> dict[str, str]:
    return {"EXACT_TORCH_ENGINE": name, **more}


_KERNELS = _engine("native")

SETTINGS = (
    Setting(
        name="C++ kernels, 2 threads", threads=2, variables=_KERNELS, modes=MODES, in_tests=True
    ),
    Setting(name="C++ kernels, 1 thread", variables=_KERNELS, modes=MODES),
    Setting(
        name="C++ kernels up to AVX-512",
        threads=2,
        variables=_engine("native", EXACT_TORCH_ISA="avx512"),
    ),
    Setting(
        name="C++ kernels up to AVX2, ATen AVX2",
        variables=_engine("native", EXACT_TORCH_ISA="avx2", ATEN_CPU_CAPABILITY="avx2"),
        modes=MODES,
        in_tests=True,
    ),
    Setting(
        name="C++ kernels of the baseline",
        threads=2,
        variables=_engine("native", EXACT_TORCH_ISA="baseline"),
        modes=MODES,
    ),
    Setting(
        name="ATen without vectors",
        threads=2,
        variables=_engine("native", ATEN_CPU_CAPABILITY="default"),
    ),
    Setting(name="ATen AVX2", variables=_engine("native", ATEN_CPU_CAPABILITY="avx2")),
    Setting(
        name="oneDNN SSE4.1",
        threads=2,
        variables=_engine("native", ONEDNN_MAX_CPU_ISA="SSE41"),
    ),
    Setting(name="oneDNN AVX2", variables=_engine("native", ONEDNN_MAX_CPU_ISA="AVX2")),
    Setting(name="MKL compatible", threads=2, variables=_engine("native", MKL_CBWR="COMPATIBLE")),
    Setting(name="MKL AVX2", variables=_engine("native", MKL_CBWR="AVX2")),
    Setting(name="C++ kernels, all old", variables={**_KERNELS, **OLD}, modes=MODES, in_tests=True),
    Setting(name="float64, 2 threads", threads=2, variables=_engine("float64"), modes=MODES),
    Setting(
        name="float64, 1 thread, MKL AVX2",
        variables=_engine("float64", MKL_CBWR="AVX2"),
        in_tests=True,
    ),
    Setting(name="float64, oneDNN AVX2", variables=_engine("float64", ONEDNN_MAX_CPU_ISA="AVX2")),
    Setting(
        name="float64, all old",
        variables={**_engine("float64"), **OLD},
        modes=MODES,
    ),
    Setting(
        name="int8, 2 threads",
        threads=2,
        variables=_engine("int8"),
        modes=("E21", "E14"),
        may_refuse=True,
        in_tests=True,
    ),
    Setting(
        name="int8, oneDNN AVX2 (no VNNI)",
        variables=_engine("int8", ONEDNN_MAX_CPU_ISA="AVX2"),
        modes=("E21", "E14"),
        may_refuse=True,
    ),
    Setting(
        name="int8, oneDNN SSE4.1 (no VNNI)",
        variables=_engine("int8", ONEDNN_MAX_CPU_ISA="SSE41"),
        modes=("E21",),
        may_refuse=True,
    ),
    Setting(
        name="older torch, C++ kernels, 2 threads",
        threads=2,
        variables=_KERNELS,
        modes=MODES,
        older_torch=True,
        in_tests=True,
    ),
    Setting(
        name="older torch, float64, all old",
        variables={**_engine("float64"), **OLD},
        modes=MODES,
        older_torch=True,
    ),
)

CONTROLS = (
    Setting(name="2 threads", threads=2, modes=(NATIVE,), in_tests=True),
    Setting(name="1 thread", modes=(NATIVE,), in_tests=True),
    Setting(
        name="ATen AVX2, oneDNN AVX2, MKL AVX2",
        variables={
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_CBWR": "AVX2",
        },
        modes=(NATIVE,),
        in_tests=True,
    ),
    Setting(name="ATen AVX2", variables={"ATEN_CPU_CAPABILITY": "avx2"}, modes=(NATIVE,)),
    Setting(
        name="ATen without vectors", variables={"ATEN_CPU_CAPABILITY": "default"}, modes=(NATIVE,)
    ),
    Setting(name="oneDNN AVX2", variables={"ONEDNN_MAX_CPU_ISA": "AVX2"}, modes=(NATIVE,)),
    Setting(name="oneDNN SSE4.1", variables={"ONEDNN_MAX_CPU_ISA": "SSE41"}, modes=(NATIVE,)),
    Setting(name="MKL compatible", variables={"MKL_CBWR": "COMPATIBLE"}, modes=(NATIVE,)),
    Setting(name="MKL AVX2", variables={"MKL_CBWR": "AVX2"}, modes=(NATIVE,)),
    Setting(name="all old", variables=OLD, modes=(NATIVE,), in_tests=True),
    Setting(name="older torch, 2 threads", threads=2, modes=(NATIVE,), older_torch=True),
    Setting(name="older torch, all old", variables=OLD, modes=(NATIVE,), older_torch=True),
)
"""Plain PyTorch, to see that the matrix tells machines apart at all."""

EXPECTED_SETTING = SETTINGS[0]
"""The one that `python -m tests.exact.matrix --update` takes the expected digests from."""
