"""The CUDA kernels without a GPU: their sources run as C++ on the CPU, and as PTX are read.

`emulated_cuda` compiles the very sources that NVRTC compiles, and launches them as `CudaKernels`
does on a GPU: block by block, the threads of a block as fibers that take turns at barriers.
"""

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from exact_torch import EngineRefused
from exact_torch.arithmetic.contraction import Precision
from exact_torch.cuda import compiler, contraction, kernels
from exact_torch.cuda.contraction import Route
from exact_torch.cuda.kernels import CudaKernels
from exact_torch.kernels import BINARY, UNARY, Int8Kernels, TorchKernels
from exact_torch.self_test import check_kernels
from tests.exact.emulated_cuda.program import TURNS, EmulatedProgram, kernel_names

CPU = torch.device("cpu")
OVERRIDDEN = sorted(
    name
    for name, method in vars(TorchKernels).items()
    if callable(method) and name in vars(CudaKernels) and not name.startswith("_")
)
INFINITY, NAN = float("inf"), float("nan")
REFERENCE = TorchKernels()
QUANTISED = (Precision.E21, Precision.E14)
ALL_TURNS = pytest.mark.parametrize("turns", TURNS)


@functools.cache
def program(turns: str = "forwards") -> EmulatedProgram:
    return EmulatedProgram(turns)


@functools.cache
def emulated(turns: str = "forwards", route: Route | None = None) -> CudaKernels:
    if route is Route.PLANES:
        try:
            check_kernels(Int8Kernels(), CPU)
        except EngineRefused as refusal:
            pytest.skip(f"torch._int_mm is not exact on this processor: {refusal}")
    return CudaKernels(program(turns), route)


@pytest.fixture
def may_fall_back() -> None:
    """Let the engine fall back to the reference in this test."""


@pytest.fixture(autouse=True)
def only_kernels_of_the_engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail where the engine falls back to the reference, which would test nothing."""
    if "may_fall_back" not in request.fixturenames:
        for name in OVERRIDDEN:
            monkeypatch.setattr(TorchKernels, name, _watched(getattr(TorchKernels, name)))


def _watched(method: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(method)
    def call(self: TorchKernels, *arguments: object, **named: object) -> object:
        assert not isinstance(self, CudaKernels), f"{method.__name__} fell back to the reference"
        return method(self, *arguments, **named)

    return call


def same(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert equal types, shapes and bits; NaN equals NaN."""
    assert got.dtype is expected.dtype
    assert got.shape == expected.shape
    nan = torch.isnan(expected)
    assert torch.equal(torch.isnan(got), nan)
    kind = {8: torch.int64, 4: torch.int32, 2: torch.int16}[got.element_size()]
    different = (got.contiguous().view(kind) != expected.contiguous().view(kind)) & ~nan
    assert not different.any(), (got[different][:5], expected[different][:5])


