"""What a provider measured of its own hardware, as its offer tells it: a claim with a signature.

A vector rather than a score: ratios between its parts identify a chip better than any single
figure. What a proof of hardware shows is compared with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, Digest
from assay_node.protocol.units import check_uint

DEVICES_MAX: Final = 65
"""The processor and 64 GPUs."""
DTYPES_MAX: Final = 16
DTYPE_CHARACTERS_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBenchmark:
    """Sustained figures of one device; 0 where one was not measured.

    `device` is a GPU's digest as in the offer, None for the processor. `gemm_mflops` maps a dtype
    ("float32", "bfloat16", ...) to millions of floating-point operations a second, a multiply-add
    counting as two. `memory_bytes` is what was filled and read back.
    """

    device: Digest | None
    gemm_mflops: Mapping[str, int]
    memory_bytes: int
    memory_bytes_per_second: int
    host_to_device_bytes_per_second: int
    device_to_host_bytes_per_second: int

    def __post_init__(self) -> None:
        if self.device is not None and len(self.device) != DIGEST_BYTES:
            raise MalformedMessage(f"a device's digest has {DIGEST_BYTES} bytes")
        if len(self.gemm_mflops) > DTYPES_MAX or any(
            len(name) > DTYPE_CHARACTERS_MAX for name in self.gemm_mflops
        ):
            raise MalformedMessage(f"a benchmark has at most {DTYPES_MAX} dtypes, briefly named")
        for name, value in (*self.gemm_mflops.items(), *_sizes(self)):
            check_uint(value, 64, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Everything measured of one machine. `measured_at` is in Unix seconds."""

    measured_at: int
    devices: tuple[DeviceBenchmark, ...]
    disk_read_bytes_per_second: int
    disk_write_bytes_per_second: int
    network_bytes_per_second: int

    def __post_init__(self) -> None:
        devices = [device.device for device in self.devices]
        if len(devices) > DEVICES_MAX or len(set(devices)) < len(devices):
            raise MalformedMessage(f"a benchmark has at most {DEVICES_MAX} devices, each once")
        for name in (
            "measured_at",
            "disk_read_bytes_per_second",
            "disk_write_bytes_per_second",
            "network_bytes_per_second",
        ):
            check_uint(getattr(self, name), 64, name)


def _sizes(device: DeviceBenchmark) -> list[tuple[str, int]]:
    names = (
        "memory_bytes",
        "memory_bytes_per_second",
        "host_to_device_bytes_per_second",
        "device_to_host_bytes_per_second",
    )
    return [(name, getattr(device, name)) for name in names]
