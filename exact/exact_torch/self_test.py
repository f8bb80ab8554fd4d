"""Known answers that an engine must give before it may compute."""

import functools
from dataclasses import dataclass
from typing import Final

import torch

from exact_torch.arithmetic import contraction
from exact_torch.arithmetic.bits import F32, F64
from exact_torch.arithmetic.contraction import Precision
from exact_torch.errors import EngineRefused, ExactTorchError
from exact_torch.kernels import BINARY, UNARY, TorchKernels

INNER: Final = (64, 2048, 8192)
KEY: Final = 0x0123456789ABCDEF


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """What a self-test found.

    Attributes:
        device: the device type, "cpu" or "cuda".
        engine: the engine that passed, or None.
        reason: why none did, or which others were passed over; may be empty.
    """

    device: str
    engine: str | None
    reason: str

    @property
    def passed(self) -> bool:
        """Whether jobs can run under a mode here."""
        return self.engine is not None


def self_test(device: str = "cpu") -> SelfTest:
    """Choose the engine of a device as the mode would, and test it; raise nothing."""
    from exact_torch.engines import kernels_for, passed_over

    try:
        kernels = kernels_for(torch.device(device))
    except (ExactTorchError, RuntimeError, AssertionError) as error:  # torch asserts CUDA
        return SelfTest(device=device, engine=None, reason=str(error))
    over = passed_over(torch.device(device))
    return SelfTest(device=device, engine=kernels.name, reason=over)


def check_kernels(kernels: TorchKernels, device: torch.device) -> None:
    """Hold an engine against integer arithmetic and the reference.

    Raises:
        EngineRefused: naming the first check that failed.
    """
    for precision in (Precision.E14, Precision.E21):
        for inner in INNER:
            _check_contraction(kernels, precision, inner, device)
    _check_against_reference(kernels, device)


def _check_contraction(
    kernels: TorchKernels, precision: Precision, inner: int, device: torch.device
) -> None:
    """Full-range integers: catches saturating int8, narrow accumulators, TF32, emulated float64."""
    a, b = _operands(precision, inner)
    expected = (a @ b).to(F64).to(F32)
    got = kernels.contract(a.to(F32).to(device), b.to(F32).to(device), precision).cpu()
    if not torch.equal(got, expected):
        raise EngineRefused(
            f"its {precision} product of full-range integers, K = {inner}, is not exact"
        )


