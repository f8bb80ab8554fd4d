"""The operations that engines compute: the reference in torch ops, and where faster ones plug in.

`TorchKernels` is the reference. An engine subclasses it and overrides what it computes faster, with
the same bits; `self_test` holds them against each other. All float inputs are taken at their exact
value; results are float32 unless said otherwise.
"""

import torch

from exact_torch.arithmetic import contraction, functions, philox, scattered_sums, steps, sums
from exact_torch.arithmetic.bits import F32, F64, canonical_nan
from exact_torch.arithmetic.contraction import Precision

UNARY = {
    "exp": functions.exp64,
    "log": functions.log,
    "log1p": functions.log1p,
    "expm1": functions.expm1,
    "sigmoid": functions.sigmoid,
    "tanh": functions.tanh,
    "erf": functions.erf,
    "softplus": functions.softplus,
    "gelu": lambda x: x * functions.normal_cdf(x),
    "silu": lambda x: x * functions.sigmoid(x),
}
"""Functions of one float64 argument, rounded once; the formula in `definitions` is the same."""


def _gelu_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return g * (functions.normal_cdf(x) + x * functions.normal_pdf(x))


def _silu_backward(g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    s = functions.sigmoid(x)
    one = torch.ones_like(x)
    return g * (s * (one + x * (one - s)))


def _tanh_backward(g: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return g * (torch.ones_like(y) - y * y)


def _sigmoid_backward(g: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return g * ((torch.ones_like(y) - y) * y)


BINARY = {
    "gelu_backward": _gelu_backward,
    "silu_backward": _silu_backward,
    "tanh_backward": _tanh_backward,
    "sigmoid_backward": _sigmoid_backward,
}
"""Functions of a gradient and one more float64 argument, rounded once."""


class TorchKernels:
    """The reference: pure torch, one float64 matrix product a contraction, on any device."""

    name = "float64"

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
        """Return alpha·(a @ b) + beta·addend, float32 (..., M, N).

        The value of the product, float64, is multiplied by alpha, the float64 addend by beta; they
        are added, and the sum is rounded once.

        Args:
            a: (..., M, K), float32 or narrower.
            b: (..., K, N).
            precision: how the product is computed.
            addend: broadcastable to the result.
            alpha: factor of the product.
            beta: factor of the addend.
        """
        value = self._product(a, b, precision)
        if alpha != 1.0:
            value = value * alpha
        if addend is not None:
            scaled = addend.to(F64)
            value = value + (scaled * beta if beta != 1.0 else scaled)
        return canonical_nan(value.to(F32))

    def _product(self, a: torch.Tensor, b: torch.Tensor, precision: Precision) -> torch.Tensor:
        if precision is Precision.FMA:
            return contraction.fused_chain(a.to(F32), b.to(F32)).to(F64)
        bits = contraction.BITS[precision]
        if a.shape[-1] == 0:
            shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
            return torch.zeros((*shape, a.shape[-2], b.shape[-1]), dtype=F64, device=a.device)
        if a.numel() == 0 or b.numel() == 0:
            return a.to(F64) @ b.to(F64)
        left, left_unit = contraction.quantise(a, -1, bits)
        right, right_unit = contraction.quantise(b, -2, bits)
        return (self._integer_product(left, right, bits) * left_unit) * right_unit

    def _integer_product(self, a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
        return contraction.product_float64(a, b, bits)

    def sum(self, x: torch.Tensor, dims: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
        """Return the exact sum over dims, float64."""
        return sums.exact_sum(x, dims, keepdim=keepdim)

    def words(self, key: int, count: int, device: torch.device | str) -> torch.Tensor:
        """Return `count` words of Philox, int64 in [0, 2^32), of a 64-bit key."""
        return philox.words(key, count, device)

    def uniform(self, key: int, count: int, device: torch.device | str) -> torch.Tensor:
        """Return float32 in [0, 1): the upper 24 bits of each word over 2^24."""
        return philox.uniform(key, count, device)

    def sum_at(self, terms: torch.Tensor, index: torch.Tensor, rows: int) -> torch.Tensor:
        """Return the exact sums of terms (n, d) by destination row, float64 (rows, d).

        Args:
            terms: floating point, (n, d).
            index: int64 (n,) in [0, rows): the row that each term goes to.
            rows: how many destinations there are; one without terms is zero.
        """
        return scattered_sums.exact_sum_at(terms, index, rows)

    def unary(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Return a function of `UNARY`, in x's type."""
        return functions.rounded(UNARY[name], x)

    def binary(self, name: str, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return a function of `BINARY`, in g's type."""
        nan = torch.isnan(x) | torch.isnan(g)
        clean = torch.where(nan, torch.zeros_like(x), x).to(F64)
        result = functions.to_type(BINARY[name](g.to(F64), clean), g.dtype)
        return torch.where(nan, torch.full_like(result, float("nan")), result)

    def softmax(self, x: torch.Tensor, *, log: bool, empty_rows_are_zero: bool) -> torch.Tensor:
        """Return softmax or log-softmax over the last dimension, float32.

        d = x - max in float64, S = sum of round_half_even(e^d · 2^40); softmax = e^d · (2^40/S),
        log-softmax = d - ln(S · 2^-40). A row of -inf alone gives NaN, or zeros where asked for.
        """
        x = x.to(F64)
        largest = x.amax(-1, keepdim=True) if x.shape[-1] else x.sum(-1, keepdim=True)
        valid = torch.isfinite(largest)
        shifted = torch.where(valid, x - largest, torch.zeros_like(x))
        e = functions.exp64(shifted)
        total = torch.round(e * 2.0**40).to(torch.int64).sum(-1, keepdim=True).to(F64)
        if log:
            result = shifted - functions.log64(total * 2.0**-40)
        else:
            result = e * (torch.full_like(total, 2.0**40) / total)
        hollow = empty_rows_are_zero & (largest == -float("inf"))
        invalid = torch.where(hollow, 0.0, float("nan"))
        return torch.where(valid, result, invalid.to(F64)).to(F32)

    def softmax_backward(self, g: torch.Tensor, y: torch.Tensor, *, log: bool) -> torch.Tensor:
        """Return the gradient of softmax or log-softmax over the last dimension, float32.

        softmax: y·(g - sum(g·y)); log-softmax: g - e^y·sum(g).
        """
        g, y = g.to(F64), y.to(F64)
        if log:
            nan = torch.isnan(y)
            e = functions.exp64(torch.where(nan, torch.zeros_like(y), y))
            e = torch.where(nan, y, e)
            return canonical_nan((g - e * sums.exact_sum(g, (-1,), keepdim=True)).to(F32))
        return canonical_nan((y * (g - sums.exact_sum(g * y, (-1,), keepdim=True))).to(F32))

    def layer_norm(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Normalise the rows of x, (rows, n).

        mean = sum(x)/n, d = x - mean, rstd = 1/sqrt(sum(d·d)/n + eps), y = (d·rstd)·weight + bias.

        Returns:
            y, float32 (rows, n); mean and rstd, float32 (rows,).
        """
        x = x.to(F64)
        count = torch.full((), float(x.shape[-1]), dtype=F64, device=x.device)
        mean = sums.exact_sum(x, (-1,), keepdim=True) / count
        d = x - mean
        variance = sums.exact_sum(d * d, (-1,), keepdim=True) / count
        rstd = torch.ones_like(variance) / torch.sqrt(variance + eps)
        y = d * rstd
        if weight is not None:
            y = y * weight.to(F64)
        if bias is not None:
            y = y + bias.to(F64)
        found = [canonical_nan(t.to(F32)) for t in (y, mean, rstd)]
        return found[0], found[1].squeeze(-1), found[2].squeeze(-1)

    def layer_norm_backward(
        self,
        g: torch.Tensor,
        x: torch.Tensor,
        mean: torch.Tensor,
        rstd: torch.Tensor,
        weight: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the gradients of x, weight and bias, float32 (rows, n), (n,), (n,).

        h = (x - mean)·rstd, w = g·weight, dx = rstd·((w - sum(w)/n) - h·(sum(w·h)/n)),
        dweight = sum of g·h over rows, dbias = sum of g over rows.
        """
        g, x = g.to(F64), x.to(F64)
        mean, rstd = mean.to(F64).unsqueeze(-1), rstd.to(F64).unsqueeze(-1)
        count = torch.full((), float(x.shape[-1]), dtype=F64, device=x.device)
        h = (x - mean) * rstd
        w = g if weight is None else g * weight.to(F64)
        first = sums.exact_sum(w, (-1,), keepdim=True) / count
        second = sums.exact_sum(w * h, (-1,), keepdim=True) / count
        dx = rstd * ((w - first) - h * second)
        dweight = sums.exact_sum(g * h, (0,))
        dbias = sums.exact_sum(g, (0,))
        found = [canonical_nan(t.to(F32)) for t in (dx, dweight, dbias)]
        return found[0], found[1], found[2]

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
        """Take a step of Adam or, decoupled, AdamW in place; `steps.adam` has the formula.

        Args:
            parameter: any float type; it and the states, of its shape, are overwritten.
            gradient: of its shape.
            first: the running mean of gradients.
            second: the running mean of their squares.
            largest: the largest `second` so far, for AMSGrad.
            step: the number of this step; the first is 1.
            lr: the learning rate, a float32.
            beta1: how much of `first` stays.
            beta2: how much of `second` stays.
            eps: added to the root of `second`.
            weight_decay: how much parameters shrink.
            decoupled: whether they shrink by themselves (AdamW) or through the gradient.
        """
        steps.adam(
            parameter,
            gradient,
            first,
            second,
            largest,
            step=step,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decoupled=decoupled,
        )

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
        """Take a step of gradient descent in place; `steps.sgd` has the formula.

        Args:
            parameter: any float type; it and the buffer, of its shape, are overwritten.
            gradient: of its shape.
            buffer: the running sum of gradients, or None without momentum.
            first: whether the buffer holds nothing yet.
            lr: the learning rate, a float32.
            momentum: how much of the buffer stays.
            dampening: how much of the gradient does not enter the buffer.
            weight_decay: how much parameters shrink, through the gradient.
            nesterov: whether the step looks ahead.
        """
        steps.sgd(
            parameter,
            gradient,
            buffer,
            first=first,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )


class Int8Kernels(TorchKernels):
    """The reference with contractions by int8 matrix products on balanced radix-128 digits.

    E14 has 2 digits and takes 3 products, E21 3 digits and 6 products (Karatsuba): digit sums stay
    in int8 because digits are in [-64, 64]. int32 accumulators hold 2^17 products of 2^14.
    """

    name = "int8"

    def _integer_product(self, a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
        if a.dim() == 2 and b.dim() == 2:
            return self._planes(a, b, bits)
        shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        left = a.expand(*shape, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
        right = b.expand(*shape, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
        products = [self._planes(x, y, bits) for x, y in zip(left, right, strict=True)]
        return torch.stack(products).reshape(*shape, a.shape[-2], b.shape[-1])

    def _planes(self, a: torch.Tensor, b: torch.Tensor, bits: int) -> torch.Tensor:
        count = 2 if bits == contraction.BITS[Precision.E14] else 3
        total = torch.zeros((a.shape[0], b.shape[1]), dtype=torch.int64, device=a.device)
        for start in range(0, a.shape[1], INT8_INNER_MAX):
            stop = start + INT8_INNER_MAX
            total += self._digit_products(
                digits(a[:, start:stop], count), digits(b[start:stop], count)
            )
        return total.to(F64)

    def _digit_products(self, a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
        squares = [int8_product(x, y) for x, y in zip(a, b, strict=True)]
        total = torch.zeros_like(squares[0])
        for i, square in enumerate(squares):
            total = total + (square << (14 * i))
            for j in range(i):
                mixed = int8_product(a[i] + a[j], b[i] + b[j]) - square - squares[j]
                total = total + (mixed << (7 * (i + j)))
        return total


INT8_INNER_MAX = 1 << 16


def digits(integers: torch.Tensor, count: int) -> list[torch.Tensor]:
    """Split integers (as float64, |q| <= 2^(7·count - 1)) into int8 digits, lowest first.

    Balanced radix 128: all but the highest in [-64, 63], that one in [-64, 64].
    """
    rest = integers.to(torch.int64)
    planes = []
    for _ in range(count - 1):
        digit = ((rest + 64) & 127) - 64
        planes.append(digit.to(torch.int8))
        rest = (rest - digit) >> 7
    return [*planes, rest.to(torch.int8)]


def int8_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the int64 product of int8 (M, K) and (K, N).

    cuBLASLt wants M > 16 and K and N divisible by 16; padding with zeros is exact.
    """
    rows, inner = a.shape
    columns = b.shape[1]
    if a.device.type == "cuda":
        a = torch.nn.functional.pad(a, (0, -inner % 16, 0, max(32 - rows, 0)))
        b = torch.nn.functional.pad(b, (0, -columns % 16, 0, -inner % 16))
        return torch._int_mm(a, b.t().contiguous().t())[:rows, :columns].to(torch.int64)
    return torch._int_mm(a.contiguous(), b.contiguous()).to(torch.int64)
