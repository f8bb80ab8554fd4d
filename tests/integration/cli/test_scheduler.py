"""`assay scheduler` and its bond, as a process of its own, against a real chain."""

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
from assay_node.keys import SCRYPT_N_DEVELOPMENT, LocalKey, create_key, save_keystore
from assay_node.protocol import codec
from assay_node.protocol.evidence import AssignEvidence
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import MICROUSD_PER_USD
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLeases
from tests.fixtures.evidence import JOB, a_fork, signed_assign

PASSWORD = "correct horse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A scheduler's wallet with $100 in tokens, a reporter's with gas, and the command."""

    call: Callable[..., subprocess.CompletedProcess[str]]
    directory: Path
    scheduler: LocalKey
    domain: Domain

    def json(self, *words: str) -> Any:
        done = self.call(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def home(anvil: AnvilProcess, deployment: Deployment, tmp_path: Path) -> Home:
    directory, password_file = tmp_path / "home", tmp_path / "password"
    directory.mkdir(mode=0o700)
    save(deployment, directory / "deployment.json")
    password_file.write_text(f"{PASSWORD}\n")
    password_file.chmod(0o600)
    scheduler, reporter = create_key(), create_key()
    for key, path in (
        (scheduler, directory / "scheduler" / "wallet.json"),
        (reporter, directory / "wallets" / "default.json"),
    ):
        save_keystore(path, key, PASSWORD, scrypt_n=SCRYPT_N_DEVELOPMENT)
        asyncio.run(
            faucet(anvil.url, deployment, key.address, eth=1, microusd=100 * MICROUSD_PER_USD)
        )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")},
        "ASSAY_HOME": str(directory),
        "ASSAY_PASSWORD_FILE": str(password_file),
        "ASSAY_CHAIN__RPC_URL": anvil.url,
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assay_node", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    domain = Domain(chain_id=deployment.chain_id, market=deployment.market)
    return Home(call=call, directory=directory, scheduler=scheduler, domain=domain)


def test_a_bond_is_put_down_and_given_notice_for(home: Home) -> None:
    before = home.json("scheduler", "status")
    assert (before["bond_microusd"], before["tokens_microusd"]) == (0, 100_000_000)
    asked = home.call("scheduler", "bond", "60")
    assert asked.returncode == 1
    assert "This will move $60.00 from the wallet into the Vault and bond $60.00" in asked.stderr
    assert "--yes" in asked.stderr

    assert home.json("scheduler", "bond", "60", "--yes")["bond_microusd"] == 60_000_000
    assert home.json("scheduler", "bond", "15.5", "--yes")["bond_microusd"] == 75_500_000
    bonded = home.json("scheduler", "status")
    assert (bonded["bond_microusd"], bonded["free_microusd"]) == (75_500_000, 0)
    assert bonded["leaves_at"] is None
    refused = home.call("scheduler", "bond", "25", "--yes")
    assert refused.returncode == 1
    assert "holds $24.50 in tokens, less than $25.00" in refused.stderr

    given = home.call("scheduler", "unbond", "--yes")
    assert given.returncode == 0, given.stderr
    assert "the bond is free from 20" in given.stderr
    early = home.call("scheduler", "unbond", "--yes")
    assert early.returncode == 1
    assert "can be taken back from 20" in early.stderr
    assert home.json("scheduler", "status")["leaves_at"] is not None
    shown = home.call("scheduler", "status")
    assert "$75.50" in shown.stdout
    assert "notice is given" in shown.stdout


def test_without_a_wallet_or_a_bond_it_says_so(home: Home) -> None:
    nothing = home.call("scheduler", "unbond", "--yes")
    assert nothing.returncode == 1
    assert "this scheduler has no bond" in nothing.stderr
    (home.directory / "scheduler" / "wallet.json").unlink()
    for words in (("status",), ("unbond", "--yes")):
        missing = home.call("scheduler", *words)
        assert missing.returncode == 1
        assert "there is no scheduler's wallet" in missing.stderr


def test_what_a_provider_kept_takes_the_bond(home: Home) -> None:
    home.json("scheduler", "bond", "40", "--yes")
    folder = home.directory / "kept"
    assert "no provider has run here yet" in home.call("provider", "evidence").stderr
    asyncio.run(keep_a_fork(home))

    (listed,) = home.json("provider", "evidence")
    assert (listed["job"], listed["scheduler"]) == ("0x" + JOB.hex(), home.scheduler.address)
    (written,) = home.json("provider", "evidence", "--to", str(folder))
    asked = home.call("scheduler", "report", written["file"])
    assert asked.returncode == 1
    assert "will take its bond of $40.00; all of it goes to the treasury" in asked.stderr
    sent = home.json("scheduler", "report", written["file"], "--yes")
    assert sent["scheduler"] == home.scheduler.address
    status = home.json("scheduler", "status")
    assert (status["bond_microusd"], status["caught"]) == (0, True)
    again = home.call("scheduler", "report", written["file"], "--yes")
    assert again.returncode == 1
    assert "has no bond" in again.stderr


def test_files_that_convict_nobody_are_refused(home: Home) -> None:
    file = home.directory / "file"
    missing = home.call("scheduler", "report", str(file), "--yes")
    assert (missing.returncode, "cannot read" in missing.stderr) == (1, True)
    file.write_bytes(b"anything")
    other = home.call("scheduler", "report", str(file), "--yes")
    assert (other.returncode, "holds no evidence" in other.stderr) == (1, True)
    honest = AssignEvidence(
        first=signed_assign(home.domain, home.scheduler),
        second=signed_assign(home.domain, home.scheduler),
    )
    file.write_bytes(codec.encode(honest))
    nobody = home.call("scheduler", "report", str(file), "--yes")
    assert nobody.returncode == 1
    assert "shows no scheduler of this market contradicting itself" in nobody.stderr


async def keep_a_fork(home: Home) -> None:
    folder = home.directory / "provider"
    folder.mkdir(mode=0o700)
    async with open_database(f"sqlite:///{folder}/provider.sqlite", role="provider") as database:
        body = codec.encode(a_fork(home.domain, home.scheduler))
        await ProviderLeases(database).keep_evidence(JOB, home.scheduler.address, body, now=1.0)
