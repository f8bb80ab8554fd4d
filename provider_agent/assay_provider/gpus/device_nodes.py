"""The device nodes that computing on an NVIDIA GPU takes, found on the host and checked. Pure.

`/dev/nvidia<n>` is the card, `nvidiactl` and `nvidia-uvm` speak for all cards: the driver serves
through them only cards whose own node the caller can open. A MIG instance takes two capabilities
besides, files of which each opens one instance.

Source: NVIDIA's MIG user guide ("Device nodes and capabilities") and the driver's README.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.host import Host, HostNode
from assay_provider.runtime.sandbox import DeviceNode

CONTROL: Final = "/dev/nvidiactl"
UNIFIED_MEMORY: Final = "/dev/nvidia-uvm"
UNIFIED_MEMORY_TOOLS: Final = "/dev/nvidia-uvm-tools"
"""For debuggers and profilers; programs do without."""

_MAJOR_NAMES: Final = frozenset(
    {"nvidia", "nvidia-frontend", "nvidiactl", "nvidia-uvm", "nvidia-caps"}
)
_MAJOR_OF_OLD: Final = 195
"""Assigned to NVIDIA in the kernel's list; drivers register it under names that change."""

_OWN: Final = re.compile(r"/dev/nvidia\d+|/dev/nvidia-caps/nvidia-cap\d+")
_CAPABILITIES: Final = "/proc/driver/nvidia/capabilities"
_DEVICE_LINE: Final = re.compile(r"(\d+) (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesFound:
    """The nodes of one device, and what is wrong with them, in words with a remedy each."""

    nodes: tuple[DeviceNode, ...]
    faults: tuple[str, ...] = ()


def find_nodes(device: GpuDevice, host: Host) -> NodesFound:
    """Return the nodes a tenant of a device gets."""
    wanted, faults = _wanted(device, host)
    majors = driver_majors(host.text("/proc/devices") or "")
    nodes: list[DeviceNode] = []
    for path in wanted:
        found = host.node(path)
        if found is None and path == UNIFIED_MEMORY_TOOLS:
            continue
        fault = _fault(path, found, majors)
        if fault or found is None:
            faults.append(fault)
        else:
            nodes.append(DeviceNode(path=Path(path), major=found.major, minor=found.minor))
    return NodesFound(nodes=tuple(nodes), faults=tuple(faults))


def card_node(minor: int) -> str:
    """Return the path of a card's own node."""
    return f"/dev/nvidia{minor}"


def is_own_node(path: str) -> bool:
    """Tell whether a node is one card's or one MIG instance's, rather than every card's."""
    return _OWN.fullmatch(path) is not None


def driver_majors(proc_devices: str) -> frozenset[int]:
    """Return the numbers under which NVIDIA's driver is registered, from /proc/devices."""
    characters = proc_devices.partition("Block devices:")[0]
    found = (_DEVICE_LINE.fullmatch(line.strip()) for line in characters.splitlines())
    numbers = {int(line[1]) for line in found if line and line[2] in _MAJOR_NAMES}
    return frozenset({_MAJOR_OF_OLD, *numbers})


def _wanted(device: GpuDevice, host: Host) -> tuple[list[str], list[str]]:
    minor = device.facts.minor
    if minor is None:
        return [], ["its driver names no device node"]
    wanted = [card_node(minor), CONTROL, UNIFIED_MEMORY, UNIFIED_MEMORY_TOOLS]
    part = device.instance
    if part is None:
        return wanted, []
    faults = []
    folder = f"{_CAPABILITIES}/gpu{minor}/mig/gi{part.gpu_instance}"
    for path in (f"{folder}/access", f"{folder}/ci{part.compute_instance}/access"):
        number = re.search(r"^DeviceFileMinor:\s*(\d+)$", host.text(path) or "", re.MULTILINE)
        if number is None:
            faults.append(f"{path} does not name the capability's node: nvidia-modprobe -f {path}")
        else:
            wanted.append(f"/dev/nvidia-caps/nvidia-cap{number[1]}")
    return wanted, faults


def _fault(path: str, node: HostNode | None, majors: frozenset[int]) -> str:
    if node is None:
        return f"{path} is missing; make it with nvidia-modprobe -u -c=0, or run nvidia-smi as root"
    if node.block or node.major not in majors:
        return f"{path} is not a device of NVIDIA's driver ({node.major}:{node.minor}); remove it"
    number = re.search(r"\d+$", path)
    if number and node.minor != int(number[0]):
        return f"{path} has the number of another device ({node.major}:{node.minor}); remove it"
    if not node.open_to_all:
        return (
            f"{path} is closed to the uids of slots; chmod a+rw {path}, and "
            "NVreg_DeviceFileMode=0666 among the options of the module nvidia keeps it so"
        )
    return ""
