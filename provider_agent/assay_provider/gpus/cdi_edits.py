"""What is taken of a CDI file's edits for one device: nodes of its driver, libraries, tools. Pure.

Three outcomes: what computing needs is taken; what a generator adds for graphics, sockets and
firmware is left out; what no generator writes (a node that is not the driver's, another GPU's, a
mount that can be written or comes from elsewhere) refuses the file as a whole, for a file with that
in it is not what it says it is.
"""

import re
from collections.abc import Iterable
from typing import Final

from assay_provider.gpus.cdi import CdiEdits, CdiMount, CdiNode, CdiRefused
from assay_provider.gpus.driver_files import (
    LIBRARY_FOLDERS,
    TOOL_FOLDERS,
    DriverFiles,
    choose_files,
    is_below,
)
from assay_provider.gpus.host import Host
from assay_provider.runtime.sandbox import DeviceNode

OPTIONS: Final = frozenset(
    {"ro", "nosuid", "nodev", "noexec", "bind", "rbind", "private", "rprivate", "slave", "rslave"}
)

LEFT_OUT_FOLDERS: Final = (
    "/etc/OpenCL",
    "/etc/X11",
    "/etc/egl",
    "/etc/glvnd",
    "/etc/nvidia",
    "/etc/vulkan",
    "/lib/firmware",
    "/run/nvidia-fabricmanager",
    "/run/nvidia-persistenced",
    "/usr/lib/firmware",
    "/usr/share",
    "/var/run/nvidia-fabricmanager",
    "/var/run/nvidia-persistenced",
)
"""Of graphics, firmware and the driver's own services, as NVIDIA's generator lists them."""

_OTHER_NODES: Final = re.compile(
    r"/dev/(nvidia-modeset|nvidia-nvswitch\w*|nvidia-nvlink|nvidia-fs\w*|dri/(card|renderD)\d+"
    r"|nvidia-caps(-imex-channels)?/\w+)"
)
_CARD: Final = re.compile(r"/dev/nvidia\d+")


def take_edits(edits: CdiEdits, nodes: Iterable[DeviceNode], host: Host) -> DriverFiles:
    """Return the files to bind for a device whose nodes were found on the host.

    Raises:
        CdiRefused: the file asks for what no driver needs, or not for what it does.
    """
    known = {str(node.path): node for node in nodes}
    for node in edits.nodes:
        _check_node(node, known)
    named = {node.path for node in edits.nodes}
    missing = sorted(path for path in known if path not in named and "caps" not in path)
    missing = [path for path in missing if not path.endswith("-tools")]
    if missing:
        raise CdiRefused(f"it does not give {', '.join(missing)}; generate it anew")
    for mount in edits.mounts:
        _check_mount(mount)
    files = choose_files(
        (
            mount.host_path
            for mount in edits.mounts
            if is_below(mount.host_path, (*LIBRARY_FOLDERS, *TOOL_FOLDERS))
        ),
        host,
    )
    if not files.complete:
        raise CdiRefused("it does not give libcuda.so.1 as it is here; generate it anew")
    return files


def _check_node(node: CdiNode, known: dict[str, DeviceNode]) -> None:
    if node.host_path != node.path or node.kind == "b":
        raise CdiRefused(f"it gives {node.host_path[:80]} under another name or as a block device")
    found = known.get(node.path)
    if found is None:
        if _CARD.fullmatch(node.path):
            raise CdiRefused(f"it gives another GPU's node, {node.path}")
        if not _OTHER_NODES.fullmatch(node.path):
            raise CdiRefused(f"it gives {node.path[:80]}, which is not the driver's")
        return
    numbers = (node.major, node.minor)
    if numbers != (None, None) and numbers != (found.major, found.minor):
        raise CdiRefused(f"it gives {node.path} as {numbers}, which it is not; generate it anew")


def _check_mount(mount: CdiMount) -> None:
    options = set(mount.options)
    if "ro" not in options or options - OPTIONS or mount.kind != "bind":
        raise CdiRefused(f"it mounts {mount.host_path[:80]} other than bound and read-only")
    if not is_below(mount.host_path, (*LIBRARY_FOLDERS, *TOOL_FOLDERS, *LEFT_OUT_FOLDERS)):
        raise CdiRefused(f"it mounts {mount.host_path[:80]}, which is no place of a driver's files")
