"""Bilinear maps."""

import torch
from torch.nn import functional

from exact_torch.table import Rule, replace


@replace(
    functional.bilinear,
    rule=Rule.COMPOSITION,
    meaning="(x @ weight) @ y + bias: two contractions, each rounded once",
)
def bilinear(
    input1: torch.Tensor,
    input2: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply a bilinear map: (..., i) and (..., j) with weight (o, i, j) to (..., o)."""
    outputs, left, right = weight.shape
    first = input1.reshape(-1, left) @ weight.permute(1, 0, 2).reshape(left, -1)
    both = first.reshape(-1, outputs, right) @ input2.reshape(-1, right, 1)
    result = both.reshape(*input1.shape[:-1], outputs)
    return result if bias is None else result + bias
