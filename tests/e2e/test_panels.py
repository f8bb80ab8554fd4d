"""A lie that nobody contradicted is drawn for an audit, and honest daemons run the job again.

Nobody is told what to do after the order: the scheduler calls the panel, the drawn providers run
it, reveal on the chain, and show what the liar said.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from assay_node.chain.client import ChainSettings, open_reader
from assay_node.chain.court_reader import CourtReader
from assay_node.chain.rpc import open_rpc
from assay_node.devnet.market import LIAR, Market, MarketSettings
from assay_node.ports import CalledPanel, CaseState, RoadState
from assay_node.protocol.ids import Digest, digest_from_hex
from assay_node.protocol.panels import PANEL_COMMIT_S
from tests.e2e.following import ended, event_kinds_stored, paid, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOB = """
    from pathlib import Path
    Path("/output/answer.txt").write_text("42")
"""
WAIT_S = 150.0
HONEST = (2, 3, 4)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def with_a_liar(tmp_path_factory) -> AsyncIterator[Market]:
    """A market of one liar and as many honest providers as a panel of three has seats."""
    settings = MarketSettings(
        directory=tmp_path_factory.mktemp("panels"),
        providers=1 + len(HONEST),
        personas={1: LIAR},
        environment={
            "ASSAY_PROVIDER__ROAD_TURN_S": "2",
            "ASSAY_PROVIDER__ROAD_POLL_S": "0.5",
        },
    )
    async with Market(settings, tell=print) as running:
        yield running


async def test_an_audit_takes_the_bond_of_a_liar_that_was_alone(
    with_a_liar: Market, job, tmp_path
) -> None:
    market, home = with_a_liar, tmp_path / "home"
    home.mkdir()
    requester = await market.new_requester(home)
    liar = market.operators["provider-1"]
    honest = [market.operators[f"provider-{number}"] for number in HONEST]
    for number in HONEST:  # so that the liar gets the job
        await market.processes[f"provider-{number}"].kill()
    await until(lambda: only_the_liar_is_there(market))
    folder = job(JOB, name="audited", replicas=1, quorum=1, audit_percent=100)
    (id_,) = await submit(market, home, folder)
    document = await ended(market, id_)
    assert document["state"] == "settled"
    assert set(paid(document)) == {liar}
    for number in HONEST:
        await market.processes[f"provider-{number}"].start()
    await market.wait_for_providers()
    settings = ChainSettings(rpc_url=market.rpc_url, deployment=market.deployment)
    async with open_reader(settings) as chain:
        before = await chain.account(liar)
        bond = document["bond_microusd"]
        await mine(market, 130)
        called = await the_panel(chain, digest_from_hex(id_))
        await until(lambda: committed(chain, called, honest))
        await mine(market, 1, after_s=PANEL_COMMIT_S)
        await until(lambda: closed(chain, called))
        after = await chain.account(liar)
        assert before.stake_microusd - after.stake_microusd == bond
        assert after.faults == before.faults + 1
        spent = await chain.budget(requester, market.scheduler_wallet.address)
        assert spent == 500_000_000, "the liar's bond gave back what the job had cost"
        panel_pay = await chain.settlement_of(called.panel_job, from_block=called.called_in)
        assert panel_pay is not None
        assert {one.operator for one in panel_pay.paid} == set(honest)
    async with asyncio.timeout(WAIT_S):
        while "case_closed" not in event_kinds_stored(market, id_):  # noqa: ASYNC110 - another's
            await asyncio.sleep(0.2)
    assert "panel_called" in event_kinds_stored(market, id_)


async def only_the_liar_is_there(market: Market) -> bool:
    listed = await market.get("/v1/providers")
    return sum(one["connected"] for one in listed["providers"]) == 1


async def mine(market: Market, blocks: int, *, after_s: int = 0) -> None:
    async with open_rpc(market.rpc_url, timeout_s=10) as rpc:
        if after_s:
            await rpc.call("evm_increaseTime", after_s)
        await rpc.call("anvil_mine", hex(blocks))


async def the_panel(chain: CourtReader, job: Digest) -> CalledPanel:
    async def look() -> Any:
        last = (await chain.head()).number
        return await chain.panels_called(0, last, job=job)

    (called,) = await until(look)
    return called


async def committed(chain: CourtReader, called: CalledPanel, operators: list[str]) -> bool:
    road = await chain.road_of(called.panel_job, from_block=called.called_in)
    return {entry.operator for entry in road.entries} == set(operators)


async def closed(chain: CourtReader, called: CalledPanel) -> bool:
    road = await chain.road_of(called.panel_job, from_block=called.called_in)
    case = await chain.case_of(called.job)
    return road.state is RoadState.SETTLED and case.state is CaseState.ABSENT


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not (answer := await condition()):  # noqa: ASYNC110 - other processes'
            await asyncio.sleep(0.2)
    return answer
