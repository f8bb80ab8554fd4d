"""NVIDIA's GPUs, through NVML (libnvidia-ml.so.1 and the package nvidia-ml-py).

A field that a card does not have (a GeForce has no ECC, a MIG instance no power meter) is an
ordinary answer of NVML's, not a failure. Functions are called by their versions: the package's
unversioned names raise an error of another kind with a driver older than the package.

Source: the NVML API reference, and pynvml.py of nvidia-ml-py.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Final

from assay_provider.gpus.driver import (
    ComputeMode,
    GpuDriverError,
    GpuFacts,
    GpuProcess,
    GpuState,
    MigInstance,
    NoGpuDriver,
    ProcessKind,
    Vendor,
)

_NO_INSTANCE: Final = 0xFFFFFFFF
"""What NVML names for a process on a GPU without MIG."""


def open_nvml() -> "Nvml":
    """Load and start NVML.

    Raises:
        NoGpuDriver: there is no NVIDIA driver here.
        GpuDriverError: there is one, and it does not work.
    """
    try:
        import pynvml
    except ImportError as error:
        raise GpuDriverError("the package nvidia-ml-py is missing; install assay again") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _no_driver(pynvml, error) from error
    return Nvml(pynvml)


class Nvml:
    """Implements `GpuDriver`; open it with `open_nvml`."""

    def __init__(self, lib: ModuleType) -> None:
        self._lib = lib

    def gpus(self) -> tuple[GpuFacts, ...]:
        """See `GpuDriver`."""
        lib = self._lib
        try:
            driver = _text(lib.nvmlSystemGetDriverVersion())
            count = lib.nvmlDeviceGetCount()
            handles = [lib.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            found = [self._facts(handle, driver) for handle in handles]
        except lib.NVMLError as error:
            raise GpuDriverError(f"NVIDIA's driver does not answer: {error}") from error
        return tuple(sorted(found, key=lambda facts: facts.pci_bus))

    def state(self, uuid: str) -> GpuState:
        """See `GpuDriver`."""
        lib = self._lib
        try:
            handle = self._handle(uuid)
            whole = self._whole(handle)
            memory = self._memory(handle)
            return GpuState(
                memory_used_bytes=memory.used,
                memory_free_bytes=memory.free,
                temperature_c=self._known(
                    lib.nvmlDeviceGetTemperature, whole, lib.NVML_TEMPERATURE_GPU
                ),
                power_mw=self._known(lib.nvmlDeviceGetPowerUsage, whole),
                utilisation_percent=self._utilisation(handle),
                processes=tuple(self._processes(handle)),
            )
        except lib.NVMLError as error:
            raise GpuDriverError(f"NVIDIA's driver says nothing of {uuid}: {error}") from error

    def close(self) -> None:
        """See `GpuDriver`."""
        self._lib.nvmlShutdown()

    def _facts(self, handle: Any, driver: str) -> GpuFacts:
        lib = self._lib
        memory = self._memory(handle)
        ecc = self._known(lib.nvmlDeviceGetEccMode, handle)
        mig = self._known(lib.nvmlDeviceGetMigMode, handle)
        return GpuFacts(
            vendor=Vendor.NVIDIA,
            uuid=_text(lib.nvmlDeviceGetUUID(handle)),
            model=_text(lib.nvmlDeviceGetName(handle)),
            memory_bytes=memory.total,
            memory_reserved_bytes=memory.reserved,
            driver=driver,
            pci_bus=_short_bus(_text(lib.nvmlDeviceGetPciInfo_v3(handle).busId)),
            minor=self._known(lib.nvmlDeviceGetMinorNumber, handle),
            ecc=None if ecc is None else bool(ecc[0]),
            pcie_generation=self._known(lib.nvmlDeviceGetCurrPcieLinkGeneration, handle),
            pcie_width=self._known(lib.nvmlDeviceGetCurrPcieLinkWidth, handle),
            power_limit_mw=self._known(lib.nvmlDeviceGetEnforcedPowerLimit, handle),
            compute_mode=self._compute_mode(handle),
            display=bool(self._known(lib.nvmlDeviceGetDisplayActive, handle)),
            mig=mig is not None and bool(mig[0]),
            instances=tuple(self._instances(handle)) if mig and mig[0] else (),
        )

    def _instances(self, handle: Any) -> Iterator[MigInstance]:
        lib = self._lib
        for index in range(self._known(lib.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            # Places without an instance are holes in the numbering, not its end.
            part = self._known(lib.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
            if part is None:
                continue
            memory = self._memory(part)
            yield MigInstance(
                uuid=_text(lib.nvmlDeviceGetUUID(part)),
                model=_text(lib.nvmlDeviceGetName(part)),
                memory_bytes=memory.total,
                memory_reserved_bytes=memory.reserved,
                gpu_instance=lib.nvmlDeviceGetGpuInstanceId(part),
                compute_instance=lib.nvmlDeviceGetComputeInstanceId(part),
            )

    def _handle(self, uuid: str) -> Any:
        return self._lib.nvmlDeviceGetHandleByUUID(uuid)

    def _whole(self, handle: Any) -> Any:
        """Return the GPU that a MIG instance is part of, and any other as it is."""
        parent = self._known(self._lib.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle)
        return handle if parent is None else parent

    def _memory(self, handle: Any) -> Any:
        lib = self._lib
        # The first version counts as used what the driver reserves.
        return lib.nvmlDeviceGetMemoryInfo(handle, version=lib.nvmlMemory_v2)

    def _utilisation(self, handle: Any) -> int | None:
        rates = self._known(self._lib.nvmlDeviceGetUtilizationRates, handle)
        return None if rates is None else rates.gpu

    def _compute_mode(self, handle: Any) -> ComputeMode:
        lib = self._lib
        names = {
            lib.NVML_COMPUTEMODE_DEFAULT: ComputeMode.SHARED,
            lib.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: ComputeMode.EXCLUSIVE,
            lib.NVML_COMPUTEMODE_PROHIBITED: ComputeMode.PROHIBITED,
        }
        mode = self._known(lib.nvmlDeviceGetComputeMode, handle)
        return names.get(mode, ComputeMode.UNKNOWN)

    def _processes(self, handle: Any) -> Iterator[GpuProcess]:
        lib = self._lib
        # Whether anybody computes on it has to be known; the other questions are newer than MIG.
        compute = lib.nvmlDeviceGetComputeRunningProcesses_v3(handle)
        graphics = self._known(lib.nvmlDeviceGetGraphicsRunningProcesses_v3, handle)
        mps = self._known(lib.nvmlDeviceGetMPSComputeRunningProcesses_v3, handle)
        for kind, processes in (
            (ProcessKind.COMPUTE, compute),
            (ProcessKind.GRAPHICS, graphics),
            (ProcessKind.MPS, mps),
        ):
            for process in processes or ():
                where = process.gpuInstanceId
                yield GpuProcess(
                    pid=process.pid,
                    kind=kind,
                    memory_bytes=process.usedGpuMemory,
                    gpu_instance=None if where == _NO_INSTANCE else where,
                )

    def _known(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """Return NVML's answer, None where this card or this driver has none."""
        lib = self._lib
        try:
            return ask(*arguments)
        except lib.NVMLError as error:
            if error.value in (
                lib.NVML_ERROR_NOT_SUPPORTED,
                lib.NVML_ERROR_NOT_FOUND,
                lib.NVML_ERROR_FUNCTION_NOT_FOUND,
                lib.NVML_ERROR_INVALID_ARGUMENT,
            ):
                return None
            raise


def _no_driver(lib: ModuleType, error: Any) -> GpuDriverError:
    match error.value:
        case lib.NVML_ERROR_LIBRARY_NOT_FOUND:
            return NoGpuDriver("no NVIDIA driver is installed (libnvidia-ml.so.1 is missing)")
        case lib.NVML_ERROR_DRIVER_NOT_LOADED:
            return NoGpuDriver("NVIDIA's driver is installed and not loaded: modprobe nvidia")
        case lib.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            return GpuDriverError("NVIDIA's driver was updated under a running kernel: reboot")
        case _:
            return GpuDriverError(f"NVIDIA's driver does not start: {error}")


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _short_bus(bus: str) -> str:
    """Return "0000:65:00.0" of NVML's "00000000:65:00.0"; the kernel writes four digits."""
    domain, _, rest = bus.partition(":")
    return f"{domain[-4:]}:{rest}".lower()
