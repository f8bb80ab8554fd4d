"""The owner of a provider's machine, at the controls of a real daemon in a real market."""

import asyncio
import json
import signal
import sys

import pytest

from assay_node.devnet.market import COMMAND_S, run_command
from tests.e2e.following import ended, kinds, paid, story, submit, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOW = """
    import time
    from pathlib import Path
    time.sleep(4)
    Path("/output/done").write_text("done")
"""


def name_of(market, operator):
    return next(name for name, address in market.operators.items() if address == operator)


def environment_of(market, name):
    return market._provider_environment(int(name.partition("-")[2]))


async def owner(market, name, *words):
    """Run `assay provider ...` as the owner of one provider; return its one JSON document."""
    said = await run_command(
        ("provider", *words, "--json"),
        environment=environment_of(market, name),
        timeout_s=COMMAND_S,
    )
    return json.loads(said)


async def running_at(market, id_):
    """Wait until a job runs three times; return the first of its providers."""
    document = await until(market, id_, lambda d: kinds(d).count("running") >= 3)
    return name_of(market, document["replica_records"][0]["operator"])


async def offered(market, name, slots):
    """Wait until the scheduler has heard that a provider offers so many slots."""
    operator = market.operators[name]
    async with asyncio.timeout(60):
        while True:
            listed = (await market.get("/v1/providers"))["providers"]
            if next(p["slots"] for p in listed if p["operator"] == operator) == slots:
                return
            await asyncio.sleep(0.1)


async def test_status_tells_of_the_jobs_that_run_and_of_what_the_chain_paid(market, requester, job):
    (id_,) = await submit(market, requester, job(SLOW, name="watched"))
    name = await running_at(market, id_)
    document = await owner(market, name, "status")
    daemon = document["daemon"]
    assert daemon["pid"] == market.processes[name].pid
    assert daemon["connected"] == [market.scheduler_wallet.address]
    shown = next(one for one in daemon["jobs"] if one["job"] == id_)
    assert shown["stage"] in ("running", "storing", "executed", "committed")
    settled = await ended(market, id_)
    assert settled["state"] == "settled", story(settled)
    after = await owner(market, name, "status")
    earned = after["earned"]
    assert earned["is_complete"]
    assert earned["in_all"]["paid_microusd"] >= paid(settled)[market.operators[name]]
    assert earned["today"]["jobs_paid"] >= 1


async def test_status_is_followed_in_lines_of_json(market):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assay_node", "provider", "status"),
        *("--follow", "--json", "--every", "0.2"),
        env=environment_of(market, "provider-1"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            lines = [await process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    ups = [json.loads(line)["daemon"]["up_s"] for line in lines]
    assert ups == sorted(set(ups))


async def test_a_drained_provider_finishes_its_job_and_gets_no_other_until_resumed(
    market, requester, job
):
    (id_,) = await submit(market, requester, job(SLOW, name="drained"))
    name = await running_at(market, id_)
    await owner(market, name, "drain", "--wait", "--stay")
    try:
        await nothing_for(market, requester, job, name, id_)
    finally:
        await owner(market, name, "resume")
        await offered(market, name, 2)


async def nothing_for(market, requester, job, name, id_):
    """Expect a drained provider to be paid for its last job, and another job to pass it by."""
    await offered(market, name, 0)
    document = await ended(market, id_)
    assert market.operators[name] in paid(document), story(document)
    (other,) = await submit(market, requester, job(SLOW.replace("4", "0"), name="others"))
    document = await ended(market, other)
    # it was not even asked, and so lost no place in a later draw
    asked = [record["operator"] for record in document["replica_records"]]
    assert market.operators[name] not in asked


async def test_a_drain_ends_the_daemon_when_its_last_job_is_settled(market, requester, job):
    (id_,) = await submit(market, requester, job(SLOW, name="last"))
    name = await running_at(market, id_)
    process = market.processes[name]
    await owner(market, name, "drain", "--wait")
    async with asyncio.timeout(60):
        while process.exit_code is None:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.05)
    assert process.exit_code == 0
    document = await ended(market, id_)
    assert market.operators[name] in paid(document), story(document)
    await process.start()
    await market.wait_for_providers()
    await offered(market, name, 2)


async def test_sigterm_hands_the_run_back_and_another_provider_does_it(market, requester, job):
    (id_,) = await submit(market, requester, job(SLOW, name="handed-back"))
    name = await running_at(market, id_)
    process = market.processes[name]
    await process.stop()
    assert process.exit_code == 0
    # it was told, not missed: the scheduler knows the reason before the daemon is gone
    document = await until(market, id_, lambda d: "handed_back" in kinds(d))
    record = next(r for r in document["replica_records"] if r["operator"] == market.operators[name])
    assert record["reason"] == "provider is shutting down"
    document = await ended(market, id_)
    assert document["state"] == "settled", story(document)
    assert len(paid(document)) == 3
    assert market.operators[name] not in paid(document)
    await process.start()
    await market.wait_for_providers()
