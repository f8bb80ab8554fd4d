"""One sandbox over all tiers: each request goes to its own tier's member, and to no other."""

from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.runtime.sandbox import Grade, RunLimits, RunRequest
from assay_provider.runtime.tiers import TieredSandbox
from tests.fakes.sandbox import FakeSandbox


def _request(tier: str, folder: Path) -> RunRequest:
    return RunRequest(
        command=("true",),
        environment={},
        input_directory=folder,
        output_directory=folder,
        limits=RunLimits(
            memory_bytes=1,
            cpus=1,
            pids_max=1,
            scratch_bytes=1,
            output_bytes=1,
            output_files_max=1,
            wall_seconds=1,
            log_bytes=1,
        ),
        runtime="host-python",
        tier=tier,
    )


async def test_a_request_goes_to_the_member_of_its_tier(tmp_path: Path) -> None:
    members = {"t1": FakeSandbox(), "t2": FakeSandbox()}
    sandbox = TieredSandbox(members=members)
    for tier in ("t1", "t2"):
        folder = tmp_path / tier
        folder.mkdir()
        await sandbox.run(_request(tier, folder), 3)
    assert {
        tier: [(request.tier, slot) for request, slot in member.requests]
        for tier, member in members.items()
    } == {"t1": [("t1", 3)], "t2": [("t2", 3)]}


@pytest.mark.parametrize("tier", ["t0", "t3", "t1-weak", "\x1b[2J" * 40])
async def test_a_tier_that_is_not_here_is_refused(tmp_path: Path, tier: str) -> None:
    sandbox = TieredSandbox(members={"t1": FakeSandbox()})
    with pytest.raises(LocalError, match="has no tier") as caught:
        await sandbox.run(_request(tier, tmp_path), 0)
    assert str(caught.value).isprintable()


async def test_every_member_reports() -> None:
    weak = FakeSandbox()
    weak.grades = {"t1": Grade.WEAK}
    sandbox = TieredSandbox(members={"t1": weak, "t2": FakeSandbox()})
    assert [report.grade for report in await sandbox.self_test()] == [Grade.WEAK, Grade.ENFORCED]
