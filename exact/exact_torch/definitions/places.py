"""Sums and maxima over places of one dimension: what pooling and resampling are made of.

Windows of several dimensions are taken one dimension at a time, the last first: pooling sums and
interpolations separate, and so does the first largest element of a window in row-major order.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from exact_torch.arithmetic.bits import F64, I64

_NONE = -1


@dataclass(frozen=True, eq=False)
class Places:
    """Which places of a dimension each result takes, in the order of summation.

    Attributes:
        size: length of the dimension taken from.
        positions: int64 (most taken, results) on the CPU; -1 takes nothing.
        weights: float64 of that shape, the factors of a sum; None means ones.
    """

    size: int
    positions: torch.Tensor
    weights: torch.Tensor | None = None

    @property
    def results(self) -> int:
        """Return how many results there are."""
        return self.positions.shape[1]

    @cached_property
    def columns(self) -> tuple["Column", ...]:
        """Return the places by how manieth they are."""
        return tuple(
            Column.of(row, None if self.weights is None else self.weights[i])
            for i, row in enumerate(self.positions)
        )

    @cached_property
    def transposed(self) -> "Places":
        """Return which results take each place, ascending: the sums of the gradient."""
        taken = self.positions.t().reshape(-1)
        order = torch.argsort(taken, stable=True)
        order = order[taken[order] != _NONE]
        places = taken[order]
        results = torch.arange(self.results).repeat_interleave(self.positions.shape[0])[order]
        rank = torch.arange(len(places)) - torch.searchsorted(places, places)
        most = int(rank.max()) + 1 if len(rank) else 0
        positions = torch.full((most, self.size), _NONE, dtype=I64)
        positions[rank, places] = results
        weights = None
        if self.weights is not None:
            weights = torch.zeros(positions.shape, dtype=F64)
            weights[rank, places] = self.weights.t().reshape(-1)[order]
        return Places(size=self.results, positions=positions, weights=weights)


@dataclass(frozen=True, eq=False)
class Column:
    """The i-th place of every result that has one.

    Attributes:
        positions: int64, one a result; -1 where there is none.
        weights: float64, one a result, or None.
        first: the first result that has one.
        count: how many have one, if these are neighbours at a constant step.
        step: that step, or 0 where places are irregular.
    """

    positions: torch.Tensor
    weights: torch.Tensor | None
    first: int
    count: int
    step: int

    @staticmethod
    def of(positions: torch.Tensor, weights: torch.Tensor | None) -> "Column":
        """Find whether the places are regular."""
        having = (positions != _NONE).nonzero().reshape(-1)
        if len(having) == 0:
            return Column(positions, weights, 0, 0, 1)
        first, count = int(having[0]), len(having)
        inside = positions[first : first + count]
        step = 1 if count == 1 else int(inside[1] - inside[0])
        neighbours = bool((inside != _NONE).all())
        regular = neighbours and step > 0 and bool((inside[1:] - inside[:-1] == step).all())
        return Column(positions, weights, first, count, step if regular else 0)

    def take(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        """Return the elements at these places: of the `count` results, or of all if irregular.

        The element of a result that has no place is any one of x's.
        """
        if self.step:
            start = int(self.positions[self.first]) if self.count else 0
            stop = start + (self.count - 1) * self.step + 1 if self.count else 0
            return x.movedim(dim, 0)[start : stop : self.step].movedim(0, dim)
        return x.index_select(dim, self.positions.clamp(min=0).to(x.device))

    def along(self, values: torch.Tensor, dim: int, like: torch.Tensor) -> torch.Tensor:
        """Return one value a result, cut as `take` does, to broadcast with what it returns."""
        cut = values[self.first : self.first + self.count] if self.step else values
        return cut.to(like.device).reshape(-1, *[1] * (-1 - dim))

    def target(self, total: torch.Tensor, dim: int) -> torch.Tensor:
        """Return the view of a result that belongs to what `take` returns."""
        return total.narrow(dim, self.first, self.count) if self.step else total


def sums(x: torch.Tensor, dim: int, places: Places) -> torch.Tensor:
    """Return the weighted sums along `dim`, from +0 by ascending index, each operation rounded.

    Args:
        x: float64.
        dim: negative.
        places: which elements each sum takes.
    """
    shape = list(x.shape)
    shape[dim] = places.results
    total = torch.zeros(shape, dtype=F64, device=x.device)
    for column in places.columns:
        terms = column.take(x, dim)
        if column.weights is not None:
            terms = terms * column.along(column.weights, dim, x)
        if not column.step:
            has = column.along(column.positions != _NONE, dim, x)
            terms = torch.where(has, terms, torch.zeros((), dtype=F64, device=x.device))
        column.target(total, dim).add_(terms)
    return total


def largest(
    x: torch.Tensor, indices: torch.Tensor | None, dim: int, places: Places, stride: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest elements along `dim` and their indices: first of equals, NaN above all.

    Args:
        x: values; each result has at least one place.
        indices: index of each element in the dimensions already reduced, or None.
        dim: negative.
        places: which elements each result compares.
        stride: what a step along `dim` adds to an index.
    """
    held = places.positions != _NONE
    first = places.positions.gather(0, held.to(torch.uint8).argmax(0, keepdim=True))[0]
    start = Column.of(first, None)
    best, found = _candidates(x, indices, dim, start, stride)
    best, found = best.clone(), found.clone()
    for column in places.columns:
        values, numbers = _candidates(x, indices, dim, column, stride)
        present, kept = column.target(best, dim), column.target(found, dim)
        better = (values > present) | (torch.isnan(values) & ~torch.isnan(present))
        if not column.step:
            better = better & column.along(column.positions != _NONE, dim, x)
        present.copy_(torch.where(better, values, present))
        kept.copy_(torch.where(better, numbers, kept))
    return best, found


def _candidates(
    x: torch.Tensor, indices: torch.Tensor | None, dim: int, column: Column, stride: int
) -> tuple[torch.Tensor, torch.Tensor]:
    values = column.take(x, dim)
    here = column.along(column.positions, dim, x) * stride
    numbers = here if indices is None else column.take(indices, dim) + here
    return values, numbers.expand(values.shape)
