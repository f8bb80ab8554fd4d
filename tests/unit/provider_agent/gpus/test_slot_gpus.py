"""One tenant on a device at a time, on cleared memory, and none when that cannot be had."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.gpus.claims import Claims
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.driver import GpuProcess, ProcessKind
from assay_provider.gpus.slot_gpus import GpuBusy, GpuOutOfService
from tests.fakes.gpus import H100, MIB, idle
from tests.unit.provider_agent.gpus.slot_world import CARDS, GpuWorld, gpu_world


@pytest.fixture
def opened() -> Iterator[list[GpuWorld]]:
    worlds: list[GpuWorld] = []
    yield worlds
    for world in worlds:
        world.gpus.close()


@pytest.fixture
async def world(opened: list[GpuWorld]) -> GpuWorld:
    opened.append(await gpu_world(slots=2))
    return opened[0]


def _busy(world: GpuWorld, uuid: str, kind: ProcessKind = ProcessKind.COMPUTE) -> None:
    process = GpuProcess(pid=7, kind=kind, memory_bytes=1)
    world.driver.states[uuid] = replace(idle(H100), processes=(process,))


async def test_a_tenant_gets_its_slots_devices_and_no_others(world: GpuWorld) -> None:
    async with world.gpus.tenancy(1, 2) as grant:
        assert grant is not None
        nodes = [str(node.path) for node in grant.nodes]

    assert "/dev/nvidia2" in nodes
    assert "/dev/nvidia3" in nodes
    assert not {"/dev/nvidia0", "/dev/nvidia1"} & set(nodes)


async def test_a_tenant_gets_no_more_than_it_asks_for(world: GpuWorld) -> None:
    async with world.gpus.tenancy(0, 1) as grant:
        assert grant is not None
        assert "/dev/nvidia1" not in [str(node.path) for node in grant.nodes]
    assert world.clearer.uuids == [CARDS[0].uuid]
    async with world.gpus.tenancy(0, 0) as nothing:
        assert nothing is None
    with pytest.raises(LocalError, match="has 2 GPUs"):
        async with world.gpus.tenancy(0, 3):
            pass


async def test_memory_is_cleared_once_between_tenants(world: GpuWorld) -> None:
    for _ in range(3):
        async with world.gpus.tenancy(0, 1):
            assert world.clearer.uuids.count(CARDS[0].uuid) == _
    assert world.clearer.uuids == [CARDS[0].uuid] * 3


async def test_after_a_cancelled_run_the_next_tenant_waits_for_the_clearing(
    world: GpuWorld,
) -> None:
    with pytest.raises(asyncio.CancelledError):
        async with world.gpus.tenancy(0, 1):
            raise asyncio.CancelledError
    assert world.clearer.uuids == []

    async with world.gpus.tenancy(0, 1):
        assert world.clearer.uuids == [CARDS[0].uuid]


async def test_no_tenant_comes_while_somebody_else_is_there(world: GpuWorld) -> None:
    _busy(world, CARDS[0].uuid)
    with pytest.raises(GpuBusy, match="other processes use it"):
        async with world.gpus.tenancy(0, 1):
            pass
    assert world.gpus.faults == {}

    world.driver.states.clear()
    async with world.gpus.tenancy(0, 1) as grant:
        assert grant is not None


async def test_a_process_that_is_counted_for_a_moment_after_its_end_is_waited_for(
    world: GpuWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    busy = replace(idle(H100), memory_used_bytes=900 * MIB)

    def state(uuid: str) -> object:
        nonlocal looks
        looks += 1
        return busy if looks < 4 else idle(H100)

    monkeypatch.setattr(world.gpus, "drivers", type("Drivers", (), {"state": staticmethod(state)}))
    async with world.gpus.tenancy(0, 1) as grant:
        assert grant is not None
        assert looks >= 4


async def test_a_device_that_cannot_be_cleared_is_out_of_service_for_good(world: GpuWorld) -> None:
    uuid = CARDS[0].uuid
    world.clearer.faults[uuid] = "its memory does not hold what was written to it"
    async with world.gpus.tenancy(0, 1):
        pass  # the tenant's result stands; what it left could not be cleared
    assert uuid in world.gpus.faults

    world.clearer.faults.clear()
    with pytest.raises(GpuOutOfService, match="does not hold"):
        async with world.gpus.tenancy(0, 1):
            pass
    async with world.gpus.tenancy(1, 1) as other:
        assert other is not None


async def test_a_driver_that_stops_answering_takes_its_device_out(world: GpuWorld) -> None:
    world.driver.fault = "GPU is lost"
    with pytest.raises(GpuOutOfService, match="GPU is lost"):
        async with world.gpus.tenancy(0, 1):
            pass
    assert world.gpus.faults == {CARDS[0].uuid: "GPU is lost"}


async def test_a_client_of_mps_is_nobodys_neighbour(opened: list[GpuWorld]) -> None:
    opened.append(await gpu_world(allow_shared=True))
    _busy(opened[0], CARDS[0].uuid, ProcessKind.MPS)

    with pytest.raises(GpuBusy, match="MPS"):
        async with opened[0].gpus.tenancy(0, 1):
            pass


async def test_what_the_owner_holds_with_leave_is_not_expected_back(opened: list[GpuWorld]) -> None:
    opened.append(await gpu_world(allow_shared=True))
    world = opened[0]
    world.driver.states[CARDS[0].uuid] = replace(idle(H100), memory_used_bytes=900 * MIB)

    async with world.gpus.tenancy(0, 1):
        pass
    assert world.clearer.cleared == [(CARDS[0].uuid, 900 * MIB)]


async def test_the_start_clears_every_device_and_leaves_out_what_fails(
    opened: list[GpuWorld],
) -> None:
    broken = CARDS[1].uuid
    opened.append(await gpu_world(slots=3, faults={broken: "broken"}))
    gpus = opened[0].gpus

    assert gpus.per_slot == 1
    assert broken not in {device.uuid for device in gpus.found.assignment.devices}
    assert {gpu.device.uuid for gpu in gpus.found.gpus if gpu.reasons} == {broken}
    async with gpus.tenancy(0, 1):
        assert opened[0].clearer.cleared == [], "cleared when the daemon started"


async def test_the_start_fails_for_a_device_that_was_named(opened: list[GpuWorld]) -> None:
    with pytest.raises(LocalError, match="broken"):
        await gpu_world(use=(CARDS[0].uuid,), faults={CARDS[0].uuid: "broken"})
    claims = Claims()
    assert claims.claim(GpuDevice(facts=CARDS[0])), "nothing is held after a failed start"
    claims.close()


async def test_two_daemons_do_not_sell_one_device(world: GpuWorld) -> None:
    with pytest.raises(LocalError, match="another provider on this machine"):
        await gpu_world(slots=2)
    assert world.gpus.usable_bytes == GpuDevice(facts=H100).usable_bytes


async def test_without_gpus_it_offers_none(opened: list[GpuWorld]) -> None:
    opened.append(await gpu_world(()))

    assert opened[0].gpus.offered == ()
    assert (opened[0].gpus.per_slot, opened[0].gpus.usable_bytes) == (0, 0)
    with pytest.raises(LocalError, match="has 0 GPUs"):
        async with opened[0].gpus.tenancy(0, 1):
            pass
