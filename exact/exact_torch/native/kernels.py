"""The CPU engine: `TorchKernels` with C++ where it is faster, bit for bit the same."""

import ctypes
import math
from ctypes import c_double, c_int, c_int64, c_uint64, c_void_p
from typing import Any, Final

import torch

from exact_torch.arithmetic.bits import F32, F64
from exact_torch.arithmetic.contraction import Precision
from exact_torch.arithmetic.steps import whole_power
from exact_torch.kernels import BINARY, UNARY, TorchKernels
from exact_torch.native import build

_PRECISIONS: Final = {Precision.E21: 0, Precision.E14: 1, Precision.FMA: 2}
_NATIVE_UNARY: Final = frozenset(UNARY)
_NATIVE_BINARY: Final = frozenset(BINARY)


class NativeKernels(TorchKernels):
    """C++ kernels by ctypes; what they do not cover falls back to the reference."""

    name = "native"

    def __init__(self) -> None:
        self.isa = build.chosen_isa()
        self._library = _load(str(build.library(self.isa)))

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
        """See `TorchKernels.contract`; up to one batch dimension is native."""
        if a.dim() > 3 or b.dim() > 3 or a.device.type != "cpu" or a.shape[-1] == 0:
            return super().contract(a, b, precision, addend=addend, alpha=alpha, beta=beta)
        left, right = (x.unsqueeze(0) if x.dim() == 2 else x for x in (a.to(F32), b.to(F32)))
        batch = max(left.shape[0], right.shape[0])
        rows, inner, columns = left.shape[1], left.shape[2], right.shape[2]
        out = torch.empty((batch, rows, columns), dtype=F32)
        strides: tuple[int, ...] = (0, 0, 0)
        if addend is not None:
            addend = addend.to(F32).expand(
                out.shape if a.dim() == 3 or b.dim() == 3 else out.shape[1:]
            )
            strides = addend.stride() if addend.dim() == 3 else (0, *addend.stride())
        if out.numel():
            self._library.exact_contract(
                _PRECISIONS[precision], batch, rows, columns, inner,
                left.data_ptr(), *_batched_strides(left),
                right.data_ptr(), *_batched_strides(right),
                _pointer(addend), *strides, alpha, beta, out.data_ptr(),
            )  # fmt: skip
        return out if a.dim() == 3 or b.dim() == 3 else out.squeeze(0)

    def sum(self, x: torch.Tensor, dims: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
        """See `TorchKernels.sum`."""
        if x.dim() == 0 or not dims or x.numel() == 0 or x.dtype not in (F32, F64):
            x = x if x.dtype in (F32, F64) else x.to(F32 if x.is_floating_point() else F64)
            if x.dim() == 0 or not dims or x.numel() == 0:
                return super().sum(x, dims, keepdim=keepdim)
        reduced = sorted({d % x.dim() for d in dims})
        kept = [d for d in range(x.dim()) if d not in reduced]
        if reduced == list(range(len(reduced))) and kept:
            columns = x.contiguous().reshape(-1, _size(x, kept))
            total, special = self._sums("columns", columns)
        else:
            rows = x.permute(*kept, *reduced).reshape(-1, _size(x, reduced)).contiguous()
            total, special = self._sums("rows", rows)
        if special:
            return super().sum(x, dims, keepdim=keepdim)
        shape = [1 if d in reduced else s for d, s in enumerate(x.shape)]
        return total.reshape(shape if keepdim else [x.shape[d] for d in kept])

    def _sums(self, along: str, x: torch.Tensor) -> tuple[torch.Tensor, bool]:
        kind = "f32" if x.dtype is F32 else "f64"
        out = torch.empty(x.shape[0 if along == "rows" else 1], dtype=F64)
        run = getattr(self._library, f"exact_sum_{along}_{kind}")
        return out, bool(run(x.data_ptr(), *x.shape, out.data_ptr()))

    def words(
        self,
        key: int,
        count: int,
        device: torch.device | str,  # noqa: ARG002 - it is the CPU
    ) -> torch.Tensor:
        """See `TorchKernels.words`."""
        out = torch.empty(count, dtype=torch.int64)
        self._library.exact_philox_words(key, count, out.data_ptr())
        return out

    def uniform(
        self,
        key: int,
        count: int,
        device: torch.device | str,  # noqa: ARG002 - it is the CPU
    ) -> torch.Tensor:
        """See `TorchKernels.uniform`."""
        out = torch.empty(count, dtype=F32)
        self._library.exact_philox_uniform(key, count, out.data_ptr())
        return out

    def unary(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """See `TorchKernels.unary`."""
        if x.dtype is F64 or name not in _NATIVE_UNARY:
            return super().unary(name, x)
        wide = x.to(F32).contiguous()
        out = torch.empty_like(wide)
        getattr(self._library, f"exact_{name}")(wide.data_ptr(), out.data_ptr(), wide.numel())
        return out if x.dtype is F32 else out.to(x.dtype)

    def binary(self, name: str, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `TorchKernels.binary`."""
        if F64 in (g.dtype, x.dtype) or name not in _NATIVE_BINARY or g.shape != x.shape:
            return super().binary(name, g, x)
        left, right = g.to(F32).contiguous(), x.to(F32).contiguous()
        out = torch.empty_like(left)
        run = getattr(self._library, f"exact_{name}")
        run(left.data_ptr(), right.data_ptr(), out.data_ptr(), out.numel())
        return out if g.dtype is F32 else out.to(g.dtype)

    def softmax(self, x: torch.Tensor, *, log: bool, empty_rows_are_zero: bool) -> torch.Tensor:
        """See `TorchKernels.softmax`."""
        if x.dtype is F64 or x.numel() == 0:
            return super().softmax(x, log=log, empty_rows_are_zero=empty_rows_are_zero)
        wide = x.to(F32).contiguous()
        out = torch.empty_like(wide)
        length = wide.shape[-1]
        self._library.exact_softmax(
            wide.data_ptr(),
            wide.numel() // length,
            length,
            log,
            empty_rows_are_zero,
            out.data_ptr(),
        )
        return out

    def softmax_backward(self, g: torch.Tensor, y: torch.Tensor, *, log: bool) -> torch.Tensor:
        """See `TorchKernels.softmax_backward`."""
        if F64 in (g.dtype, y.dtype) or g.numel() == 0:
            return super().softmax_backward(g, y, log=log)
        left, right = g.to(F32).contiguous(), y.to(F32).contiguous()
        out = torch.empty_like(left)
        length = left.shape[-1]
        special = self._library.exact_softmax_backward(
            left.data_ptr(), right.data_ptr(), left.numel() // length, length, log, out.data_ptr()
        )
        return super().softmax_backward(g, y, log=log) if special else out

    def layer_norm(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `TorchKernels.layer_norm`."""
        if x.dtype is F64 or x.numel() == 0:
            return super().layer_norm(x, weight, bias, eps)
        wide = x.to(F32).contiguous()
        rows, length = wide.shape
        scale, shift = _full_precision(weight), _full_precision(bias)
        y, mean, rstd = torch.empty_like(wide), torch.empty(rows), torch.empty(rows)
        special = self._library.exact_layer_norm(
            wide.data_ptr(), rows, length, _pointer(scale), _pointer(shift), eps,
            y.data_ptr(), mean.data_ptr(), rstd.data_ptr(),
        )  # fmt: skip
        return super().layer_norm(x, weight, bias, eps) if special else (y, mean, rstd)

    def layer_norm_backward(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        mean: torch.Tensor,
        rstd: torch.Tensor,
        weight: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `TorchKernels.layer_norm_backward`."""
        if F64 in (g.dtype, x.dtype) or x.numel() == 0:
            return super().layer_norm_backward(g, x, mean, rstd, weight)
        left, right = g.to(F32).contiguous(), x.to(F32).contiguous()
        average, scale = mean.to(F32).contiguous(), rstd.to(F32).contiguous()
        factor = _full_precision(weight)
        rows, length = right.shape
        dx, dweight, dbias = torch.empty_like(right), torch.empty(length), torch.empty(length)
        special = self._library.exact_layer_norm_backward(
            left.data_ptr(), right.data_ptr(), average.data_ptr(), scale.data_ptr(), rows, length,
            _pointer(factor), dx.data_ptr(), dweight.data_ptr(), dbias.data_ptr(),
        )  # fmt: skip
        if special:
            return super().layer_norm_backward(g, x, mean, rstd, weight)
        return dx, dweight, dbias

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
        if not _all_plain(parameter, gradient, first, second, largest):
            super().adam_step(
                parameter, gradient, first, second, largest=largest, step=step, lr=lr, beta1=beta1,
                beta2=beta2, eps=eps, weight_decay=weight_decay, decoupled=decoupled,
            )  # fmt: skip
            return
        self._library.exact_adam(
            parameter.data_ptr(), gradient.data_ptr(), first.data_ptr(), second.data_ptr(),
            _pointer(largest), parameter.numel(),
            1.0 - lr * weight_decay if decoupled else 1.0, 0.0 if decoupled else weight_decay,
            beta1, 1.0 - beta1, beta2, 1.0 - beta2,
            math.sqrt(1.0 - whole_power(beta2, step)), lr / (1.0 - whole_power(beta1, step)), eps,
        )  # fmt: skip

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
        if not _all_plain(parameter, gradient, buffer):
            super().sgd_step(
                parameter, gradient, buffer, first=first, lr=lr, momentum=momentum,
                dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            )  # fmt: skip
            return
        self._library.exact_sgd(
            parameter.data_ptr(), gradient.data_ptr(), _pointer(buffer), parameter.numel(), first,
            lr, momentum, 1.0 - dampening, weight_decay, nesterov,
        )  # fmt: skip


def _all_plain(*tensors: torch.Tensor | None) -> bool:
    """Whether C++ can go through all of them with one index."""
    return all(t is None or (t.dtype is F32 and t.is_contiguous()) for t in tensors)


def _batched_strides(x: torch.Tensor) -> tuple[int, int, int]:
    """Return the strides of (batch, row, column); 0 for a batch of one, which is shared."""
    batch, row, column = x.stride()
    return (batch if x.shape[0] > 1 else 0, row, column)


def _size(x: torch.Tensor, dims: list[int]) -> int:
    size = 1
    for d in dims:
        size *= x.shape[d]
    return size


def _full_precision(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.to(F32).contiguous()


def _pointer(x: torch.Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _load(path: str) -> Any:
    library = ctypes.CDLL(path)
    size, pointer = c_int64, c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "exact_contract": (
            None,
            [size] * 5 + [pointer] + [size] * 3 + [pointer] + [size] * 3 + [pointer] + [size] * 3
            + [c_double, c_double, pointer],
        ),
        "exact_softmax": (None, [pointer, size, size, size, size, pointer]),
        "exact_softmax_backward": (c_int, [pointer, pointer, size, size, size, pointer]),
        "exact_layer_norm": (
            c_int, [pointer, size, size, pointer, pointer, c_double, pointer, pointer, pointer]
        ),
        "exact_layer_norm_backward": (
            c_int, [pointer] * 4 + [size, size] + [pointer] * 4
        ),
        "exact_adam": (None, [pointer] * 5 + [size] + [c_double] * 9),
        "exact_philox_words": (None, [c_uint64, size, pointer]),
        "exact_philox_uniform": (None, [c_uint64, size, pointer]),
        "exact_sgd": (None, [pointer] * 3 + [size, size] + [c_double] * 4 + [size]),
        **{f"exact_{name}": (None, [pointer, pointer, size]) for name in _NATIVE_UNARY},
        **{f"exact_{name}": (None, [pointer, pointer, pointer, size]) for name in _NATIVE_BINARY},
        **{
            f"exact_sum_{along}_{kind}": (c_int, [pointer, size, size, pointer])
            for along in ("rows", "columns")
            for kind in ("f32", "f64")
        },
    }  # fmt: skip
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
