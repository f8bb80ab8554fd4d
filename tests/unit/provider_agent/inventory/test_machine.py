import os
import platform
from pathlib import Path

import pytest

from assay_provider.inventory.machine import cpu_model, detect_machine, meminfo_bytes

MEMINFO = "MemTotal:       24668984 kB\nMemFree:        123 kB\nMemAvailable:   20000000 kB\n"


def test_this_machine_is_detected(tmp_path: Path) -> None:
    machine = detect_machine(tmp_path)

    assert machine.architecture == platform.machine()
    assert machine.hardware_class == f"cpu-{platform.machine()}"
    assert 1 <= machine.cpus <= (os.cpu_count() or 1)
    assert 0 < machine.memory_available_bytes <= machine.memory_bytes
    assert machine.disk_free_bytes > 0
    assert machine.cpu_model


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        detect_machine(tmp_path / "missing")


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: X\n", "AMD EPYC"),
        ("processor : 0\nCPU implementer : 0x41\n\nModel : Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("processor : 0\nmodel name :\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_processors_name_is_found_where_there_is_one(cpuinfo: str, model: str) -> None:
    assert cpu_model(cpuinfo) == model


def test_memory_is_in_bytes() -> None:
    assert meminfo_bytes(MEMINFO, "MemTotal") == 24668984 * 1024
    assert meminfo_bytes(MEMINFO, "SwapTotal") == 0
