"""The GPUs of a daemon's slots, over a driver and a clearer that do as they are told."""

import asyncio
from dataclasses import dataclass, field, replace

from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.device_memory import Clearing
from assay_provider.gpus.driver import GpuFacts
from assay_provider.gpus.finding import GpuDrivers, GpuTerms, Machine
from assay_provider.gpus.slot_gpus import SlotGpus, open_slot_gpus
from tests.fakes.gpus import H100, FakeGpuDriver, host_with, several

CARDS = several(4, replace(H100, uuid="GPU-of-the-slots-test-0000"))


@dataclass(slots=True)
class FakeClearer:
    """Remembers what it cleared; `faults` by UUID."""

    faults: dict[str, str] = field(default_factory=dict)
    cleared: list[tuple[str, int]] = field(default_factory=list)

    async def clear(self, device: GpuDevice, *, held_bytes: int = 0) -> Clearing:
        await asyncio.sleep(0)
        self.cleared.append((device.uuid, held_bytes))
        return Clearing(cleared_bytes=1, read_bytes=1, fault=self.faults.get(device.uuid, ""))

    @property
    def uuids(self) -> list[str]:
        return [uuid for uuid, _ in self.cleared]


@dataclass(slots=True)
class GpuWorld:
    """A daemon's GPUs, among fakes."""

    driver: FakeGpuDriver
    clearer: FakeClearer
    gpus: SlotGpus


async def gpu_world(
    cards: tuple[GpuFacts, ...] = CARDS, *, faults: dict[str, str] | None = None, **terms: object
) -> GpuWorld:
    driver, clearer = FakeGpuDriver(cards), FakeClearer(faults or {})
    machine = Machine(
        drivers=GpuDrivers([driver]), host=host_with(*cards), held=lambda _: frozenset()
    )
    gpus = await open_slot_gpus(
        GpuTerms(**terms), machine, clearer=lambda library: clearer if library else None
    )
    gpus.settle_s = 0
    clearer.cleared.clear()
    return GpuWorld(driver=driver, clearer=clearer, gpus=gpus)
