import asyncio
import json
import shutil
from pathlib import Path

import pytest

from assay_node.cli import machine_checks
from assay_node.cli.machine_checks import Finding, Role, checks_for
from assay_node.settings import Settings
from assay_provider.claims import hold_home
from assay_provider.compose import territory_of
from assay_provider.runtime.leftovers import sweep, write_report
from tests.unit.node.cli.conftest import Assay


def finding_of(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


def use(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    async def check(_: Settings) -> list[Finding]:
        return list(findings)

    monkeypatch.setattr("assay_node.cli.doctor.checks_for", lambda role: (check,))


GOOD = Finding(name="good", ok=True, seen="1.0", remedy="never shown")
NOTE = Finding(name="extra", ok=False, seen="missing", remedy="install extra", required=False)
BAD = Finding(name="bad", ok=False, seen="missing", remedy="install bad")


def test_ready_when_only_optional_things_are_missing(
    assay: Assay, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, GOOD, NOTE)
    done = assay("doctor")
    assert done.code == 0
    assert "Ready for a requester." in done.out
    assert "install extra" in done.out
    assert "never shown" not in done.out


def test_exit_code_1_when_something_required_is_missing(
    assay: Assay, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, GOOD, BAD)
    done = assay("doctor", "--role", "scheduler", "--json")
    document = json.loads(done.out)
    assert (done.code, document["ok"], document["role"]) == (1, False, "scheduler")
    assert [f["remedy"] for f in document["findings"]] == ["", "install bad"]


@pytest.mark.parametrize("role", list(Role))
def test_every_role_has_checks(role: Role) -> None:
    assert len(checks_for(role)) >= 4


def test_an_open_home_is_found(home: Path) -> None:
    home.mkdir(mode=0o755)
    (found,) = asyncio.run(machine_checks.home(Settings()))
    assert not found.ok
    assert f"chmod 700 {home}" in found.remedy
    home.chmod(0o700)
    (found,) = asyncio.run(machine_checks.home(Settings()))
    assert found.ok


async def test_a_full_disk_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(100, 99, 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    (found,) = await machine_checks.disk(Settings())
    assert not found.ok
    assert "2 GiB" in found.remedy


async def test_a_chain_without_deployment_says_how_to_get_one(home: Path) -> None:
    (found,) = await machine_checks.chain(Settings())
    assert not found.ok
    assert "assay dev up" in found.remedy


@pytest.mark.parametrize(
    ("age_s", "remedy"), [(-60, "is behind"), (0.3, ""), (3600, "stands still")]
)
def test_the_clock_is_judged_by_the_chain(age_s: float, remedy: str) -> None:
    found = machine_checks._clock(age_s)
    assert found.ok == (not remedy)
    assert remedy in found.remedy


async def test_missing_contract_tools_are_required_of_a_developer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay_node.devnet.anvil.contracts_folder", lambda: home)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    findings = await machine_checks.tools(Settings())
    for name in ("forge", "solc"):
        found = finding_of(findings, name)
        assert (found.ok, found.required) == (False, True)
        assert "make setup" in found.remedy


async def test_what_a_killed_provider_left_is_found_and_what_the_last_start_removed_is_told(
    home: Path,
) -> None:
    mine = Settings().provider
    work = mine.home / "work" / "tmpabc"
    work.mkdir(parents=True, mode=0o700)
    (found,) = await machine_checks.leftovers(Settings())
    assert (found.ok, found.required) == (False, False)
    assert "run directory tmpabc" in found.seen
    assert "assay provider run" in found.remedy
    with hold_home(mine.home):
        (found,) = await machine_checks.leftovers(Settings())
        assert (found.ok, found.seen) == (True, "a provider is running"), "the runs are its own"
        write_report(mine.home, sweep(territory_of(mine)))
        (found,) = await machine_checks.leftovers(Settings())
        assert "the last start removed 1 (run directory tmpabc)" in found.seen
    (found,) = await machine_checks.leftovers(Settings())
    assert found.ok
