"""All tiers of one machine behind the one seam: a member for each, chosen by the request's tier."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from assay_node.protocol.errors import LocalError
from assay_node.protocol.job_spec import Tier
from assay_provider.runtime.bubblewrap import BubblewrapSandbox, open_sandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunRequest, RunResult, Sandbox, SelfTestReport


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
    return TieredSandbox(members={Tier.T1.value: bubblewrap})


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
        return tuple(reports)
