"""The variables of a job that was granted GPUs. Pure.

The toolkit's container hooks took orders from an image's variables, and were escaped through them
(CVE-2025-23266). Nothing here reads a job's variables; those of an environment that speak to the
loader or to NVIDIA's tools are dropped all the same, because they describe the machine it was
built on.
"""

from collections.abc import Mapping
from typing import Final

from assay_provider.runtime.sandbox import GpuGrant

DRIVER_INSIDE: Final = "/opt/driver"
"""Where a job finds the driver's libraries (lib) and tools (bin). Their place on the host may not
exist in an environment's root, and its loader cache does not name them."""

_LIBRARY_PATH: Final = "LD_LIBRARY_PATH"
_PREFIXES_DROPPED: Final = ("LD_", "NVIDIA_")


def without_driver_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment's variables without those that are the machine's to say."""
    return {
        name: value
        for name, value in variables.items()
        if not name.upper().startswith(_PREFIXES_DROPPED)
    }


def variables_with_gpus(variables: Mapping[str, str], grant: GpuGrant) -> dict[str, str]:
    """Return a job's variables with what finding the driver takes.

    The driver's libraries come first on the loader's path: they have to match the kernel's module,
    and an image may hold others.
    """
    later = variables.get(_LIBRARY_PATH)
    path = f"{DRIVER_INSIDE}/lib"
    return {
        **variables,
        **grant.variables,
        _LIBRARY_PATH: f"{path}:{later}" if later else path,
    }
