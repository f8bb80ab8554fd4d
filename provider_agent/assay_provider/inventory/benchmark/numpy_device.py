"""The processor through NumPy, where PyTorch is not installed: float32 and float64 only."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.filling import Chunk, OutOfMemory
from assay_provider.inventory.benchmark.measuring import Unsupported, Work

_SIZE_MAX: Final = 4096
_HOST_SHARE: Final = 4
_HOST_BYTES_MAX: Final = 2 << 30
_PRECISION: Final = {"float32": 1e-3, "float64": 1e-9}


class NumpyDevice:
    """Fulfils `measuring.Device`."""

    dtypes = tuple(_PRECISION)
    size_max = _SIZE_MAX
    call_s = 0.02

    def __init__(self, *, memory_available_bytes: int, name: str) -> None:
        self.name = name
        self._available = memory_available_bytes
        self._random = np.random.default_rng(0)

    def product(self, dtype: str, size: int) -> Work:
        """Return the product of two square matrices in a dtype."""
        left, right = (
            self._random.standard_normal((size, size)).astype(np.dtype(dtype)) for _ in range(2)
        )
        out = np.empty_like(left)
        np.matmul(left, right, out=out)
        expected = left[0].astype(np.float64) @ right.astype(np.float64)
        error = float(np.abs(out[0] - expected).max() / np.abs(expected).max())
        if not error <= _PRECISION[dtype]:
            raise LocalError(f"a row of {size} is off by {error:.2g} of its largest entry")

        def run(calls: int) -> None:
            for _ in range(calls):
                np.matmul(left, right, out=out)

        return Work(run=run, amount=2 * size**3)

    def triad(self, array_bytes: int) -> Work:
        """Return the triad in NumPy's two steps, which move five arrays in each call."""
        count = array_bytes // 4
        first, second, third = (np.ones(count, dtype=np.float32) for _ in range(3))

        def run(calls: int) -> None:
            for _ in range(calls):
                np.multiply(third, np.float32(3.0), out=first)
                np.add(first, second, out=first)

        return Work(run=run, amount=5 * 4 * count)

    def memory_bytes(self) -> int:
        """Return how much memory may be filled."""
        return min(_HOST_BYTES_MAX, self._available // _HOST_SHARE)

    def chunk(self, size: int) -> Chunk:
        """Return a piece of its memory."""
        try:
            return _NumpyChunk(np.empty(size // 8, dtype=np.uint64))
        except MemoryError:
            raise OutOfMemory from None

    def copies(self, size: int) -> tuple[Work, Work]:  # noqa: ARG002 - a device's signature
        """Refuse: there is no device to copy to."""
        raise Unsupported("it works in the host's memory")


class _NumpyChunk:
    def __init__(self, words: "NDArray[np.uint64]") -> None:
        self._words = words

    def write(self, seed: int) -> None:
        self._words[:] = _pattern(len(self._words), seed)

    def holds(self, seed: int) -> bool:
        return bool(np.array_equal(self._words, _pattern(len(self._words), seed)))


def _pattern(count: int, seed: int) -> "NDArray[np.uint64]":
    return np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
