"""Leases of jobs that ask for GPUs: the slot's own, cleared, for this job alone."""

import platform
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.job_spec import Resources
from assay_node.protocol.offer import open_offer
from assay_node.protocol.units import GIB
from assay_node.settings import ProviderSettings, Settings, load_settings
from assay_provider import compose
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.driver import GpuProcess, ProcessKind
from assay_provider.gpus.finding import Assignment, FoundGpus
from assay_provider.gpus.opening import gpu_terms
from assay_provider.gpus.slot_gpus import SlotGpus
from assay_provider.inventory import hardware_class
from tests.fakes.gpus import H100, idle, several
from tests.unit.provider_agent.gpus.slot_world import GpuWorld, gpu_world
from tests.unit.provider_agent.test_daemon import introduced
from tests.unit.provider_agent.world import DOMAIN, OPERATOR, World, until

CARDS = several(2, replace(H100, uuid="GPU-of-the-leases-test-0000"))
NEEDS_ONE = Resources(gpus=1, gpu_memory_bytes=40 * GIB)


@pytest.fixture
async def machine(world: World) -> AsyncIterator[GpuWorld]:
    """The world's provider on a machine with a GPU for each of its two slots."""
    opened = await gpu_world(CARDS, slots=2)
    gpus = world.gpus = opened.gpus
    world.supply = replace(
        world.supply,
        gpus=gpus.offered,
        slot=replace(world.supply.slot, gpus=gpus.per_slot, gpu_memory_bytes=gpus.usable_bytes),
    )
    yield opened
    gpus.close()


async def _lease(world: World, resources: Resources) -> None:
    answer = await world.scheduler.lease(world.signed_order(world.spec(resources=resources)))
    assert answer.accepted, answer.reason


async def test_a_job_that_asks_for_a_gpu_runs_with_its_slots_own(
    world: World, machine: GpuWorld
) -> None:
    async with world.daemon():
        await introduced(world)
        await _lease(world, NEEDS_ONE)
        await world.scheduler.committed()

    [(request, slot)] = world.sandbox.requests
    assert slot == 0
    assert request.gpus is not None
    assert "/dev/nvidia0" in [str(node.path) for node in request.gpus.nodes]
    assert "/dev/nvidia1" not in [str(node.path) for node in request.gpus.nodes]
    assert machine.clearer.uuids == [CARDS[0].uuid], "cleared after its tenant"


async def test_a_job_that_asks_for_none_gets_none(world: World, machine: GpuWorld) -> None:
    async with world.daemon():
        await introduced(world)
        await _lease(world, Resources())
        await world.scheduler.committed()

    assert world.sandbox.requests[0][0].gpus is None
    assert machine.clearer.uuids == []


async def test_the_offer_says_what_is_sold(world: World, machine: GpuWorld) -> None:
    async with world.daemon():
        await introduced(world)

    offer = open_offer(world.scheduler.hellos[0].offer, DOMAIN)
    assert [gpu.model for gpu in offer.gpus] == [H100.model] * 2
    assert offer.slot.gpus == 1
    assert offer.slot.gpu_memory_bytes == H100.memory_bytes - H100.memory_reserved_bytes


async def test_while_the_owner_is_on_the_gpu_its_job_is_handed_back(
    world: World, machine: GpuWorld
) -> None:
    process = GpuProcess(pid=7, kind=ProcessKind.COMPUTE, memory_bytes=1)
    machine.driver.states[CARDS[0].uuid] = replace(idle(H100), processes=(process,))
    async with world.daemon():
        await introduced(world)
        await _lease(world, NEEDS_ONE)
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        assert "other processes use it (7)" in world.scheduler.hand_backs[0].reason
        machine.driver.states.clear()
        await _lease(world, NEEDS_ONE)
        await world.scheduler.committed()

    assert [slot for _, slot in world.sandbox.requests] == [0]


async def test_a_slot_whose_gpu_fails_takes_no_more_leases(world: World, machine: GpuWorld) -> None:
    machine.clearer.faults[CARDS[0].uuid] = "its memory does not hold what was written to it"
    async with world.daemon():
        await introduced(world)
        await _lease(world, NEEDS_ONE)  # runs; what it leaves cannot be cleared
        await world.scheduler.committed(1)
        await until(lambda: world.gpus.is_faulty(0))
        await _lease(world, NEEDS_ONE)
        await world.scheduler.committed(2)

    assert [slot for _, slot in world.sandbox.requests] == [0, 1]
    assert world.scheduler.hand_backs == []


def _settings(tmp_path: Path, **changes: object) -> Settings:
    return Settings(provider=ProviderSettings(home=tmp_path, operator=OPERATOR, **changes))


async def test_the_supply_has_the_class_of_its_gpus_unless_the_owner_names_one(
    tmp_path: Path, machine: GpuWorld
) -> None:
    settings = _settings(tmp_path, slots=2)
    supply = compose._supply(settings, 1, machine.gpus)
    assert supply.hardware_class == hardware_class_digest("nvidia-h100-80gb-hbm3")
    assert (supply.slot.gpus, len(supply.gpus)) == (1, 2)
    named = _settings(tmp_path, slots=2, hardware_class="cpu-x86_64")
    assert compose._supply(named, 1, machine.gpus).hardware_class == hardware_class_digest(
        "cpu-x86_64"
    )
    without = compose._supply(settings, 1, SlotGpus())
    assert (without.slot.gpus, without.gpus) == (0, ())


def test_everybody_else_finds_the_same_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = FoundGpus()
    monkeypatch.setattr(hardware_class, "offered_gpus", lambda settings: found)
    mine = _settings(tmp_path).provider
    assert hardware_class.hardware_class_of(mine) == f"cpu-{platform.machine()}"
    found = FoundGpus(assignment=Assignment(slots=((GpuDevice(facts=H100),),)))
    assert hardware_class.hardware_class_of(mine) == "nvidia-h100-80gb-hbm3"
    named = mine.model_copy(update={"hardware_class": "my-class"})
    assert hardware_class.hardware_class_of(named) == "my-class"


def test_settings_become_terms() -> None:
    flags = {"provider.gpus.use": "GPU-a, MIG-b", "provider.gpus.per_slot": 2, "provider.slots": 3}

    terms = gpu_terms(load_settings(flags=flags).provider)
    assert (terms.use, terms.per_slot, terms.slots) == (("GPU-a", "MIG-b"), 2, 3)
    assert not terms.allow_shared
