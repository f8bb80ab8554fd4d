"""Whether a device's single operations and the engine's functions are those of the CPU."""

from collections.abc import Callable, Iterator

import torch

from bench.gpu.part import Findings, Settings, progress
from exact_torch.arithmetic.bits import F32, F64, I64
from exact_torch.definitions.ieee import _quotient
from exact_torch.definitions.moves import to_copy
from exact_torch.engines import kernels_for
from exact_torch.kernels import BINARY, UNARY

ALL_FLOAT32 = 1 << 32
STEP, DRY_STEP = 251, 1_000_003
"""Every how manieth float32 is tried; primes, so that all low bits come up."""

CHUNK = 1 << 24

EDGES = (
    *(0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.17549435e-38, 3.4e38, -3.4e38),
    *(float("inf"), -float("inf"), float("nan"), 1.0 + 2.0**-23, 2.0**24, 2.0**24 + 2, 0.1, 3.0),
)

Operation = Callable[..., torch.Tensor]

ONE_ARGUMENT: dict[str, Operation] = {
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "round": torch.round,
    "frac": torch.frac,
    "nan_to_num": torch.nan_to_num,
    "float32 to float64": lambda x: x.to(F64),
    "float64 to float32": lambda x: (x.to(F64) * 1.0000000123).to(F32),
    "float32 to bfloat16": lambda x: x.to(torch.bfloat16),
    "float32 to float16": lambda x: x.to(torch.float16),
    "sqrt through float64": lambda x: torch.sqrt(x.to(F64)).to(F32),
    "sqrt in float64": lambda x: torch.sqrt(x.to(F64)),
    "reciprocal": lambda x: _quotient(torch.ones_like(x), x),
    "round in float64": lambda x: torch.round(x.to(F64) * 1.5),
    "float64 to int64": lambda x: x.to(F64).clamp(-(2.0**62), 2.0**62).nan_to_num().to(I64),
    "int64 to float64": lambda x: (x.view(torch.int32).to(I64) * 0x100000001B3).to(F64),
    "bits": lambda x: x.view(torch.int32),
    **{
        f"float32 to {kind}, saturating": lambda x, kind=kind: to_copy(x, kind)
        for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    },
}

TWO_ARGUMENTS: dict[str, Operation] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div through float64": _quotient,
    "fmod": torch.fmod,
    "copysign": torch.copysign,
    "add in float64": lambda a, b: _wide(a, b) + _wide(b, a),
    "mul in float64": lambda a, b: _wide(a, b) * _wide(b, a),
    "div in float64": lambda a, b: torch.div(_wide(a, b), _wide(b, a)),
    "sqrt of any float64": lambda a, b: torch.sqrt(_wide(a, b)),
    "any float64 to float32": lambda a, b: _wide(a, b).to(F32),
    "fmod in float64": lambda a, b: torch.fmod(a.to(F64), b.to(F64)),
    "less": torch.lt,
}


def operations(settings: Settings) -> Findings:
    """Compare the single IEEE operations that definitions leave to torch on any device."""
    found = Findings(head=["operation", "arguments", "different"])
    for name, operation in ONE_ARGUMENT.items():
        progress(name)
        _compare(found, name, operation, operation, ((x,) for x in _float32s(settings)), settings)
    for name, operation in TWO_ARGUMENTS.items():
        progress(name)
        _compare(found, name, operation, operation, _pairs(settings), settings)
    for kind in (torch.bfloat16, torch.float16):
        halves = torch.arange(-(2**15), 2**15).to(torch.int16).view(kind)
        name = f"{kind} to float32"
        _compare(found, name, _widened, _widened, iter([(halves,)]), settings)
    return found


