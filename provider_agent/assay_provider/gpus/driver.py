"""The seam between Assay and a GPU vendor's management library."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from assay_node.protocol.errors import LocalError


class GpuDriverError(LocalError):
    """A GPU's driver cannot be asked, or does not know the device; the text says what to do."""

    code = "gpu_driver"


class NoGpuDriver(GpuDriverError):
    """This machine has no driver of this vendor: the ordinary case of a machine without a GPU."""

    code = "no_gpu_driver"


class Vendor(StrEnum):
    """Who made a GPU."""

    NVIDIA = "nvidia"
    AMD = "amd"


class ComputeMode(StrEnum):
    """Which processes the driver admits to a device. Values are for people."""

    SHARED = "shared"
    """Any number at once, which take turns."""
    EXCLUSIVE = "exclusive process"
    PROHIBITED = "prohibited"
    UNKNOWN = "unknown"


class ProcessKind(StrEnum):
    """What a process does on a device. Values are for people."""

    COMPUTE = "compute"
    GRAPHICS = "graphics"
    MPS = "MPS client"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigInstance:
    """A part of a GPU with memory and processors of its own."""

    uuid: str
    model: str
    memory_bytes: int
    memory_reserved_bytes: int
    gpu_instance: int
    """Instances of one number share their memory."""
    compute_instance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """What a driver says of one GPU; it changes only when somebody sets the machine up anew.

    Fields are None where the card or its driver does not know.
    """

    vendor: Vendor
    uuid: str
    model: str
    memory_bytes: int
    memory_reserved_bytes: int
    """Of `memory_bytes`, what the driver and its firmware keep."""
    driver: str
    pci_bus: str
    """Domain, bus, device and function: "0000:65:00.0"."""
    minor: int | None
    """Of its device node."""
    ecc: bool | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    power_limit_mw: int | None = None
    compute_mode: ComputeMode = ComputeMode.UNKNOWN
    display: bool = False
    """Whether it drives a screen."""
    mig: bool = False
    instances: tuple[MigInstance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process of the host that uses a device, sandboxed ones included."""

    pid: int
    kind: ProcessKind
    memory_bytes: int | None
    gpu_instance: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """What a device is doing now. Fields are None where the card or its driver does not know."""

    memory_used_bytes: int
    """Without what the driver reserves."""
    memory_free_bytes: int
    temperature_c: int | None = None
    power_mw: int | None = None
    utilisation_percent: int | None = None
    processes: tuple[GpuProcess, ...] = ()


class GpuDriver(Protocol):
    """One vendor's GPUs. Calls take milliseconds and may block."""

    def gpus(self) -> tuple[GpuFacts, ...]:
        """Return every GPU of the vendor, by PCI bus.

        Raises:
            GpuDriverError: the driver does not answer.
        """
        ...

    def state(self, uuid: str) -> GpuState:
        """Return what a GPU or MIG instance is doing.

        Raises:
            GpuDriverError: the driver does not answer, or knows no such device.
        """
        ...

    def close(self) -> None:
        """Let go of the library."""
        ...