@functools.cache
def _operands(precision: Precision, inner: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int64 (40, K) and (K, 40) whose quantisation is the identity."""
    top = 1 << contraction.BITS[precision]
    index = torch.arange(40 * inner)
    a = (((index * 2654435761) & 0xFFFFFFFF) >> 3) % (2 * top - 1) - (top - 1)
    b = (((index * 2246822519) & 0xFFFFFFFF) >> 5) % (2 * top - 1) - (top - 1)
    a, b = a.reshape(40, inner), b.reshape(inner, 40)
    a[0], a[1], b[:, 0], b[:, 1] = top - 1, 1 - top, top - 1, 1 - top
    a[2] = b[:, 2] = 63 * (1 + 128) if top < 1 << 14 else 63 * (1 + 128 + 16384)
    a[3] = b[:, 3] = -64 * 127
    # one element at the top binade pins the unit to one
    a[:, 0] = torch.where(a[:, 0] < 0, 1 - top, top - 1)
    b[0, :] = torch.where(b[0, :] < 0, 1 - top, top - 1)
    return a, b


def _check_against_reference(kernels: TorchKernels, device: torch.device) -> None:
    reference = TorchKernels()
    x = _values()
    for name in UNARY:
        _expect(name, kernels.unary(name, x.to(device)), reference.unary(name, x))
    g = x.flip(0).contiguous()
    for name in BINARY:
        got = kernels.binary(name, g.to(device), x.to(device))
        _expect(name, got, reference.binary(name, g, x))
    rows = x[: len(x) // 37 * 37].reshape(-1, 37)
    finite = torch.where(torch.isfinite(rows), rows, torch.zeros_like(rows)).clamp(-1e30, 1e30)
    for log in (False, True):
        for values in (rows, finite):
            got = kernels.softmax(values.to(device), log=log, empty_rows_are_zero=True)
            _expect("softmax", got, reference.softmax(values, log=log, empty_rows_are_zero=True))
    weight, bias = finite[1].contiguous(), finite[2].contiguous()
    moved = [tensor.to(device) for tensor in (finite, weight, bias)]
    norms = kernels.layer_norm(moved[0], moved[1], moved[2], 1e-5)
    for got, expected in zip(norms, reference.layer_norm(finite, weight, bias, 1e-5), strict=True):
        _expect("layer_norm", got, expected)
    for draw in ("words", "uniform"):
        got = getattr(kernels, draw)(KEY, 1001, device)
        _expect(f"random {draw}", got, getattr(reference, draw)(KEY, 1001, "cpu"))
    for dims in ((0,), (1,), (0, 1)):
        got = kernels.sum(rows.to(device), dims, keepdim=True)
        _expect("sum", got, reference.sum(rows, dims, keepdim=True))
    _check_training(kernels, device, finite)


def _check_training(kernels: TorchKernels, device: torch.device, x: torch.Tensor) -> None:
    """Check the fused chain, gradients of rows, sums by index and optimizer steps."""
    reference = TorchKernels()
    x = (x[:24] * 2.0**-64).clamp(-64, 64)
    there = x.to(device)
    product = kernels.contract(there, there.t(), Precision.FMA, addend=there[:, :24], alpha=0.5)
    expected = reference.contract(x, x.t(), Precision.FMA, addend=x[:, :24], alpha=0.5)
    _expect("FMA product", product, expected)
    g = x.flip(1).contiguous()
    for log in (False, True):
        got = kernels.softmax_backward(g.to(device), there, log=log)
        _expect("softmax's gradient", got, reference.softmax_backward(g, x, log=log))
    mean, rstd = x[:, 0].contiguous(), x[:, 1].abs().contiguous()
    moved = [t.to(device) for t in (g, x, mean, rstd, x[0].contiguous())]
    gradients = kernels.layer_norm_backward(moved[0], moved[1], moved[2], moved[3], moved[4])
    norms = reference.layer_norm_backward(g, x, mean, rstd, x[0].contiguous())
    for got, wanted in zip(gradients, norms, strict=True):
        _expect("layer_norm's gradient", got, wanted)
    index = torch.arange(len(x)) * 7 % 5
    got = kernels.sum_at(there, index.to(device), 5)
    _expect("sum by index", got, reference.sum_at(x, index, 5))
    _expect("float64 sum", kernels.sum(there.double(), (0,), keepdim=False),
            reference.sum(x.double(), (0,), keepdim=False))  # fmt: skip
    _check_steps(kernels, device, x)


def _check_steps(kernels: TorchKernels, device: torch.device, x: torch.Tensor) -> None:
    ours, theirs = ([row.clone().to(place) for row in x[:4]] for place in (device, "cpu"))
    for states, engine in ((ours, kernels), (theirs, TorchKernels())):
        states[3].abs_()
        engine.adam_step(
            states[0], states[1], states[2], states[3], step=3, lr=0.125, beta1=0.9, beta2=0.999,
            eps=1e-8, weight_decay=0.25, decoupled=True,
        )  # fmt: skip
        engine.sgd_step(
            states[0], states[1], states[2], first=False, lr=0.125, momentum=0.9, dampening=0.0,
            weight_decay=0.25, nesterov=True,
        )  # fmt: skip
    for got, expected in zip(ours, theirs, strict=True):
        _expect("optimizer step", got, expected)


def _expect(what: str, got: torch.Tensor, expected: torch.Tensor) -> None:
    got = got.cpu()
    kind = torch.int32 if got.dtype is F32 else torch.int64
    same = (got.view(kind) == expected.view(kind)) | (torch.isnan(got) & torch.isnan(expected))
    if got.dtype is not expected.dtype or not bool(same.all()):
        raise EngineRefused(f"its {what} differs from the reference")


@functools.cache
def _values() -> torch.Tensor:
    """Return float32 of all kinds: spread over magnitudes, subnormals, infinities, NaN, edges."""
    index = torch.arange(4000)
    pattern = ((index * 2654435761) & 0xFFFFFFFF).to(torch.int64)
    spread = (pattern - (1 << 31)).to(torch.int32).view(F32)
    near = ((pattern >> 8).to(F64) * 2.0**-20 - 8.0).to(F32)
    edges = [0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40, 88.72, -103.98, 4.0, -4.0, 5.657, -5.657]
    edges += [float("inf"), -float("inf"), float("nan"), 3e38, 1e-5, -1e-5, 0.5, 20.0]
    return torch.cat([near, torch.tensor(edges, dtype=F32), spread])
