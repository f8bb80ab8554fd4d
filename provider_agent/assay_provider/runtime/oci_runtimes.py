"""The OCI runtimes of a machine: which there are, which is used, and what it costs a job.

They are driven directly, with a bundle made for each job. podman adds nothing to that but time (145
ms against 20) and its own idea of cgroups: rootless on cgroup v1 it enforces no limit, and it says
that nothing ran out of memory when it did.

crun comes first: it leaves cgroups to us when told so, and starts in a third of runc's time. gVisor
is used when its owner asks for it by name, for it changes what a job costs.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

from assay_node.protocol.units import MIB
from assay_provider.runtime.sandbox import SandboxUnavailable

AUTO: Final = "auto"
NAMES: Final = ("crun", "runc", "runsc")

RUNSC_DATE_MIN: Final = 20250101
"""What gVisor calls a version is the date it was made on. Before, its platform is ptrace or new,
and its GPU proxy lacks a year of fixes; Debian's package is of December 2022."""

_SEARCHED: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSION_SECONDS_MAX: Final = 10.0
_VERSION: Final = re.compile(r"version (?:release-)?([0-9][0-9A-Za-z.~+_-]{0,40})")


@dataclass(frozen=True, slots=True, kw_only=True)
class OciRuntime:
    """One runtime, as it is started here."""

    name: str
    path: str
    version: str
    extra_memory_bytes: int = 0
    """What it charges to the job's cgroup besides the job."""
    extra_pids: int = 0

    @property
    def foreground(self) -> bool:
        """Whether it stays, as the job's parent; the others leave the job to the launcher."""
        return self.name == "runsc"

    @property
    def joins_by_path(self) -> bool:
        """Whether it wants to put the job into its cgroup itself."""
        return self.name == "runc"

    def command(self, state: str, bundle: str, pid_file: str) -> list[str]:
        """Return what starts the container of a bundle."""
        start = ["run", "--bundle", bundle]
        detached = ["--detach", "--pid-file", pid_file]
        match self.name:
            case "crun":
                options = ["--root", state, "--cgroup-manager=disabled"]
                return [self.path, *options, *start, *detached, "job"]
            case "runc":
                return [self.path, "--root", state, *start, *detached, "job"]
            case _:
                options = ["--root", state, "--ignore-cgroups", "--network=none", "--oci-seccomp"]
                return [self.path, *options, *start, "job"]


def find_runtime(wanted: str) -> OciRuntime:
    """Return the runtime to use: the first there is, or the one that is named.

    Raises:
        SandboxUnavailable: there is none, or it is too old; with what to do.
    """
    if wanted != AUTO:
        return _checked(wanted)
    for name in ("crun", "runc"):
        if shutil.which(name, path=_SEARCHED):
            return _checked(name)
    raise SandboxUnavailable("neither crun nor runc is installed; install the package crun")


def version_in(text: str) -> str:
    """Return the version that a runtime says it has, "" if it says none. Pure."""
    found = _VERSION.search(text)
    return found[1] if found else ""


def check_runsc(version: str) -> None:
    """Refuse a gVisor that is not current. Pure.

    Raises:
        SandboxUnavailable: with the version that is needed.
    """
    date = re.search(r"20[0-9]{6}", version)
    if date is None or int(date[0]) < RUNSC_DATE_MIN:
        raise SandboxUnavailable(
            f"this runsc is of {date[0] if date else 'an unknown date'}, and one of "
            f"{RUNSC_DATE_MIN} or later is needed; install a current one from gvisor.dev, or set "
            "provider.sandbox.oci_runtime to crun"
        )


def _checked(name: str) -> OciRuntime:
    path = shutil.which(name, path=_SEARCHED)
    if path is None:
        raise SandboxUnavailable(
            f"{name} is not installed; install it, or set provider.sandbox.oci_runtime to auto"
        )
    version = version_in(_said(path))
    match name:
        case "runsc":
            check_runsc(version)
            # The kernel in user space is a process of the job's, and so is each of its threads.
            return OciRuntime(
                name=name,
                path=path,
                version=version,
                extra_memory_bytes=64 * MIB,
                extra_pids=128,
            )
        case "runc":
            # Until the job starts, a Go program with its threads stands in its place.
            return OciRuntime(
                name=name,
                path=path,
                version=version,
                extra_memory_bytes=16 * MIB,
                extra_pids=16,
            )
        case _:
            return OciRuntime(name=name, path=path, version=version)


def _said(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            timeout=_VERSION_SECONDS_MAX,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise SandboxUnavailable(f"{path} does not start: {error}; install it again") from error
    return done.stdout
