"""A lie that nobody contradicted, and one that left no quorum: honest daemons run the jobs again.

Nobody is told what to do after the orders: the scheduler calls the panels, the drawn providers run
them, reveal on the chain, and show what the liar said.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from assay_node.chain.client import ChainSettings, open_reader
from assay_node.chain.court_reader import CourtReader
from assay_node.chain.rpc import open_rpc
from assay_node.devnet.market import LIAR, Market, MarketSettings
from assay_node.ports import CalledPanel, CaseState, RoadState
from assay_node.protocol.ids import Address, Digest, digest_from_hex, to_hex
from assay_node.protocol.panels import PANEL_COMMIT_S
from tests.e2e.following import ended, event_kinds_stored, paid, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOB = """
    from pathlib import Path
    Path("/output/answer.txt").write_text("42")
"""
WAIT_S = 180.0
HALF_AN_HOUR = 1_800
HONEST = (2, 3, 4, 5, 6, 7)
BUDGET_MICROUSD = 500_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def with_a_liar(tmp_path_factory) -> AsyncIterator[Market]:
    """A market of one liar, and of as many honest providers as the panels here need."""
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


@dataclass(frozen=True)
class Ordered:
    """A job of a requester of its own, as it first ended."""

    id: str
    home: Path
    requester: Address
    document: dict[str, Any]

    @property
    def job(self) -> Digest:
        return digest_from_hex(self.id)


@pytest.mark.timeout(600)  # two jobs, two panels, fourteen daemons
async def test_panels_find_the_liar_out_and_give_a_result_where_there_was_none(
    with_a_liar: Market, job, tmp_path
) -> None:
    """One test for both: the clock of the chain is moved by half a day, and orders bear it once."""
    market, liar = with_a_liar, with_a_liar.operators["provider-1"]
    async with only(market, 1):
        folder = job(JOB, name="audited", replicas=1, quorum=1, audit_percent=100)
        audited = await order(market, folder, tmp_path / "first")
    assert audited.document["state"] == "settled"
    assert set(paid(audited.document)) == {liar}, "nobody contradicts it"
    async with only(market, 1, 2):
        folder = job(JOB, name="split", replicas=2, quorum=2, escalate=True)
        split = await order(market, folder, tmp_path / "second")
    assert split.document["state"] == "no_quorum"
    settings = ChainSettings(rpc_url=market.rpc_url, deployment=market.deployment)
    async with open_reader(settings) as chain:
        await mine(market, 130)  # until the block that draws audits
        stake = (await chain.account(liar)).stake_microusd
        audit, escalation = [await the_panel(chain, one.job) for one in (audited, split)]
        await until(lambda: committed(chain, audit, 3))
        await until(lambda: committed(chain, escalation, 5))
        told = await market.run_json("job", "advance", split.id, "--yes", home=split.home)
        assert told["case"]["state"] == "called"
        assert len(told["case"]["panel"]["committed"]) == 5
        # Blocks mined at once are a second apart, so the chain's clock may be ahead of the panels'.
        await mine(market, 1, after_s=PANEL_COMMIT_S + HALF_AN_HOUR)
        for one, panel in ((audited, audit), (split, escalation)):
            await until(lambda panel=panel: closed(chain, panel))
            await until(lambda one=one: has_event(market, one.id, "case_closed"))
            assert "panel_called" in event_kinds_stored(market, one.id)
        await check_the_audit(chain, market, audited, audit, stake)
    target = tmp_path / "result"
    result = await market.run_json("result", split.id, "-o", str(target), home=split.home)
    assert (target / "answer.txt").read_text() == "42"
    assert result["panel"] == to_hex(escalation.panel_job)
    assert result["signed_by"] == [], "no receipt: the chain proves it"


async def check_the_audit(
    chain: CourtReader, market: Market, audited: Ordered, panel: CalledPanel, stake: int
) -> None:
    liar = market.operators["provider-1"]
    account = await chain.account(liar)
    assert stake - account.stake_microusd == audited.document["bond_microusd"]
    assert account.faults == 1
    budget = await chain.budget(audited.requester, market.scheduler_wallet.address)
    assert budget == BUDGET_MICROUSD, "the liar's bond gave back what the job had cost"
    settlement = await chain.settlement_of(panel.panel_job, from_block=panel.called_in)
    assert settlement is not None
    operators = {one.operator for one in settlement.paid}
    assert len(operators) == 3
    assert liar not in operators


async def order(market: Market, folder: Path, home: Path) -> Ordered:
    await asyncio.to_thread(home.mkdir)
    requester = await market.new_requester(home)
    (id_,) = await submit(market, home, folder)
    return Ordered(id=id_, home=home, requester=requester, document=await ended(market, id_))


@asynccontextmanager
async def only(market: Market, *numbers: int) -> AsyncIterator[None]:
    """Have these providers alone be there; the others come back afterwards."""
    names = [market.provider(n) for n in (1, *HONEST) if n not in numbers]
    for name in names:
        await market.processes[name].kill()

    async def are_there() -> bool:
        listed = await market.get("/v1/providers")
        return sum(one["connected"] for one in listed["providers"]) == len(numbers)

    await until(are_there)
    yield
    for name in names:
        await market.processes[name].start()
    await market.wait_for_providers()


async def has_event(market: Market, job: str, kind: str) -> bool:
    return kind in event_kinds_stored(market, job)


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


async def committed(chain: CourtReader, called: CalledPanel, seats: int) -> bool:
    road = await chain.road_of(called.panel_job, from_block=called.called_in)
    return len(road.entries) == seats


async def closed(chain: CourtReader, called: CalledPanel) -> bool:
    road = await chain.road_of(called.panel_job, from_block=called.called_in)
    case = await chain.case_of(called.job)
    return road.state is RoadState.SETTLED and case.state is CaseState.ABSENT


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(WAIT_S):
        while not (answer := await condition()):  # noqa: ASYNC110 - other processes'
            await asyncio.sleep(0.2)
    return answer
