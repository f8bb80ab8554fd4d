"""A daemon's GPUs from its settings to the end of the daemon."""

from dataclasses import replace

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.settings import ProviderSettings, load_settings
from assay_provider.gpus import opening
from assay_provider.gpus.claims import claimed
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.finding import GpuDrivers, Machine
from assay_provider.gpus.opening import open_gpus
from tests.fakes.gpus import H100, FakeGpuDriver, host_with
from tests.unit.provider_agent.gpus.slot_world import FakeClearer

CARD = replace(H100, uuid="GPU-of-the-opening-test-0000")
OLD = replace(CARD, driver="535.54.03")


def _settings(use: str) -> ProviderSettings:
    return load_settings(flags={"provider.gpus.use": use}).provider


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeGpuDriver:
    made = FakeGpuDriver((CARD,))
    machine = Machine(drivers=GpuDrivers([made]), host=host_with(CARD))
    monkeypatch.setattr(opening, "this_machine", lambda: machine)
    monkeypatch.setattr(opening, "_clearer", lambda library: FakeClearer())
    return made


async def test_devices_are_held_while_the_daemon_runs(driver: FakeGpuDriver) -> None:
    device = GpuDevice(facts=CARD)
    async with open_gpus(_settings("auto")) as gpus:
        assert [gpu.device for gpu in gpus.offered] == [device.name]
        assert claimed([device]) == {CARD.uuid}
        assert not driver.closed
    assert claimed([device]) == frozenset()
    assert driver.closed


async def test_none_asks_no_driver(driver: FakeGpuDriver) -> None:
    driver.fault = "asked"
    async with open_gpus(_settings("none")) as gpus:
        assert gpus.offered == ()
        assert gpus.hardware_class is None


async def test_what_is_not_offered_is_in_the_log_with_the_reason(
    driver: FakeGpuDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver.facts = (OLD,)
    async with open_gpus(_settings("auto")) as gpus:
        assert gpus.offered == ()
    assert "535.309.01" in caplog.text


async def test_a_named_device_that_cannot_be_offered_ends_the_start_and_closes_the_driver(
    driver: FakeGpuDriver,
) -> None:
    driver.facts = (OLD,)
    with pytest.raises(LocalError, match=r"535\.309\.01"):
        async with open_gpus(_settings(CARD.uuid)):
            pass
    assert driver.closed
