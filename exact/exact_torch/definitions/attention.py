"""Scaled dot-product attention (Vaswani et al., arXiv:1706.03762), composed of defined ops.

torch chooses between several fused kernels by device, shape and version; here the whole table of
scores is computed, rounded to float32, normalised and multiplied.
"""

import math

import torch
from torch.nn import functional

from exact_torch.errors import UnsupportedOp
from exact_torch.table import Rule, replace

SCORES_MAX = 1 << 20
"""Scores computed at a time without gradients: 4 MiB of float32, and a few times that beside."""


@replace(
    functional.scaled_dot_product_attention,
    rule=Rule.COMPOSITION,
    meaning="softmax(scale·(q @ kᵀ) + mask) @ v in float32; a query masked whole gives zeros",
)
def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Attend: query (..., L, E), key (..., S, E), value (..., S, V) to (..., L, V).

    Args:
        query: queries; half precisions are widened to float32.
        key: keys.
        value: values.
        attn_mask: broadcastable to (..., L, S); True or 0 lets a query see a key.
        dropout_p: probability that a weight is dropped, whatever the module's mode.
        is_causal: query i sees keys 0 to i.
        scale: factor of the scores; 1/sqrt(E) if None.
        enable_gqa: fewer heads (dimension -3) of keys and values than of queries, each repeated.

    Raises:
        RuntimeError: both a mask and is_causal are given, as torch raises.
        UnsupportedOp: the tensors are not floating point, or float64.
    """
    if attn_mask is not None and is_causal:
        raise RuntimeError("attn_mask must be None when is_causal is set")
    _check(query, key, value)
    kind = query.dtype
    if torch.is_autocast_enabled(query.device.type):
        # native attention is on autocast's list of ops that run in the low precision
        kind = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    with torch.autocast(query.device.type, enabled=False):
        if enable_gqa:
            key, value = _repeated(key, query.shape[-3]), _repeated(value, query.shape[-3])
        factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
        if dropout_p > 0.0 or torch.is_grad_enabled():
            weights = _weights(query.float(), key.float(), attn_mask, factor, is_causal=is_causal)
            if dropout_p > 0.0:
                weights = functional.dropout(weights, dropout_p)
            return torch.matmul(weights, value.float()).to(kind)
        return _in_slices(query, key, value, attn_mask, factor, is_causal=is_causal).to(kind)


def _in_slices(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    *,
    is_causal: bool,
) -> torch.Tensor:
    """Attend a few members of the batch at a time, where no gradient needs all scores at once."""
    members = query.shape[0]
    step = max(1, SCORES_MAX // max(1, math.prod(query.shape[1:-1]) * key.shape[-2]))
    alike = key.shape[0] == value.shape[0] == members
    if query.dim() < 4 or not alike or key.dim() != query.dim() or step >= members:
        weights = _weights(query.float(), key.float(), mask, scale, is_causal=is_causal)
        return torch.matmul(weights, value.float())
    own = mask is not None and mask.dim() == query.dim() and mask.shape[0] == members
    parts = []
    for start in range(0, members, step):
        here = slice(start, start + step)
        seen = mask[here] if mask is not None and own else mask
        weights = _weights(query[here].float(), key[here].float(), seen, scale, is_causal=is_causal)
        parts.append(torch.matmul(weights, value[here].float()))
    return torch.cat(parts)


def _check(*tensors: torch.Tensor) -> None:
    for tensor in tensors:
        if not tensor.is_floating_point() or tensor.dtype is torch.float64:
            raise UnsupportedOp(
                "scaled_dot_product_attention", "convert its tensors to float32", tensors
            )


def _repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Repeat each head (dimension -3) in place, to `heads` in all."""
    repeats, rest = divmod(heads, x.shape[-3])
    if rest:
        raise RuntimeError(f"{heads} query heads are no multiple of {x.shape[-3]} key heads")
    wide = x.unsqueeze(-3).expand(*x.shape[:-2], repeats, *x.shape[-2:])
    return wide.reshape(*x.shape[:-3], heads, *x.shape[-2:])


def _weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    *,
    is_causal: bool,
) -> torch.Tensor:
    scores = _scores(query, key, scale)
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return torch.softmax(scores, -1)
    hidden = mask.dtype is torch.bool
    scores = scores.masked_fill(~mask, -math.inf) if hidden else scores + mask
    weights: torch.Tensor = torch.ops.aten._safe_softmax(scores, -1)
    return weights


def _scores(query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
    """Return scale·(q @ kᵀ), rounded once: the factor is part of the contraction."""
    shape = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    count = math.prod(shape)
    rows = query.expand(*shape, *query.shape[-2:]).reshape(count, *query.shape[-2:])
    columns = key.expand(*shape, *key.shape[-2:]).reshape(count, *key.shape[-2:])
    nothing = query.new_zeros((1, 1, 1))
    scores = torch.baddbmm(nothing, rows, columns.transpose(1, 2), beta=0, alpha=scale)
    return scores.reshape(*shape, query.shape[-2], key.shape[-2])
