"""A CDI file as NVIDIA's generator (1.17 and later) writes them, and ways to change one."""

import copy
from typing import Any

MOUNT_OPTIONS = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def mount(path: str, **changes: Any) -> dict[str, Any]:
    return {"containerPath": path, "hostPath": path, "options": MOUNT_OPTIONS, **changes}


def hook(*arguments: str) -> dict[str, Any]:
    return {
        "hookName": "createContainer",
        "path": "/usr/bin/nvidia-cdi-hook",
        "args": ["nvidia-cdi-hook", *arguments],
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }


def card(name: str, minor: int, *more: str) -> dict[str, Any]:
    nodes = [
        f"/dev/nvidia{minor}",
        *more,
        f"/dev/dri/card{minor}",
        f"/dev/dri/renderD{128 + minor}",
    ]
    return {
        "name": name,
        "containerEdits": {
            "deviceNodes": [{"path": path} for path in nodes],
            "hooks": [hook("create-symlinks", "--link", "../card1::/dev/dri/by-path/pci-card")],
        },
    }


SPEC: dict[str, Any] = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "devices": [card("0", 0), card("1", 1), card("all", 0, "/dev/nvidia1")],
    "containerEdits": {
        "env": ["NVIDIA_VISIBLE_DEVICES=void", "LD_PRELOAD=/proc/self/cwd/evil.so"],
        "deviceNodes": [
            {"path": "/dev/nvidia-modeset"},
            {"path": "/dev/nvidia-uvm"},
            {"path": "/dev/nvidia-uvm-tools"},
            {"path": "/dev/nvidiactl"},
        ],
        "hooks": [
            hook("create-symlinks", "--link", f"libcuda.so.1::{LIBRARIES}/libcuda.so"),
            hook("enable-cuda-compat", "--host-driver-version=580.159.03"),
            hook("update-ldcache", "--folder", LIBRARIES),
        ],
        "mounts": [
            mount("/run/nvidia-persistenced/socket", options=[*MOUNT_OPTIONS, "noexec"]),
            mount("/usr/bin/nvidia-cuda-mps-control"),
            mount("/usr/bin/nvidia-smi"),
            mount("/etc/vulkan/icd.d/nvidia_icd.json"),
            mount("/lib/firmware/nvidia/580.159.03/gsp_ga10x.bin"),
            mount(f"{LIBRARIES}/libGLX_nvidia.so.580.159.03"),
            mount(f"{LIBRARIES}/libcuda.so.580.159.03"),
            mount(f"{LIBRARIES}/libnvidia-ml.so.580.159.03"),
            mount("/usr/share/nvidia/nvoptix.bin"),
        ],
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the file with one place changed: "containerEdits.mounts.0.hostPath", "+" to append."""
    spec = copy.deepcopy(SPEC)
    place: Any = spec
    *way, last = path.split(".")
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    if last == "+":
        place.append(value)
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return spec