def values(*shape: int, seed: int, spread: float = 0.0) -> torch.Tensor:
    """Return normal values; `spread` scales rows and columns apart, by up to 2^spread."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    return x * torch.exp2(torch.rand(shape, generator=generator) * spread - spread / 2).round()


def with_specials(x: torch.Tensor) -> torch.Tensor:
    """Put zeros, subnormals, extremes, infinities and NaN into rows and columns of their own."""
    x = x.clone()
    x[..., 0, :] = 0.0
    x[..., 1, :] = 1e-42
    x[..., 2, 1] = INFINITY
    x[..., 3, 2] = NAN
    x[..., 4, :] = 3e38
    x[..., 5, 0] = -0.0
    x[..., -1, -1] = 1e-45
    return x


# ---- products ------------------------------------------------------------------------------------


@ALL_TURNS
@pytest.mark.parametrize("route", Route)
def test_every_route_passes_the_self_test(route: Route, turns: str) -> None:
    check_kernels(emulated(turns, route), CPU)


@pytest.mark.parametrize("route", Route)
@pytest.mark.parametrize("precision", QUANTISED)
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (7, 33, 5), (70, 129, 65)])
def test_products_are_the_reference(
    rows: int, inner: int, columns: int, precision: Precision, route: Route
) -> None:
    engine = emulated(route=route)
    a, b = values(rows, inner, seed=1, spread=20), values(inner, columns, seed=2, spread=20)
    same(engine.contract(a, b, precision), REFERENCE.contract(a, b, precision))
    a, b = values(inner, rows, seed=3).t(), values(columns, inner, seed=4).t()
    addend = values(columns, seed=5)
    options = {"addend": addend, "alpha": 0.7, "beta": -1.3}
    same(
        engine.contract(a, b, precision, **options), REFERENCE.contract(a, b, precision, **options)
    )


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("route", Route)
def test_products_of_specials(route: Route, precision: Precision) -> None:
    a, b = with_specials(values(11, 20, seed=1)), with_specials(values(17, 20, seed=2)).t()
    same(emulated(route=route).contract(a, b, precision), REFERENCE.contract(a, b, precision))


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_products_of_half_precisions(kind: torch.dtype, precision: Precision) -> None:
    a, b = values(9, 21, seed=1).to(kind), values(21, 8, seed=2).to(kind)
    same(emulated().contract(a, b, precision), REFERENCE.contract(a, b, precision))


@ALL_TURNS
@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("route", [Route.DIGITS, Route.FLOAT64])
@pytest.mark.parametrize(("left", "right"), [(3, 3), (1, 4), (4, 1), (None, 3), (2, None)])
def test_products_of_batches(
    left: int | None, right: int | None, route: Route, precision: Precision, turns: str
) -> None:
    a = values(*(() if left is None else (left,)), 67, 19, seed=1)
    b = values(*(() if right is None else (right,)), 19, 6, seed=2)
    addend = values(67, 1, seed=3)
    engine = emulated(turns, route)
    got = engine.contract(a, b, precision, addend=addend)
    same(got, REFERENCE.contract(a, b, precision, addend=addend))


@ALL_TURNS
@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("route", [Route.DIGITS, Route.FLOAT64])
def test_blocks_that_go_through_several_batches(
    route: Route, precision: Precision, turns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "GRID_YZ_MAX", 2)
    a, b = values(5, 9, 19, seed=1, spread=20), values(5, 19, 6, seed=2, spread=20)
    got = emulated(turns, route).contract(a, b, precision)
    same(got, REFERENCE.contract(a, b, precision))


@pytest.mark.parametrize("precision", QUANTISED)
def test_planes_in_slabs_of_columns_and_parts_of_the_inner_dimension(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "PRODUCTS_BYTES_MAX", 4 * 6 * 64 * 32)
    monkeypatch.setattr(contraction, "PLANES_INNER_MAX", 48)
    a, b, addend = values(50, 150, seed=1), values(150, 77, seed=2), values(50, 77, seed=3)
    engine = emulated(route=Route.PLANES)
    got = engine.contract(a, b, precision, addend=addend, alpha=2.0)
    same(got, REFERENCE.contract(a, b, precision, addend=addend, alpha=2.0))


@pytest.mark.parametrize("route", Route)
def test_long_inner_dimension(route: Route) -> None:
    """Longer than what an int32 takes in one go, and than a float64 chunk of E21."""
    inner = (1 << 16) + 40
    a, b = values(2, inner, seed=1).clamp(-1, 1), values(inner, 3, seed=2)
    same(
        emulated(route=route).contract(a, b, Precision.E21),
        REFERENCE.contract(a, b, Precision.E21),
    )


@ALL_TURNS
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (5, 16, 7), (130, 50, 131)])
def test_fused_chains_are_the_reference(
    rows: int, inner: int, columns: int, wide: bool, turns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "WIDE_TILES_MIN", 0 if wide else 1 << 30)
    a, b = values(rows, inner, seed=1, spread=20), values(inner, columns, seed=2, spread=20)
    engine = emulated(turns)
    same(engine.contract(a, b, Precision.FMA), REFERENCE.contract(a, b, Precision.FMA))
    same(
        engine.contract(b.t(), a.t(), Precision.FMA),
        REFERENCE.contract(b.t(), a.t(), Precision.FMA),
    )


@pytest.mark.parametrize("inner", [1, 15, 17])
def test_a_chain_may_end_in_minus_zero(inner: int) -> None:
    a, b = torch.full((3, inner), -1e-30), torch.full((inner, 3), 1e-30)
    got = emulated().contract(a, b, Precision.FMA)
    same(got, REFERENCE.contract(a, b, Precision.FMA))
    assert bool(torch.signbit(got).all())


# ---- sums ----------------------------------------------------------------------------------------


@ALL_TURNS
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("dims", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_sums_are_the_reference(dims: tuple[int, ...], kind: torch.dtype, turns: str) -> None:
    x = (values(3, 37, 70, seed=1, spread=40) * 8).to(kind)
    got = emulated(turns).sum(x, dims, keepdim=True)
    same(got, REFERENCE.sum(x, dims, keepdim=True))
    same(emulated(turns).sum(x, dims, keepdim=False), got.squeeze(dims))


@ALL_TURNS
@pytest.mark.parametrize(
    "specials", [[INFINITY], [-INFINITY], [NAN], [INFINITY, -INFINITY], [-0.0]]
)
@pytest.mark.parametrize("dims", [(0,), (1,)])
def test_sums_of_specials(dims: tuple[int, ...], specials: list[float], turns: str) -> None:
    x = values(40, 33, seed=1)
    for place, special in enumerate(specials):
        x[3 + place, 5] = x[7, 9 + place] = special
    same(emulated(turns).sum(x, dims, keepdim=False), REFERENCE.sum(x, dims, keepdim=False))


@ALL_TURNS
def test_few_long_rows_are_shared_by_blocks(turns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "ELEMENTS_OF_BLOCK_MAX", 100)
    x = values(3, 9000, seed=1, spread=60)
    x[1, 4000] = INFINITY
    for wide in (x, x.double()):
        same(emulated(turns).sum(wide, (1,), keepdim=True), REFERENCE.sum(wide, (1,), keepdim=True))


@ALL_TURNS
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16])
def test_sums_by_destination_are_the_reference(kind: torch.dtype, turns: str) -> None:
    x = values(90, 7, seed=1, spread=8)
    x[5, 0], x[6, 1], x[7, 2] = INFINITY, NAN, -0.0
    index = torch.randint(0, 12, (90,), generator=torch.Generator().manual_seed(2))
    index[:10] = 3
    got = emulated(turns).sum_at(x.to(kind), index, 14)
    same(got, REFERENCE.sum_at(x.to(kind), index, 14))


@ALL_TURNS
def test_blocks_that_go_through_several_sets(turns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "GRID_YZ_MAX", 2)
    monkeypatch.setattr(kernels, "BLOCKS_MAX", 2)
    monkeypatch.setattr(kernels, "SHARED_BLOCKS", 8)
    engine = emulated(turns)
    x = values(7, 40, 33, seed=1, spread=30)
    x[2, 3, 4] = INFINITY
    same(engine.sum(x, (1,), keepdim=True), REFERENCE.sum(x, (1,), keepdim=True))
    rows = x.reshape(7, -1)
    same(engine.sum(rows, (1,), keepdim=True), REFERENCE.sum(rows, (1,), keepdim=True))
    same(
        engine.softmax(rows, log=True, empty_rows_are_zero=False),
        REFERENCE.softmax(rows, log=True, empty_rows_are_zero=False),
    )
    monkeypatch.setattr(kernels, "ELEMENTS_OF_BLOCK_MAX", 100)
    same(engine.sum(rows, (1,), keepdim=True), REFERENCE.sum(rows, (1,), keepdim=True))


# ---- random words --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [0, 1, (1 << 64) - 3, 0x9E3779B97F4A7C15])
@pytest.mark.parametrize("count", [1, 5, 3000])
def test_random_words_are_the_reference(key: int, count: int) -> None:
    same(emulated().uniform(key, count, CPU), REFERENCE.uniform(key, count, CPU))
    words = REFERENCE.words(key, count, CPU)
    assert torch.equal(emulated().words(key, count, CPU), words)


# ---- rows ----------------------------------------------------------------------------------------


@ALL_TURNS
@pytest.mark.parametrize("length", [1, 5, 64, 300])
@pytest.mark.parametrize("log", [False, True])
def test_softmax_is_the_reference(log: bool, length: int, turns: str) -> None:
    x = values(12, length, seed=1, spread=10)
    x[0], x[1, 0], x[2, 0], x[3, -1] = -INFINITY, INFINITY, NAN, -INFINITY
    x[4], x[5] = 0.0, -0.0
    x[6, 0] = torch.tensor(-1, dtype=torch.int32).view(torch.float32)  # NaN with its sign set
    engine = emulated(turns)
    for zero in (False, True):
        options = {"log": log, "empty_rows_are_zero": zero}
        same(engine.softmax(x, **options), REFERENCE.softmax(x, **options))
    y, g = REFERENCE.softmax(x, log=log, empty_rows_are_zero=False), values(12, length, seed=2)
    g[8, 0], g[9, -1] = INFINITY, NAN
    same(engine.softmax_backward(g, y, log=log), REFERENCE.softmax_backward(g, y, log=log))


@ALL_TURNS
@pytest.mark.parametrize("affine", ["neither", "weight", "bias", "both"])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (9, 33), (40, 300)])
def test_layer_norm_is_the_reference(rows: int, length: int, affine: str, turns: str) -> None:
    x, g = values(rows, length, seed=1, spread=6), values(rows, length, seed=2)
    if rows > 8:
        x[0], x[1, 0], x[2, 0], x[3] = 0.0, INFINITY, NAN, 1e-42
        g[4, 0], g[5, 1] = INFINITY, NAN
    weight = values(length, seed=3) if affine in ("weight", "both") else None
    bias = values(length, seed=4) if affine in ("bias", "both") else None
    engine = emulated(turns)
    expected = REFERENCE.layer_norm(x, weight, bias, 1e-5)
    for got, wanted in zip(engine.layer_norm(x, weight, bias, 1e-5), expected, strict=True):
        same(got, wanted)
    _, mean, rstd = expected
    gradients = REFERENCE.layer_norm_backward(g, x, mean, rstd, weight)
    found = engine.layer_norm_backward(g, x, mean, rstd, weight)
    for got, wanted in zip(found, gradients, strict=True):
        same(got, wanted)


# ---- elementwise functions -----------------------------------------------------------------------


@functools.cache
def float32s() -> torch.Tensor:
    """Return every 65,521st float32, a dense middle, and values at which formulas branch."""
    patterns = torch.arange(-(2**31), 2**31, 65_521, dtype=torch.int64).to(torch.int32)
    edges = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-5, -1e-5, 4.0, -4.0, 88.72, -103.98, 709.1])
    return torch.cat([patterns.view(torch.float32), torch.linspace(-20, 20, 5001), edges])


@pytest.mark.parametrize("name", sorted(UNARY))
def test_functions_are_the_reference(name: str) -> None:
    x = float32s()
    same(emulated().unary(name, x), REFERENCE.unary(name, x))
    half = x[:3001].to(torch.bfloat16)
    same(emulated().unary(name, half), REFERENCE.unary(name, half))


@pytest.mark.parametrize("name", sorted(BINARY))
def test_gradients_are_the_reference(name: str) -> None:
    x = float32s()
    g = x.flip(0).contiguous()
    same(emulated().binary(name, g, x), REFERENCE.binary(name, g, x))


# ---- optimizer steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_is_the_reference(decoupled: bool, amsgrad: bool, weight_decay: float) -> None:
    options = {
        "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay,
        "decoupled": decoupled,
    }  # fmt: skip
    states = [[values(7, 90, seed=1), *(torch.zeros(7, 90) for _ in range(3))] for _ in range(2)]
    for step in (1, 2, 3):
        gradient = values(7, 90, seed=10 + step, spread=40)
        gradient[0, :3] = torch.tensor([INFINITY, NAN, 0.0])
        for engine, (parameter, first, second, largest) in zip(
            (emulated(), REFERENCE), states, strict=True
        ):
            most = largest if amsgrad else None
            engine.adam_step(parameter, gradient, first, second, largest=most, step=step, **options)
    for got, expected in zip(*states, strict=True):
        same(got, expected)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_gradient_descent_is_the_reference(
    nesterov: bool, momentum: float, weight_decay: float
) -> None:
    options = {
        "lr": 0.01, "momentum": momentum, "dampening": 0.25, "weight_decay": weight_decay,
        "nesterov": nesterov,
    }  # fmt: skip
    states = [[values(7, 90, seed=1), torch.zeros(7, 90)] for _ in range(2)]
    for step in (1, 2, 3):
        gradient = values(7, 90, seed=10 + step, spread=40)
        for engine, (parameter, buffer) in zip((emulated(), REFERENCE), states, strict=True):
            kept = buffer if momentum else None
            engine.sgd_step(parameter, gradient, kept, first=step == 1, **options)
    for got, expected in zip(*states, strict=True):
        same(got, expected)


# ---- the engine ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("may_fall_back")
def test_what_kernels_do_not_cover_falls_back() -> None:
    engine = emulated()
    x = values(6, 5, seed=1).double()
    same(engine.unary("exp", x), REFERENCE.unary("exp", x))
    same(
        engine.softmax(x, log=True, empty_rows_are_zero=False),
        REFERENCE.softmax(x, log=True, empty_rows_are_zero=False),
    )
    empty = torch.zeros(3, 0)
    same(engine.sum(empty, (1,), keepdim=False), REFERENCE.sum(empty, (1,), keepdim=False))
    for precision in Precision:
        got = engine.contract(empty, empty.t(), precision)
        same(got, REFERENCE.contract(empty, empty.t(), precision))


@pytest.mark.usefixtures("may_fall_back")
def test_tensors_of_another_device_go_to_the_reference() -> None:
    class Elsewhere(EmulatedProgram):
        device_type = "cuda"

    engine = CudaKernels(Elsewhere())
    x = values(6, 5, seed=1)
    same(engine.unary("exp", x), REFERENCE.unary("exp", x))
    same(engine.contract(x, x.t(), Precision.E14), REFERENCE.contract(x, x.t(), Precision.E14))


def test_without_a_gpu_the_engine_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EngineRefused, match="no CUDA device"):
        CudaKernels()


def test_the_emulation_notices_wrong_launches() -> None:
    x = torch.zeros(4)
    with pytest.raises(AssertionError, match="unknown kernel"):
        program().launch("exact_nothing", (1, 1, 1), 32, (x,))
    with pytest.raises(AssertionError, match="wrong arguments"):
        program().launch("exact_exp", (1, 1, 1), 32, (x, x, 4.0))


def test_every_kernel_is_launched_by_the_engine() -> None:
    """By name: a kernel that no test reaches would be one that nothing has shown right."""
    engine = Path(kernels.__file__).read_text() + Path(contraction.__file__).read_text()
    stems = set(re.findall(r"exact_[a-z_]+", engine))
    for name in kernel_names():
        function = name.removeprefix("exact_") in {*UNARY, *BINARY}
        assert function or any(name.startswith(stem) for stem in stems), name


# ---- what compilers make of the sources ----------------------------------------------------------


@functools.cache
def ptx(architecture: str) -> dict[str, str]:
    """Return each kernel's PTX by name."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed, so no PTX can be read")
    flags = [flag.replace("--std", "-std") for flag in compiler.FLAGS]
    done = subprocess.run(
        [
            "nvcc", "-ptx", f"-arch={architecture}", *flags,
            *(f"-I{folder}" for folder in compiler.INCLUDES),
            str(compiler.SOURCES / "program.cu"), "-o", "-",
        ],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries = re.split(r"\.visible \.entry ", done.stdout)[1:]
    return {entry[: entry.index("(")]: entry for entry in entries}


ARCHITECTURES = pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])


