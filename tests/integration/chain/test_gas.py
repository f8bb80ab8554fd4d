"""Real receipts through JSON-RPC burn what the snapshots of the contract tests say, within 1 %."""

import json
from pathlib import Path

import pytest

from tests.fixtures.chain import ChainLab
from tests.fixtures.settling import SteadyMarket

SNAPSHOTS = Path(__file__).parents[3] / "contracts" / "snapshots" / "settle.json"


@pytest.fixture
def snapshots() -> dict[str, int]:
    return {name: int(gas) for name, gas in json.loads(SNAPSHOTS.read_text()).items()}


async def test_receipts_burn_what_the_snapshots_say(
    chain: ChainLab, snapshots: dict[str, int]
) -> None:
    market = await SteadyMarket.open(chain)
    # One job has three operators and a hundred have all; between, their number is the draw's.
    for count in (1, 100):
        gas = await market.settle(await market.receipts(count))
        assert gas == pytest.approx(snapshots[f"packed k=3 N={count}"], rel=0.01)
    receipts = await market.receipts(100)
    gas = await market.settle(receipts, market.signed_once(receipts))
    assert gas == pytest.approx(snapshots["packed, all signed once k=3 N=100"], rel=0.01)
