"""What is offered in which slot, and every reason why a device is not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.gpus.assignment import assign
from assay_provider.gpus.claims import Claims, claimed
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.driver import (
    ComputeMode,
    GpuDriver,
    GpuDriverError,
    GpuFacts,
    GpuProcess,
    GpuState,
    NoGpuDriver,
    ProcessKind,
)
from assay_provider.gpus.finding import (
    FoundGpus,
    GpuDrivers,
    GpuTerms,
    Machine,
    find_gpus,
    open_drivers,
    without,
)
from tests.fakes.gpus import (
    A100_MIG,
    H100,
    MI300X,
    MIB,
    FakeGpuDriver,
    FakeHost,
    host_with,
    idle,
    several,
)


def _machine(
    *cards: GpuFacts,
    states: dict[str, GpuState] | None = None,
    host: FakeHost | None = None,
    held: tuple[str, ...] = (),
) -> Machine:
    drivers = GpuDrivers([FakeGpuDriver(cards, states or {})], ["no ROCm is installed"])
    return Machine(drivers=drivers, host=host or host_with(*cards), held=lambda _: frozenset(held))


def _find(machine: Machine, *, for_daemon: bool = True, **terms: object) -> FoundGpus:
    return find_gpus(GpuTerms(**terms), machine, for_daemon=for_daemon)


def _process(kind: ProcessKind = ProcessKind.COMPUTE) -> GpuProcess:
    return GpuProcess(pid=4242, kind=kind, memory_bytes=None)


def test_a_good_card_is_offered() -> None:
    found = _find(_machine(H100))

    assert [device.uuid for device in found.assignment.devices] == [H100.uuid]
    assert found.hardware_class == "nvidia-h100-80gb-hbm3"
    assert found.gpus[0].reasons == ()
    assert found.cuda_library == "/usr/lib/x86_64-linux-gnu/libcuda.so.580.159.03"


def test_a_machine_without_gpus_is_an_ordinary_machine() -> None:
    found = _find(Machine(drivers=GpuDrivers([], ["no driver"]), host=FakeHost()))

    assert found == FoundGpus(absent=("no driver",))
    assert found.hardware_class is None


@pytest.mark.parametrize(
    ("card", "state", "words"),
    [
        (replace(H100, driver="570.133.20"), None, "install 535.309.01 or 580.159.03 or 595.71.05"),
        (replace(H100, display=True), None, "drives a display"),
        (replace(H100, compute_mode=ComputeMode.PROHIBITED), None, "nvidia-smi -c DEFAULT"),
        (H100, replace(idle(H100), processes=(_process(),)), "(4242): end them"),
        (
            H100,
            replace(idle(H100), processes=(_process(ProcessKind.GRAPHICS),)),
            "other processes use it",
        ),
        (H100, replace(idle(H100), memory_used_bytes=300 * MIB), "300 MiB of its memory"),
        (replace(H100, minor=None), None, "names no device node"),
        (MI300X, None, "through CUDA only"),
    ],
)
def test_every_no_has_a_reason(card: GpuFacts, state: GpuState | None, words: str) -> None:
    found = _find(_machine(card, states={card.uuid: state} if state else None))

    assert found.assignment.devices == ()
    assert words in " ".join(found.gpus[0].reasons)


def test_all_reasons_are_given_at_once() -> None:
    card = replace(H100, driver="535.54.03", display=True)
    host = host_with(card)
    host.outputs[("nvidia-ctk", "--version")] = "NVIDIA Container Toolkit CLI version 1.17.3"
    host.running = ("nvidia-cuda-mps",)
    del host.nodes["/dev/nvidia-uvm"]

    reasons = " ".join(_find(_machine(card, host=host)).gpus[0].reasons)
    for words in ("NVIDIA driver 535", "nvidia-container-toolkit", "MPS", "display", "nvidia-uvm"):
        assert words in reasons


def test_a_machine_without_the_toolkit_is_not_asked_for_its_version() -> None:
    assert _find(_machine(H100)).assignment.devices


@pytest.mark.parametrize(
    "state",
    [
        replace(idle(H100), processes=(_process(),), memory_used_bytes=900 * MIB),
        replace(idle(H100), memory_used_bytes=900 * MIB),
    ],
)
def test_the_owner_may_allow_to_share(state: GpuState) -> None:
    card = replace(H100, display=True)
    machine = _machine(card, states={card.uuid: state})

    assert _find(machine, allow_shared=True).assignment.devices
    assert not _find(machine).assignment.devices


def test_nobody_may_allow_mps() -> None:
    state = replace(idle(H100), processes=(_process(ProcessKind.MPS),))
    found = _find(_machine(H100, states={H100.uuid: state}), allow_shared=True)

    assert "quit | nvidia-cuda-mps-control" in found.gpus[0].reasons[0]


def test_instances_that_share_memory_are_not_two_tenants_places() -> None:
    first, second = A100_MIG.instances
    twin = replace(second, gpu_instance=first.gpu_instance, compute_instance=1)
    card = replace(A100_MIG, instances=(first, twin))
    found = _find(_machine(card))

    assert found.assignment.devices == ()
    assert second.uuid in found.gpus[0].reasons[0]
    assert _find(_machine(A100_MIG)).assignment.per_slot == 2


def test_a_card_in_mig_mode_without_instances_says_so() -> None:
    found = _find(_machine(replace(A100_MIG, instances=())))

    assert found.gpus == ()
    assert "-mig 0" in found.absent[-1]


def test_what_another_provider_holds_is_not_offered_twice() -> None:
    machine = _machine(H100, held=(H100.uuid,))

    assert "another provider" in _find(machine).gpus[0].reasons[0]


def test_to_its_owner_what_a_running_provider_holds_is_offered() -> None:
    busy = {H100.uuid: replace(idle(H100), processes=(_process(),))}
    machine = _machine(H100, states=busy, held=(H100.uuid,))

    assert _find(machine, for_daemon=False).hardware_class == "nvidia-h100-80gb-hbm3"
    assert _find(_machine(H100, states=busy), for_daemon=False).hardware_class is None


def test_none_means_none_and_still_shows_what_there_is() -> None:
    found = _find(_machine(H100), use=("none",))

    assert found.assignment.devices == ()
    assert len(found.gpus) == 1


def test_named_devices_are_offered_or_the_daemon_does_not_start() -> None:
    cards = several(3)
    machine = _machine(*cards)

    found = _find(machine, use=(cards[2].uuid,))
    assert [device.uuid for device in found.assignment.devices] == [cards[2].uuid]
    with pytest.raises(LocalError, match=r"GPU-unknown.*assay provider gpus"):
        _find(machine, use=(cards[0].uuid, "GPU-unknown"))
    old = replace(cards[0], driver="535.54.03")
    with pytest.raises(LocalError, match=r"535\.309\.01 or newer"):
        _find(_machine(old), use=(old.uuid,))


def test_a_driver_that_fails_is_a_reason_not_a_crash() -> None:
    driver = FakeGpuDriver((H100,), fault="NVIDIA's driver does not answer")
    machine = Machine(drivers=GpuDrivers([driver]), host=host_with(H100))

    assert _find(machine).absent == ("NVIDIA's driver does not answer",)


def test_drivers_that_are_missing_or_broken_are_told_apart_only_in_words() -> None:
    def missing() -> GpuDriver:
        raise NoGpuDriver("no NVIDIA driver is installed")

    def broken() -> GpuDriver:
        raise GpuDriverError("reboot")

    drivers = open_drivers((missing, broken, lambda: FakeGpuDriver((H100,))))
    assert drivers.absent == ("no NVIDIA driver is installed", "reboot")
    assert drivers.gpus() == (H100,)
    assert drivers.state(H100.uuid) == idle(H100)
    with pytest.raises(GpuDriverError):
        drivers.state("GPU-unknown")


def _devices(count: int, card: GpuFacts = H100) -> list[GpuDevice]:
    return [GpuDevice(facts=facts) for facts in several(count, card)]


@pytest.mark.parametrize(
    ("count", "slots", "per_slot", "sizes"),
    [(8, 1, 0, [8]), (8, 8, 0, [1] * 8), (8, 3, 0, [2] * 3), (8, 2, 3, [3, 3]), (0, 4, 2, [])],
)
def test_slots_get_equally_many_and_no_device_twice(
    count: int, slots: int, per_slot: int, sizes: list[int]
) -> None:
    assignment = assign(_devices(count)[::-1], slots=slots, per_slot=per_slot)

    assert [len(slot) for slot in assignment.slots] == sizes
    uuids = [device.uuid for device in assignment.devices]
    assert len(set(uuids)) == len(uuids)
    assert uuids == sorted(uuids), "neighbours come together, in whatever order they came"
    assert assignment == assign(_devices(count), slots=slots, per_slot=per_slot)


@pytest.mark.parametrize(("count", "slots", "per_slot"), [(1, 2, 0), (4, 2, 3), (3, 4, 1)])
def test_too_few_for_all_slots_is_none_with_the_setting_to_lower(
    count: int, slots: int, per_slot: int
) -> None:
    assignment = assign(_devices(count), slots=slots, per_slot=per_slot)

    assert assignment.devices == ()
    assert "provider.slots" in assignment.refused


def test_two_kinds_are_not_sold_as_one() -> None:
    other = replace(H100, model="NVIDIA A100-SXM4-80GB", uuid="GPU-other", pci_bus="0000:99:00.0")
    found = _find(_machine(H100, replace(other, minor=1)))

    assert found.assignment.devices == ()
    assert found.hardware_class is None
    assert "nvidia-a100-sxm4-80gb, nvidia-h100-80gb-hbm3" in found.assignment.refused


def test_an_explicit_share_that_cannot_be_given_stops_the_daemon() -> None:
    with pytest.raises(LocalError, match=r"lower provider\.slots"):
        _find(_machine(H100), per_slot=2)


def test_faulty_devices_are_left_out_or_stop_the_daemon_that_named_them() -> None:
    cards = several(2)
    machine = _machine(*cards)
    faults = {cards[0].uuid: "its memory does not hold what was written to it"}

    left = without(_find(machine), faults, GpuTerms())
    assert [device.uuid for device in left.assignment.devices] == [cards[1].uuid]
    assert left.gpus[0].reasons == tuple(faults.values())
    named = GpuTerms(use=(cards[0].uuid,))
    with pytest.raises(LocalError, match="does not hold"):
        without(find_gpus(named, machine, for_daemon=True), faults, named)


@pytest.fixture
def claims() -> Callable[[], Claims]:
    made: list[Claims] = []

    def make() -> Claims:
        made.append(Claims())
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_device_is_claimed_by_one_and_seen_by_all(claims: Callable[[], Claims]) -> None:
    device, other = _devices(2, replace(H100, uuid="GPU-of-this-test-0000"))
    first, second = claims(), claims()

    assert claimed([device]) == frozenset()
    assert first.claim(device)
    assert first.claim(device), "again is no contradiction"
    assert not second.claim(device)
    assert second.claim(other)
    assert claimed([device, other]) == {device.uuid, other.uuid}
    first.close()
    assert second.claim(device)
