"""`assay wallet` as a process of its own, against a real chain with the real contracts."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay_node.chain.deployment import Deployment, save
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import faucet
from assay_node.keys import create_key
from assay_node.protocol.ids import Address
from assay_node.protocol.units import MICROUSD_PER_USD

SCHEDULER = create_key().address


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """A wallet with test money, and the command to use it."""

    call: Callable[..., subprocess.CompletedProcess[str]]
    address: Address

    def json(self, *words: str) -> dict[str, Any]:
        done = self.call(*words, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def balance(self) -> dict[str, Any]:
        return self.json("balance", "--scheduler", SCHEDULER)


@pytest.fixture
def wallet(anvil: AnvilProcess, deployment: Deployment, tmp_path: Path) -> Wallet:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    save(deployment, home / "deployment.json")
    password_file = tmp_path / "password"
    password_file.write_text("correct horse\n")
    password_file.chmod(0o600)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")},
        "ASSAY_HOME": str(home),
        "ASSAY_PASSWORD_FILE": str(password_file),
        "ASSAY_CHAIN__RPC_URL": anvil.url,
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    def call(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assay_node", "wallet", *words],
            env=environment | changes,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    made = json.loads(call("new", "--light", "--json").stdout)
    address = Address(made["address"])
    asyncio.run(faucet(anvil.url, deployment, address, eth=1, microusd=100 * MICROUSD_PER_USD))
    return Wallet(call=call, address=address)


def test_money_goes_in_and_comes_out(wallet: Wallet) -> None:
    first = wallet.balance()
    assert (first["tokens_microusd"], first["wei"]) == (100_000_000, 10**18)
    assert (first["free_microusd"], first["budget_microusd"]) == (0, 0)

    sent = wallet.json("deposit", "5", "--scheduler", SCHEDULER, "--yes")
    assert (sent["amount_microusd"], sent["scheduler"]) == (5_000_000, SCHEDULER)
    assert len(sent["transactions"]) == 2
    wallet.json("deposit", "3.5", "--no-budget", "--yes")
    wallet.json("deposit", "0.5", "--from-free", "--scheduler", SCHEDULER, "--yes")
    held = wallet.balance()
    assert (held["tokens_microusd"], held["free_microusd"]) == (91_500_000, 3_000_000)
    assert held["budget_microusd"] == 5_500_000

    refused = wallet.call("withdraw", "4", "--yes")
    assert refused.returncode == 1
    assert "$3.00 is free in the Vault" in refused.stderr
    assert "--budget" in refused.stderr

    wallet.json("withdraw", "1", "--yes")
    other = create_key().address
    wallet.json("withdraw", "all", "--to", other, "--yes")
    assert wallet.balance()["free_microusd"] == 0
    assert wallet.balance()["tokens_microusd"] == 92_500_000
    assert wallet.json("balance", "--address", other)["tokens_microusd"] == 2_000_000


def test_a_budget_comes_back_after_a_notice_that_is_explained(wallet: Wallet) -> None:
    wallet.json("deposit", "5", "--scheduler", SCHEDULER, "--yes")
    given = wallet.call("withdraw", "--budget", "--scheduler", SCHEDULER, "--yes")
    assert given.returncode == 0, given.stderr
    assert "it pays for orders already signed" in given.stderr
    assert "closing time 20" in given.stderr  # a date, from the contract
    assert wallet.balance()["budget_microusd"] == 0

    early = wallet.call("withdraw", "--budget", "--scheduler", SCHEDULER, "--yes")
    assert early.returncode == 1
    assert "after its notice" in early.stderr


def test_nothing_is_sent_without_a_yes(wallet: Wallet) -> None:
    asked = wallet.call("deposit", "5", "--scheduler", SCHEDULER)
    assert asked.returncode == 1
    assert "This will move $5.00 from your wallet into the Vault" in asked.stderr
    assert "--yes" in asked.stderr
    assert wallet.balance()["tokens_microusd"] == 100_000_000


def test_more_than_the_wallet_holds_is_refused(wallet: Wallet) -> None:
    refused = wallet.call("deposit", "100.01", "--no-budget", "--yes")
    assert refused.returncode == 1
    assert "holds $100.00 in tokens" in refused.stderr


def test_a_chain_that_is_away_is_one_sentence(wallet: Wallet) -> None:
    done = wallet.call("balance", ASSAY_CHAIN__RPC_URL="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:1" in done.stderr
    assert done.stderr.count("\n") == 1
