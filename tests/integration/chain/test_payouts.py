"""The contracts on a real chain against an independent model of the money.

Receipts in all their forms, jobs on the road, panels of the court: whatever random people do, both
hold the same books to the unit after each step, and everything can be brought to its end.

    ASSAY_PAYOUT_JOBS=5000 pytest tests/integration/chain/test_payouts.py -s

ASSAY_PAYOUT_SEED repeats a run; a failure names its seed.
"""

import os
import secrets
import sys

import httpx
import pytest

from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import deploy
from tests.fixtures.chain import anvil_settings
from tests.integration.chain.bare_chain import Anvil
from tests.integration.chain.random_market import RandomMarket

JOBS_DEFAULT = 250
JOBS = int(os.environ.get("ASSAY_PAYOUT_JOBS", JOBS_DEFAULT))
TEST_S_MAX = 300 + 4 * JOBS  # a hundred jobs take ten seconds where nobody else computes
RPC_S_MAX = 240.0  # a busy machine is slow, and pytest's own limit ends what hangs
GENESIS_TIME = 1_700_000_000
BLOCK_TIME_S = 86_400.0  # none by itself: two runs of one seed must mine the same blocks


@pytest.mark.timeout(TEST_S_MAX)
async def test_random_jobs_pay_what_an_independent_model_says() -> None:
    seed = int(os.environ.get("ASSAY_PAYOUT_SEED", secrets.randbelow(1 << 32)))
    settings = anvil_settings(block_time_s=BLOCK_TIME_S, genesis_time=GENESIS_TIME)
    async with AnvilProcess(settings) as process, _session(process.url) as http:
        anvil = Anvil(http)
        await anvil.mine_by_the_second()
        market = RandomMarket(anvil, await deploy(process.url), seed=seed)
        try:
            await market.open()
            while (left := JOBS - market.tally.jobs) > 0:
                await market.step(left)
            await market.drain()
        except AssertionError as error:
            error.add_note(f"after {market.tally.jobs} jobs; ASSAY_PAYOUT_SEED={seed}")
            raise
    counts = sorted((market.tally.outcomes + market.tally.calls).items())
    report = "\n".join(f"{count:7} {kind}" for kind, count in counts)
    sys.stdout.write(f"\n{JOBS} jobs, ASSAY_PAYOUT_SEED={seed}\n{report}\n")
    assert market.tally.jobs == JOBS
    assert market.tally.outcomes["no quorum"] > 0
    assert market.tally.outcomes["quorum, 0 slashed"] > JOBS // 10
    if JOBS >= JOBS_DEFAULT:
        assert market.tally.calls["road.finalize done"] > 0
        assert market.tally.calls["court.close done"] > 0


def _session(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=RPC_S_MAX)
