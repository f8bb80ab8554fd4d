"""Who is on which GPU: slots own devices; a tenant gets its slot's, cleared before and after.

A device is dirty from the daemon's start and from each tenant's, until it was cleared. A tenant
comes only on devices that are clean and that nobody else uses. A device whose memory cannot be
cleared or checked is out of service until the daemon starts anew.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from assay_node.protocol.errors import LocalError
from assay_node.protocol.offer import Gpu
from assay_provider.gpus.claims import Claims
from assay_provider.gpus.clearing import Clearer
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.driver import GpuDriverError, GpuState, ProcessKind
from assay_provider.gpus.finding import FoundGpus, GpuTerms, Machine, find_gpus, without
from assay_provider.gpus.fitness import use_by_owner
from assay_provider.gpus.granting import grant
from assay_provider.runtime.sandbox import GpuGrant

logger = logging.getLogger(__name__)

_SETTLE_TRIES: Final = 10


class GpuBusy(LocalError):
    """The owner's programs are on a device now; the job is handed back, the device stays."""

    code = "gpu_busy"


class GpuOutOfService(LocalError):
    """A device is not fit for a tenant any more; its slot takes no more leases."""

    code = "gpu_out_of_service"


class States(Protocol):
    """What of the drivers is asked while tenants come and go."""

    def state(self, uuid: str) -> GpuState:
        """See `GpuDriver`."""
        ...


