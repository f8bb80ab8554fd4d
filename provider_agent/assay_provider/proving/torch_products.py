"""The products on a device of PyTorch's: a GPU, where a torch is installed that drives it."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from assay_node.proof_arithmetic.matrices import (
    BLOCK_ROWS,
    ENTRY_MAX,
    Int16s,
    Matrix,
    Permutation,
    blocks_of,
)
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_provider.proving.products import Int32s

logger = logging.getLogger(__name__)

TRIAL_SIZE_MAX: Final = 2048
"""Side of the products that the ways of multiplying are compared on."""

Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of multiplying: the format that holds the entries, and the product in float32."""

    name: str
    dtype: torch.dtype
    multiply: Multiply


def _widened(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.mm(left, right, out_dtype=torch.float32)


def _single(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.mm(left, right)


def _tensor_float(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    torch.backends.cuda.matmul.allow_tf32 = True
    return torch.mm(left, right)


WAYS: Final = (
    Way(name="bfloat16", dtype=torch.bfloat16, multiply=_widened),
    Way(name="float16", dtype=torch.float16, multiply=_widened),
    Way(name="tfloat32", dtype=torch.float32, multiply=_tensor_float),
    Way(name="float32", dtype=torch.float32, multiply=_single),
)


class TorchProducts:
    """Products on one device, in the fastest way that is exact there.

    Which way that is depends on the device, its libraries and torch's version, so it is tried: a
    way that cannot be called or gives one wrong entry is out.
    """

    def __init__(self, beacon: Digest, size: int, device: str) -> None:
        self._device = torch.device(device)
        self._way = fastest_exact(self._device, min(size, TRIAL_SIZE_MAX))
        self._left = self._whole(beacon, size, Matrix.A)
        self._right = self._whole(beacon, size, Matrix.B)
        self._way.multiply(self._left, self._right)  # libraries choose and load their kernels

    @property
    def size(self) -> int:
        """The side of the matrices."""
        return len(self._left)

    @property
    def way(self) -> str:
        """The name of the way in which this device multiplies."""
        return self._way.name

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        """Begin a product on the device and return at once; the iterator waits for it."""
        order = torch.from_numpy(permutation.order).to(self._device)
        sign = torch.from_numpy(permutation.sign).to(self._device, self._way.dtype)
        product = self._way.multiply(self._left, self._right[order] * sign[:, None])
        return self._read(product)

    def rows(self, mixed: Int16s) -> Int32s:
        """Return single rows of a product."""
        left = torch.from_numpy(mixed).to(self._device, self._way.dtype)
        product = self._way.multiply(left, self._right)
        return np.asarray(product.to(torch.int32).cpu().numpy())

    def _read(self, product: torch.Tensor) -> Iterator[Int32s]:
        for first in range(0, len(product), BLOCK_ROWS):
            block = product[first : first + BLOCK_ROWS]
            yield np.asarray(block.to(torch.int32).cpu().numpy())

    def _whole(self, beacon: Digest, size: int, matrix: Matrix) -> torch.Tensor:
        whole = torch.empty((size, size), dtype=self._way.dtype, device=self._device)
        for first, rows in blocks_of(beacon, size, matrix):
            whole[first : first + len(rows)] = torch.from_numpy(rows).to(self._device)
        return whole


def fastest_exact(device: torch.device, size: int) -> Way:
    """Return the fastest of the ways that are exact on a device.

    Raises:
        LocalError: none is, so this device cannot be proven.
    """
    drawn = np.random.default_rng(size)
    left, right = drawn.integers(-ENTRY_MAX, ENTRY_MAX + 1, (2, size, size), dtype=np.int16)
    # float64 is exact far beyond these sums
    due = torch.from_numpy(left.astype(np.float64) @ right.astype(np.float64))
    times: dict[str, float] = {}
    for way in WAYS:
        try:
            times[way.name] = _trial(way, device, left, right, due)
        except (RuntimeError, TypeError, NotImplementedError, ValueError) as error:
            logger.debug("%s does not multiply as %s: %s", device, way.name, error)
    exact = [way for way in WAYS if way.name in times]
    if not exact:
        raise LocalError(f"no way of multiplying is exact on {device}: its proof is not possible")
    return min(exact, key=lambda way: times[way.name])


def _trial(way: Way, device: torch.device, left: Int16s, right: Int16s, due: torch.Tensor) -> float:
    """Return the seconds that a product takes, the second time; ValueError if it is not exact."""
    one, other = (torch.from_numpy(m).to(device, way.dtype) for m in (left, right))
    found = way.multiply(one, other)
    if not torch.equal(found.to("cpu", torch.float64), due):
        raise ValueError("not exact")
    started = time.perf_counter()
    way.multiply(one, other)[:1].cpu()  # waits for the device
    return time.perf_counter() - started


def cuda_index(device: Digest) -> int:
    """Return the number under which torch knows the GPU with this digest.

    Raises:
        LocalError: torch sees no such GPU.
    """
    for index in range(torch.cuda.device_count()):
        uuid = str(torch.cuda.get_device_properties(index).uuid)
        name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        if hashlib.sha256(name.encode()).digest() == device:
            return index
    raise LocalError(
        "the torch that is installed here does not see that GPU, so it cannot be proven: install "
        "one for this GPU's driver"
    )
