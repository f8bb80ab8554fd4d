"""When jobs are let in: the owner's hours, and whether the owner is using the machine. Pure.

What happens to jobs that are under way when a pause begins is `Schedule.running`.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from typing import Final

from assay_provider.owner.hours import ALWAYS, Hours, moment

IN_USE: Final = "paused while its owner uses the machine"
CANNOT_TELL: Final = "paused, because it cannot be told whether its owner uses the machine"


class Running(StrEnum):
    """What a pause does to jobs that are under way."""

    FINISH = "finish"
    HAND_BACK = "hand_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """An owner's wishes. `other_cpus_max` is in cores; None watches no processor."""

    hours: Hours = ALWAYS
    zone: tzinfo = UTC
    idle_only: bool = False
    idle_after_s: float = 900.0
    other_cpus_max: float | None = None
    running: Running = Running.FINISH


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What can be seen of the owner; None is what this machine does not tell.

    `idle_s`: seconds since somebody touched a keyboard, mouse or terminal. `other_cpus`: cores that
    programs use which are neither the daemon's nor jobs. `other_gpu_programs`: such programs on
    GPUs that are for sale. `unknown` says in sentences what cannot be seen, and why.
    """

    idle_s: float | None = None
    other_cpus: float | None = None
    other_gpu_programs: int | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether jobs are let in, why not, until when as far as that is known (Unix seconds).

    `used_at` is when the owner was last seen to use the machine.
    """

    is_open: bool
    reason: str = ""
    until: float | None = None
    used_at: float | None = None
    seen: Activity = field(default_factory=Activity)


def standing(
    schedule: Schedule, activity: Activity, now: float, before: Standing | None = None
) -> Standing:
    """Return whether jobs are let in at `now`.

    1. Outside the owner's hours they are not. 2. With `idle_only` they are not until the owner has
    not been seen for `idle_after_s`, by any sign that this machine gives; a machine that gives none
    lets nobody in.
    """
    used_at = _used_at(schedule, activity, now, before)
    hours = moment(schedule.hours, schedule.zone, now)
    if not hours.is_open:  # 1
        return Standing(
            is_open=False,
            reason=_outside(hours.until, schedule.zone),
            until=hours.until,
            used_at=used_at,
            seen=activity,
        )
    if not schedule.idle_only:
        return Standing(is_open=True, until=hours.until, seen=activity)
    if not signs(schedule, activity):  # 2
        return Standing(is_open=False, reason=CANNOT_TELL, used_at=used_at, seen=activity)
    if used_at is not None and now < used_at + schedule.idle_after_s:
        return Standing(
            is_open=False,
            reason=IN_USE,
            until=used_at + schedule.idle_after_s,
            used_at=used_at,
            seen=activity,
        )
    return Standing(is_open=True, until=hours.until, used_at=used_at, seen=activity)


def signs(schedule: Schedule, activity: Activity) -> tuple[str, ...]:
    """Return by which signs the owner can be seen here, in words."""
    found = (
        ("input", activity.idle_s is not None),
        ("processor", schedule.other_cpus_max is not None and activity.other_cpus is not None),
        ("GPUs", activity.other_gpu_programs is not None),
    )
    return tuple(name for name, is_seen in found if is_seen)


def _used_at(
    schedule: Schedule, activity: Activity, now: float, before: Standing | None
) -> float | None:
    """Return the newest instant at which any sign showed the owner."""
    seen = [] if before is None or before.used_at is None else [before.used_at]
    if activity.idle_s is not None:
        seen.append(now - activity.idle_s)
    most = schedule.other_cpus_max
    if most is not None and activity.other_cpus is not None and activity.other_cpus > most:
        seen.append(now)
    if activity.other_gpu_programs:
        seen.append(now)
    return max(seen, default=None)


def _outside(until: float | None, zone: tzinfo) -> str:
    if until is None:
        return "outside its owner's hours"
    return f"outside its owner's hours until {local_text(until, zone)}"


def local_text(at: float, zone: tzinfo) -> str:
    """Return an instant as the owner's clock shows it: "Mon 19:00 CET"."""
    return datetime.fromtimestamp(at, zone).strftime("%a %H:%M %Z").strip()
