"""The owner's commands where no daemon runs, and what they say about bad input."""

import json
from pathlib import Path

import pytest

from assay_provider.owner.drain import Drain, read_drain, write_drain
from tests.unit.node.cli.conftest import Assay

WALLET = "0x" + "aa" * 20
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture
def provider(home: Path) -> Path:
    path = home / "provider"
    path.mkdir(parents=True)
    for folder in (home, path):
        folder.chmod(0o700)
    return path


def test_the_deny_list_by_command(assay: Assay, provider: Path) -> None:
    assert assay("provider", "deny").err == "nobody is denied\n"
    done = assay("provider", "deny", WALLET, CID, "--remark", "never paid")
    assert (done.code, done.err) == (0, f"2 added to {provider}/denied.txt\n")
    assert assay("provider", "deny").out.split() == [WALLET, CID]
    shown = json.loads(assay("provider", "deny", "--json").out)
    assert shown == {"addresses": [WALLET], "contents": [CID]}
    assert json.loads(assay("provider", "allow", WALLET, "--json").out)["changed"] == 1
    assert assay("provider", "deny").out.split() == [CID]


def test_a_list_of_somebody_else_is_taken_over(
    assay: Assay, provider: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared.txt"
    shared.write_text(f"# from a friend\n{WALLET} # bad\n\n{CID}\n")
    assert assay("provider", "deny", "--file", str(shared)).err.startswith("2 added to")
    shared.write_text("Eve\n")
    refused = assay("provider", "deny", "--file", str(shared))
    assert refused.code == 1
    assert "line 1: 'Eve' is neither a wallet's address" in refused.err
    assert "there is no list" in assay("provider", "deny", "--file", "/nowhere").err


def test_bad_entries_change_nothing(assay: Assay, provider: Path) -> None:
    refused = assay("provider", "deny", WALLET, "Eve")
    assert (refused.code, "'Eve' is neither" in refused.err) == (1, True)
    assert not (provider / "denied.txt").exists()
    assert "say whom" in assay("provider", "allow").err


def test_a_drain_needs_a_daemon_and_resume_does_not(assay: Assay, provider: Path) -> None:
    refused = assay("provider", "drain")
    assert refused.code == 1
    assert "no provider daemon runs in" in refused.err
    assert assay("provider", "resume").err == "there was no drain\n"
    write_drain(provider, Drain(since=1.0))
    assert json.loads(assay("provider", "resume", "--json").out) == {"was_draining": True}
    assert read_drain(provider) is None


def test_a_price_is_shown_and_refused_below_cost(
    assay: Assay, provider: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_PROVIDER__PRICES__FLOOR_MICROUSD_PER_SECOND", "50")
    monkeypatch.setenv("ASSAY_PROVIDER__PRICES__SLOT_POWER_WATTS", "300")
    monkeypatch.setenv("ASSAY_PROVIDER__PRICES__ELECTRICITY_MICROUSD_PER_KWH", "300000")
    shown = assay("provider", "price")
    assert (shown.code, shown.err) == (0, "")
    assert "price       $0.0001 a second ($0.36 an hour) a slot; 1 slot(s)" in shown.out
    document = json.loads(assay("provider", "price", "--json", "--price", "60").out)
    assert (document["price_microusd_per_second"], document["power_microusd_per_hour"]) == (
        60,
        90_000,
    )
    low = assay("provider", "price", "--price", "49")
    assert low.code == 1
    assert "below your floor of $0.00005" in low.err
    assert "price       $0.000049" in low.out
    monkeypatch.setenv("ASSAY_PROVIDER__PRICES__FLOOR_MICROUSD_PER_SECOND", "0")
    lossy = assay("provider", "price", "--price", "20")
    assert "below the $0.09 that its power costs" in lossy.err
    monkeypatch.setenv("ASSAY_PROVIDER__PRICES__BELOW_COST", "true")
    assert assay("provider", "price", "--price", "20").code == 0


def test_status_before_the_first_start(assay: Assay, provider: Path) -> None:
    refused = assay("provider", "status", "--follow", "--json")
    assert (refused.code, "assay provider run" in refused.err) == (1, True)


def test_jobs_that_run_are_not_measured(
    assay: Assay, provider: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def daemon(*_: object, **__: object) -> object:
        return {"slots": {"held": 2}, "refusing": None}

    monkeypatch.setattr("assay_provider.owner.control.ask_daemon", daemon)
    refused = assay("provider", "benchmark")
    assert refused.code == 1
    assert "2 job(s) run here, and would be measured too" in refused.err
    assert "assay provider drain --stay --wait" in refused.err
