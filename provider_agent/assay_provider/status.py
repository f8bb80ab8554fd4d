"""What a provider is doing: from its database and the chain, and from its daemon while one runs."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime, tzinfo
from fractions import Fraction
from typing import Any, Final

from assay_node.app import chain_settings
from assay_node.chain.client import open_reader
from assay_node.protocol.errors import AssayError, ChainError, LocalError
from assay_node.protocol.ids import to_hex
from assay_node.settings import ProviderSettings, Settings
from assay_node.store.database import is_absent, open_database
from assay_node.store.provider_leases import ProviderLease, ProviderLeases
from assay_provider.break_even import (
    HOUR_S,
    Costs,
    break_even,
    day,
    fixed_per_day,
    slot_power_per_second,
)
from assay_provider.earnings import EarningsReader
from assay_provider.environments import availability
from assay_provider.inventory.exact_record import read_status
from assay_provider.inventory.hardware_class import hardware_class_of
from assay_provider.keystores import operator_of
from assay_provider.lease_closing import SETTLED
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.owner.configured import costs_of, zone_of
from assay_provider.owner.control import NoDaemon, ask_daemon
from assay_provider.proving.record import read_record

LEASES_SHOWN: Final = 50
"""What fits a screen or two; the database has the rest."""
CHAIN_READ_S: Final = 15.0
"""How old what the chain says may be in a view that is refreshed each second."""
DAEMON_S_MAX: Final = 3.0
"""A daemon answers from memory and one query; a view does not wait longer for it."""


async def status_document(settings: Settings) -> dict[str, Any]:
    """Return a provider's state as a JSON-serialisable document. Money in micro-USD.

    Raises:
        LocalError: no provider has run here yet.
    """
    async with open_status(settings) as status:
        return await status.document()


@asynccontextmanager
async def open_status(settings: Settings) -> AsyncIterator["Status"]:
    """Open a provider's database to read its state again and again.

    Raises:
        LocalError: no provider has run here yet.
    """
    async with open_leases(settings.provider.database_url) as leases:
        status = Status(settings, leases)
        try:
            yield status
        finally:
            await status.close()


class Status:
    """A provider's state. What the chain says is read in the background once it is known."""

    def __init__(self, settings: Settings, leases: ProviderLeases) -> None:
        self._settings = settings
        self._mine = settings.provider
        self._leases = leases
        self._operator = operator_of(settings.provider)
        self._earnings: EarningsReader | None = None
        self._chain: dict[str, Any] | None = None
        self._chain_at = -math.inf
        self._reading: asyncio.Task[None] | None = None

    async def document(self) -> dict[str, Any]:
        """Return the state as a JSON-serialisable document. Money in micro-USD, times in seconds.

        `daemon` is what a running daemon tells, null when none runs. `metered_microusd` is rate x
        metered seconds of settled leases; `earned` is what the chain paid, which can be less: it
        pays the lower median of the winners' meters.
        """
        mine, now = self._mine, time.time()
        unfinished = await self._leases.unfinished()
        newest = await self._leases.newest(LEASES_SHOWN)
        contacts = await self._leases.contacts()
        daemon, why_not = await asyncio.to_thread(_ask, mine)
        chain = await self._of_chain()
        return {
            "operator": self._operator,
            "hardware_class": await asyncio.to_thread(_hardware_class, mine),
            "price_microusd_per_second": mine.price_microusd_per_second,
            "price": price_document(costs_of(mine)),
            "slots": {
                "total": mine.slots,
                "held": sum(State(lease.state) in HOLDS_SLOT for lease in unfinished),
            },
            "daemon": daemon,
            "daemon_silent_for": why_not,
            "open_leases": len(unfinished),
            "leases": [lease_document(lease) for lease in newest],
            "schedulers": [
                {
                    "multiaddr": contact.multiaddr,
                    "scheduler": contact.scheduler,
                    "heard_at": contact.heard_at,
                    "heard_s_ago": round(max(0.0, now - contact.heard_at), 1),
                }
                for contact in contacts
            ],
            "exact": read_status(mine.home),
            "proofs": await asyncio.to_thread(read_record, mine.home),
            "environments": await asyncio.to_thread(
                availability.read_status, mine.home, quota_bytes=mine.environments.quota_bytes
            ),
            "metered_microusd": await self._leases.metered_microusd(SETTLED),
            "metered_today_microusd": await self._leases.metered_microusd(
                SETTLED, closed_after=midnight(now, zone_of(mine.schedule.zone))
            ),
            **chain,
        }

    async def close(self) -> None:
        """End what is still being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _of_chain(self) -> dict[str, Any]:
        if self._chain is None:
            await self._read_chain()
        elif time.monotonic() > self._chain_at + CHAIN_READ_S and (
            self._reading is None or self._reading.done()
        ):
            self._reading = asyncio.create_task(self._read_chain())
        assert self._chain is not None, "it was read at least once"
        return self._chain

    async def _read_chain(self) -> None:
        self._chain = await self._asked_of_chain()
        self._chain_at = time.monotonic()

    async def _asked_of_chain(self) -> dict[str, Any]:
        today = midnight(time.time(), zone_of(self._mine.schedule.zone))
        try:
            settings = chain_settings(self._settings)
            async with open_reader(settings) as chain:
                account = await chain.account(self._operator)
                signer = await chain.signer_of(self._operator)
                appeals = 0 if signer is None else (await chain.account(signer)).free_microusd
                if self._earnings is None:
                    self._earnings = EarningsReader(
                        operator=self._operator,
                        market=f"{chain.chain_id}/{chain.market}",
                        deploy_block=settings.deployment.deploy_block,
                        home=self._mine.home,
                    )
                earned = await self._earnings.read(chain, midnight=today)
        except (ChainError, LocalError) as error:
            return {"account": {"error": str(error)}, "earned": None}
        return {
            "account": {
                "free_microusd": account.free_microusd,
                "stake_microusd": account.stake_microusd,
                "wins": account.wins,
                "faults": account.faults,
                "locked_microusd": account.locked_microusd,
                "signer": signer,
                "appeals_microusd": appeals,
            },
            "earned": asdict(earned),
        }


def midnight(now: float, zone: tzinfo) -> float:
    """Return when the owner's present day began."""
    local = datetime.fromtimestamp(now, zone)
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()


