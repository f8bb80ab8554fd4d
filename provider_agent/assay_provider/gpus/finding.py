"""What GPUs this machine has, which are offered in which slot, and why the rest is not."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_provider.gpus.assignment import Assignment, assign
from assay_provider.gpus.cdi_files import CdiFile, read_cdi_files
from assay_provider.gpus.claims import claimed
from assay_provider.gpus.device import GpuDevice, devices_of
from assay_provider.gpus.driver import (
    GpuDriver,
    GpuDriverError,
    GpuFacts,
    GpuState,
    NoGpuDriver,
)
from assay_provider.gpus.driver_files import NEEDED
from assay_provider.gpus.fitness import (
    Circumstances,
    reasons_against,
    remarks_on,
    runs_mps,
)
from assay_provider.gpus.granting import Equipment, equip
from assay_provider.gpus.host import Host, ThisHost
from assay_provider.gpus.nvml import open_nvml
from assay_provider.gpus.rocm import open_rocm

logger = logging.getLogger(__name__)

NONE: Final = "none"
AUTO: Final = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTerms:
    """The owner's word on GPUs. `use` is ("none",), ("auto",) or UUIDs."""

    use: tuple[str, ...] = (AUTO,)
    per_slot: int = 0
    allow_shared: bool = False
    slots: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    """One device as it was found. It is offered if there are no `reasons` against it."""

    device: GpuDevice
    state: GpuState | None
    equipment: Equipment
    reasons: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpus:
    """The machine's devices. `absent` says for each vendor why there are none of its."""

    gpus: tuple[FoundGpu, ...] = ()
    absent: tuple[str, ...] = ()
    assignment: Assignment = field(default_factory=Assignment)

    @property
    def hardware_class(self) -> str | None:
        """The class of what is offered; None without."""
        devices = self.assignment.devices
        return devices[0].hardware_class if devices else None

    @property
    def cuda_library(self) -> str | None:
        """Where the host has the library that clearing uses."""
        files = (pair for gpu in self.gpus for pair in gpu.equipment.files.mounts)
        return next((path for path, inside in files if inside.endswith(f"/{NEEDED}")), None)

    def equipment(self, device: GpuDevice) -> Equipment:
        """Return the equipment of a device that was found."""
        return next(found.equipment for found in self.gpus if found.device == device)


class GpuDrivers:
    """All vendors' drivers as one. `absent` says why a vendor's is missing."""

    def __init__(self, drivers: Sequence[GpuDriver], absent: Sequence[str] = ()) -> None:
        self._drivers = tuple(drivers)
        self.absent = tuple(absent)

    def gpus(self) -> tuple[GpuFacts, ...]:
        """See `GpuDriver`."""
        return tuple(facts for driver in self._drivers for facts in driver.gpus())

    def state(self, uuid: str) -> GpuState:
        """See `GpuDriver`."""
        fault = GpuDriverError(f"no driver knows the device {uuid}")
        for driver in self._drivers:
            try:
                return driver.state(uuid)
            except GpuDriverError as error:
                fault = error
        raise fault

    def close(self) -> None:
        """See `GpuDriver`."""
        for driver in self._drivers:
            driver.close()


OPENERS: Final[tuple[Callable[[], GpuDriver], ...]] = (open_nvml, open_rocm)


