"""Sums, means and maxima of embeddings by bag."""

import torch
from torch.nn import functional

from exact_torch.errors import UnsupportedOp
from exact_torch.table import Rule, replace


@replace(
    functional.embedding_bag,
    rule=Rule.COMPOSITION,
    meaning="index_add of the bags' rows; mean: over the count; max: scatter_reduce amax, whose "
    "equal elements share the gradient",
)
def embedding_bag(
    input: torch.Tensor,
    weight: torch.Tensor,
    offsets: torch.Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: torch.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> torch.Tensor:
    """Reduce rows of weight (n, d) by bag to (bags, d); an empty bag gives zeros.

    Args:
        input: row numbers, (bags, k), or (total,) with offsets.
        weight: the table.
        offsets: where each bag begins.
        max_norm: must be None.
        norm_type: of max_norm.
        scale_grad_by_freq: divide each row's gradient by how often input names it.
        mode: "sum", "mean" or "max".
        sparse: must be False.
        per_sample_weights: a factor for each element of input; only with "sum".
        include_last_offset: offsets has one element more, the end of the last bag.
        padding_idx: a row that does not count.
    """
    if max_norm is not None or sparse:
        reason = "max_norm and sparse have no definition; renormalise the table yourself"
        raise UnsupportedOp("embedding_bag", reason, (input, weight))
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"per_sample_weights are for mode 'sum', not {mode!r}")
    words = input.reshape(-1)
    bags, bag = _bags(input, offsets, include_last_offset=include_last_offset)
    factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
    if padding_idx is not None:
        kept = words != padding_idx % weight.shape[0]
        words, bag = words[kept], bag[kept]
        factors = None if factors is None else factors[kept]
    rows = functional.embedding(words, weight, scale_grad_by_freq=scale_grad_by_freq)
    if factors is not None:
        rows = rows * factors.unsqueeze(1)
    nothing = rows.new_zeros((bags, weight.shape[1]))
    if mode == "max":
        where = bag.unsqueeze(1).expand(rows.shape)
        return nothing.scatter_reduce(0, where, rows, "amax", include_self=False)
    total = nothing.index_add(0, bag, rows)
    if mode == "sum":
        return total
    counts = torch.bincount(bag, minlength=bags).clamp(min=1)
    return total / counts.to(total.dtype).unsqueeze(1)


def _bags(
    words: torch.Tensor, offsets: torch.Tensor | None, *, include_last_offset: bool
) -> tuple[int, torch.Tensor]:
    """Return how many bags there are and the bag of each word, int64."""
    position = torch.arange(words.numel(), device=words.device)
    if words.dim() == 2:
        return words.shape[0], position // max(words.shape[1], 1)
    if offsets is None:
        raise ValueError("offsets are needed for words in one dimension")
    starts = (offsets[:-1] if include_last_offset else offsets).to(torch.int64)
    return len(starts), torch.searchsorted(starts, position, right=True) - 1
