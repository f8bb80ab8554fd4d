"""What a sandbox is told about its machine, and what it finds there when it opens."""

import logging
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_provider.runtime import cgroup_detection, environment, seccomp
from assay_provider.runtime.launch_messages import LauncherConfig
from assay_provider.runtime.oci_runtimes import AUTO, OciRuntime, find_runtime
from assay_provider.runtime.sandbox import SandboxUnavailable

logger = logging.getLogger(__name__)

UID_FIRST_MIN: Final = 65_536
"""Below lie the uids of people and services of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """What one daemon's sandbox needs to know of its machine."""

    instance: str
    """Unique among the daemons of this machine, letters, digits and "-" (its name or peer ID);
    a later daemon of the same name cleans up after it."""
    uid_first: int = 300_000
    """Slot n runs under the host uid and gid `uid_first + n`; daemons need distinct ranges. The one
    after the last slot's sets containers up, and never runs anything of a job's."""
    slots_max: int = 64
    staging_point: Path | None = None
    """An empty directory any uid may traverse, mounted over in private; None: one below /run, or
    the owner's runtime directory."""
    bubblewrap: Path | None = None
    """None: looked up in PATH."""
    oci_runtime: str = AUTO
    """What runs T2: crun, runc, runsc, or "auto" for the first of crun and runc that is there."""

    def __post_init__(self) -> None:
        plain = self.instance.replace("-", "")
        if not (plain.isalnum() and plain.isascii()):
            raise LocalError(f"sandbox instance {self.instance!r}: use letters, digits and '-'")
        if self.uid_first < UID_FIRST_MIN:
            raise LocalError(f"uid_first must be at least {UID_FIRST_MIN}, not {self.uid_first}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxParts:
    """What was found on this machine when the sandbox was opened."""

    detection: cgroup_detection.Detection
    bubblewrap: Path
    prlimit: Path | None
    launcher_config: LauncherConfig
    oci: OciRuntime | None
    """What runs T2."""
    no_oci: str
    """Why there is no T2; empty where there is."""


def find_parts(settings: SandboxSettings) -> SandboxParts:
    """Look for everything the sandbox needs.

    Raises:
        SandboxUnavailable: bubblewrap or libseccomp is missing.
    """
    found = settings.bubblewrap or shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable("bwrap is not installed; install the package bubblewrap")
    prlimit = shutil.which("prlimit", path="/usr/bin:/bin")
    launcher_config = _launcher_config(settings, Path(found))
    oci, no_oci = _oci_runtime(settings.oci_runtime, launcher_config)
    return SandboxParts(
        # Last: it is the one that leaves something on the machine.
        detection=cgroup_detection.detect(settings.instance),
        bubblewrap=Path(found),
        prlimit=Path(prlimit) if prlimit else None,
        launcher_config=launcher_config,
        oci=oci,
        no_oci=no_oci,
    )


def _oci_runtime(wanted: str, config: LauncherConfig) -> tuple[OciRuntime | None, str]:
    if os.getuid() != 0:
        return None, "containers need user ids of their own; run the daemon as root"
    if not config.keeper:
        return None, "the program sleep is missing; install the package coreutils"
    try:
        return find_runtime(wanted), ""
    except SandboxUnavailable as error:
        return None, str(error)


def _launcher_config(settings: SandboxSettings, bubblewrap: Path) -> LauncherConfig:
    python = environment.host_python()
    staging_point = settings.staging_point or _default_staging_point()
    _make_staging_point(staging_point)
    return LauncherConfig(
        staging_point=str(staging_point),
        bubblewrap=str(bubblewrap),
        seccomp_hex=seccomp.compiled_filter().hex(),
        python_base=python.base,
        site_packages=python.site_packages,
        exact_torch=environment.exact_torch_package(),
        exact_kernels=_exact_kernels(),
        wasm_packages=environment.wasm_packages(),
        keeper=shutil.which("sleep", path="/usr/bin:/bin") or "",
        pyvenv_config=python.pyvenv_config,
        environment_links=dict(python.links),
    )


def _exact_kernels() -> str | None:
    """Return the directory of exact_torch's kernels, which has to be there to be bound.

    A user without a home has none: jobs then use what lies in the package, or compute without.
    """
    path = environment.exact_kernels()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("kernels of exact_torch cannot be kept in %s: %s", path, error)
        return None
    return str(path)


def _make_staging_point(path: Path) -> None:
    """Make the directory, and refuse one that somebody else could swap below our mounts."""
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise SandboxUnavailable(f"the staging point cannot be made: {error}") from error
    private = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) == 0
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or not private:
        raise SandboxUnavailable(
            f"{path} must be a directory that only this user may write; remove it, or set "
            "staging_point to another one"
        )


def _default_staging_point() -> Path:
    """Return a directory that every uid a job runs under may traverse."""
    if os.getuid() == 0:
        return Path("/run/assay-sandbox")
    runtime = Path(f"/run/user/{os.getuid()}")
    if runtime.is_dir():
        return runtime / "assay-sandbox"
    return Path(tempfile.gettempdir()) / f"assay-sandbox-{os.getuid()}"
