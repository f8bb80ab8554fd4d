"""The GPU engine: `TorchKernels` with CUDA kernels where they are faster, bit for bit the same."""

import math
from collections.abc import Iterable
from typing import Final

import torch

from exact_torch.arithmetic.bits import F32, F64, I64, canonical_nan
from exact_torch.arithmetic.contraction import Precision
from exact_torch.arithmetic.steps import whole_power
from exact_torch.cuda.contraction import Contractions, Route
from exact_torch.cuda.program import (
    BLOCKS_MAX,
    GRID_YZ_MAX,
    THREADS,
    Argument,
    CudaProgram,
    Program,
    divided_up,
    walk,
)
from exact_torch.kernels import TorchKernels
from exact_torch.self_test import check_kernels

SHARED_BLOCKS: Final = 1024
"""Blocks that share sums: a few on each multiprocessor of the largest GPU."""

ROWS_OF_BLOCKS_MIN: Final = 256
ELEMENTS_OF_BLOCK_MAX: Final = 1 << 13
"""A block sums a row by itself where there are this many rows, or at most this many elements."""

FLOAT64_CAPABILITIES: Final = frozenset({(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)})
"""Devices whose float64 runs at half of float32's rate or more; others have 1/32 or 1/64."""


class CudaKernels(TorchKernels):
    """CUDA kernels; what they do not cover, and tensors elsewhere, fall back to the reference.

    Args:
        program: what launches kernels; the CUDA one by default.
        route: takes every E14 and E21 product, for tests; by default the sizes decide.

    Raises:
        EngineRefused: there is no GPU, its kernels cannot be compiled, or a route is not exact.
    """

    name = "cuda"

    def __init__(self, program: Program | None = None, route: Route | None = None) -> None:
        self.program = program or CudaProgram()
        self._contractions = Contractions(self.program, route)
        if program is None:
            # the engine's self-test goes by sizes, which would not reach all routes
            for one in Route:
                check_kernels(CudaKernels(self.program, one), torch.device("cuda"))

    # ---- contractions ---------------------------------------------------------------------------

    def contract(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        precision: Precision,
        *,
        addend: torch.Tensor | None = None,
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> torch.Tensor:
        """See `TorchKernels.contract`; up to one batch dimension is the kernels'."""
        if a.dim() > 3 or b.dim() > 3 or not a.numel() or not b.numel() or not self._takes(a, b):
            return super().contract(a, b, precision, addend=addend, alpha=alpha, beta=beta)
        return self._contractions.contract(a, b, precision, addend, (float(alpha), float(beta)))

    # ---- sums -----------------------------------------------------------------------------------

    def sum(self, x: torch.Tensor, dims: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
        """See `TorchKernels.sum`."""
        if x.dim() == 0 or not dims or not x.numel() or not self._takes(x):
            return super().sum(x, dims, keepdim=keepdim)
        x = x if x.dtype in (F32, F64) else x.to(F32 if x.is_floating_point() else F64)
        reduced = sorted({d % x.dim() for d in dims})
        kept = [d for d in range(x.dim()) if d not in reduced]
        first, last = reduced[0], reduced[-1]
        if len(reduced) != last - first + 1:  # gaps: what is summed goes last
            sets = x.permute(*kept, *reduced).reshape(-1, _size(x, reduced), 1)
        else:
            before, after = range(first), range(last + 1, x.dim())
            sets = x.reshape(_size(x, before), _size(x, reduced), _size(x, after))
        total = self._sums(sets.contiguous())
        shape = [1 if d in reduced else size for d, size in enumerate(x.shape)]
        return total.reshape(shape if keepdim else [x.shape[d] for d in kept])

    def _sums(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sums of (outer, n, inner) over n, float64 (outer, inner)."""
        outer, n, inner = x.shape
        kind = "f32" if x.dtype is F32 else "f64"
        total = torch.empty((outer, inner), dtype=F64, device=x.device)
        if inner == 1 and (outer >= ROWS_OF_BLOCKS_MIN or n <= ELEMENTS_OF_BLOCK_MAX):
            self._rows(f"exact_sum_rows_{kind}", outer, n, x, outer, n, total)
            return total
        largest, totals = self._zeros(outer * inner, x), self._zeros(outer * inner, x)
        blocks = _shared_blocks(outer, n, inner)
        sizes = (outer, n, inner)
        self.program.launch(f"exact_largest_{kind}", blocks, THREADS, (x, *sizes, largest))
        self.program.launch(f"exact_totals_{kind}", blocks, THREADS, (x, *sizes, largest, totals))
        self._finish_sums(largest, totals, None, 1, n, total)
        return total

    def sum_at(self, terms: torch.Tensor, index: torch.Tensor, rows: int) -> torch.Tensor:
        """See `TorchKernels.sum_at`."""
        if not terms.numel() or not self._takes(terms, index):
            return super().sum_at(terms, index, rows)
        x = (terms if terms.dtype in (F32, F64) else terms.to(F32)).contiguous()
        n, width = x.shape
        kind = "f32" if x.dtype is F32 else "f64"
        counts, largest = self._zeros(rows, x), self._zeros(rows * width, x)
        totals = torch.zeros_like(largest)
        where = index.contiguous()
        walk(
            self.program,
            f"exact_largest_at_{kind}",
            n * width,
            x,
            where,
            n,
            width,
            largest,
            counts,
        )
        walk(
            self.program,
            f"exact_totals_at_{kind}",
            n * width,
            x,
            where,
            n,
            width,
            largest,
            counts,
            totals,
        )
        total = torch.empty((rows, width), dtype=F64, device=x.device)
        self._finish_sums(largest, totals, counts, width, 0, total)
        return total

    def _finish_sums(
        self,
        largest: torch.Tensor,
        totals: torch.Tensor,
        counts: torch.Tensor | None,
        width: int,
        terms: int,
        out: torch.Tensor,
    ) -> None:
        sets = out.numel()
        blocks = (divided_up(sets, THREADS), 1, 1)
        arguments = (largest, totals, counts, sets, width, terms, out)
        self.program.launch("exact_finish_sums", blocks, THREADS, arguments)

    # ---- random words ---------------------------------------------------------------------------

    def words(self, key: int, count: int, device: torch.device | str) -> torch.Tensor:
        """See `TorchKernels.words`."""
        return self._drawn("words", I64, key, count, device)

    def uniform(self, key: int, count: int, device: torch.device | str) -> torch.Tensor:
        """See `TorchKernels.uniform`."""
        return self._drawn("uniform", F32, key, count, device)

    def _drawn(
        self, what: str, kind: torch.dtype, key: int, count: int, device: torch.device | str
    ) -> torch.Tensor:
        out = torch.empty(count, dtype=kind, device=device)
        if not count or not self._takes(out):
            drawn: torch.Tensor = getattr(super(), what)(key, count, device)
            return drawn
        walk(self.program, f"exact_philox_{what}", divided_up(count, 4), key, count, out)
        return out

    # ---- elementwise functions ------------------------------------------------------------------

    def unary(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """See `TorchKernels.unary`."""
        if x.dtype is F64 or not x.numel() or not self._takes(x):
            return super().unary(name, x)
        wide = x.to(F32).contiguous()
        out = torch.empty_like(wide)
        walk(self.program, f"exact_{name}", wide.numel(), wide, out, wide.numel())
        return out.to(x.dtype)

    def binary(self, name: str, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `TorchKernels.binary`."""
        usable = F64 not in (g.dtype, x.dtype) and g.shape == x.shape and g.numel()
        if not usable or not self._takes(g, x):
            return super().binary(name, g, x)
        left, right = g.to(F32).contiguous(), x.to(F32).contiguous()
        out = torch.empty_like(left)
        walk(self.program, f"exact_{name}", out.numel(), left, right, out, out.numel())
        return out.to(g.dtype)

    # ---- rows -----------------------------------------------------------------------------------

    def softmax(self, x: torch.Tensor, *, log: bool, empty_rows_are_zero: bool) -> torch.Tensor:
        """See `TorchKernels.softmax`."""
        if x.dtype is F64 or not x.numel() or not self._takes(x):
            return super().softmax(x, log=log, empty_rows_are_zero=empty_rows_are_zero)
        wide = x.to(F32).contiguous()
        out = torch.empty_like(wide)
        length = wide.shape[-1]
        rows = wide.numel() // length
        self._rows("exact_softmax", rows, length, wide, rows, length, log, empty_rows_are_zero, out)
        return out

    def softmax_backward(self, g: torch.Tensor, y: torch.Tensor, *, log: bool) -> torch.Tensor:
        """See `TorchKernels.softmax_backward`."""
        if F64 in (g.dtype, y.dtype) or not g.numel() or not self._takes(g, y):
            return super().softmax_backward(g, y, log=log)
        left, right = g.to(F32).contiguous(), y.to(F32).contiguous()
        out = torch.empty_like(left)
        length = left.shape[-1]
        rows = left.numel() // length
        self._rows("exact_softmax_backward", rows, length, left, right, rows, length, log, out)
        return out

    def layer_norm(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `TorchKernels.layer_norm`."""
        if x.dtype is F64 or not x.numel() or not self._takes(x):
            return super().layer_norm(x, weight, bias, eps)
        wide = x.to(F32).contiguous()
        rows, length = wide.shape
        y = torch.empty_like(wide)
        mean, rstd = (torch.empty(rows, dtype=F32, device=x.device) for _ in range(2))
        self._rows(
            "exact_layer_norm", rows, length,
            wide, rows, length, _full_precision(weight), _full_precision(bias), float(eps),
            y, mean, rstd,
        )  # fmt: skip
        return y, mean, rstd

    def layer_norm_backward(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        mean: torch.Tensor,
        rstd: torch.Tensor,
        weight: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `TorchKernels.layer_norm_backward`."""
        if F64 in (g.dtype, x.dtype) or not x.numel() or not self._takes(g, x):
            return super().layer_norm_backward(g, x, mean, rstd, weight)
        rows, length = x.shape
        operands = tuple(t.to(F32).contiguous() for t in (g, x, mean, rstd))
        dx = torch.empty_like(operands[1])
        self._rows(
            "exact_layer_norm_backward", rows, length,
            *operands, rows, length, _full_precision(weight), dx,
        )  # fmt: skip
        largest, totals = self._zeros(2 * length, x), self._zeros(2 * length, x)
        blocks = _shared_blocks(1, rows, length)
        sizes = (rows, length)
        launch = self.program.launch
        launch("exact_layer_norm_largest", blocks, THREADS, (*operands, *sizes, largest))
        launch("exact_layer_norm_totals", blocks, THREADS, (*operands, *sizes, largest, totals))
        sums = torch.empty(2 * length, dtype=F64, device=x.device)
        self._finish_sums(largest, totals, None, 1, rows, sums)
        dweight, dbias = canonical_nan(sums.to(F32)).chunk(2)
        return dx, dweight, dbias

    # ---- optimizer steps ------------------------------------------------------------------------

    def adam_step(
        self,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        *,
        largest: torch.Tensor | None = None,
        step: int,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
    ) -> None:
        """See `TorchKernels.adam_step`."""
        if not self._takes_plain(parameter, gradient, first, second, largest):
            super().adam_step(
                parameter, gradient, first, second, largest=largest, step=step, lr=lr, beta1=beta1,
                beta2=beta2, eps=eps, weight_decay=weight_decay, decoupled=decoupled,
            )  # fmt: skip
            return
        factors = (
            1.0 - lr * weight_decay if decoupled else 1.0, 0.0 if decoupled else weight_decay,
            beta1, 1.0 - beta1, beta2, 1.0 - beta2,
            math.sqrt(1.0 - whole_power(beta2, step)), lr / (1.0 - whole_power(beta1, step)), eps,
        )  # fmt: skip
        count = parameter.numel()
        tensors = (parameter, gradient, first, second, largest)
        walk(self.program, "exact_adam", count, *tensors, count, *map(float, factors))

    def sgd_step(
        self,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        buffer: torch.Tensor | None,
        *,
        first: bool,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
    ) -> None:
        """See `TorchKernels.sgd_step`."""
        if not self._takes_plain(parameter, gradient, buffer):
            super().sgd_step(
                parameter, gradient, buffer, first=first, lr=lr, momentum=momentum,
                dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            )  # fmt: skip
            return
        factors = map(float, (lr, momentum, 1.0 - dampening, weight_decay))
        count = parameter.numel()
        tensors = (parameter, gradient, buffer)
        walk(self.program, "exact_sgd", count, *tensors, count, first, *factors, nesterov)

    # ---- launching ------------------------------------------------------------------------------

    def _takes(self, *tensors: torch.Tensor) -> bool:
        return all(x.device.type == self.program.device_type for x in tensors)

    def _takes_plain(self, *tensors: torch.Tensor | None) -> bool:
        """Whether kernels can go through all of them with one index, in place."""
        present = [x for x in tensors if x is not None]
        plain = all(x.dtype is F32 and x.is_contiguous() and x.numel() for x in present)
        return plain and self._takes(*present)

    def _rows(self, kernel: str, rows: int, length: int, *arguments: Argument) -> None:
        """Launch a kernel whose blocks take a row each, then the next."""
        threads = min(THREADS, max(32, 1 << (length - 1).bit_length()))
        self.program.launch(kernel, (min(rows, BLOCKS_MAX), 1, 1), threads, arguments)

    def _zeros(self, count: int, like: torch.Tensor) -> torch.Tensor:
        return torch.zeros(count, dtype=I64, device=like.device)


def _shared_blocks(outer: int, n: int, inner: int) -> tuple[int, int, int]:
    """Return blocks for sums over n of (outer, n, inner) that many blocks share."""
    tiles = 1 if inner == 1 else divided_up(inner, 32)
    lines = THREADS if inner == 1 else THREADS // 32
    outer = min(outer, GRID_YZ_MAX)
    parts = max(1, SHARED_BLOCKS // (tiles * outer))
    return tiles, min(divided_up(n, 8 * lines), parts), outer


def _size(x: torch.Tensor, dims: Iterable[int]) -> int:
    return math.prod(x.shape[d] for d in dims)


def _full_precision(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.to(F32).contiguous()
