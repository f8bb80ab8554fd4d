"""Tier T2: a container by an OCI runtime, around the same job in the same cgroups as T1's.

What T1's walls are made of, bwrap, is replaced by crun, runc or gVisor; everything else is shared:
mounts, limits, the watch, the verdict and how output is taken over. With crun and runc it is a
second implementation of the same walls; with gVisor the job does not even reach this machine's
kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from assay_node.protocol.errors import LocalError
from assay_node.protocol.job_spec import Tier
from assay_provider.runtime import cgroups, seccomp
from assay_provider.runtime.bubblewrap_process import LOCKED_MEMORY_BYTES, OPEN_FILES_MAX
from assay_provider.runtime.launch_messages import ContainerSpec, LauncherConfig, Staging
from assay_provider.runtime.oci_configuration import (
    ROOTFS,
    configuration,
    places_of,
    shape_of,
    without_users,
)
from assay_provider.runtime.oci_runtimes import OciRuntime
from assay_provider.runtime.sandbox import (
    DeviceNode,
    RunRequest,
    RunResult,
    SelfTestReport,
)
from assay_provider.runtime.self_test import Parts, ProbedSandbox, run_self_test

SETTER_UP: Final = 0
"""The uid inside under which a runtime sets a container up; the job has none of its rights."""


class Engine(ProbedSandbox, Protocol):
    """What T2 needs of the sandbox that runs it beside T1."""

    @property
    def parts(self) -> Parts:
        """What was found on this machine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OciSandbox:
    """Implements `Sandbox` for T2; `engine` starts a request at T2 in a container."""

    engine: Engine
    runtime: OciRuntime

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """See `Sandbox`."""
        if request.tier != Tier.T2:
            raise LocalError(f"tier t2 runs no request for tier {request.tier[:32]!a}")
        return await self.engine.run(request, slot)

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        """See `Sandbox`."""
        means = f"{self.runtime.name} {self.runtime.version}"
        report = await run_self_test(
            self.engine, self.engine.parts, tier=Tier.T2.value, means=means
        )
        return (report,)


def container_of(
    arguments: Sequence[str],
    *,
    command: list[str],
    runtime: OciRuntime,
    config: LauncherConfig,
    group: cgroups.Cgroup,
    uid: int,
    uid_of_setter_up: int,
    devices: tuple[DeviceNode, ...] = (),
) -> ContainerSpec:
    """Return the container that shows what bwrap would with these arguments."""
    staging = Staging(root=Path(config.staging_point))
    shape = shape_of(arguments)
    users = {SETTER_UP: uid_of_setter_up, shape.uid: uid}
    configured = configuration(
        shape,
        command=command,
        users=users,
        seccomp=seccomp.oci_profile(),
        open_files_max=OPEN_FILES_MAX,
        locked_memory_bytes=LOCKED_MEMORY_BYTES,
        devices=devices,
    )
    if runtime.foreground:
        configured = without_users(configured, uid)
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    if runtime.joins_by_path:
        configured["linux"]["cgroupsPath"] = path_in_hierarchy(group.procs_files(), mountinfo)
    bundle = staging.bundle
    own_root = shape.root == ROOTFS
    return ContainerSpec(
        command=runtime.command(str(bundle / "state"), str(bundle), str(bundle / "pid")),
        foreground=runtime.foreground,
        joins_by_path=runtime.joins_by_path,
        configuration=configured,
        users=[list(pair) for pair in users.items()],
        places=places_of(shape) if own_root else [],
        links=shape.links,
        keeper=[config.keeper, "infinity"],
        hidden_mounts=hidden_mounts(group.procs_files(), mountinfo),
    )


def hidden_mounts(procs_files: Sequence[str], mountinfo: str) -> list[str]:
    """Return the cgroup mounts that hold none of a job's groups, the deepest first. Pure.

    crun refuses a machine with both versions mounted, and runc would make groups in every
    hierarchy; neither needs to see what our driver leaves alone.
    """
    mounted = _cgroup_mounts(mountinfo)
    used = {_mount_of(path, mounted) for path in procs_files}
    return sorted((mount for mount in mounted if mount not in used), reverse=True)


def path_in_hierarchy(procs_files: Sequence[str], mountinfo: str) -> str:
    """Return a group's path below its hierarchy's mount, the same in all of them. Pure."""
    folder = str(Path(procs_files[0]).parent)
    mount = _mount_of(procs_files[0], _cgroup_mounts(mountinfo))
    return folder.removeprefix(mount)


def _cgroup_mounts(mountinfo: str) -> list[str]:
    found = []
    for line in mountinfo.splitlines():
        place, _, kind = line.partition(" - ")
        if kind.split()[:1] in (["cgroup"], ["cgroup2"]):
            found.append(place.split()[4])
    return list(dict.fromkeys(found))


def _mount_of(path: str, mounted: Sequence[str]) -> str:
    holders = [mount for mount in mounted if path.startswith(f"{mount}/")]
    return max(holders, key=len, default="")