@dataclass(slots=True, kw_only=True)
class SlotGpus:
    """The devices of one daemon's slots. Without any it is an ordinary daemon without GPUs."""

    found: FoundGpus = field(default_factory=FoundGpus)
    drivers: States | None = None
    clearer: Clearer | None = None
    allow_shared: bool = False
    claims: Claims = field(default_factory=Claims)
    settle_s: float = 0.2
    """Between looks at a device: a driver may count a process for a moment after its end."""
    _clean: set[str] = field(default_factory=set)
    _faults: dict[str, str] = field(default_factory=dict)

    @property
    def per_slot(self) -> int:
        """Devices of each slot."""
        return self.found.assignment.per_slot

    @property
    def usable_bytes(self) -> int:
        """Memory that each device has at least."""
        return self.found.assignment.usable_bytes

    @property
    def hardware_class(self) -> str | None:
        """Of the devices; None without."""
        return self.found.hardware_class

    @property
    def offered(self) -> tuple[Gpu, ...]:
        """All devices, as the offer describes them."""
        return tuple(device.offered for device in self.found.assignment.devices)

    @property
    def faults(self) -> dict[str, str]:
        """Devices that are out of service, by UUID, and why."""
        return dict(self._faults)

    def is_faulty(self, slot: int) -> bool:
        """Whether a device of a slot is out of service."""
        return any(device.uuid in self._faults for device in self.devices(slot))

    def devices(self, slot: int) -> tuple[GpuDevice, ...]:
        """Return what a slot owns."""
        slots = self.found.assignment.slots
        return slots[slot] if slot < len(slots) else ()

    def claim(self) -> None:
        """Take the devices for this process.

        Raises:
            LocalError: another daemon on this machine has one.
        """
        for device in self.found.assignment.devices:
            if not self.claims.claim(device):
                self.claims.close()
                raise LocalError(
                    f"another provider on this machine has the GPU {device.uuid} in use; give each "
                    "its own in provider.gpus.use, or set it to none in one of them"
                )

    def close(self) -> None:
        """Give the devices back to other daemons."""
        self.claims.close()

    async def clear_all(self) -> dict[str, str]:
        """Clear every device before the first tenant; return what cannot be, and why."""
        faults: dict[str, str] = {}
        for device in self.found.assignment.devices:
            try:
                await self._make_ready(device)
            except (GpuBusy, GpuOutOfService) as error:
                faults[device.uuid] = str(error)
        return faults

    @asynccontextmanager
    async def tenancy(self, slot: int, count: int) -> AsyncIterator[GpuGrant | None]:
        """Give a job on a slot its devices for as long as it runs, None if it asks for none.

        Raises:
            GpuBusy: somebody else is on a device.
            GpuOutOfService: a device cannot be cleared.
            LocalError: the slot has fewer devices.
        """
        if count == 0:
            yield None
            return
        devices = self.devices(slot)[:count]
        if len(devices) < count:
            raise LocalError(f"slot {slot} has {len(devices)} GPUs now, and the job needs {count}")
        for device in devices:
            await self._make_ready(device)
        self._clean.difference_update(device.uuid for device in devices)
        yield grant([self.found.equipment(device) for device in devices])
        # After a cancellation or a fault of the machine this is skipped: what matters then is to be
        # gone soon, and what is dirty is cleared before its next tenant.
        for device in devices:
            await self._clear_after(device)

    async def _make_ready(self, device: GpuDevice) -> None:
        fault = self._faults.get(device.uuid)
        if fault:
            raise GpuOutOfService(f"the GPU {device.uuid} is out of service: {fault}")
        state = await self._state(device)
        if device.uuid not in self._clean:
            await self._clear(device, state)
            await self._state(device)

    async def _state(self, device: GpuDevice) -> GpuState:
        """Return what a device does: nothing but what the owner's own terms allow."""
        assert self.drivers is not None, "devices come with drivers"
        reasons: tuple[str, ...] = ()
        for attempt in range(_SETTLE_TRIES):
            if attempt:
                await asyncio.sleep(self.settle_s)
            try:
                state = await asyncio.to_thread(self.drivers.state, device.uuid)
            except GpuDriverError as error:
                self._take_out(device, str(error))
                raise GpuOutOfService(str(error)) from error
            reasons = () if self.allow_shared else use_by_owner(device, state)
            if any(process.kind is ProcessKind.MPS for process in state.processes):
                reasons = ("clients of CUDA MPS are on it", *reasons)
            if not reasons:
                return state
        raise GpuBusy(f"the GPU {device.uuid} is not free: {'; '.join(reasons)}")

    async def _clear(self, device: GpuDevice, state: GpuState) -> None:
        assert self.clearer is not None, "devices come with a way to clear them"
        held = state.memory_used_bytes if self.allow_shared else 0
        done = await self.clearer.clear(device, held_bytes=held)
        if done.fault:
            self._take_out(device, done.fault)
            raise GpuOutOfService(f"the GPU {device.uuid} is out of service: {done.fault}")
        self._clean.add(device.uuid)

    async def _clear_after(self, device: GpuDevice) -> None:
        """Clear what a tenant left. The job has ended well or not: its result stands either way."""
        with contextlib.suppress(GpuOutOfService):  # which is in the log, and the next tenant's no
            try:
                await self._clear(device, await self._state(device))
            except GpuBusy as error:
                logger.warning("a GPU was not cleared after its tenant: %s", error)

    def _take_out(self, device: GpuDevice, fault: str) -> None:
        self._faults[device.uuid] = fault
        logger.error("the GPU %s is out of service: %s", device.uuid, fault)


async def open_slot_gpus(
    terms: GpuTerms, machine: Machine, *, clearer: Callable[[str | None], Clearer]
) -> SlotGpus:
    """Find, take and clear the devices of a daemon that starts.

    Args:
        terms: the owner's.
        machine: where to look; its drivers stay open as long as the daemon.
        clearer: makes what clears devices, from the place of the driver's library.

    Raises:
        LocalError: a device that the owner named cannot be offered.
    """
    found = await asyncio.to_thread(find_gpus, terms, machine, for_daemon=True)
    gpus = SlotGpus(
        found=found,
        drivers=machine.drivers,
        clearer=clearer(found.cuda_library),
        allow_shared=terms.allow_shared,
    )
    try:
        while True:  # each round leaves out a device, and may take one that was to spare
            gpus.claim()
            faults = await gpus.clear_all()
            if not faults:
                return gpus
            gpus.found = without(gpus.found, faults, terms)
    except BaseException:
        gpus.close()
        raise
