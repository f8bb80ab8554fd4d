"""The owner's settings, checked: from what was configured to what the daemon goes by."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from assay_node.protocol.errors import LocalError
from assay_node.settings import ProviderSettings
from assay_provider.break_even import Costs, parse_gpu_prices, price_of_slot
from assay_provider.owner.denials import DENIED_FILE, read_denied
from assay_provider.owner.hours import Hours, parse_hours
from assay_provider.owner.limits import Limits
from assay_provider.owner.schedule import CANNOT_TELL, Activity, Running, Schedule, signs
from assay_provider.owner.terms import OwnerTerms

LOCAL_ZONE: Final = Path("/etc/localtime")


def owner_terms(settings: ProviderSettings) -> OwnerTerms:
    """Return what the owner decided.

    Raises:
        LocalError: naming the setting that says nothing, or the list that cannot be read.
    """
    read_denied(settings.home / DENIED_FILE)
    for path in settings.denied_files:
        read_denied(path, must_exist=True)
    limits = settings.limits
    return OwnerTerms(
        home=settings.home,
        schedule=schedule_of(settings),
        limits=Limits(
            slots=limits.requester_slots,
            seconds_a_day=limits.requester_seconds_a_day,
            bytes_a_day=limits.requester_bytes_a_day,
        ),
        denied_files=settings.denied_files,
    )


def costs_of(settings: ProviderSettings, *, models: Sequence[Sequence[str]] = ()) -> Costs:
    """Return what a slot is sold for, and what the owner says it costs.

    Args:
        settings: the provider's.
        models: the models of each slot's GPUs, where slots have any.

    Raises:
        LocalError: the prices of GPUs say nothing, or miss a model.
    """
    prices = settings.prices
    return Costs(
        slots=settings.slots,
        price_microusd_per_second=price_of_slot(
            settings.price_microusd_per_second, parse_gpu_prices(prices.gpus), models
        ),
        floor_microusd_per_second=prices.floor_microusd_per_second,
        slot_milliwatts=round(1000 * prices.slot_power_watts),
        idle_milliwatts=round(1000 * prices.idle_power_watts),
        electricity_microusd_per_kwh=prices.electricity_microusd_per_kwh,
        purchase_microusd=prices.purchase_microusd,
        amortisation_days=prices.amortisation_days,
    )


def schedule_of(settings: ProviderSettings) -> Schedule:
    """Return the owner's schedule.

    Raises:
        LocalError: its hours or its zone say nothing.
    """
    wanted = settings.schedule
    return Schedule(
        hours=_hours(wanted.hours),
        zone=zone_of(wanted.zone),
        idle_only=wanted.idle_only,
        idle_after_s=wanted.idle_after_s,
        other_cpus_max=wanted.other_cpus_max or None,
        running=Running(wanted.running),
    )


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name; the empty name is the machine's, UTC where it has none.

    Raises:
        LocalError: no zone goes by this name here.
    """
    try:
        if name:
            return ZoneInfo(name)
        if not LOCAL_ZONE.exists():
            return ZoneInfo("UTC")
        with LOCAL_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file, key=None)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        which = f"provider.schedule.zone = {name[:64]!a}" if name else f"{LOCAL_ZONE}"
        raise LocalError(
            f"{which} is no time zone that this machine knows; zones are named like Europe/Berlin, "
            "and come with the system's package tzdata"
        ) from None


def check_signs(schedule: Schedule, seen: Activity) -> None:
    """Refuse to sell on an idle machine only where its idleness cannot be seen.

    Raises:
        LocalError: no sign of the owner can be seen here.
    """
    # load needs two readings, and can always be seen
    if schedule.idle_only and not signs(schedule, replace(seen, other_cpus=0.0)):
        raise LocalError(
            f"provider.schedule.idle_only would keep it {CANNOT_TELL}: {'; '.join(seen.unknown)}. "
            "Set provider.schedule.other_cpus_max, say to 0.5, to go by other programs' load, or "
            "provider.schedule.hours instead"
        )


def _hours(text: str) -> Hours:
    try:
        return parse_hours(text)
    except LocalError as error:
        raise LocalError(f"provider.schedule.hours: {error}") from None
