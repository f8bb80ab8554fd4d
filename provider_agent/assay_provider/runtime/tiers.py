"""All tiers of one machine behind the one seam: a member for each, chosen by the request's tier."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from assay_node.protocol.errors import LocalError
from assay_node.protocol.job_spec import Tier
from assay_provider.runtime.bubblewrap import BubblewrapSandbox, open_sandbox
from assay_provider.runtime.oci_tier import OciSandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import (
    Grade,
    RunRequest,
    RunResult,
    Sandbox,
    SelfTestItem,
    SelfTestReport,
)
from assay_provider.runtime.wasm_tier import WasmSandbox


@asynccontextmanager
async def open_tiers(settings: SandboxSettings) -> AsyncIterator["TieredSandbox"]:
    """Open every tier that this machine may have.

    Raises:
        SandboxUnavailable: not even T1 can be opened, on which the others stand.
    """
    async with open_sandbox(settings) as bubblewrap:
        yield tiers_on(bubblewrap)


def tiers_on(bubblewrap: BubblewrapSandbox) -> "TieredSandbox":
    """Return every tier of this machine, on the sandbox that the others stand on."""
    return TieredSandbox(
        members={
            Tier.T0.value: wasm(bubblewrap),
            Tier.T1.value: bubblewrap,
            Tier.T2.value: containers(bubblewrap),
        }
    )


def wasm(bubblewrap: BubblewrapSandbox) -> Sandbox:
    """Return T0 on this machine, or what stands for it where wasmtime is missing."""
    if bubblewrap.parts.launcher_config.wasm_packages:
        return WasmSandbox(around=bubblewrap)
    return MissingTier(
        tier=Tier.T0.value,
        why="wasmtime is not installed for this machine",
        remedy="install assay again; wheels of wasmtime exist for x86-64 and ARM64",
    )


def containers(bubblewrap: BubblewrapSandbox) -> Sandbox:
    """Return T2 on this machine, or what stands for it where there is no OCI runtime."""
    parts = bubblewrap.parts
    if parts.oci is None:
        why, _, remedy = parts.no_oci.rpartition("; ")
        return MissingTier(tier=Tier.T2.value, why=why, remedy=remedy)
    if parts.detection.driver is None:
        return MissingTier(
            tier=Tier.T2.value,
            why=f"no cgroup can be written ({'; '.join(parts.detection.reasons)})",
            remedy="run the daemon as root, where the kernel's controllers are mounted",
        )
    return OciSandbox(engine=bubblewrap, runtime=parts.oci)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingTier:
    """Implements `Sandbox` for a tier that this machine does not have."""

    tier: str
    why: str
    remedy: str

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """See `Sandbox`."""
        del request, slot
        raise LocalError(f"this machine has no tier {self.tier}: {self.why}; {self.remedy}")

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        """See `Sandbox`."""
        item = SelfTestItem(name="start", enforced=False, detail=self.why, remedy=self.remedy)
        return (
            SelfTestReport(tier=self.tier, grade=Grade.FAILED, means="nothing here", items=(item,)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TieredSandbox:
    """Implements `Sandbox`; `members` are by the values of `job_spec.Tier`, the weakest first."""

    members: Mapping[str, Sandbox]

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """See `Sandbox`."""
        member = self.members.get(request.tier)
        if member is None:
            raise LocalError(
                f"this machine has no tier {request.tier[:32]!a}, only {', '.join(self.members)}"
            )
        return await member.run(request, slot)

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        """See `Sandbox`. One after the other: each needs slot 0 for itself."""
        reports: list[SelfTestReport] = []
        for member in self.members.values():
            reports += await member.self_test()
        return tuple(_standing_on_t1(reports))


def _standing_on_t1(reports: Sequence[SelfTestReport]) -> Iterator[SelfTestReport]:
    """T0 runs inside T1's walls, so it is no better than they are."""
    outer = {report.tier: report.grade for report in reports}.get(Tier.T1.value, Grade.FAILED)
    for report in reports:
        if report.tier == Tier.T0 and report.grade is Grade.ENFORCED:
            yield replace(report, grade=outer)
        else:
            yield report
