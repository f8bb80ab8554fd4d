"""A scheduler that withholds the receipts and is gone: the job ends on the chain."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from assay_node.chain.client import ChainSettings, open_reader
from assay_node.devnet.market import Market, MarketSettings
from assay_node.protocol.ids import digest_from_hex
from tests.e2e.following import event_kinds_stored, kinds, submit, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOB = """
    from pathlib import Path
    Path("/output/answer").write_text("42")
"""
ROAD_S = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def withholding(tmp_path_factory) -> AsyncIterator[Market]:
    """A market whose scheduler lets complete receipts lie."""
    settings = MarketSettings(
        directory=tmp_path_factory.mktemp("withholding"),
        providers=3,
        environment={
            "ASSAY_SCHEDULER__SETTLE_WAIT_S": "3600",
            "ASSAY_SCHEDULER__SETTLE_GAS_CHEAP_GWEI": "0.000001",
            "ASSAY_PROVIDER__ROAD_PATIENCE_S": "2",
            "ASSAY_PROVIDER__ROAD_TURN_S": "3",
            "ASSAY_PROVIDER__ROAD_POLL_S": "0.5",
        },
    )
    async with Market(settings, tell=print) as running:
        yield running


async def test_providers_are_paid_through_the_road_when_the_scheduler_is_gone_for_good(
    withholding: Market, job, tmp_path
):
    market, home = withholding, tmp_path / "home"
    home.mkdir()
    await market.new_requester(home)
    folder = job(JOB, name="withheld", reveal_window_s=3)
    (id_,) = await submit(market, home, folder)
    await until(market, id_, lambda d: kinds(d).count("revealed") == 3)
    assert "settled" not in event_kinds_stored(market, id_)
    await market.processes["scheduler"].kill()
    job_id = digest_from_hex(id_)
    settings = ChainSettings(rpc_url=market.rpc_url, deployment=market.deployment)
    async with open_reader(settings) as chain, asyncio.timeout(ROAD_S):
        while (settlement := await chain.settlement_of(job_id, from_block=0)) is None:  # noqa: ASYNC110 - others'
            await asyncio.sleep(0.2)
    assert settlement.agreed
    assert {paid.operator for paid in settlement.paid} == set(market.operators.values())
    assert settlement.slashed == ()
    assert settlement.fee_microusd > 0, "it did its part until it was gone"
    status = await market.run_json("status", id_, home=home)
    assert status["state"] == "settled"
    assert status["settlement"]["cost_microusd"] == settlement.cost_microusd
    (line,) = (await market.run_json("jobs", home=home))["jobs"]
    assert (line["job"], line["state"], line["name"]) == (id_, "settled", "withheld")
    advanced = json.loads(await market.run("job", "advance", id_, "--yes", "--json", home=home))
    assert advanced["step"] is None
    assert advanced["transaction"] is None
    assert {replica["revealed"] for replica in advanced["replicas"]} == {True}
