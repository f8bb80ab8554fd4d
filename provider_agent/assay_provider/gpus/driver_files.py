"""Which of NVIDIA's files a job gets: the libraries that computing takes, and nvidia-smi. Pure.

Graphics, video and the toolkit's own programs stay out: each library is code of the owner's version
that a job would have a use for only to attack it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from assay_provider.gpus.host import Host
from assay_provider.runtime.gpu_variables import DRIVER_INSIDE

LIBRARY_FOLDERS: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/nvidia",
    "/opt/nvidia",
    "/run/nvidia/driver/usr/lib",
    "/nix/store",
)
"""Where distributions, NVIDIA's installer, its driver container and NixOS keep the libraries."""

TOOL_FOLDERS: Final = (
    "/usr/bin",
    "/usr/local/nvidia",
    "/opt/nvidia",
    "/run/nvidia/driver/usr/bin",
    "/nix/store",
)
TOOLS: Final = frozenset({"nvidia-smi"})

COMPUTE_LIBRARIES: Final = frozenset(
    {
        "libcuda",
        "libcudadebugger",
        "libnvidia-cfg",
        "libnvidia-compiler",
        "libnvidia-gpucomp",
        "libnvidia-ml",
        "libnvidia-nvvm",
        "libnvidia-nvvm70",
        "libnvidia-opencl",
        "libnvidia-ptxjitcompiler",
        "libnvidia-tileiras",
    }
)

NEEDED: Final = "libcuda.so.1"
"""Without it no program computes on a GPU."""

_LIBRARY: Final = re.compile(r"([A-Za-z0-9_-]+)\.so(\.[0-9]+)*")
_LIBRARIES_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFiles:
    """Pairs of host path and path inside, and what was left out and why."""

    mounts: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether programs can compute with them."""
        return any(inside.endswith(f"/{NEEDED}") for _, inside in self.mounts)


def files_of_loader(host: Host) -> DriverFiles:
    """Return the driver's files as the host's loader and PATH know them.

    The loader's names are links; the files they point to count.
    """
    wanted = [path for path in host.libraries() if library_stem(path) in COMPUTE_LIBRARIES]
    tools = [f"/usr/bin/{name}" for name in sorted(TOOLS)]
    real = [found for path in (*wanted, *tools) if (found := host.real_path(path))]
    return choose_files(dict.fromkeys(real), host)


def choose_files(paths: Iterable[str], host: Host) -> DriverFiles:
    """Take the files a job needs of some, each under the name programs ask for.

    Args:
        paths: absolute, without links on the way; anything else is left out.
        host: where they are.
    """
    mounts: dict[str, str] = {}
    left_out: list[str] = []
    for path in paths:
        inside, why = _place(path, host)
        if inside is None:
            left_out.append(f"{path}: {why}")
        elif inside in mounts:
            # 32-bit libraries have the name of the 64-bit ones, which loaders list first.
            left_out.append(f"{path}: {mounts[inside]} has its name")
        elif len(mounts) < _LIBRARIES_MAX:
            mounts[inside] = path
    pairs = tuple((source, inside) for inside, source in sorted(mounts.items()))
    return DriverFiles(mounts=pairs, left_out=tuple(left_out))


def library_stem(path: str) -> str | None:
    """Return "libcuda" of ".../libcuda.so.580.159.03"; None for what is no shared library."""
    found = _LIBRARY.fullmatch(path.rpartition("/")[2])
    return found[1] if found else None


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Tell whether an absolute path without dots is in one of some folders, at whatever depth."""
    return any(path.startswith(f"{folder}/") for folder in folders)


def _place(path: str, host: Host) -> tuple[str | None, str]:
    name = path.rpartition("/")[2]
    if name in TOOLS and is_below(path, TOOL_FOLDERS):
        real = host.real_path(path)
        return (f"{DRIVER_INSIDE}/bin/{name}", "") if real == path else (None, _astray(real))
    stem = library_stem(path)
    if stem is None or stem not in COMPUTE_LIBRARIES:
        return None, "not needed to compute"
    if not is_below(path, LIBRARY_FOLDERS):
        return None, "not in a folder of libraries"
    real = host.real_path(path)
    if real != path:
        return None, _astray(real)
    soname = host.soname(path)
    if soname is None or library_stem(soname) != stem:
        return None, "no 64-bit shared library of that name"
    return f"{DRIVER_INSIDE}/lib/{soname}", ""


def _astray(real: str | None) -> str:
    return "no such file" if real is None else f"a link, or behind one, to {real}"
