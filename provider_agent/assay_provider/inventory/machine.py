"""Detects CPU, memory and disk of this machine; `assay_provider.gpus` finds the GPUs."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.hardware_class import cpu_class_name

_MODEL_KEYS: Final = ("model name", "Model", "Hardware", "CPU implementer")
"""Keys of /proc/cpuinfo that name the processor, best first: x86, then what ARM boards have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine has, as its kernel says."""

    hardware_class: str
    architecture: str
    cpu_model: str
    cpus: int
    """CPUs this process may run on, which a container may have narrowed."""
    memory_bytes: int
    memory_available_bytes: int
    """What could be given to jobs now without swapping."""
    disk_free_bytes: int
    """Free for this user on the file system that holds the given folder."""


def detect_machine(data_directory: Path) -> Machine:
    """Return what this machine has, with the disk that holds `data_directory`.

    Raises:
        OSError: the directory does not exist, or /proc is not mounted.
    """
    memory = Path("/proc/meminfo").read_text(encoding="ascii")
    architecture = platform.machine()
    return Machine(
        hardware_class=cpu_class_name(architecture),
        architecture=architecture,
        cpu_model=cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=meminfo_bytes(memory, "MemTotal"),
        memory_available_bytes=meminfo_bytes(memory, "MemAvailable"),
        disk_free_bytes=shutil.disk_usage(data_directory).free,
    )


def cpu_model(cpuinfo: str) -> str:
    """Return the processor's name from the text of /proc/cpuinfo, "unknown" where it has none."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return next((fields[key] for key in _MODEL_KEYS if fields.get(key)), "unknown")


def meminfo_bytes(meminfo: str, key: str) -> int:
    """Return one value of /proc/meminfo, which counts in KiB, in bytes; 0 where it is missing."""
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return 0