def open_drivers(openers: Sequence[Callable[[], GpuDriver]] = OPENERS) -> GpuDrivers:
    """Open what drivers there are; a machine without any is an ordinary machine."""
    drivers: list[GpuDriver] = []
    absent: list[str] = []
    for opener in openers:
        try:
            drivers.append(opener())
        except NoGpuDriver as error:
            absent.append(str(error))
        except GpuDriverError as error:
            logger.warning("GPUs are not offered: %s", error)
            absent.append(str(error))
    return GpuDrivers(drivers, absent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where GPUs are looked for."""

    drivers: GpuDrivers
    host: Host
    cdi_files: Sequence[CdiFile] = ()
    held: Callable[[Sequence[GpuDevice]], frozenset[str]] = claimed
    """Returns the UUIDs of devices that a provider on this machine has in use."""


def this_machine() -> Machine:
    """Open this machine's drivers and read its CDI files; close the drivers afterwards."""
    return Machine(drivers=open_drivers(), host=ThisHost(), cdi_files=read_cdi_files())


def find_gpus(terms: GpuTerms, machine: Machine, *, for_daemon: bool) -> FoundGpus:
    """Look at every device and decide what is offered.

    Args:
        terms: the owner's.
        machine: where to look.
        for_daemon: whether they are for a daemon that starts; otherwise devices that a running one
            holds count as offered, which they are.

    Raises:
        LocalError: the owner named a device that is not there or cannot be offered. What "auto"
            cannot offer is left out with its reasons.
    """
    return _assigned(_look(terms, machine, for_daemon=for_daemon), terms)


def without(found: FoundGpus, faults: Mapping[str, str], terms: GpuTerms) -> FoundGpus:
    """Return what is left to offer when some devices turned out to be faulty.

    Raises:
        LocalError: the owner named one of them.
    """
    gpus = tuple(
        replace(gpu, reasons=(*gpu.reasons, faults[gpu.device.uuid]))
        if gpu.device.uuid in faults
        else gpu
        for gpu in found.gpus
    )
    return _assigned(replace(found, gpus=gpus), terms)


def _assigned(found: FoundGpus, terms: GpuTerms) -> FoundGpus:
    """Give what can be offered to the slots."""
    if terms.use == (NONE,):
        return found
    wanted = [gpu for gpu in found.gpus if terms.use == (AUTO,) or gpu.device.uuid in terms.use]
    if terms.use != (AUTO,):
        _check_named(terms, wanted)
    fit = [gpu.device for gpu in wanted if not gpu.reasons]
    assignment = assign(fit, slots=terms.slots, per_slot=terms.per_slot)
    if assignment.refused and (terms.use != (AUTO,) or terms.per_slot):
        raise LocalError(f"GPUs cannot be offered as provider.gpus says: {assignment.refused}")
    return replace(found, assignment=assignment)


def _look(terms: GpuTerms, machine: Machine, *, for_daemon: bool) -> FoundGpus:
    drivers, host = machine.drivers, machine.host
    try:
        facts = drivers.gpus()
    except GpuDriverError as error:
        return FoundGpus(absent=(*drivers.absent, str(error)))
    devices = devices_of(facts)
    if not facts:
        return FoundGpus(absent=drivers.absent)
    circumstances = Circumstances(
        toolkit=host.output("nvidia-ctk", "--version"),
        mps=runs_mps(host.commands()),
        allow_shared=terms.allow_shared,
        held=machine.held(devices),
        asked_by_daemon=for_daemon,
    )
    gpus = tuple(_found(device, devices, machine, circumstances) for device in devices)
    empty = [card for card in facts if card.mig and not card.instances]
    absent = [
        f"{card.model} ({card.uuid}) is in MIG mode without instances: make some with nvidia-smi "
        "mig -cgi, or end MIG mode with nvidia-smi -mig 0"
        for card in empty
    ]
    return FoundGpus(gpus=gpus, absent=(*drivers.absent, *absent))


def _found(
    device: GpuDevice,
    siblings: Sequence[GpuDevice],
    machine: Machine,
    circumstances: Circumstances,
) -> FoundGpu:
    equipment = equip(device, machine.host, machine.cdi_files)
    try:
        state = machine.drivers.state(device.uuid)
    except GpuDriverError as error:
        return FoundGpu(device=device, state=None, equipment=equipment, reasons=(str(error),))
    return FoundGpu(
        device=device,
        state=state,
        equipment=equipment,
        reasons=reasons_against(device, state, equipment, siblings, circumstances),
        remarks=(*equipment.remarks, *remarks_on(device)),
    )


def _check_named(terms: GpuTerms, wanted: Sequence[FoundGpu]) -> None:
    unknown = sorted(set(terms.use) - {gpu.device.uuid for gpu in wanted})
    if unknown:
        raise LocalError(
            f"provider.gpus.use names {', '.join(unknown)}, which this machine does not have; "
            "`assay provider gpus` shows what it has"
        )
    for gpu in wanted:
        if gpu.reasons:
            raise LocalError(
                f"the GPU {gpu.device.uuid} of provider.gpus.use cannot be offered: "
                f"{'; '.join(gpu.reasons)}"
            )
