"""Finds out, by trying, which cgroup driver works on this machine."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from assay_node.protocol.units import MIB
from assay_provider.runtime import cgroup_v1, cgroup_v2
from assay_provider.runtime.cgroups import CgroupDriver, CgroupLimits, CgroupNames

logger = logging.getLogger(__name__)

_PROBE_LIMITS: Final = CgroupLimits(memory_bytes=64 * MIB, pids_max=8, cpus=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The driver that works here, or why none does."""

    driver: CgroupDriver | None
    reasons: tuple[str, ...]
    """One sentence per version that was tried and failed."""


def detect(instance: str) -> Detection:
    """Try cgroup v2, then v1, with every limit a job gets."""
    reasons: list[str] = []
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    for version, make in (("v2", _make_v2), ("v1", _make_v1)):
        driver = _try(version, make, mountinfo, instance, reasons)
        if driver is not None:
            return Detection(driver=driver, reasons=tuple(reasons))
    return Detection(driver=None, reasons=tuple(reasons))


def _try(
    version: str,
    make: Callable[[str, str], CgroupDriver],
    mountinfo: str,
    instance: str,
    reasons: list[str],
) -> CgroupDriver | None:
    try:
        driver = make(mountinfo, instance)
        driver.create(CgroupNames().next() + "probe", _PROBE_LIMITS).remove()
    except OSError as error:
        reasons.append(f"cgroup {version}: {error}")
        logger.debug("cgroup driver does not work", extra={"version": version, "why": str(error)})
        return None
    return driver


def _make_v2(mountinfo: str, instance: str) -> CgroupDriver:
    mount = cgroup_v2.hierarchy_mount(mountinfo)
    if mount is None:
        raise FileNotFoundError("not mounted")
    available = (mount / "cgroup.controllers").read_text(encoding="ascii").split()
    missing = [name for name in cgroup_v2.CONTROLLERS_NEEDED if name not in available]
    if missing:
        raise FileNotFoundError(f"without the controllers {', '.join(missing)}")
    proc_cgroup = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    base = mount if os.getuid() == 0 else cgroup_v2.own_group(mount, proc_cgroup)
    driver = cgroup_v2.CgroupV2Driver(base=base, instance=instance)
    driver.prepare()
    return replace(driver, limits_devices=driver.can_limit_devices())


def _make_v1(mountinfo: str, instance: str) -> CgroupDriver:
    mounts = cgroup_v1.controller_mounts(mountinfo)
    missing = [name for name in cgroup_v1.CONTROLLERS_NEEDED if name not in mounts]
    if missing:
        raise FileNotFoundError(f"without the controllers {', '.join(missing)}")
    return cgroup_v1.CgroupV1Driver(mounts=mounts, instance=instance)
