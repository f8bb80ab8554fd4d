"""From the owner's settings to what the daemon goes by, and what is refused on the way."""

from pathlib import Path
from typing import Any

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.settings import ProviderSettings
from assay_provider.owner import configured
from assay_provider.owner.configured import check_signs, owner_terms, schedule_of, zone_of
from assay_provider.owner.limits import Limits
from assay_provider.owner.schedule import Activity, Running, Schedule
from assay_provider.owner.terms import OwnerTerms


def settings(home: Path, **changes: Any) -> ProviderSettings:
    return ProviderSettings(home=home, **changes)


def test_by_default_nothing_is_limited(tmp_path: Path) -> None:
    terms = owner_terms(settings(tmp_path))
    plain = OwnerTerms(home=tmp_path, schedule=Schedule(zone=terms.schedule.zone))
    assert terms == plain


def test_everything_that_is_set_arrives(tmp_path: Path) -> None:
    terms = owner_terms(
        settings(
            tmp_path,
            limits={
                "requester_slots": 2,
                "requester_seconds_a_day": 3600,
                "requester_bytes_a_day": "1G",
            },
            schedule={
                "hours": "mon 10:00-12:00",
                "zone": "Europe/Berlin",
                "idle_only": True,
                "idle_after_s": 60,
                "other_cpus_max": 0.5,
                "running": "hand_back",
            },
        )
    )
    assert terms.limits == Limits(slots=2, seconds_a_day=3600, bytes_a_day=1 << 30)
    schedule = terms.schedule
    assert (str(schedule.zone), schedule.idle_only, schedule.idle_after_s) == (
        "Europe/Berlin",
        True,
        60,
    )
    assert (schedule.other_cpus_max, schedule.running) == (0.5, Running.HAND_BACK)
    assert len(schedule.hours.openings) == 1


def test_what_says_nothing_names_its_setting(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"provider\.schedule\.hours: '9 to 5' are no hours"):
        schedule_of(settings(tmp_path, schedule={"hours": "9 to 5"}))
    for name in ("Europe/Nowhere", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(LocalError, match=r"provider\.schedule\.zone"):
            schedule_of(settings(tmp_path, schedule={"zone": name}))


def test_lists_that_are_not_there_or_malformed_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="there is no list"):
        owner_terms(settings(tmp_path, denied_files=(tmp_path / "absent.txt",)))
    (tmp_path / "denied.txt").write_text("Eve\n")
    with pytest.raises(LocalError, match="line 1"):
        owner_terms(settings(tmp_path))


def test_the_machines_own_zone_is_read_or_is_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configured, "LOCAL_ZONE", tmp_path / "localtime")
    assert str(zone_of("")) == "UTC"
    (tmp_path / "localtime").write_text("nonsense")
    with pytest.raises(LocalError, match="no time zone that this machine knows"):
        zone_of("")


def test_idle_only_needs_a_sign_to_go_by() -> None:
    blind = Activity(unknown=("no login manager tells of desktops",))
    check_signs(Schedule(), blind)
    check_signs(Schedule(idle_only=True), Activity(idle_s=3.0))
    check_signs(Schedule(idle_only=True, other_cpus_max=0.5), blind)
    with pytest.raises(LocalError, match=r"no login manager.*other_cpus_max"):
        check_signs(Schedule(idle_only=True), blind)
