"""Real daemons prove their hardware to a real scheduler over libp2p, and one of them pretends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from assay_node.devnet.market import Market, MarketSettings
from assay_node.devnet.processes import run_command
from tests.e2e.following import ended, submit
from tests.e2e.test_jobs import HELLO

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRETENDER = 2
PRETENDERS_CLASS = "cpu-pretenders"
PROVEN_S = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proven_market(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    """Return a market whose scheduler gives work to proven hardware alone."""
    settings = MarketSettings(
        directory=tmp_path_factory.mktemp("proven"),
        providers=2,
        personas={PRETENDER: "pretender"},
        hardware_classes={PRETENDER: PRETENDERS_CLASS},
        scheduler_environment={
            "ASSAY_SCHEDULER__PROOF__INTERVAL_S": "86400",
            "ASSAY_SCHEDULER__PROOF__SECONDS": "0.5",
            "ASSAY_SCHEDULER__PROOF__REQUIRED": "true",
        },
    )
    async with Market(settings, tell=print) as running:
        yield running


async def until_judged(market: Market, name: str) -> dict[str, Any]:
    """Return a provider's line of the API once a proof has said something about it."""
    operator = market.operators[name]
    async with asyncio.timeout(PROVEN_S):
        while True:
            listed = (await market.get("/v1/providers"))["providers"]
            (line,) = [one for one in listed if one["operator"] == operator]
            if line["hardware"]["state"] in ("proven", "disproved"):
                return line
            await asyncio.sleep(0.1)


async def provider_status(market: Market, number: int) -> dict[str, Any]:
    home = market.settings.directory / market.provider(number)
    environment = {
        "ASSAY_PROVIDER__HOME": str(home),
        "ASSAY_PROVIDER__OPERATOR": market.operators[market.provider(number)],
    }
    shown = await run_command(
        ("provider", "status", "--json"),
        environment={**market.environment(home), **environment},
        timeout_s=60,
    )
    return dict(json.loads(shown))


async def test_a_provider_proves_its_processor_and_gets_work(
    proven_market: Market, job: Callable[..., Path], tmp_path: Path
):
    market = proven_market
    line = await until_judged(market, market.provider(1))
    assert line["hardware"]["state"] == "proven"
    assert line["hardware"]["text"].startswith("its processor showed ")
    (proof,) = line["proofs"]
    assert (proof["verdict"], proof["verifier"]) == ("proven", market.scheduler_wallet.address)
    assert proof["figures"][0]["proven_mflops"] > 0
    assert proof["figures"][0]["device"] is None

    home = tmp_path / "requester"
    await market.new_requester(home)
    (id_,) = await submit(market, home, job(HELLO, name="proven", replicas=1, quorum=1))
    assert (await ended(market, id_))["state"] == "settled"

    record = (await provider_status(market, 1))["proofs"]
    assert record["rounds"] >= 1
    assert record["results"][0]["detail"] == line["hardware"]["text"]


async def test_a_pretender_is_disproved_and_gets_no_work(
    proven_market: Market, job: Callable[..., Path], tmp_path: Path
):
    market = proven_market
    line = await until_judged(market, market.provider(PRETENDER))
    assert line["hardware"]["state"] == "disproved"
    assert line["proofs"][0]["verdict"] == "wrong"

    home = tmp_path / "requester"
    await market.new_requester(home)
    folder = job(HELLO, name="pretend", replicas=1, quorum=1, hardware_class=PRETENDERS_CLASS)
    (id_,) = await submit(market, home, folder)
    async with asyncio.timeout(PROVEN_S):
        while (  # noqa: ASYNC110 - the scheduler does not tell tests
            document := await market.run_json("explain", id_, home=home)
        )["decision"] is None:
            await asyncio.sleep(0.2)
    (verdict,) = [
        one
        for one in document["decision"]["providers"]
        if one["operator"] == market.operators[market.provider(PRETENDER)]
    ]
    reasons = {reason["code"]: reason["text"] for reason in verdict["reasons"]}
    assert not verdict["chosen"]
    assert "is not the one that was committed to" in reasons["hardware_disproved"]
    told = await market.run("explain", id_, home=home)
    assert "failed the proof of its hardware" in " ".join(told.split())
    assert not document["replicas"]
