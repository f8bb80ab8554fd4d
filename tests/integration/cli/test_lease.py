"""`assay lease`: two sides, a file between them, and a real chain.

In this process: a dozen starts of the interpreter would take longer than all the rest.
"""

import asyncio
import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from assay_node.chain.client import ChainSettings, open_chain
from assay_node.chain.deployment import Deployment, save
from assay_node.cli.program import main
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import faucet
from assay_node.keys import SCRYPT_N_DEVELOPMENT, LocalKey, create_key, save_keystore
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Address

USD = 1_000_000
CLASS = "cpu-lease-test"
RATE, NOTICE_S, ESCROW = 1_000, 600, 2 * USD
PASSWORD = "correct horse"


class Outcome(NamedTuple):
    """What a call of `assay` did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A requester and an operator with its signing key: wallets of one home for the test's sake."""

    folder: Path
    addresses: dict[str, Address]
    run: Callable[..., Outcome]

    def call(self, name: str, *words: str) -> Outcome:
        """Call `assay` with the wallet of this name."""
        return self.run(name, *words)

    def json(self, name: str, *words: str) -> dict[str, Any]:
        done = self.call(name, "lease", *words, "--json")
        assert done.code == 0, done.err
        document: dict[str, Any] = json.loads(done.out)
        return document

    def free(self, name: str) -> int:
        done = self.call(name, "wallet", "balance", "--address", self.addresses[name], "--json")
        assert done.code == 0, done.err
        return int(json.loads(done.out)["free_microusd"])

    def propose(self, file: str) -> dict[str, Any]:
        return self.json(
            "requester", "propose", file, "--operator", self.addresses["operator"],
            "--spec", "service.toml", "--rate", str(RATE), "--escrow", "2",
            "--notice", str(NOTICE_S), "--hardware-class", CLASS, "--yes",
        )  # fmt: skip


