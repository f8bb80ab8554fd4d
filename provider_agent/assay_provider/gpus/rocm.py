"""AMD's GPUs, through ROCm's SMI library (librocm_smi64.so) and ctypes.

Numbers it does not know for a card are ordinary answers. Its unit of power is the microwatt, of
temperature a thousandth of a degree.

Source: include/rocm_smi/rocm_smi.h of ROCm.
"""

import ctypes
from collections.abc import Sequence
from typing import Final

from assay_provider.gpus.driver import (
    GpuDriverError,
    GpuFacts,
    GpuProcess,
    GpuState,
    NoGpuDriver,
    ProcessKind,
    Vendor,
)

LIBRARIES: Final = (
    "librocm_smi64.so.7",
    "librocm_smi64.so.6",
    "librocm_smi64.so.5",
    "librocm_smi64.so",
    "/opt/rocm/lib/librocm_smi64.so",
)
"""Sonames of ROCm 5, 6 and 7, and where AMD's packages put it without telling the loader."""

_SUCCESS: Final = 0
_NAME_BYTES: Final = 256
_MEMORY_VRAM: Final = 0
_SENSOR_EDGE: Final = 0
_SENSOR_JUNCTION: Final = 1
_TEMPERATURE_NOW: Final = 0
_COMPONENT_DRIVER: Final = 0
_PROCESSES_MAX: Final = 1024
"""More processes than this on the machine's GPUs are not told apart; there is no tenant then."""


class _ProcessInfo(ctypes.Structure):
    _fields_ = (
        ("process_id", ctypes.c_uint32),
        ("pasid", ctypes.c_uint32),
        ("vram_usage", ctypes.c_uint64),
        ("sdma_usage", ctypes.c_uint64),
        ("cu_occupancy", ctypes.c_uint32),
    )


def open_rocm(libraries: Sequence[str] = LIBRARIES) -> "Rocm":
    """Load and start ROCm's library.

    Raises:
        NoGpuDriver: it is not there.
        GpuDriverError: it is there, and does not work.
    """
    for name in libraries:
        try:
            lib = ctypes.CDLL(name)
        except OSError:
            continue
        status = lib.rsmi_init(ctypes.c_uint64(0))
        if status != _SUCCESS:
            raise NoGpuDriver(
                f"ROCm is installed and finds no AMD GPU (rsmi_init answers {status}); "
                "load the driver amdgpu"
            )
        return Rocm(lib)
    raise NoGpuDriver("no ROCm is installed (librocm_smi64.so is missing)")


