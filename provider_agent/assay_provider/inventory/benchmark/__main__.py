"""Measures one device, in a process of its own: `python -m assay_provider.inventory.benchmark`.

Its only argument is a document: `device` is "cpu" or "gpu" (the one that CUDA_VISIBLE_DEVICES
leaves), `name`, `quick`, `memory_available_bytes`, and `folder` to measure the disk below, or null.
Each line it prints is a document: {"tell": ...}, and at the end {"figures": ..., "disk": ...} or
{"refused": ...}.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.disk import measure_disk
from assay_provider.inventory.benchmark.measuring import Device, measure_device
from assay_provider.inventory.benchmark.sampling import FULL, QUICK


def main() -> int:
    """Measure and tell; return the exit code."""
    plan: Mapping[str, Any] = json.loads(sys.argv[1])
    try:
        _measure(plan)
    except LocalError as error:
        _say({"refused": str(error)})
        return 1
    return 0


def _measure(plan: Mapping[str, Any]) -> None:
    effort = QUICK if plan["quick"] else FULL
    device = _device(plan)
    figures = measure_device(device, effort, time.perf_counter, _tell)
    disk = None
    if plan["folder"] is not None:
        disk = measure_disk(Path(plan["folder"]), size=effort.disk_bytes, clock=time.perf_counter)
        read, write = disk.read_bytes_per_second, disk.write_bytes_per_second
        _tell(f"disk: {read / 1e6:.0f} MB/s read, {write / 1e6:.0f} MB/s written")
    _say({"figures": asdict(figures), "disk": None if disk is None else asdict(disk)})


def _device(plan: Mapping[str, Any]) -> Device:
    available, name = int(plan["memory_available_bytes"]), str(plan["name"])
    try:
        from assay_provider.inventory.benchmark.torch_device import TorchDevice
    except ImportError:
        if plan["device"] != "cpu":
            raise LocalError(
                "a GPU is measured through PyTorch; install it: pip install assay[exact]"
            ) from None
    else:
        return TorchDevice(gpu=plan["device"] == "gpu", memory_available_bytes=available, name=name)
    try:
        from assay_provider.inventory.benchmark.numpy_device import NumpyDevice
    except ImportError:
        raise LocalError(
            "measuring takes PyTorch or NumPy; install them: pip install assay[exact]"
        ) from None
    return NumpyDevice(memory_available_bytes=available, name=name)


def _tell(sentence: str) -> None:
    _say({"tell": sentence})


def _say(document: Mapping[str, Any]) -> None:
    os.write(sys.stdout.fileno(), json.dumps(document).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
