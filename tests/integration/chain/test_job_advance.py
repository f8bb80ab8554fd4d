"""`assay job advance` and its neighbours on a real chain, with a scheduler that is nowhere."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay_node.chain import deployment as deployments
from assay_node.keys import SCRYPT_N_DEVELOPMENT, create_key, save_keystore
from assay_node.ports import RevealOnRoad, RoadState
from assay_node.protocol import codec
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.messages import CommitEntry, CommitSet
from assay_node.protocol.receipt import Receipt
from assay_node.services.order_records import keep_commit_set
from tests.fixtures.chain import ChainLab
from tests.fixtures.receipts import ANSWER
from tests.integration.chain.test_road import (
    ROUND,
    entries_of,
    job_of,
    opening_step,
    openings_of,
)
from tests.integration.chain.test_settlement import Market, market_of_strangers

NOWHERE = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


@dataclass(frozen=True)
class Desk:
    """A requester's home with the record of one order, and the command line."""

    market: Market
    receipt: Receipt
    home: Path
    environment: dict[str, str]

    @property
    def job(self) -> Digest:
        return job_of(self.market, self.receipt)

    @property
    def records(self) -> Path:
        return self.home / "requester" / "jobs"

    def assay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assay_node", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def advance(self, *arguments: str) -> dict[str, Any]:
        done = self.assay("job", "advance", to_hex(self.job)[:14], "--yes", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    @property
    def commit_set(self) -> CommitSet:
        step = opening_step(self.market, self.receipt)
        return CommitSet(
            job=self.job,
            round_number=ROUND,
            entries=tuple(
                CommitEntry(
                    operator=commit.operator,
                    ticket=commit.ticket,
                    rate_microusd=commit.rate_microusd,
                    commitment=commit.commitment,
                    signature=commit.signature,
                )
                for commit in step.commits
            ),
            signature=step.set_signature,
        )


@pytest.fixture
async def desk(chain: ChainLab, tmp_path: Path) -> Desk:
    market = await market_of_strangers(chain, 3)
    receipt = await market.receipt([ANSWER] * 3)
    home, password = tmp_path / "home", tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    passer_by = create_key()
    await market.chain.wallet(passer_by, eth=1, usd=1)
    save_keystore(
        home / "wallets" / "default.json", passer_by, "secret", scrypt_n=SCRYPT_N_DEVELOPMENT
    )
    deployments.save(chain.deployment, home / "deployment.json")
    desk = Desk(
        market=market,
        receipt=receipt,
        home=home,
        environment={
            **os.environ,
            "ASSAY_HOME": str(home),
            "ASSAY_PASSWORD_FILE": str(password),
            "ASSAY_CHAIN__RPC_URL": chain.url,
            "ASSAY_CHAIN__DEPLOYMENT": str(home / "deployment.json"),
            "ASSAY_REQUESTER__SCHEDULER": NOWHERE,
        },
    )
    (home / "requester").mkdir(mode=0o700)
    desk.records.mkdir()
    record = {"name": "left alone", "signed_order": to_hex(codec.encode(receipt.signed_order))}
    (desk.records / f"{to_hex(desk.job)}.json").write_text(json.dumps(record))
    return desk


async def test_a_requester_takes_its_job_to_the_road_and_anybody_ends_it(desk: Desk) -> None:
    market, wallet = desk.market, desk.market.wallet
    waiting = desk.advance()
    assert (waiting["state"], waiting["step"], waiting["transaction"]) == ("absent", None, None)
    assert "commit set" in waiting["text"]
    status = desk.assay("status", to_hex(desk.job), "--once")
    assert status.returncode == 1, "neither scheduler nor chain know the job"
    keep_commit_set(desk.records, desk.commit_set)
    opened = desk.advance()
    assert opened["step"] == "open"
    assert 0 < opened["gas"] < 400_000
    assert opened["wei"] > 0
    assert opened["transaction"].startswith("0x")
    road = await wallet.road_of(desk.job)
    assert road.state is RoadState.REVEALING
    told = desk.advance()
    assert (told["step"], told["until"]) == (None, road.deadline)
    assert told["waits_for"] == [entry.operator for entry in road.entries]
    shown = desk.assay("status", to_hex(desk.job), "--once")
    assert "on the on-chain road: revealing" in shown.stdout
    assert "the scheduler cannot be asked" in shown.stderr
    await wallet.take_step(
        RevealOnRoad(
            job=desk.job,
            round_number=ROUND,
            entries=entries_of(market, desk.receipt),
            openings=openings_of(desk.receipt),
        )
    )
    for path in desk.records.iterdir():  # whoever passes by holds nothing of the job
        path.unlink()
    ended = desk.assay("job", "advance", to_hex(desk.job), "--yes")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("done by 0x")
    assert "everything is revealed" in ended.stderr
    settlement = await wallet.settlement_of(desk.job, from_block=market.seed_block)
    assert settlement is not None
    assert len(settlement.paid) == 3
    over = desk.assay("job", "advance", to_hex(desk.job), "--json")
    document = json.loads(over.stdout)
    assert (document["state"], document["step"]) == ("settled", None)
    assert document["settlement"]["cost_microusd"] == settlement.cost_microusd


async def test_nothing_is_sent_that_nobody_confirmed_and_a_set_can_come_from_a_file(
    desk: Desk, tmp_path: Path
) -> None:
    file = tmp_path / "the.set"
    file.write_text(to_hex(codec.encode(desk.commit_set)))
    asked = desk.assay("job", "advance", to_hex(desk.job), "--commit-set", str(file))
    assert asked.returncode == 1
    assert "confirm with --yes" in asked.stderr
    assert (await desk.market.wallet.road_of(desk.job)).state is RoadState.ABSENT
    assert desk.advance("--commit-set", str(file))["step"] == "open"
    listed = desk.assay("jobs", "--json")
    assert listed.returncode == 0, listed.stderr
    (line,) = json.loads(listed.stdout)["jobs"]
    assert (line["name"], line["state"]) == ("left alone", "revealing")


async def test_a_settled_job_is_said_to_be_so(desk: Desk) -> None:
    await desk.market.settle(desk.receipt)
    keep_commit_set(desk.records, desk.commit_set)
    document = desk.advance()
    assert (document["step"], document["text"]) == (None, "the job is settled")
    assert document["settlement"]["agreed"] is True
