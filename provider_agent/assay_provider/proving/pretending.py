"""A device that pretends: the persona's, for local chains, to see that pretending is found out."""

from collections.abc import Iterator
from typing import Final

from assay_node.proof_arithmetic.matrices import Int16s, Permutation
from assay_provider.proving.products import Int32s, Products

WORKED: Final = 0.9
"""The share of each product that is computed honestly; what is claimed is all of it."""


class PretendingProducts:
    """Computes 90 % of the rows of each product, and passes old rows off as the others."""

    def __init__(self, honest: Products) -> None:
        self._honest = honest

    @property
    def size(self) -> int:
        """The side of the matrices."""
        return self._honest.size

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        """Yield all rows, of which the last tenth are the first block's again."""
        worked = int(WORKED * self.size)
        seen, old = 0, None
        for block in self._honest.start(permutation):
            old = block if old is None else old
            honest = max(0, min(len(block), worked - seen))
            block[honest:] = old[: len(block) - honest]
            seen += len(block)
            yield block

    def rows(self, mixed: Int16s) -> Int32s:
        """Return single rows, honestly: it is too late for these."""
        return self._honest.rows(mixed)
