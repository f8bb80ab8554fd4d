"""When jobs are let in, in virtual time."""

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from assay_provider.owner.hours import parse_hours
from assay_provider.owner.schedule import (
    CANNOT_TELL,
    IN_USE,
    Activity,
    Schedule,
    Standing,
    signs,
    standing,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 1, 5, 12, tzinfo=BERLIN).timestamp()
EVENINGS = Schedule(hours=parse_hours("mon-fri 19:00-08:00, sat-sun"), zone=BERLIN)
IDLE = Schedule(idle_only=True, idle_after_s=900, other_cpus_max=0.5)
ASLEEP = Activity(idle_s=5000, other_cpus=0.1, other_gpu_programs=0)


def test_without_wishes_jobs_are_always_let_in() -> None:
    found = standing(Schedule(), Activity(unknown=("nothing is seen",)), NOON)
    assert (found.is_open, found.reason, found.until) == (True, "", None)


def test_outside_the_hours_the_reason_says_until_when() -> None:
    found = standing(EVENINGS, Activity(), NOON)
    assert (found.is_open, found.until) == (False, NOON + 7 * 3600)
    assert found.reason == "outside its owner's hours until Mon 19:00 CET"
    assert standing(EVENINGS, Activity(), NOON + 7 * 3600).is_open


def test_hours_apply_to_an_idle_machine_too() -> None:
    both = replace(EVENINGS, idle_only=True)
    assert "outside" in standing(both, ASLEEP, NOON).reason
    assert standing(both, ASLEEP, NOON + 8 * 3600).is_open
    busy = replace(ASLEEP, idle_s=1)
    assert standing(both, busy, NOON + 8 * 3600).reason == IN_USE


@pytest.mark.parametrize(
    ("sign", "until"),
    [
        ({"idle_s": 100.0}, NOON + 800),
        ({"idle_s": 899.0}, NOON + 1),
        ({"other_cpus": 0.6}, NOON + 900),
        ({"other_gpu_programs": 1}, NOON + 900),
    ],
)
def test_each_sign_of_the_owner_pauses(sign: dict[str, float], until: float) -> None:
    found = standing(IDLE, replace(ASLEEP, **sign), NOON)  # type: ignore[arg-type]
    assert (found.is_open, found.reason, found.until) == (False, IN_USE, until)
    assert standing(Schedule(), replace(ASLEEP, **sign), NOON).is_open  # type: ignore[arg-type]


def test_the_pause_lasts_until_the_owner_was_away_long_enough() -> None:
    found: Standing | None = None
    seen = []
    for minute in range(40):
        busy = minute in (0, 3, 12)
        activity = replace(ASLEEP, other_cpus=2.0 if busy else 0.0)
        found = standing(IDLE, activity, NOON + 60 * minute, found)
        seen.append(found.is_open)
    assert seen == [minute >= 12 + 15 for minute in range(40)]


def test_a_machine_that_gives_no_sign_lets_nobody_in() -> None:
    assert standing(IDLE, Activity(), NOON).reason == CANNOT_TELL
    assert signs(IDLE, Activity()) == ()
    only_load = Activity(other_cpus=0.0)
    assert standing(IDLE, only_load, NOON).is_open
    assert signs(IDLE, only_load) == ("processor",)
    unwatched = replace(IDLE, other_cpus_max=None)
    assert standing(unwatched, only_load, NOON).reason == CANNOT_TELL


def test_load_counts_only_where_the_owner_set_a_limit() -> None:
    unwatched = replace(IDLE, other_cpus_max=None)
    assert standing(unwatched, replace(ASLEEP, other_cpus=64.0), NOON).is_open