@ARCHITECTURES
def test_the_compiler_contracts_and_approximates_nothing(architecture: str) -> None:
    """Without `.rn`, the assembler may fuse a multiplication and an addition later."""
    kernels_of = ptx(architecture)
    assert sorted(kernels_of) == sorted(kernel_names())
    for name, text in kernels_of.items():
        fused = set(re.findall(r"\bfma\.[a-z.]*f\d+", text))
        assert fused == ({"fma.rn.f32"} if "FMA" in name else set()), name
        assert not re.findall(r"\b\w+\.[a-z.]*(?:ftz|approx|full)\b[a-z.]*", text), name
        assert not re.findall(r"\b(?:mul|add|sub|div|sqrt)\.f(?:32|64)", text), name


@ARCHITECTURES
def test_the_sources_assemble_for(architecture: str, tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    done = subprocess.run(
        [
            "nvcc", "-cubin", "-Xptxas", "-v", f"-arch={architecture}",
            *(flag.replace("--std", "-std") for flag in compiler.FLAGS),
            *(f"-I{folder}" for folder in compiler.INCLUDES),
            str(compiler.SOURCES / "program.cu"), "-o", str(tmp_path / "program.cubin"),
        ],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill", done.stderr)
    assert len(spills) == 2 * len(kernel_names())
    assert set(spills) == {"0"}, "registers are spilled to memory"


def test_nvrtc_compiles_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVRTC needs no GPU: `pip install nvidia-cuda-nvrtc` lets this run anywhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        code = compiler.binary.__wrapped__("sm_90")
    except EngineRefused as refusal:
        if "not installed" not in str(refusal):
            raise
        pytest.skip(str(refusal))
    assert code.startswith(b"\x7fELF")
    for name in kernel_names():
        assert name.encode() in code, name
    assert [path.read_bytes() for path in tmp_path.rglob("*.cubin")] == [code]