def functions(settings: Settings) -> Findings:
    """Compare the engine's elementwise functions with the CPU engine's."""
    found = Findings(head=["function", "arguments", "different"])
    here, there = kernels_for(torch.device("cpu")), kernels_for(torch.device(settings.device))
    found.facts["engines"] = {"cpu": here.name, settings.device: there.name}
    for name in UNARY:
        progress(name)
        arguments = ((x,) for x in _float32s(settings))
        _compare(
            found, name, lambda x, n=name: here.unary(n, x), lambda x, n=name: there.unary(n, x),
            arguments, settings,
        )  # fmt: skip
    for name in BINARY:
        progress(name)
        _compare(
            found, name, lambda g, x, n=name: here.binary(n, g, x),
            lambda g, x, n=name: there.binary(n, g, x), _pairs(settings), settings,
        )  # fmt: skip
    return found


def _compare(
    found: Findings,
    name: str,
    here: Operation,
    there: Operation,
    arguments: Iterator[tuple[torch.Tensor, ...]],
    settings: Settings,
) -> None:
    """Count results whose bits differ between the CPU and the device; NaN equals NaN."""
    tried = different = 0
    example = ""
    try:
        for operands in arguments:
            got = there(*(x.to(settings.device) for x in operands))
            expected = here(*operands).to(settings.device)
            wrong = _different(got, expected)
            tried += wrong.numel()
            count = int(wrong.sum())
            if count and not example:
                place = int(wrong.nonzero()[0])
                example = ", ".join(repr(float(x[place])) for x in operands)
                values = float(got[place]), float(expected[place])
                example += f": {values[0]!r} instead of {values[1]!r}"
            different += count
    except RuntimeError as error:
        found.problems.append(f"{name}: {error}")
        example = str(error)
    found.facts[name] = {"tried": tried, "different": different, "first": example}
    found.rows.append([name, f"{tried:,}", f"{different:,} {example}".strip()])
    if different:
        found.problems.append(f"{name}: {different} of {tried} differ, first {example}")


def _different(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    if got.dtype is not expected.dtype or got.shape != expected.shape:
        raise RuntimeError(f"{got.dtype} {tuple(got.shape)} instead of {expected.dtype}")
    if not got.is_floating_point():
        return got != expected
    kind = {8: I64, 4: torch.int32, 2: torch.int16}[got.element_size()]
    return (got.view(kind) != expected.view(kind)) & ~(torch.isnan(got) & torch.isnan(expected))


def _widened(x: torch.Tensor) -> torch.Tensor:
    return x.to(F32)


def _float32s(settings: Settings) -> Iterator[torch.Tensor]:
    """Yield float32 of every pattern, or of each step-th."""
    step = 1 if settings.exhaustive else (DRY_STEP if settings.dry else STEP)
    for start in range(0, ALL_FLOAT32, CHUNK * step):
        stop = min(start + CHUNK * step, ALL_FLOAT32)
        patterns = torch.arange(start, stop, step, dtype=I64) - (1 << 31)
        yield patterns.to(torch.int32).view(F32)


def _pairs(settings: Settings) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield pairs whose exponents are near each other, and pairs of any; edges among them."""
    count = 10_000 if settings.dry else 1 << 22
    generator = torch.Generator().manual_seed(7)

    def any_float32() -> torch.Tensor:
        return (
            torch.randint(-(2**31), 2**31, (count,), generator=generator).to(torch.int32).view(F32)
        )

    a, b = any_float32(), any_float32()
    yield a, b
    shift = torch.randint(-30, 31, (count,), generator=generator)
    near = torch.ldexp(torch.rand(count, generator=generator) + 1, shift)
    yield torch.rand(count, generator=generator) * 2 - 1, near
    edges = torch.tensor(EDGES)
    yield tuple(side.reshape(-1) for side in torch.meshgrid(edges, edges, indexing="ij"))


def _wide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return float64 whose upper half of bits is a's and lower half b's."""
    upper, lower = a.view(torch.int32).to(I64), b.view(torch.int32).to(I64)
    return ((upper << 32) | (lower & 0xFFFFFFFF)).view(F64)
