"""Clears a device's memory in a short-lived process.

    python -m assay_provider.gpus.clearing UUID LEAST_BYTES LIBRARY

A process of its own, because a driver that hangs cannot be interrupted but killed, and because what
CUDA keeps on a device ends with the process that used it. It prints one line of JSON.
"""

import asyncio
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from typing import Final, Protocol

from assay_node.protocol.units import MIB, size_to_text
from assay_provider.gpus.cuda import LIBRARY, open_device
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.device_memory import (
    Clearing,
    DeviceFault,
    DeviceOutOfMemory,
    clear_memory,
)

CLEARING_SECONDS_MAX: Final = 60.0
"""80 GB are filled in 50 ms and sampled in less than a second; a driver without persistence mode
takes seconds to wake. Beyond this it hangs."""

_FLOOR_BYTES: Final = 512 * MIB
_FLOOR_SHARE: Final = 64
_ANSWER_BYTES_MAX: Final = 1 << 16


class Clearer(Protocol):
    """Clears devices."""

    async def clear(self, device: GpuDevice, *, held_bytes: int = 0) -> Clearing:
        """Clear a device's memory; never raises for what is wrong with the device.

        Args:
            device: nobody computes on it.
            held_bytes: what the owner's programs hold with the owner's leave.
        """
        ...


def least_bytes(device: GpuDevice, *, held_bytes: int = 0) -> int:
    """Return how much must be had of a device's memory: all but what clearing it takes itself.

    CUDA's own context takes some 200 MB on a small card and 500 MB on a large one; a 64th more is
    what allocation by pages leaves.
    """
    usable = device.usable_bytes - held_bytes
    return max(0, usable - _FLOOR_BYTES - device.usable_bytes // _FLOOR_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaClearer:
    """Implements `Clearer`, with one process for each clearing."""

    library: str = LIBRARY
    seconds_max: float = CLEARING_SECONDS_MAX

    async def clear(self, device: GpuDevice, *, held_bytes: int = 0) -> Clearing:
        """See `Clearer`."""
        least = least_bytes(device, held_bytes=held_bytes)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "assay_provider.gpus.clearing"),
            *(device.uuid, str(least), self.library),
            env=_variables(device),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(self.seconds_max):
                said, _ = await process.communicate()
        except TimeoutError:
            return _failed(f"clearing its memory did not end within {self.seconds_max:g} s")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return _understood(said, process.returncode)


def main(arguments: list[str]) -> None:
    """Clear the device this process was started for, and print what came of it."""
    uuid, least, library = arguments
    try:
        with open_device(uuid, library) as memory:
            found = clear_memory(memory, least_bytes=int(least))
    except DeviceFault as error:
        found = _failed(str(error))
    except DeviceOutOfMemory:
        found = _failed(f"it has no room for a program ({size_to_text(int(least))} must be free)")
    print(json.dumps(dataclasses.asdict(found)))  # noqa: T201 # what it was started for


def _variables(device: GpuDevice) -> dict[str, str]:
    """Return all of our environment that the process needs, and which device it sees."""
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": device.uuid,
        "CUDA_CACHE_DISABLE": "1",
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _understood(said: bytes, status: int | None) -> Clearing:
    try:
        document = json.loads(said[:_ANSWER_BYTES_MAX])
        return Clearing(**document)
    except (ValueError, TypeError):
        return _failed(f"clearing its memory ended with status {status} and no answer")


def _failed(fault: str) -> Clearing:
    return Clearing(cleared_bytes=0, read_bytes=0, fault=fault)


if __name__ == "__main__":
    main(sys.argv[1:])
