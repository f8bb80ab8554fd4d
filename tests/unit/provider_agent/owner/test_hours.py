"""The owner's hours, in time zones and across the nights in which clocks change."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol.errors import LocalError
from assay_provider.owner.hours import ALWAYS, Hours, Moment, moment, parse_hours

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def at(text: str, zone: ZoneInfo = BERLIN, *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def said(hours: str, text: str, zone: ZoneInfo = BERLIN) -> Moment:
    return moment(parse_hours(hours), zone, at(text, zone))


def test_no_hours_are_always() -> None:
    assert parse_hours("") == parse_hours("  ") == ALWAYS == Hours()
    assert said("", "2026-01-05 12:00") == Moment(is_open=True, until=None)


def test_evenings_wrap_past_midnight_and_belong_to_the_day_they_begin_on() -> None:
    hours = "mon-fri 19:00-08:00"  # 2026-01-05 is a Monday
    assert said(hours, "2026-01-05 07:00") == Moment(is_open=False, until=at("2026-01-05 19:00"))
    assert said(hours, "2026-01-05 19:00") == Moment(is_open=True, until=at("2026-01-06 08:00"))
    assert said(hours, "2026-01-10 07:59") == Moment(is_open=True, until=at("2026-01-10 08:00"))
    assert said(hours, "2026-01-10 08:00") == Moment(is_open=False, until=at("2026-01-12 19:00"))


def test_stretches_that_touch_are_one() -> None:
    hours = "mon-fri 19:00-08:00, sat-sun, fri 19:00-24:00, mon 00:00-08:00"
    assert said(hours, "2026-01-09 20:00") == Moment(is_open=True, until=at("2026-01-12 08:00"))


@pytest.mark.parametrize("hours", ["mon-sun", "00:00-24:00", "00:00-12:00, 12:00-24:00"])
def test_every_day_whole_has_no_end(hours: str) -> None:
    assert said(hours, "2026-01-05 12:00") == Moment(is_open=True, until=None)


def test_days_wrap_around_the_week() -> None:
    assert said("fri-mon", "2026-01-05 23:59") == Moment(is_open=True, until=at("2026-01-06 00:00"))
    assert said("fri-mon", "2026-01-06 00:00") == Moment(
        is_open=False, until=at("2026-01-09 00:00")
    )


def test_the_spring_night_is_an_hour_shorter_in_each_zone() -> None:
    for zone, night in ((BERLIN, "2026-03-28"), (NEW_YORK, "2026-03-07")):
        found = said("19:00-08:00", f"{night} 19:00", zone)
        assert found.until == at(f"{night} 19:00", zone) + 12 * 3600


def test_the_autumn_night_is_an_hour_longer() -> None:
    found = said("19:00-08:00", "2026-10-24 19:00")
    assert found.until == at("2026-10-24 19:00") + 14 * 3600


def test_a_time_that_occurs_twice_closes_the_first_time_and_opens_the_second() -> None:
    closing = said("20:00-02:30", "2026-10-24 20:00")
    assert closing.until == at("2026-10-25 02:30", fold=0)
    opening = said("02:30-05:00", "2026-10-25 02:30")  # the first 02:30
    assert opening == Moment(is_open=False, until=at("2026-10-25 02:30", fold=1))
    within = said("02:10-02:40", "2026-10-25 02:00")
    assert within == Moment(is_open=False, until=at("2026-10-25 02:10", fold=1))


def test_a_time_that_is_skipped_counts_by_the_clock_before() -> None:
    found = said("02:30-05:00", "2026-03-29 00:00")
    assert found == Moment(is_open=False, until=at("2026-03-29 03:30"))


@pytest.mark.parametrize(
    ("hours", "why"),
    [
        ("mon-fri 19-8", "no hours"),
        ("foo 10:00-11:00", "'foo' is no day"),
        ("mon-foo", "'foo' is no day"),
        ("24:30-01:00", "no time of day"),
        ("10:61-11:00", "no time of day"),
        ("10:00-10:00", "opens for no time"),
        ("24:00-01:00", "opens for no time"),
        ("mon,,tue", "no hours"),
        ("mon 10:00", "no hours"),
        (",".join(["mon"] * 33), "at most 32"),
    ],
)
def test_what_is_no_hours_is_refused_with_a_word_on_it(hours: str, why: str) -> None:
    with pytest.raises(LocalError, match=why):
        parse_hours(hours)


times = st.integers(0, 23 * 60 + 59).map(lambda m: f"{m // 60:02d}:{m % 60:02d}")
openings = st.tuples(
    st.sampled_from(["", "mon", "sat-sun", "fri-mon", "tue-thu"]), times, times
).filter(lambda o: o[1] != o[2])


@given(
    found=st.lists(openings, min_size=1, max_size=4),
    seconds=st.integers(0, 400 * 86_400),
    zone=st.sampled_from([BERLIN, NEW_YORK, ZoneInfo("Asia/Kolkata"), ZoneInfo("UTC")]),
)
def test_hours_change_when_they_say_and_not_before(
    found: list[tuple[str, str, str]], seconds: int, zone: ZoneInfo
) -> None:
    hours = parse_hours(", ".join(f"{days} {start}-{end}".strip() for days, start, end in found))
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + seconds
    here = moment(hours, zone, now)
    if here.until is None:
        assert here.is_open
        return
    assert now < here.until <= now + 8 * 86_400
    assert moment(hours, zone, here.until).is_open is not here.is_open
    for part in (0.3, 0.7, 0.999):
        between = now + (here.until - now) * part
        assert moment(hours, zone, between) == here
