"""A device through PyTorch: the processor, or the one GPU that this process sees."""

from typing import Any, Final

import torch

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.filling import Chunk, OutOfMemory
from assay_provider.inventory.benchmark.measuring import Unsupported, Work

DTYPES: Final = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}
"""float32 is true float32: PyTorch multiplies in TF32 only where it is asked to."""
_PRECISION: Final = {"float32": 1e-3, "float64": 1e-9, "bfloat16": 0.1, "float16": 0.05}
"""The relative error of a row that no correct product of these sizes comes near to."""
_CPU_SIZE_MAX: Final = 4096
_GPU_SIZE_MAX: Final = 16_384
_HOST_SHARE: Final = 4
"""Of the memory that is free, a quarter is filled: the machine has other things to do."""
_HOST_BYTES_MAX: Final = 2 << 30
_GPU_RESERVE_BYTES: Final = 512 << 20
"""What the driver and the library need themselves while all the rest is filled."""


class TorchDevice:
    """Fulfils `measuring.Device`."""

    dtypes = tuple(DTYPES)

    def __init__(self, *, gpu: bool, memory_available_bytes: int, name: str) -> None:
        if gpu and not torch.cuda.is_available():
            raise LocalError("PyTorch sees no GPU here: is it built for this driver?")
        self.name = name
        self._device = torch.device("cuda:0" if gpu else "cpu")
        self._gpu = gpu
        self._available = memory_available_bytes
        self.size_max = _GPU_SIZE_MAX if gpu else _CPU_SIZE_MAX
        self.call_s = 0.002 if gpu else 0.02
        torch.manual_seed(0)

    def product(self, dtype: str, size: int) -> Work:
        """Return the product of two square matrices in a dtype."""
        try:
            left, right = (self._matrix(dtype, size) for _ in range(2))
            multiply = self._multiplying(dtype, left, right)
            self._check(dtype, left, right, multiply())
        except torch.OutOfMemoryError as error:
            raise Unsupported(f"a product of {size} does not fit its memory") from error
        except (RuntimeError, NotImplementedError) as error:
            raise Unsupported(str(error).splitlines()[0][:200]) from None

        def run(calls: int) -> None:
            for _ in range(calls):
                multiply()
            self._wait()

        return Work(run=run, amount=2 * size**3)

    def triad(self, array_bytes: int) -> Work:
        """Return the STREAM triad: three arrays are moved in each call."""
        count = array_bytes // 4
        first, second, third = (
            torch.ones(count, dtype=torch.float32, device=self._device) for _ in range(3)
        )

        def run(calls: int) -> None:
            for _ in range(calls):
                torch.add(second, third, alpha=3.0, out=first)
            self._wait()

        return Work(run=run, amount=3 * 4 * count)

    def memory_bytes(self) -> int:
        """Return how much memory may be filled: of a GPU all that is free, of the host a part."""
        if not self._gpu:
            return min(_HOST_BYTES_MAX, self._available // _HOST_SHARE)
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        return max(0, int(free) - _GPU_RESERVE_BYTES)

    def chunk(self, size: int) -> Chunk:
        """Return a piece of its memory."""
        try:
            return _TorchChunk(torch.empty(size // 4, dtype=torch.int32, device=self._device))
        except torch.OutOfMemoryError:
            raise OutOfMemory from None

    def copies(self, size: int) -> tuple[Work, Work]:
        """Return copying between pinned memory of the host and the GPU."""
        if not self._gpu:
            raise Unsupported("it works in the host's memory")
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(size, dtype=torch.uint8, device=self._device)
        return self._copying(there, host), self._copying(host, there)

    def _copying(self, to: torch.Tensor, source: torch.Tensor) -> Work:
        def run(calls: int) -> None:
            for _ in range(calls):
                to.copy_(source, non_blocking=True)
            self._wait()

        return Work(run=run, amount=source.numel())

    def _matrix(self, dtype: str, size: int) -> torch.Tensor:
        if dtype == "int8":
            return torch.randint(-127, 128, (size, size), dtype=torch.int8, device=self._device)
        # the data decides what a chip draws, and so how it throttles: zeros would flatter it
        return torch.randn(size, size, dtype=torch.float32, device=self._device).to(DTYPES[dtype])

    def _multiplying(self, dtype: str, left: torch.Tensor, right: torch.Tensor) -> Any:
        if dtype == "int8":
            # the tensor cores' door to int8 is a private name of PyTorch's, the same since 2.1
            int_mm = getattr(torch, "_int_mm", None)
            if int_mm is None:
                raise Unsupported("this PyTorch multiplies no int8")
            return lambda: int_mm(left, right)
        out = torch.empty_like(left)
        return lambda: torch.mm(left, right, out=out)

    def _check(
        self, dtype: str, left: torch.Tensor, right: torch.Tensor, product: torch.Tensor
    ) -> None:
        """Compare one row with float64 on the host: speed without the product is worth nothing."""
        row = product[0].to("cpu", torch.float64)
        expected = left[0].to("cpu", torch.float64) @ right.to("cpu", torch.float64)
        error = float((row - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
        if not error <= _PRECISION.get(dtype, 0.0):
            raise LocalError(f"a row of {len(row)} is off by {error:.2g} of its largest entry")

    def _wait(self) -> None:
        if self._gpu:
            torch.cuda.synchronize()


class _TorchChunk:
    def __init__(self, words: torch.Tensor) -> None:
        self._words = words

    def write(self, seed: int) -> None:
        torch.arange(len(self._words), out=self._words)
        self._words.mul_(-1_640_531_527).add_(seed * 97 + 1)  # Knuth's multiplier, as int32

    def holds(self, seed: int) -> bool:
        # undone rather than written twice, which would need as much memory again
        self._words.sub_(seed * 97 + 1).mul_(340_573_321)  # the multiplier's inverse modulo 2^32
        step = 1 << 22
        return all(
            bool((part == torch.arange(start, start + len(part)).to(part)).all())
            for start in range(0, len(self._words), step)
            for part in [self._words[start : start + step]]
        )
