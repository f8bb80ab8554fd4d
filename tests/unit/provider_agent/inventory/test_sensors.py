"""Temperatures and power, from a made-up /sys."""

from pathlib import Path

import pytest

from assay_provider.inventory.sensors import GpuReading, Sensors, Temperature


def put(root: Path, name: str, value: object) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def test_a_machine_that_shows_nothing_says_so(tmp_path: Path) -> None:
    found = Sensors(sys=tmp_path).read(0.0)
    assert (found.temperatures, found.cpu_power_watts, found.gpus) == ((), None, ())
    assert found.unknown == (
        "this machine shows no temperature sensor",
        "this machine shows no energy counter of its processor",
    )


def test_the_hottest_sensors_come_first_and_nonsense_not_at_all(tmp_path: Path) -> None:
    put(tmp_path, "class/thermal/thermal_zone0/type", "x86_pkg_temp")
    put(tmp_path, "class/thermal/thermal_zone0/temp", 61000)
    put(tmp_path, "class/thermal/thermal_zone1/type", "acpitz")
    put(tmp_path, "class/thermal/thermal_zone1/temp", -274000)
    put(tmp_path, "class/thermal/thermal_zone2/temp", "nonsense")
    put(tmp_path, "class/hwmon/hwmon3/name", "k10temp")
    put(tmp_path, "class/hwmon/hwmon3/temp1_input", 70500)
    put(tmp_path, "class/hwmon/hwmon3/temp1_label", "Tctl")
    put(tmp_path, "class/hwmon/hwmon4/name", "nvme")
    put(tmp_path, "class/hwmon/hwmon4/temp1_input", 80000)
    assert Sensors(sys=tmp_path).read(0.0).temperatures == (
        Temperature(name="k10temp Tctl", celsius=70.5),
        Temperature(name="x86_pkg_temp", celsius=61.0),
    )


def test_power_is_the_mean_between_two_readings_of_all_packages(tmp_path: Path) -> None:
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        put(tmp_path, f"class/powercap/{zone}/energy_uj", 1_000_000)
        put(tmp_path, f"class/powercap/{zone}/max_energy_range_uj", 50_000_000)
    sensors = Sensors(sys=tmp_path)
    first = sensors.read(100.0)
    assert first.cpu_power_watts is None
    assert not any("energy" in why for why in first.unknown)
    put(tmp_path, "class/powercap/intel-rapl:0/energy_uj", 500_000)
    put(tmp_path, "class/powercap/intel-rapl:1/energy_uj", 11_000_000)
    put(tmp_path, "class/powercap/intel-rapl:0:0/energy_uj", 40_000_000)  # a part of package 0
    assert sensors.read(102.0).cpu_power_watts == pytest.approx((49.5 + 10) / 2)
    assert sensors.read(102.0).cpu_power_watts is None


def test_a_counter_that_only_root_may_read_is_said(tmp_path: Path) -> None:
    put(tmp_path, "class/powercap/intel-rapl:0/name", "package-0")
    found = Sensors(sys=tmp_path).read(0.0)
    assert found.cpu_power_watts is None
    assert "only root may read the processor's energy counter" in found.unknown


def test_gpus_are_whoever_asks_their_drivers(tmp_path: Path) -> None:
    gpu = GpuReading(device="GPU-1", model="Test GPU", celsius=50.0)
    assert Sensors(sys=tmp_path, gpus=lambda: (gpu,)).read(0.0).gpus == (gpu,)
