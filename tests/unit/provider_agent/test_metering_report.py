"""What receipts bill, worked out again from the metering log and compared with what was signed."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay_node.cli.program import assemble
from assay_node.cli.provider_metering import metering_lines
from assay_node.protocol.errors import LocalError
from assay_node.protocol.order import job_id
from assay_node.settings import ProviderSettings, Settings
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.metering import NANOSECONDS
from assay_provider.metering_report import account, metering_document
from assay_provider.runtime.sandbox import RunMeter, SandboxUnavailable
from tests.fakes.sandbox import a_result
from tests.unit.provider_agent.world import DOMAIN, OPERATOR, World

METER = RunMeter(
    source="cgroup v1",
    started_ns=7_000_000_000_123,
    exited_ns=7_002_345_678_901,
    memory_anonymous_bytes=30 << 20,
    oom_kills=0,
    pids_refused=0,
)


def settings(world: World) -> Settings:
    home = world.directory / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    database = f"sqlite:///{world.directory}/provider.sqlite"
    return Settings(provider=ProviderSettings(home=home, database_url=database, operator=OPERATOR))


async def revealed(world: World) -> str:
    """Run one job to its reveal, and another that is cut short; return the first one's id."""
    world.sandbox.result = a_result(meter=METER)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        commit = await world.scheduler.committed()
        reveal = await world.scheduler.reveal(world.commit_set(commit))
        assert reveal.seconds == 3
        world.sandbox.fault = SandboxUnavailable("the launcher died")
        await world.scheduler.lease(world.signed_order())
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
    return job_id(signed.order, DOMAIN).hex()


async def test_the_seconds_of_a_reveal_follow_from_the_log(world: World) -> None:
    job = await revealed(world)
    document = await metering_document(settings(world), None, verify=True)
    assert document["ok"]
    assert [run["metered"] is None for run in document["runs"]] == [True, False]
    (checked,) = [one for one in document["jobs"] if one["job"] == f"0x{job}"]
    assert (checked["seconds_logged"], checked["seconds_signed"]) == (3, 3)
    assert checked["in_commit_set"], "the commitment itself was opened with the seconds"
    lines = metering_lines(document)
    assert "2.346 s wall, 0.900 s CPU, 1 MiB at most (30 MiB seen without files)" in lines[1]
    assert "by cgroup v1: 3 s billed" in lines[1]
    assert "under way, or cut short" in lines[0]
    assert "2 jobs checked: 1 committed to seconds, 1 of them in a commit set" in lines[-1]
    (run,) = (await metering_document(settings(world), job[:10], verify=False))["runs"]
    assert run["wall_seconds"] == pytest.approx(2.345678778)


@pytest.mark.parametrize(
    ("in_lease", "in_log", "fault"),
    [
        ({"seconds": 4}, {}, "4 s were committed to; the log says 3 s"),
        ({}, {"billable_seconds": 9}, "run 1 bills 9 s; its meters say 3 s"),
        ({}, {"exited_ns": METER.started_ns + 8 * NANOSECONDS}, "run 1 bills 3 s; its meters"),
        (
            {"seconds": 8},
            {"exited_ns": METER.started_ns + 8 * NANOSECONDS, "billable_seconds": 8},
            "the commitment that was revealed does not open with the 8 s of the log",
        ),
        ({}, None, "3 s were committed to, and the log has no run that ended"),
    ],
)
async def test_whatever_is_changed_afterwards_shows(
    world: World,
    in_lease: dict[str, int],
    in_log: dict[str, int] | None,
    fault: str,
) -> None:
    job = bytes.fromhex(await revealed(world))
    database = f"sqlite:///{world.directory}/provider.sqlite"
    async with open_database(database, role="provider") as opened:
        leases = ProviderLeases(opened)
        lease = await leases.get(job)  # type: ignore[arg-type]
        (run,) = await leases.runs.of_job(job)  # type: ignore[arg-type]
        shown = await leases.signed_set(job)  # type: ignore[arg-type]
    assert lease is not None
    assert run.metered is not None
    assert account(lease, [run], shown, OPERATOR).fault == ""
    changed = dataclasses.replace(lease, **in_lease)  # type: ignore[arg-type]
    metered = None if in_log is None else dataclasses.replace(run.metered, **in_log)  # type: ignore[arg-type]
    runs = [dataclasses.replace(run, metered=metered)]
    assert fault in account(changed, runs, shown, OPERATOR).fault


async def test_of_several_runs_the_last_that_ended_is_billed(world: World) -> None:
    world.sandbox.gate.clear()
    world.sandbox.result = a_result(meter=METER)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        await world.scheduler.lease(world.signed_order())
        await world.scheduler.until(lambda: len(world.sandbox.requests) == 1)
    world.sandbox.gate.set()
    async with world.daemon():
        await world.scheduler.committed()
    document = await metering_document(settings(world), None, verify=True)
    assert document["ok"]
    assert [run["attempt"] for run in document["runs"] if run["metered"]] == [2]
    assert len(document["runs"]) == 2


async def test_jobs_are_named_by_the_beginning_of_their_ids(world: World) -> None:
    await revealed(world)
    with pytest.raises(LocalError, match="at least 6 characters"):
        await metering_document(settings(world), "0xab", verify=False)
    with pytest.raises(LocalError, match="no run of job 0xabcdef01 is logged here"):
        await metering_document(settings(world), "0xabcdef01", verify=False)


def test_the_command_fails_when_a_job_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def document(*_: object, **__: object) -> dict[str, object]:
        fault = {"job": "0x" + "ab" * 32, "fault": "4 s were committed to; the log says 3 s"}
        jobs = [{**fault, "seconds_signed": 4, "in_commit_set": False}]
        return {"runs": [], "jobs": jobs, "ok": False}

    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))
    monkeypatch.setattr("assay_provider.metering_report.metering_document", document)
    done = CliRunner().invoke(assemble(None, everything=True), ["provider", "metering", "--verify"])
    assert done.exit_code == 1
    assert "WRONG: 4 s were committed to" in done.stdout


def test_without_a_database_it_says_what_to_do(tmp_path: Path) -> None:
    mine = Settings(provider=ProviderSettings(home=tmp_path, operator=OPERATOR))
    with pytest.raises(LocalError, match="assay provider run"):
        asyncio.run(metering_document(mine, None, verify=False))
