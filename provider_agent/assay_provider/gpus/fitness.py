"""Why a device is not offered: every reason, in words, with the remedy. Pure.

1. Its memory can be cleared between tenants: so far NVIDIA's only.
2. Driver and container toolkit are not below their floors.
3. It is one tenant's: no MPS, no compute instances that share memory, not prohibited.
4. The owner does not use it: no display, no programs, little memory in use.
5. Its nodes and libraries are there for a sandbox.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from assay_node.protocol.units import MIB, size_to_text
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.driver import ComputeMode, GpuState, ProcessKind, Vendor
from assay_provider.gpus.floors import Component, below_floor
from assay_provider.gpus.granting import Equipment

USED_BYTES_MAX: Final = 256 * MIB
"""What an idle card may hold beside what the driver reserves: data-centre cards show 0 to 4 MiB, a
GeForce with its console some 100."""

_MPS_COMMAND: Final = "nvidia-cuda-mps"
"""Both its daemons' names, as the kernel cuts them to 15 characters."""

_HELD: Final = (
    "another provider on this machine has it in use: name others in provider.gpus.use, or none"
)
_SHARED_REMEDY: Final = "end them, or set provider.gpus.allow_shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What of the machine counts for every device."""

    toolkit: str | None
    """What nvidia-ctk says of its version; None without the container toolkit."""
    mps: bool
    """Whether a control daemon of CUDA MPS runs."""
    allow_shared: bool
    """Whether the owner may go on using devices that are offered."""
    held: frozenset[str] = frozenset()
    """UUIDs of devices that a provider on this machine has in use."""
    asked_by_daemon: bool = True
    """Whether another provider's hold counts against a device, as it does for one that starts."""


def runs_mps(commands: Sequence[str]) -> bool:
    """Tell from the names of all processes whether CUDA MPS serves here."""
    return any(name.startswith(_MPS_COMMAND) for name in commands)


def reasons_against(
    device: GpuDevice,
    state: GpuState,
    equipment: Equipment,
    siblings: Sequence[GpuDevice],
    circumstances: Circumstances,
) -> tuple[str, ...]:
    """Return why a device cannot be offered; nothing when it can.

    Args:
        device: a GPU or MIG instance.
        state: what it does now.
        equipment: its nodes and files.
        siblings: all devices of the machine.
        circumstances: of the machine.
    """
    if device.facts.vendor is not Vendor.NVIDIA:  # 1
        return ("its memory cannot be cleared between tenants: that is done through CUDA only",)
    reasons = [  # 2
        below_floor(Component.NVIDIA_DRIVER, device.facts.driver),
        below_floor(Component.NVIDIA_TOOLKIT, circumstances.toolkit)
        if circumstances.toolkit is not None
        else "",
    ]
    reasons += _tenancy(device, state, siblings, circumstances)  # 3
    if device.uuid in circumstances.held:  # 4
        reasons.append(_HELD if circumstances.asked_by_daemon else "")
    elif not circumstances.allow_shared:
        reasons += use_by_owner(device, state)
    reasons += equipment.faults  # 5
    return tuple(reason for reason in reasons if reason)


def use_by_owner(device: GpuDevice, state: GpuState) -> tuple[str, ...]:
    """Return what shows that somebody else is on a device."""
    reasons = []
    if device.facts.display:
        reasons.append(
            "it drives a display: a tenant could stop or read it; move the display to another "
            "device, or set provider.gpus.allow_shared"
        )
    pids = sorted({process.pid for process in state.processes})
    if pids:
        shown = ", ".join(map(str, pids[:4]))
        reasons.append(f"other processes use it ({shown}): {_SHARED_REMEDY}")
    if state.memory_used_bytes > USED_BYTES_MAX:
        reasons.append(
            f"{size_to_text(state.memory_used_bytes)} of its memory are in use, at most "
            f"{size_to_text(USED_BYTES_MAX)} when nobody is on it: find the program with nvidia-smi"
        )
    return tuple(reasons)


def remarks_on(device: GpuDevice) -> tuple[str, ...]:
    """Return what would be better, for a device that can be offered."""
    if device.facts.compute_mode is ComputeMode.SHARED and device.instance is None:
        remark = (
            "its driver admits several processes at once; a second lock beside ours would be "
            "nvidia-smi -c EXCLUSIVE_PROCESS, under which a job has one process on it, too"
        )
        return (remark,)
    return ()


def _tenancy(
    device: GpuDevice,
    state: GpuState,
    siblings: Sequence[GpuDevice],
    circumstances: Circumstances,
) -> list[str]:
    reasons = []
    mps = any(process.kind is ProcessKind.MPS for process in state.processes)
    if circumstances.mps or mps:
        reasons.append(
            "CUDA MPS runs here, which puts several programs on one device at once: echo quit | "
            "nvidia-cuda-mps-control"
        )
    if device.facts.compute_mode is ComputeMode.PROHIBITED:
        reasons.append("its driver admits no program: nvidia-smi -c DEFAULT")
    if device.instance is not None:
        shared = [
            other.uuid
            for other in siblings
            if other.instance is not None
            and other.facts.uuid == device.facts.uuid
            and other.instance.gpu_instance == device.instance.gpu_instance
            and other.uuid != device.uuid
        ]
        if shared:
            reasons.append(
                f"its memory is shared with {', '.join(shared[:4])}: make one compute instance in "
                "each GPU instance"
            )
    return reasons
