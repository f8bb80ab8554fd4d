"""The hours of the week in which an owner sells: their words, and what they mean. Pure.

Hours are wall-clock times of a time zone, so an opening is turned into instants for each date on
its own: in the night when clocks change it is an hour shorter or longer. Times that occur twice
that night are read in the owner's favour (the narrower opening), times that are skipped by the
offset before the change, as calendars do (RFC 5545, 3.3.5).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Final

from assay_node.protocol.errors import LocalError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OPENINGS_MAX: Final = 32
"""More lines than a week has shifts: a schedule that a person can still read."""

_EXAMPLE: Final = "such as mon-fri 19:00-08:00, sat-sun"
_DAY_MINUTES: Final = 24 * 60
_DAYS_BACK: Final = 2
_DAYS_AHEAD: Final = 9
"""A week, the two dates around it, and an opening that began the day before."""
_OPENING: Final = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?)?\s*"
    r"(?:(?P<from>\d{1,2}:\d{2})\s*-\s*(?P<to>\d{1,2}:\d{2}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One stretch of each of these days; one that ends at or before its start ends a day later.

    Days are 0 for Monday to 6; minutes count from midnight, and 1440 is the next one.
    """

    days: frozenset[int]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The openings of a week; none at all means always open."""

    openings: tuple[Opening, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Whether the hours are open at an instant, and until when; None is for as far as one sees."""

    is_open: bool
    until: float | None


ALWAYS: Final = Hours()


def parse_hours(text: str) -> Hours:
    """Return the hours that a text says: openings with commas between, in words of `DAYS`.

    An opening names days, times or both; days without times are whole days, times without days are
    every day's. The empty text is always.

    Raises:
        LocalError: it says something else.
    """
    parts = [part.strip() for part in text.lower().split(",")]
    if parts == [""]:
        return ALWAYS
    if len(parts) > OPENINGS_MAX:
        raise LocalError(f"hours have at most {OPENINGS_MAX} openings, {_EXAMPLE}")
    return Hours(openings=tuple(_opening(part) for part in parts))


def moment(hours: Hours, zone: tzinfo, now: float) -> Moment:
    """Return whether the hours are open at `now` (Unix seconds), and when that changes."""
    if not hours.openings:
        return Moment(is_open=True, until=None)
    spans = _merged(sorted(_instants(hours, zone, datetime.fromtimestamp(now, zone).date())))
    horizon = now + (_DAYS_AHEAD - 2) * 86_400
    for start, end in spans:
        if start <= now < end:
            return Moment(is_open=True, until=end if end < horizon else None)
        if now < start:
            return Moment(is_open=False, until=start)
    return Moment(is_open=False, until=None)


def _opening(text: str) -> Opening:
    found = _OPENING.fullmatch(text)
    if found is None or not text:
        raise LocalError(f"{text!r} are no hours, {_EXAMPLE}")
    days = _days(found["first"], found["last"])
    if found["from"] is None:
        return Opening(days=days, start_minute=0, end_minute=_DAY_MINUTES)
    start, end = _minute(found["from"]), _minute(found["to"])
    if start in (end, _DAY_MINUTES):
        raise LocalError(f"{text!r} opens for no time; a whole day has no times, {_EXAMPLE}")
    return Opening(days=days, start_minute=start, end_minute=end)


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    for name in (first, last or first):
        if name not in DAYS:
            raise LocalError(f"{name!r} is no day; days are {', '.join(DAYS)}")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((start + n) % 7 for n in range((end - start) % 7 + 1))


def _minute(text: str) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise LocalError(f"{text!r} is no time of day; times are 00:00 to 24:00")
    return hour * 60 + minute


def _instants(hours: Hours, zone: tzinfo, today: date) -> Iterator[tuple[float, float]]:
    for days in range(-_DAYS_BACK, _DAYS_AHEAD):
        day = today + timedelta(days=days)
        for opening in hours.openings:
            if day.weekday() in opening.days:
                start, end = _span(opening, zone, day)
                if start < end:
                    yield start, end


def _span(opening: Opening, zone: tzinfo, day: date) -> tuple[float, float]:
    ends_later = opening.end_minute <= opening.start_minute
    end_day = day + timedelta(days=1) if ends_later else day
    narrow = (
        _instant(day, opening.start_minute, zone, fold=1),
        _instant(end_day, opening.end_minute, zone, fold=0),
    )
    if narrow[0] < narrow[1]:
        return narrow
    # both of them occur twice: the opening is the second time round
    return narrow[0], _instant(end_day, opening.end_minute, zone, fold=1)


def _instant(day: date, minute: int, zone: tzinfo, *, fold: int) -> float:
    day += timedelta(days=minute // _DAY_MINUTES)
    hour, minute = divmod(minute % _DAY_MINUTES, 60)
    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    before, after = (local.replace(fold=n).utcoffset() for n in (0, 1))
    assert before is not None, "a time zone knows its offsets"
    assert after is not None, "a time zone knows its offsets"
    # skipped times have the larger offset afterwards, repeated ones the smaller
    return local.replace(fold=fold if before > after else 0).timestamp()


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
