"""The software a job finds in the sandbox, and the digest that names it.

"host-python" is a development environment: the Python that runs the daemon, with the packages that
happen to be installed beside it. Two providers agree on a `class` job only if their digests match.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from assay_node.protocol.ids import Digest
from assay_provider.runtime.arguments import SystemRoot
from assay_provider.runtime.exact import FOLDER_INSIDE, python_path

HOST_PYTHON: Final = "host-python"

_PYTHON_INSIDE: Final = "/opt/python"
_ENVIRONMENT_INSIDE: Final = "/opt/environment"

PATH_INSIDE: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked up in an environment that does not say."""

_JOB_VARIABLES: Final = {
    "HOME": "/tmp",  # noqa: S108 # the sandbox's own /tmp
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TZ": "UTC",
}

_THREAD_VARIABLES: Final = {
    # The order of summation depends on the number of threads, so every provider uses the same one.
    "MKL_DYNAMIC": "FALSE",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OMP_DYNAMIC": "FALSE",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

_X86_64_VARIABLES: Final = {
    # Every library below picks kernels by what the CPU can do, and they round differently: a matrix
    # product, a convolution and even libm's exp gave other bits on one machine with each of these
    # set or unset. They pin the kernels every x86-64 CPU of the last decade has, for about twice
    # the time. It makes equal bits likely across CPU models; it proves nothing.
    "ATEN_CPU_CAPABILITY": "default",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """Where the daemon's Python lies, and how it appears in the sandbox."""

    base: str | None
    """Directory to bind at /opt/python; None for a system Python, which lies below /usr."""
    site_packages: str | None
    """Directory of the daemon's virtual environment to bind; None without one."""
    pyvenv_config: str
    """Text of pyvenv.cfg of the virtual environment made for the sandbox."""
    links: Mapping[str, str]
    """Links in that environment: path below it to target."""
    library_path: str | None
    """LD_LIBRARY_PATH for a Python built with a shared library, whose recorded path is gone."""


def host_python() -> HostPython:
    """Return the running Python's layout.

    A virtual environment is made afresh in the sandbox instead of binding the owner's: the owner's
    names paths that do not exist there, and its folder holds more than packages.
    """
    base = Path(sys.base_prefix).resolve()
    system = base == Path("/usr")
    inside = "/usr" if system else _PYTHON_INSIDE
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    virtual = sys.prefix != sys.base_prefix
    program = f"{inside}/bin/{version}"
    return HostPython(
        base=None if system else str(base),
        site_packages=sysconfig.get_path("purelib") if virtual else None,
        pyvenv_config=(
            f"home = {inside}/bin\ninclude-system-site-packages = {str(not virtual).lower()}\n"
        ),
        links={f"bin/{name}": program for name in ("python", "python3", version)},
        library_path=f"{inside}/lib" if _is_shared() and not system else None,
    )


def exact_torch_package() -> str | None:
    """Return the directory of the package exact_torch, wherever this install of Assay has it.

    It is bound by itself, for an editable install keeps it in a checkout. Nothing of it is imported
    here: torch may be missing.
    """
    found = importlib.util.find_spec("exact_torch")
    places = None if found is None else found.submodule_search_locations
    return str(Path(places[0]).resolve()) if places else None


def exact_kernels() -> Path:
    """Return where this user's kernels of exact_torch are kept: shared, for building takes long."""
    return platformdirs.user_cache_path("exact-torch", appauthor=False)


def wasm_packages() -> dict[str, str]:
    """Return the directories that a T0 sandbox needs, by their paths below its folder.

    Empty where wasmtime is not installed, or not for this machine. Nothing of it is imported here:
    the daemon has no use for thirty megabytes of compiler.
    """
    found = importlib.util.find_spec("wasmtime")
    places = None if found is None else found.submodule_search_locations
    if not places or not any(Path(places[0]).glob(f"linux-{platform.machine()}/*.so")):
        return {}
    runner = Path(__file__).parent / "wasm"
    return {"wasmtime": places[0], "assay_provider/runtime/wasm": str(runner)}


def default_variables(machine: str) -> dict[str, str]:
    """Return the variables of every job on a machine of this architecture, before its own."""
    path = f"{_ENVIRONMENT_INSIDE}/bin:/usr/local/bin:/usr/bin:/bin"
    variables = {**_JOB_VARIABLES, "PATH": path, **cpu_variables(machine)}
    if exact_torch_package() is not None:
        variables["PYTHONPATH"] = FOLDER_INSIDE
    library_path = host_python().library_path
    return {**variables, "LD_LIBRARY_PATH": library_path} if library_path else variables


def variables_inside(own: Mapping[str, str], machine: str) -> dict[str, str]:
    """Return the variables of every job in an environment that sets `own`, before the job's."""
    variables = {**_JOB_VARIABLES, "PATH": PATH_INSIDE, **cpu_variables(machine), **own}
    if exact_torch_package() is not None:
        variables["PYTHONPATH"] = python_path(own.get("PYTHONPATH", ""))
    return variables


def cpu_variables(machine: str) -> dict[str, str]:
    """Return the variables that decide how floating-point libraries compute."""
    if machine == "x86_64":
        return {**_THREAD_VARIABLES, **_X86_64_VARIABLES}
    return dict(_THREAD_VARIABLES)


def environment_digest() -> Digest:
    """Return the digest of "host-python" here: Python, C library, packages and CPU variables."""
    machine = platform.machine()
    return digest_of(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        libc=" ".join(platform.libc_ver()),
        machine=machine,
        distributions=_installed(),
        variables=cpu_variables(machine),
    )


def digest_of(
    *,
    python: str,
    libc: str,
    machine: str,
    distributions: Mapping[str, str],
    variables: Mapping[str, str],
) -> Digest:
    """Return the SHA-256 of a software environment's description, as canonical JSON. Pure."""
    description = {
        "environment": HOST_PYTHON,
        "python": python,
        "libc": libc,
        "machine": machine,
        "distributions": dict(distributions),
        "variables": dict(variables),
    }
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Digest(hashlib.sha256(text.encode("ascii")).digest())


def system_root() -> SystemRoot:
    """Return how this host lays out the directories a program needs besides /usr."""
    names = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
    present = [Path("/") / name for name in names if (Path("/") / name).exists()]
    links = tuple((str(path), str(path.readlink())) for path in present if path.is_symlink())
    bound = tuple(str(path) for path in present if not path.is_symlink())
    return SystemRoot(bound=("/usr", *bound), links=links)


def _installed() -> dict[str, str]:
    """Return installed distributions by normalised name (PEP 503).

    Assay itself is left out: a job does not see an editable install, and providers on different
    patch versions of Assay still compute alike.
    """
    found = {
        _normalised(distribution.name): distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.name
    }
    found.pop("assay", None)
    return found


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _is_shared() -> bool:
    return bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))


def readable_for_all(directory: Path) -> None:
    """Make verified input readable for a slot's uid, whatever the daemon's umask made of it.

    The directory above stays private, so nobody else on the machine gets to it. Links are left
    alone: verified input has none.
    """
    for parent, _, names in os.walk(directory):
        _allow(Path(parent), 0o555)
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                _allow(path, 0o444)


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode & 0o7777
    if mode & bits != bits:
        path.chmod(mode | bits)
