"""Takes one device through every measurement."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.filling import Chunk, filled
from assay_provider.inventory.benchmark.sampling import Calls, Clock, Effort, sustained

Tell = Callable[[str], None]
"""Hears of each figure in a sentence."""

SIZE_MIN: Final = 512
"""Below it, threads wait for each other more than they compute."""
TRIAD_BYTES_MAX: Final = 256 << 20
"""Of each of three arrays: beyond the caches of all but a few processors."""
COPY_BYTES_MAX: Final = 256 << 20
CHUNK_BYTES_MAX: Final = 256 << 20


class Unsupported(Exception):
    """A device does not have a dtype, or no way to copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something to be repeated, and how many operations or bytes one time is."""

    run: Calls
    amount: int


class Device(Protocol):
    """A processor or a GPU, through one library."""

    name: str
    dtypes: tuple[str, ...]
    size_max: int
    call_s: float
    """How long a product should take at least, so that starting it does not count."""

    def product(self, dtype: str, size: int) -> Work:
        """Return the product of two square matrices, checked once.

        Raises:
            Unsupported: the device does not have this dtype.
        """
        ...

    def triad(self, array_bytes: int) -> Work:
        """Return a = b + s x c over arrays of this size."""
        ...

    def memory_bytes(self) -> int:
        """Return how much memory may be filled."""
        ...

    def chunk(self, size: int) -> Chunk:
        """Return a piece of memory.

        Raises:
            OutOfMemory: there is no more.
        """
        ...

    def copies(self, size: int) -> tuple[Work, Work]:
        """Return copying to the device, and back from it.

        Raises:
            Unsupported: it works in the host's own memory.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFigures:
    """What was measured of one device; 0 is not measured. `remarks` say why, for people."""

    gemm_mflops: dict[str, int] = field(default_factory=dict)
    memory_bytes: int = 0
    memory_bytes_per_second: int = 0
    host_to_device_bytes_per_second: int = 0
    device_to_host_bytes_per_second: int = 0
    remarks: tuple[str, ...] = ()


def product_text(dtype: str, mflops: int) -> str:
    """Return a rate of products as people read it: "47.5 GFLOP/s"."""
    unit = "OP/s" if dtype.startswith("int") else "FLOP/s"
    return f"{mflops / 1e6:.3g} T{unit}" if mflops >= 1e6 else f"{mflops / 1e3:.3g} G{unit}"


def measure_device(device: Device, effort: Effort, clock: Clock, tell: Tell) -> DeviceFigures:
    """Return every figure of a device.

    Raises:
        LocalError: its memory does not hold what is written.
    """
    remarks: list[str] = []
    gemm = _products(device, effort, clock, tell, remarks)
    room = min(device.memory_bytes(), effort.memory_bytes_max)
    triad = device.triad(max(1 << 20, min(TRIAD_BYTES_MAX, room // 4)))
    bandwidth = round(sustained(triad.run, effort, clock) * triad.amount)
    tell(f"{device.name}: memory {bandwidth / 1e9:.1f} GB/s")
    del triad
    to_device, to_host = _copies(device, effort, clock, tell, room)
    size = min(CHUNK_BYTES_MAX, max(1 << 20, room // 8))
    held = filled(lambda: device.chunk(size), chunk_bytes=size, bytes_max=room)
    tell(f"{device.name}: {held / 1e9:.2f} GB of memory filled and read back")
    return DeviceFigures(
        gemm_mflops=gemm,
        memory_bytes=held,
        memory_bytes_per_second=bandwidth,
        host_to_device_bytes_per_second=to_device,
        device_to_host_bytes_per_second=to_host,
        remarks=tuple(remarks),
    )


def _products(
    device: Device, effort: Effort, clock: Clock, tell: Tell, remarks: list[str]
) -> dict[str, int]:
    figures: dict[str, int] = {}
    for dtype in device.dtypes:
        try:
            work = _large_enough(device, dtype, clock)
        except Unsupported as why:
            remarks.append(f"{device.name} has no {dtype}: {why}")
            continue
        except LocalError as fault:
            remarks.append(f"{device.name} multiplies wrongly in {dtype}: {fault}")
            continue
        rate = sustained(work.run, effort, clock) * work.amount
        figures[dtype] = round(rate / 1e6)
        tell(f"{device.name}: {dtype} {product_text(dtype, figures[dtype])}")
    return figures


def _large_enough(device: Device, dtype: str, clock: Clock) -> Work:
    """Return the smallest product that takes long enough, by doubling its sides."""
    size = SIZE_MIN
    while True:
        work = device.product(dtype, size)
        if _takes_s(work, clock) >= device.call_s or 2 * size > device.size_max:
            return work
        size *= 2


def _takes_s(work: Work, clock: Clock) -> float:
    """Return the quickest of three calls: one may start threads, or wait for another program."""
    took = []
    for _ in range(3):
        started = clock()
        work.run(1)
        took.append(clock() - started)
    return min(took)


def _copies(device: Device, effort: Effort, clock: Clock, tell: Tell, room: int) -> tuple[int, int]:
    try:
        there, back = device.copies(max(1 << 20, min(COPY_BYTES_MAX, room // 4)))
    except Unsupported:
        return 0, 0
    to_device = round(sustained(there.run, effort, clock) * there.amount)
    to_host = round(sustained(back.run, effort, clock) * back.amount)
    tell(f"{device.name}: {to_device / 1e9:.1f} GB/s from the host, {to_host / 1e9:.1f} to it")
    return to_device, to_host
