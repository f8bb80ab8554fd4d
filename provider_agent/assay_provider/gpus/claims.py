"""One daemon for each device: a second one on the same machine finds it taken.

An abstract socket is a name that the kernel gives to one process and takes back when it dies,
however it dies; unlike a file it needs no folder that every user may write.
"""

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from assay_provider.gpus.device import GpuDevice

_PREFIX: Final = "assay-gpu-"
_TABLE: Final = Path("/proc/net/unix")


class Claims:
    """What this process holds; closing gives it back."""

    def __init__(self) -> None:
        self._held: dict[str, socket.socket] = {}

    def claim(self, device: GpuDevice) -> bool:
        """Take a device; False when another process has it."""
        name = _name(device)
        if name in self._held:
            return True
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(f"\0{name}")
        except OSError:
            holder.close()
            return False
        self._held[name] = holder
        return True

    def close(self) -> None:
        """Give everything back."""
        for holder in self._held.values():
            holder.close()
        self._held.clear()


def claimed(devices: Iterable[GpuDevice]) -> frozenset[str]:
    """Return the UUIDs of devices that some daemon on this machine holds."""
    try:
        table = _TABLE.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    names = {line.rpartition(" ")[2] for line in table.splitlines()}
    return frozenset(device.uuid for device in devices if f"@{_name(device)}" in names)


def _name(device: GpuDevice) -> str:
    return f"{_PREFIX}{device.name.hex()}"
