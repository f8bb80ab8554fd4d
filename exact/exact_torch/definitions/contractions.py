"""Matrix products."""

import math

import torch
from torch.nn import functional

from exact_torch.arithmetic.bits import F32
from exact_torch.errors import UnsupportedOp
from exact_torch.state import active_precision, kernels
from exact_torch.table import Rule, define, replace

Number = float | int


def contract(
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    addend: torch.Tensor | None = None,
    alpha: Number = 1,
    beta: Number = 1,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return alpha·(a @ b) + beta·addend in the mode's precision and the operands' type.

    Raises:
        UnsupportedOp: the operands are float64, which no precision of a mode covers.
    """
    kind = dtype or torch.promote_types(a.dtype, b.dtype)
    if not kind.is_floating_point:
        return _integers(a, b, addend, int(alpha), int(beta))
    if kind is torch.float64:
        raise UnsupportedOp(
            "matrix product", "float64 is wider than E21; convert to float32", (a, b)
        )
    result = kernels(a).contract(
        a,
        b,
        active_precision(),
        addend=addend if beta != 0 else None,
        alpha=float(alpha),
        beta=float(beta),
    )
    return result if kind is F32 else result.to(kind)


def _integers(
    a: torch.Tensor, b: torch.Tensor, addend: torch.Tensor | None, alpha: int, beta: int
) -> torch.Tensor:
    product = torch.matmul(a, b) * alpha
    return product if addend is None or beta == 0 else product + addend * beta


_MEANING = "exact integer product of quantised rows and columns, rounded once"


@define("mm", "bmm", rule=Rule.CONTRACTION, meaning=_MEANING)
def mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply matrices, or batches of them."""
    return contract(a, b)


@define("matmul", rule=Rule.CONTRACTION, meaning=_MEANING)
def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply with broadcasting; vectors are rows on the left, columns on the right."""
    left = a.unsqueeze(0) if a.dim() == 1 else a
    right = b.unsqueeze(1) if b.dim() == 1 else b
    result = batched(left, right)
    if a.dim() == 1:
        result = result.squeeze(-2)
    return result.squeeze(-1) if b.dim() == 1 else result


def batched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply (..., M, K) by (..., K, N), leading dimensions broadcast."""
    if b.dim() == 2:
        return contract(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    shape = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = a.expand(*shape, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
    right = b.expand(*shape, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
    return contract(left, right).reshape(*shape, a.shape[-2], b.shape[-1])


@define("addmm", "baddbmm", rule=Rule.CONTRACTION, meaning="alpha·(a @ b) + beta·c, rounded once")
def addmm(
    c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: Number = 1, alpha: Number = 1
) -> torch.Tensor:
    """Multiply matrices and add."""
    return contract(a, b, addend=c, alpha=alpha, beta=beta, dtype=_with(c, a, b))


def _with(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.dtype:
    return torch.promote_types(torch.promote_types(a.dtype, b.dtype), c.dtype)


@define("linear", rule=Rule.CONTRACTION, meaning="x @ weightᵀ + bias, rounded once")
def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Apply an affine map to the last dimension."""
    rows = contract(x.reshape(-1, x.shape[-1]), weight.t(), addend=bias)
    return rows.reshape(*x.shape[:-1], weight.shape[0])


@replace(functional.linear, rule=Rule.CONTRACTION, meaning="x @ weightᵀ + bias, rounded once")
def linear_above_autograd(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Apply an affine map; torch makes it one op or two, by the strides and shape of its input."""
    if weight.dim() != 2:
        product = torch.matmul(input, weight.t())
        return product if bias is None else product + bias
    rows = input.reshape(math.prod(input.shape[:-1]), input.shape[-1])
    result = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    return result.reshape(*input.shape[:-1], weight.shape[0])


@define(
    "addbmm", rule=Rule.CONTRACTION, meaning="beta·c + alpha·sum of the products, as one product"
)
def addbmm(
    c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: Number = 1, alpha: Number = 1
) -> torch.Tensor:
    """Multiply batches and add all products: one product over the batch and the inner dimension."""
    left = a.permute(1, 0, 2).reshape(a.shape[1], -1)
    return contract(left, b.reshape(-1, b.shape[2]), addend=c, alpha=alpha, beta=beta)


@define("mv", rule=Rule.CONTRACTION, meaning=_MEANING)
def mv(a: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Multiply a matrix by a vector."""
    return contract(a, v.unsqueeze(1)).squeeze(1)


@define("addmv", rule=Rule.CONTRACTION, meaning="alpha·(a @ v) + beta·c, rounded once")
def addmv(
    c: torch.Tensor, a: torch.Tensor, v: torch.Tensor, *, beta: Number = 1, alpha: Number = 1
) -> torch.Tensor:
    """Multiply a matrix by a vector and add."""
    column = c.unsqueeze(-1) if c.dim() else c
    return contract(a, v.unsqueeze(1), addend=column, alpha=alpha, beta=beta).squeeze(1)


@define("dot", "vdot", rule=Rule.CONTRACTION, meaning=_MEANING)
def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply two vectors to a number."""
    return contract(a.unsqueeze(0), b.unsqueeze(1)).reshape(())


@define("outer", "ger", rule=Rule.IEEE, meaning="a·b of every pair, rounded")
def outer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply every pair."""
    return a.unsqueeze(1) * b.unsqueeze(0)