def price_document(costs: Costs) -> dict[str, Any]:
    """Return what a price is worth as a JSON-serialisable document. Money in micro-USD.

    `break_even` is the part of the time that every slot must be busy to cover its costs; null where
    none does. `days` has a day at 10, 50 and 100 % of it.
    """
    at = break_even(costs)
    return {
        "price_microusd_per_second": costs.price_microusd_per_second,
        "floor_microusd_per_second": costs.floor_microusd_per_second,
        "slots": costs.slots,
        "slot_power_watts": costs.slot_milliwatts / 1000,
        "electricity_microusd_per_kwh": costs.electricity_microusd_per_kwh,
        "power_is_known": bool(costs.slot_milliwatts and costs.electricity_microusd_per_kwh),
        "power_microusd_per_second": float(slot_power_per_second(costs)),
        "power_microusd_per_hour": math.ceil(slot_power_per_second(costs) * HOUR_S),
        "fixed_microusd_per_day": math.ceil(fixed_per_day(costs)),
        "break_even": None if at is None else float(at),
        "days": [
            {
                "utilisation": percent / 100,
                "earns_microusd": found.earns_microusd,
                "costs_microusd": found.costs_microusd,
                "leaves_microusd": found.leaves_microusd,
            }
            for percent in (10, 50, 100)
            for found in [day(costs, utilisation=Fraction(percent, 100))]
        ],
    }


def _hardware_class(settings: ProviderSettings) -> str:
    try:
        return hardware_class_of(settings)
    except LocalError as error:  # a GPU went missing; the rest is as worth knowing as ever
        return f"unknown ({error})"


def lease_document(lease: ProviderLease) -> dict[str, Any]:
    """Return one lease as a JSON-serialisable document."""
    return {
        "job": to_hex(lease.job),
        "scheduler": lease.scheduler,
        "state": lease.state,
        "stage": lease.stage,
        "round": lease.round_number,
        "slot": lease.slot,
        "rate_microusd": lease.rate_microusd,
        "seconds": lease.seconds,
        "verdict": lease.verdict,
        "detail": lease.detail,
        "output": lease.output,
        "reason": lease.closed_reason,
        "accepted_at": lease.accepted_at,
        "changed_at": lease.changed_at,
    }


@asynccontextmanager
async def open_leases(url: str) -> AsyncIterator[ProviderLeases]:
    """Open a provider's database.

    Raises:
        LocalError: no provider has run here yet.
    """
    if is_absent(url):
        raise LocalError("no provider has run here yet; start one with: assay provider run")
    async with open_database(url, role="provider") as database:
        yield ProviderLeases(database)


def _ask(settings: ProviderSettings) -> tuple[Mapping[str, Any] | None, str]:
    """Return what the daemon tells, or None and why it tells nothing although it runs."""
    try:
        document = ask_daemon(settings.home, "status", timeout_s=DAEMON_S_MAX)
    except NoDaemon:
        return None, ""
    except AssayError as error:
        return None, str(error)
    return (document, "") if isinstance(document, dict) else (None, "it tells nothing")