class Rocm:
    """Implements `GpuDriver`; open it with `open_rocm`."""

    def __init__(self, lib: ctypes.CDLL) -> None:
        self._lib = lib

    def gpus(self) -> tuple[GpuFacts, ...]:
        """See `GpuDriver`."""
        driver = self._driver()
        found = [self._facts(index, driver) for index in range(self._count())]
        return tuple(sorted(found, key=lambda facts: facts.pci_bus))

    def state(self, uuid: str) -> GpuState:
        """See `GpuDriver`."""
        index = next((n for n in range(self._count()) if self._uuid(n) == uuid), None)
        if index is None:
            raise GpuDriverError(f"ROCm knows no GPU {uuid}")
        total = self._memory("total", index)
        used = self._memory("usage", index)
        busy = self._uint32("rsmi_dev_busy_percent_get", index)
        return GpuState(
            memory_used_bytes=used,
            memory_free_bytes=max(0, total - used),
            temperature_c=self._temperature(index),
            power_mw=self._power_mw(index),
            utilisation_percent=busy,
            processes=self._processes(index),
        )

    def close(self) -> None:
        """See `GpuDriver`."""
        self._lib.rsmi_shut_down()

    def _count(self) -> int:
        count = ctypes.c_uint32()
        if self._lib.rsmi_num_monitor_devices(ctypes.byref(count)) != _SUCCESS:
            raise GpuDriverError("ROCm does not say how many GPUs there are")
        return count.value

    def _facts(self, index: int, driver: str) -> GpuFacts:
        limit = ctypes.c_uint64()
        known = self._lib.rsmi_dev_power_cap_get(
            ctypes.c_uint32(index), ctypes.c_uint32(0), ctypes.byref(limit)
        )
        return GpuFacts(
            vendor=Vendor.AMD,
            uuid=self._uuid(index),
            model=self._name(index),
            memory_bytes=self._memory("total", index),
            memory_reserved_bytes=0,
            driver=driver,
            pci_bus=self._bus(index),
            minor=None,
            power_limit_mw=limit.value // 1000 if known == _SUCCESS else None,
        )

    def _driver(self) -> str:
        text = ctypes.create_string_buffer(_NAME_BYTES)
        status = self._lib.rsmi_version_str_get(
            ctypes.c_int(_COMPONENT_DRIVER), text, ctypes.c_uint32(_NAME_BYTES)
        )
        return text.value.decode(errors="replace") if status == _SUCCESS else "unknown"

    def _uuid(self, index: int) -> str:
        number = ctypes.c_uint64()
        status = self._lib.rsmi_dev_unique_id_get(ctypes.c_uint32(index), ctypes.byref(number))
        # Older cards have none; their place in the machine is the next best.
        return f"GPU-{number.value:016x}" if status == _SUCCESS else f"GPU-{self._bus(index)}"

    def _bus(self, index: int) -> str:
        number = ctypes.c_uint64()
        status = self._lib.rsmi_dev_pci_id_get(ctypes.c_uint32(index), ctypes.byref(number))
        if status != _SUCCESS:
            raise GpuDriverError(f"ROCm does not say where its GPU {index} is")
        bdf = number.value
        domain, bus, device, function = bdf >> 32, bdf >> 8 & 0xFF, bdf >> 3 & 0x1F, bdf & 7
        return f"{domain & 0xFFFF:04x}:{bus:02x}:{device:02x}.{function}"

    def _name(self, index: int) -> str:
        text = ctypes.create_string_buffer(_NAME_BYTES)
        status = self._lib.rsmi_dev_name_get(
            ctypes.c_uint32(index), text, ctypes.c_size_t(_NAME_BYTES)
        )
        return text.value.decode(errors="replace") if status == _SUCCESS else "AMD GPU"

    def _memory(self, what: str, index: int) -> int:
        ask = getattr(self._lib, f"rsmi_dev_memory_{what}_get")
        size = ctypes.c_uint64()
        if ask(ctypes.c_uint32(index), ctypes.c_int(_MEMORY_VRAM), ctypes.byref(size)) != _SUCCESS:
            raise GpuDriverError(f"ROCm does not say how much memory its GPU {index} has")
        return size.value

    def _uint32(self, name: str, index: int) -> int | None:
        number = ctypes.c_uint32()
        status = getattr(self._lib, name)(ctypes.c_uint32(index), ctypes.byref(number))
        return number.value if status == _SUCCESS else None

    def _temperature(self, index: int) -> int | None:
        value = ctypes.c_int64()
        for sensor in (_SENSOR_EDGE, _SENSOR_JUNCTION):  # Instinct cards have no edge sensor
            status = self._lib.rsmi_dev_temp_metric_get(
                ctypes.c_uint32(index),
                ctypes.c_uint32(sensor),
                ctypes.c_int(_TEMPERATURE_NOW),
                ctypes.byref(value),
            )
            if status == _SUCCESS:
                return round(value.value / 1000)
        return None

    def _power_mw(self, index: int) -> int | None:
        power = ctypes.c_uint64()
        status = self._lib.rsmi_dev_power_ave_get(
            ctypes.c_uint32(index), ctypes.c_uint32(0), ctypes.byref(power)
        )
        return power.value // 1000 if status == _SUCCESS else None

    def _processes(self, index: int) -> tuple[GpuProcess, ...]:
        count = ctypes.c_uint32(_PROCESSES_MAX)
        table = (_ProcessInfo * _PROCESSES_MAX)()
        if self._lib.rsmi_compute_process_info_get(table, ctypes.byref(count)) != _SUCCESS:
            raise GpuDriverError("ROCm does not say which processes use its GPUs")
        return tuple(
            GpuProcess(
                pid=entry.process_id, kind=ProcessKind.COMPUTE, memory_bytes=entry.vram_usage
            )
            for entry in table[: count.value]
            if index in self._gpus_of(entry.process_id)
        )

    def _gpus_of(self, pid: int) -> tuple[int, ...]:
        count = ctypes.c_uint32(_PROCESSES_MAX)
        indices = (ctypes.c_uint32 * _PROCESSES_MAX)()
        status = self._lib.rsmi_compute_process_gpus_get(
            ctypes.c_uint32(pid), indices, ctypes.byref(count)
        )
        return tuple(indices[: count.value]) if status == _SUCCESS else ()
