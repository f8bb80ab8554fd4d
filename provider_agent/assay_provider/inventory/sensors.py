"""Temperatures and power of this machine, as its kernel shows them. What it hides is said so.

Processors: `/sys/class/thermal`, `/sys/class/hwmon`, and the energy counters of RAPL below
`/sys/class/powercap`, which only root may read (since CVE-2020-8694). GPUs: whoever can ask the
driver fills `GpuSensors`.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SENSORS_MAX: Final = 32
"""A server has dozens of thermal zones; the hottest ones are what an owner looks at."""
_CPU_CHIPS: Final = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})
_PLAUSIBLE_C: Final = (-40.0, 150.0)
"""Unconnected sensors read as anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperature:
    """One sensor, in degrees Celsius."""

    name: str
    celsius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU now; None where its driver does not say. `device` is its driver's name for it."""

    device: str
    model: str
    celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    busy_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_bytes: int | None = None


GpuSensors = Callable[[], tuple[GpuReading, ...]]
"""Asks the driver of every GPU that is for sale; may block for moments, raises nothing."""


def no_gpus() -> tuple[GpuReading, ...]:
    """Return nothing: no GPU is for sale."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorReading:
    """Everything read at once. `cpu_power_watts` is the mean since the reading before."""

    temperatures: tuple[Temperature, ...] = ()
    cpu_power_watts: float | None = None
    gpus: tuple[GpuReading, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Sensors:
    """Reads the sensors, again and again; power needs two readings."""

    sys: Path = Path("/sys")
    gpus: GpuSensors = no_gpus
    _energy: dict[Path, int] = field(default_factory=dict)
    _energy_at: float | None = None

    def read(self, now: float) -> SensorReading:
        """Return what can be read; `now` is a clock that does not jump, in seconds."""
        temperatures = self._temperatures()
        power, why_not = self._power(now)
        unknown = [] if temperatures else ["this machine shows no temperature sensor"]
        if why_not:
            unknown.append(why_not)
        return SensorReading(
            temperatures=temperatures,
            cpu_power_watts=power,
            gpus=self.gpus(),
            unknown=tuple(unknown),
        )

    def _temperatures(self) -> tuple[Temperature, ...]:
        found = {
            sensor.name: sensor
            for sensor in (*self._thermal_zones(), *self._processor_chips())
            if _PLAUSIBLE_C[0] < sensor.celsius < _PLAUSIBLE_C[1]
        }
        hottest = sorted(found.values(), key=lambda one: (-one.celsius, one.name))
        return tuple(hottest[:SENSORS_MAX])

    def _thermal_zones(self) -> list[Temperature]:
        zones = sorted(self.sys.glob("class/thermal/thermal_zone*"))
        return [
            Temperature(name=_text(zone / "type") or zone.name, celsius=value / 1000)
            for zone in zones
            if (value := _number(zone / "temp")) is not None
        ]

    def _processor_chips(self) -> list[Temperature]:
        found = []
        for chip in sorted(self.sys.glob("class/hwmon/hwmon*")):
            name = _text(chip / "name")
            if name not in _CPU_CHIPS:
                continue
            for sensor in sorted(chip.glob("temp*_input")):
                value = _number(sensor)
                label = _text(sensor.with_name(sensor.name.replace("_input", "_label")))
                if value is not None:
                    said = f"{name} {label or sensor.name.removesuffix('_input')}"
                    found.append(Temperature(name=said, celsius=value / 1000))
        return found

    def _power(self, now: float) -> tuple[float | None, str]:
        """Return the processors' mean power since the last call, or why it is not known."""
        packages = [
            zone
            for zone in sorted(self.sys.glob("class/powercap/intel-rapl:*"))
            if zone.name.count(":") == 1  # a package; its parts are counted in it
        ]
        if not packages:
            return None, "this machine shows no energy counter of its processor"
        before, self._energy = self._energy, {}
        before_at, self._energy_at = self._energy_at, now
        joules = 0.0
        for zone in packages:
            counted = _number(zone / "energy_uj")
            if counted is None:
                return None, "only root may read the processor's energy counter"
            self._energy[zone] = counted
            more = counted - before.get(zone, counted)
            if more < 0:  # the counter began again
                more += _number(zone / "max_energy_range_uj") or 0
            joules += max(0, more) / 1e6
        if before_at is None or now <= before_at or not before:
            return None, ""
        return joules / (now - before_at), ""


def _text(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = path.read_text(encoding="ascii").strip()[:64]
        return text if text.isprintable() else ""
    return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None
