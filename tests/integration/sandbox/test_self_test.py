"""The self-test tells the truth about this machine."""

import os
from dataclasses import replace

import pytest

from assay_provider.runtime.bubblewrap import BubblewrapSandbox, open_sandbox
from assay_provider.runtime.cgroup_detection import Detection
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import Grade
from assay_provider.runtime.self_test import PROBES
from assay_provider.runtime.tiers import MissingTier, containers


@pytest.mark.usefixtures("has_cgroups")
@pytest.mark.parametrize("runtime", ["bwrap", "crun", "runc"])
async def test_with_cgroups_every_promise_is_kept(
    sandbox_settings: SandboxSettings, runtime: str
) -> None:
    wanted = runtime if runtime != "bwrap" else "auto"
    async with open_sandbox(replace(sandbox_settings, oci_runtime=wanted)) as sandbox:
        member = sandbox if runtime == "bwrap" else containers(sandbox)
        if isinstance(member, MissingTier):
            pytest.skip(f"no {runtime} here: {member.why}")
        (report,) = await member.self_test()

    assert report.grade is Grade.ENFORCED, report.failures
    assert {item.name for item in report.items} > {probe.name for probe in PROBES}
    expected = set() if os.getuid() == 0 else {"own uid"}
    assert {item.name for item in report.failures} - {"device limit"} == expected


async def test_without_cgroups_it_says_what_is_weaker(sandbox: BubblewrapSandbox) -> None:
    parts = sandbox.parts
    without = Detection(driver=None, reasons=("taken away by this test",))
    sandbox.parts = replace(parts, detection=without)
    try:
        (report,) = await sandbox.self_test()
    finally:
        sandbox.parts = parts

    assert report.grade is Grade.WEAK, report.failures
    broken = {item.name for item in report.failures}
    assert {"memory limit", "cpu limit"} <= broken
    assert "process limit" not in broken
    assert all(item.remedy for item in report.failures)
