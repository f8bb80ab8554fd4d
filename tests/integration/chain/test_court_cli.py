"""`assay job appeal` and `advance` at the court, and `assay scheduler fund`, on a real chain."""

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
from assay_node.ports import CaseState
from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.receipt import Receipt
from tests.fixtures.chain import ChainLab
from tests.fixtures.receipts import ANSWER, LIE
from tests.integration.chain.test_road import job_of
from tests.integration.chain.test_settlement import Market, market_of_strangers

PANEL_COST_USD = 0.63
"""Seven replicas at the order's highest rate for its most seconds."""


@dataclass(frozen=True)
class Desk:
    """Somebody with a wallet and the command line, beside a job in which somebody was slashed."""

    market: Market
    receipt: Receipt
    address: Address
    environment: dict[str, str]

    @property
    def job(self) -> Digest:
        return job_of(self.market, self.receipt)

    def assay(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assay_node", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def document(self, *arguments: str) -> dict[str, Any]:
        done = self.assay(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def advance(self, *arguments: str) -> dict[str, Any]:
        return self.document("job", "advance", to_hex(self.job), "--yes", *arguments)

    def fund(self, *arguments: str) -> dict[str, Any]:
        scheduler = self.market.wallet.address
        return self.document("scheduler", "fund", "--of", scheduler, "--yes", *arguments)


@pytest.fixture
async def desk(chain: ChainLab, tmp_path: Path) -> Desk:
    market = await market_of_strangers(chain, 3)
    receipt = await market.receipt([LIE, ANSWER, LIE])
    await market.settle(receipt)
    home, password = tmp_path / "home", tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    key = create_key()
    await chain.wallet(key, eth=1, usd=10)
    save_keystore(home / "wallets" / "default.json", key, "secret", scrypt_n=SCRYPT_N_DEVELOPMENT)
    deployments.save(chain.deployment, home / "deployment.json")
    return Desk(
        market=market,
        receipt=receipt,
        address=key.address,
        environment={
            **os.environ,
            "ASSAY_HOME": str(home),
            "ASSAY_PASSWORD_FILE": str(password),
            "ASSAY_CHAIN__RPC_URL": chain.url,
            "ASSAY_CHAIN__DEPLOYMENT": str(home / "deployment.json"),
        },
    )


async def test_an_appeal_is_made_by_whoever_sets_its_cost_aside(desk: Desk) -> None:
    job = to_hex(desk.job)
    before = desk.advance()
    assert before["case"]["state"] == "entered"
    assert before["case"]["text"] == "whoever was slashed may appeal"
    assert before["step"] is None, "appeals are nobody's duty"
    poor = desk.assay("job", "appeal", job, "--yes")
    assert poor.returncode == 1
    assert f"assay wallet deposit {PANEL_COST_USD:.2f} --no-budget" in poor.stderr
    assert "Traceback" not in poor.stderr
    desk.document("wallet", "deposit", "5", "--no-budget", "--yes")
    appealed = desk.document("job", "appeal", job, "--yes")
    assert appealed["set_aside_microusd"] == round(PANEL_COST_USD * 1_000_000)
    assert (await desk.market.wallet.case_of(desk.job)).state is CaseState.CALLED
    balance = desk.document("wallet", "balance")
    assert balance["free_microusd"] == 5_000_000 - appealed["set_aside_microusd"]
    told = desk.advance("--output", cids.from_digest(cids.RAW, ANSWER))
    panel = told["case"]["panel"]
    assert (panel["kind"], panel["payer"], panel["committed"]) == ("appeal", desk.address, [])
    assert told["case"]["until"] == panel["expiry"]
    shown = desk.assay("job", "advance", job, "--yes")
    assert f"panel {panel['job']} (appeal)" in shown.stderr
    again = desk.assay("job", "appeal", job, "--yes")
    assert again.returncode == 1
    assert "no verdict that could be appealed against" in again.stderr


async def test_what_is_not_understood_is_said(desk: Desk) -> None:
    unknown = desk.assay("job", "appeal", "0x" + "12" * 32, "--yes")
    assert unknown.returncode == 1
    assert "no verdict" in unknown.stderr
    bad = desk.assay("job", "advance", to_hex(desk.job), "--output", "nonsense")
    assert bad.returncode == 2
    assert "Traceback" not in bad.stderr
    budget = desk.assay("wallet", "deposit", "1", "--to", desk.address, "--yes")
    assert budget.returncode == 1
    assert "--no-budget" in budget.stderr


async def test_anybody_fills_a_schedulers_fund_and_money_can_go_to_anothers_account(
    desk: Desk,
) -> None:
    assert desk.fund() == {
        "scheduler": desk.market.wallet.address, "microusd": 0, "settled_microusd": 0
    }  # fmt: skip
    filled = desk.fund("--add", "1.5")
    assert filled["fund_microusd"] == 1_500_000
    assert len(filled["transactions"]) == 2, "tokens of the wallet are deposited first"
    shown = desk.assay("scheduler", "fund", "--of", desk.market.wallet.address)
    assert "1.5" in shown.stdout
    early = desk.assay("scheduler", "fund", "--of", desk.market.wallet.address, "--take-out")
    assert early.returncode == 1
    assert "stays for a full day" in early.stderr
    other = create_key().address
    desk.document("wallet", "deposit", "2", "--no-budget", "--to", other, "--yes")
    assert (await desk.market.wallet.account(other)).free_microusd == 2_000_000
