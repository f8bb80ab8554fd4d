"""What a settled job costs in gas, beside what peers' contracts cost.

Real receipts of three replicas go through real transactions on a local Anvil, in the steady state
that `tests/fixtures/settling.py` describes. The peers' figures were measured with their own sources
and are constants here; so is the on-chain road's, which `contracts/snapshots` holds.
"""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

from tests.fixtures.chain import BLOCK_TIME_S, ChainLab
from tests.fixtures.settling import SteadyMarket

from assay_node.chain.packed import EACH_SIGNED
from assay_node.devnet.anvil import AnvilProcess, AnvilSettings
from assay_node.devnet.deploy import deploy
from bench.figures import Figure

TRANSACTION_GAS_MAX = 1 << 24
IEXEC_K3 = 2_140_000
PEERS = (
    ("iExec PoCo, 3 replicas", "2,140,000 to 2,440,000"),
    ("Lilypad v1, no verification", "1,770,000"),
    ("iExec PoCo Boost, one TEE worker", "588,000"),
    ("Sablier, create and withdraw", "294,000 to 312,000"),
    ("Livepeer, redeem a ticket (lower bound)", "84,000"),
)
SNAPSHOTS = Path(__file__).parents[1] / "contracts" / "snapshots"


def run() -> list[Figure]:
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    async with AsyncExitStack() as stack:
        anvil = await stack.enter_async_context(
            AnvilProcess(AnvilSettings(block_time_s=BLOCK_TIME_S))
        )
        lab = ChainLab(url=anvil.url, deployment=await deploy(anvil.url), stack=stack)
        market = await SteadyMarket.open(lab)
        each = {count: await _each(market, count) for count in (1, 10, 100)}
        once = {count: await _once(market, count) for count in (10, 100)}
    road = json.loads((SNAPSHOTS / "road.json").read_text())["k=3 opened with the commit set"]
    figures = [
        _figure("one job alone, settled at once", each[1], 1, 120_000),
        _figure("packed, every signature checked, N = 10", each[10], 10, None),
        _figure("packed, every signature checked, N = 100", each[100], 100, 35_000),
        _figure("packed, aggregated signatures, N = 10", once[10], 10, None),
        _figure("packed, aggregated signatures, N = 100", once[100], 100, 15_000),
        _figure("on-chain road, all transactions (snapshot)", int(road), 1, 400_000),
        _largest(max(*each.values(), *once.values())),
    ]
    _print(figures)
    return figures


async def _each(market: SteadyMarket, count: int) -> int:
    return await market.settle(await market.receipts(count), EACH_SIGNED)


async def _once(market: SteadyMarket, count: int) -> int:
    receipts = await market.receipts(count)
    return await market.settle(receipts, market.signed_once(receipts))


def _figure(name: str, gas: int, jobs: int, goal: int | None) -> Figure:
    value = round(gas / jobs)
    return Figure(
        figure=f"gas: {name}",
        value=value,
        unit="gas/job",
        spread=(value, value),
        reference="iExec PoCo, 3 replicas",
        reference_value=IEXEC_K3,
        ratio=round(value / IEXEC_K3, 4),
        goal="none" if goal is None else f"<= {goal:,} gas",
        holds=goal is None or value <= goal,
    )


def _largest(gas: int) -> Figure:
    return Figure(
        figure="gas: the largest batch here",
        value=gas,
        unit="gas",
        spread=(gas, gas),
        reference="EIP-7825, most gas of a transaction",
        reference_value=TRANSACTION_GAS_MAX,
        ratio=round(gas / TRANSACTION_GAS_MAX, 3),
        goal=f"< {TRANSACTION_GAS_MAX:,} gas",
        holds=gas < TRANSACTION_GAS_MAX,
    )


def _print(figures: list[Figure]) -> None:
    for figure in figures:
        verdict = "holds" if figure.holds else "MISSED"
        goal = "" if figure.goal == "none" else f"   goal {figure.goal}: {verdict}"
        print(f"  {figure.figure.removeprefix('gas: '):45} {figure.value:>12,.0f}{goal}")
    for name, gas in PEERS:
        print(f"  {name:45} {gas:>24}")
