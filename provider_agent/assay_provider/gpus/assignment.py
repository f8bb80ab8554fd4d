"""Which slot owns which devices, for as long as the daemon runs. Pure.

Every slot of an offer is equal, so each gets equally many devices of one kind. A device is in one
slot or in none: nothing is ever shared out in turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from assay_provider.gpus.device import GpuDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Devices by slot, all equally many; `refused` says why there are none."""

    slots: tuple[tuple[GpuDevice, ...], ...] = ()
    refused: str = ""

    @property
    def per_slot(self) -> int:
        """Devices of one slot."""
        return len(self.slots[0]) if self.slots else 0

    @property
    def devices(self) -> tuple[GpuDevice, ...]:
        """All that are owned by a slot."""
        return tuple(device for slot in self.slots for device in slot)

    @property
    def usable_bytes(self) -> int:
        """Memory that every device has at least."""
        return min((device.usable_bytes for device in self.devices), default=0)


def assign(devices: Sequence[GpuDevice], *, slots: int, per_slot: int) -> Assignment:
    """Give each slot `per_slot` devices, 0 for as many as there are for each.

    Neighbours on the bus come together: they are the likeliest to have a short way to each other.
    """
    if not devices:
        return Assignment()
    kinds = sorted({device.hardware_class for device in devices})
    if len(kinds) > 1:
        return Assignment(
            refused=f"they are of several kinds ({', '.join(kinds)}), and a daemon sells one, for "
            "results are compared within its class: name those of one kind in provider.gpus.use, "
            "and run another daemon for the rest"
        )
    each = per_slot or len(devices) // slots
    if each == 0 or each * slots > len(devices):
        return Assignment(
            refused=f"{slots} slot(s) with {per_slot or 'one or more'} each are more than the "
            f"{len(devices)} that can be offered; lower provider.slots or provider.gpus.per_slot"
        )
    ordered = sorted(devices, key=lambda device: (device.facts.pci_bus, device.uuid))
    return Assignment(slots=tuple(tuple(ordered[n * each : (n + 1) * each]) for n in range(slots)))