@pytest.fixture
def sides(
    anvil: AnvilProcess,
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Sides:
    home = tmp_path / "home"
    (home / "wallets").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    save(deployment, home / "deployment.json")
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD + "\n")
    password_file.chmod(0o600)
    (tmp_path / "service.toml").write_text('image = "notebook"\n')
    (tmp_path / "other.toml").write_text('image = "something else"\n')
    keys = {name: create_key() for name in ("requester", "operator", "signer", "stranger")}
    for name, key in keys.items():
        path = home / "wallets" / f"{name}.json"
        save_keystore(path, key, PASSWORD, scrypt_n=SCRYPT_N_DEVELOPMENT)
    asyncio.run(_fund(anvil.url, deployment, keys))
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ASSAY_HOME", str(home))
    monkeypatch.setenv("ASSAY_PASSWORD_FILE", str(password_file))
    monkeypatch.setenv("ASSAY_CHAIN__RPC_URL", anvil.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> Outcome:
        monkeypatch.setenv("ASSAY_REQUESTER__WALLET", name)
        with pytest.raises(SystemExit) as ended:
            main(words)
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    addresses = {name: key.address for name, key in keys.items()}
    return Sides(folder=tmp_path, addresses=addresses, run=run)


async def _fund(url: str, deployment: Deployment, keys: dict[str, LocalKey]) -> None:
    settings = ChainSettings(rpc_url=url, deployment=deployment)
    for key in keys.values():
        await faucet(url, deployment, key.address, eth=1, microusd=600 * USD)
    async with open_chain(settings, keys["requester"]) as requester:
        await requester.deposit(10 * USD)
    async with open_chain(settings, keys["operator"]) as operator:
        await operator.deposit(500 * USD)
        await operator.stake(hardware_class_digest(CLASS), 1)
        await operator.set_signer(keys["signer"].address)


def test_a_service_is_agreed_on_started_and_ended_by_its_operator(sides: Sides) -> None:
    proposed = sides.propose("notebook.terms")
    assert (proposed["signed_by_requester"], proposed["signed_by_operator"]) == (True, False)
    other = sides.call("signer", "lease", "accept", "notebook.terms", "--spec", "other.toml", "-y")
    assert other.code == 1
    assert "not the description that notebook.terms was made for" in other.err
    accepted = sides.json("signer", "accept", "notebook.terms", "--spec", "service.toml", "--yes")
    assert accepted["signed_by_operator"]
    assert accepted["lease"] == proposed["lease"]
    shown = sides.call("stranger", "lease", "show", "notebook.terms")
    assert "signed by both" in shown.out
    assert "not started" in shown.out

    started = sides.json("stranger", "start", "notebook.terms", "--yes")
    assert sides.free("requester") == 10 * USD - ESCROW
    running = sides.json("stranger", "show", started["lease"])
    books = running["books"]
    assert running["state"] == "open"
    assert running["ends_at"] == books["paid_until"] + ESCROW // RATE

    paid = sides.json("stranger", "pay", started["lease"], "--yes")
    assert paid["paid_microusd"] % RATE == 0
    assert paid["refund_microusd"] is None
    ended = sides.json("signer", "stop", "notebook.terms", "--yes")
    assert ended["refund_microusd"] + ended["paid_microusd"] + paid["paid_microusd"] == ESCROW
    assert sides.free("operator") == paid["paid_microusd"] + ended["paid_microusd"]
    assert sides.free("requester") == 10 * USD - sides.free("operator")
    assert sides.json("stranger", "show", started["lease"])["state"] == "ended"
    again = sides.call("signer", "lease", "start", "notebook.terms", "--yes")
    assert again.code == 1
    assert "was started or cancelled before" in again.err


def test_a_requester_gives_notice_and_may_add_money(sides: Sides) -> None:
    sides.propose("notebook.terms")
    sides.json("operator", "accept", "notebook.terms", "--yes")
    sides.json("requester", "start", "notebook.terms", "--yes")
    longer = sides.json("requester", "top-up", "notebook.terms", "0.5", "--yes")
    books = sides.json("requester", "show", "notebook.terms")["books"]
    assert books["escrow_microusd"] == ESCROW + USD // 2
    assert longer["ends_at"] == books["paid_until"] + (ESCROW + USD // 2) // RATE

    asked = sides.call("requester", "lease", "stop", "notebook.terms")
    assert asked.code == 1
    assert "costs $0.60 from now until then" in asked.err
    assert "--yes" in asked.err
    stranger = sides.call("stranger", "lease", "stop", "notebook.terms", "--yes")
    assert "neither the requester" in stranger.err
    stopped = sides.json("requester", "stop", "notebook.terms", "--yes")
    assert stopped["refund_microusd"] is None
    shown = sides.json("requester", "show", "notebook.terms")
    assert shown["ends_at"] == shown["books"]["stops_at"] == stopped["ends_at"]
    assert shown["now"] < stopped["ends_at"] <= shown["now"] + NOTICE_S
    text = sides.call("requester", "lease", "show", "notebook.terms").out
    assert "it was stopped" in text


def test_terms_that_cannot_hold_are_refused_before_anything_is_signed(sides: Sides) -> None:
    words = (
        "propose", "notebook.terms", "--spec", "service.toml", "--rate", str(RATE),
        "--notice", str(NOTICE_S), "--yes", "--operator",
    )  # fmt: skip
    seatless = sides.call(
        "requester", "lease", *words, sides.addresses["stranger"], "--escrow", "2",
        "--hardware-class", CLASS,
    )  # fmt: skip
    assert "holds no seat in that hardware class" in seatless.err
    small = sides.call(
        "requester", "lease", *words, sides.addresses["operator"], "--escrow", "0.59",
        "--hardware-class", CLASS,
    )  # fmt: skip
    assert "at least what the notice costs, 600000" in small.err
    assert not (sides.folder / "notebook.terms").exists()

    sides.propose("notebook.terms")
    twice = sides.call("requester", "lease", *words, sides.addresses["operator"], "--escrow", "2")
    assert "is there already" in twice.err
    wrong = sides.call("stranger", "lease", "accept", "notebook.terms", "--yes")
    assert "neither the operator" in wrong.err
    (sides.folder / "junk.terms").write_bytes(b"junk")
    junk = sides.call("operator", "lease", "accept", "junk.terms", "--yes")
    assert "junk.terms has no terms of a lease" in junk.err
    sides.json("requester", "cancel", "notebook.terms", "--yes")
    late = sides.call("operator", "lease", "accept", "notebook.terms", "--yes")
    assert "was started or cancelled before" in late.err
