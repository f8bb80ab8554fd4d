"""Processes that die at the worst moment: no job is lost, nothing is paid twice."""

import asyncio
import json

import pytest

from assay_node.devnet.market import COMMAND_S
from assay_node.devnet.processes import run_command
from tests.e2e.following import ended, event_kinds_stored, kinds, paid, story, submit, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOW = """
    import time
    from pathlib import Path
    time.sleep(3)
    Path("/output/done").write_text("done")
"""
QUICK = SLOW.replace("time.sleep(3)", "time.sleep(0.5)")


def name_of(market, operator):
    return next(name for name, address in market.operators.items() if address == operator)


async def test_a_provider_killed_during_its_run_is_replaced_and_the_job_settles(
    market, requester, job
):
    (id_,) = await submit(market, requester, job(SLOW, name="orphaned"))
    running = await until(market, id_, lambda d: kinds(d).count("running") == 3)
    victim = running["replica_records"][0]["operator"]
    process = market.processes[name_of(market, victim)]
    await process.kill()
    document = await ended(market, id_)
    await process.start()
    await market.wait_for_providers()
    assert document["state"] == "settled", story(document)
    assert victim not in paid(document)
    assert len(paid(document)) == 3
    (lost,) = [r for r in document["replica_records"] if r["operator"] == victim]
    assert lost["state"] == "lost"
    assert "disconnected" in lost["reason"]


@pytest.mark.parametrize("stage", ["accepted", "running", "committed", "revealed"])
async def test_a_provider_killed_and_back_in_time_goes_on_with_its_lease(
    market, requester, job, stage
):
    budget = await _budget(market, requester)
    (id_,) = await submit(market, requester, job(SLOW, name=f"interrupted-{stage}"))
    async with asyncio.timeout(60):
        while stage not in event_kinds_stored(market, id_):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.001)
    document = await market.get(f"/v1/jobs/{id_}")
    victim = document["replica_records"][0]["operator"]
    process = market.processes[name_of(market, victim)]
    await process.kill()
    await process.start()
    document = await ended(market, id_)
    await market.wait_for_providers()
    assert document["state"] == "settled", story(document)
    assert len(paid(document)) == 3
    spent = budget - await _budget(market, requester)
    assert spent == document["settlement"]["cost_microusd"]


async def test_every_providers_metering_log_explains_what_it_was_paid_for(market, requester, job):
    (id_,) = await submit(market, requester, job(QUICK, name="metered"))
    document = await ended(market, id_)
    assert document["state"] == "settled", story(document)
    names = {name_of(market, operator) for operator in paid(document)}
    seconds = []
    for number in range(1, market.settings.providers + 1):
        if market.provider(number) in names:
            shown = json.loads(
                await run_command(
                    ("provider", "metering", id_, "--verify", "--json"),
                    environment=market._provider_environment(number),
                    timeout_s=COMMAND_S,
                )
            )
            (run,) = shown["runs"]
            (checked,) = shown["jobs"]
            assert (shown["ok"], checked["in_commit_set"]) == (True, True)
            assert 0.5 <= run["wall_seconds"] <= checked["seconds_signed"]
            seconds.append(checked["seconds_signed"])
    assert document["settlement"]["seconds"] == sorted(seconds)[1], "the median of what is logged"


STAGES = ("admitted", "drawn", "placed", "accepted", "running", "committed", "commit_set",
          "revealed", "receipt")  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
async def test_a_scheduler_killed_at_any_stage_loses_no_job_and_pays_once(
    market, requester, job, stage
):
    budget = await _budget(market, requester)
    (id_,) = await submit(market, requester, job(QUICK, name=f"killed-{stage}".replace("_", "-")))
    scheduler = market.processes["scheduler"]
    async with asyncio.timeout(60):
        while stage not in event_kinds_stored(market, id_):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.001)
    await scheduler.kill()
    assert stage in event_kinds_stored(market, id_)
    await scheduler.start()
    await market.wait_for_api()
    document = await ended(market, id_)
    await market.wait_for_providers()
    assert document["state"] == "settled", story(document)
    assert kinds(document).count("settled") == 1
    assert len(paid(document)) == 3
    spent = budget - await _budget(market, requester)
    assert spent == document["settlement"]["cost_microusd"]


@pytest.mark.parametrize("stage", ["placed", "running"])
async def test_a_chain_restarted_from_its_state_file_goes_on(market, requester, job, stage):
    (id_,) = await submit(market, requester, job(SLOW, name=f"chain-restart-{stage}"))
    await until(market, id_, lambda d: stage in kinds(d))
    await market.chain.stop()
    await asyncio.sleep(4)  # providers cannot check their leases; a settlement finds no chain
    await market.chain.start()
    document = await ended(market, id_)
    assert document["state"] == "settled", story(document)
    (next_,) = await submit(market, requester, job(QUICK, name="after-restart"))
    document = await ended(market, next_)
    assert document["state"] == "settled", story(document)


async def test_a_result_survives_corrupted_blocks_and_says_so_when_all_are(
    market, requester, job, tmp_path
):
    (id_,) = await submit(market, requester, job(QUICK, name="corrupted"))
    document = await ended(market, id_)
    holders = [name_of(market, operator) for operator in paid(document)]
    assert len(holders) == 3
    for name in holders[:-1]:
        _corrupt(market, name, document["output"])
    target = tmp_path / "still-good"
    await market.run("result", id_, "-o", str(target), home=requester)
    assert (target / "done").read_text() == "done"
    _corrupt(market, holders[-1], document["output"])
    fresh = tmp_path / "fresh-home"
    fresh.mkdir()
    lost = tmp_path / "lost"
    with pytest.raises(Exception, match=r"could not|nobody|none|no source"):
        await market.run("result", id_, "-o", str(lost), home=fresh)
    assert not lost.exists()


def _corrupt(market, name, cid):
    root = market.settings.directory / name / "artifacts"
    (block,) = [path for path in root.rglob(cid) if path.is_file()]
    block.write_bytes(b"\x00" + block.read_bytes()[1:])


async def _budget(market, requester):
    shown = await market.run_json("wallet", "balance", home=requester)
    return shown["budget_microusd"]
