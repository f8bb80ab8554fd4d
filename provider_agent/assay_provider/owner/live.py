"""What a running daemon tells its owner of this moment: what its database does not know."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from assay_node.ports import Clock
from assay_node.protocol.ids import Address, to_hex
from assay_node.store.provider_leases import ProviderLease
from assay_provider.inventory.benchmark.record import OLD_S
from assay_provider.inventory.sensors import Sensors
from assay_provider.lease_book import LeaseBook, order_of
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.owner.gate import Gate
from assay_provider.owner.limits import DAY_S
from assay_provider.owner.schedule import Schedule, signs
from assay_provider.slots import Slots
from assay_provider.supply import Supply


@dataclass(slots=True, kw_only=True)
class LiveStatus:
    """Composes the live document."""

    supply: Supply
    book: LeaseBook
    slots: Slots
    gate: Gate
    sensors: Sensors
    clock: Clock
    connected: Callable[[], tuple[Address, ...]]
    _since: float = field(default_factory=time.monotonic)

    async def document(self) -> dict[str, Any]:
        """Return this moment as a JSON-serialisable document. Times in Unix seconds.

        `jobs` are the open leases; `elapsed_s` counts from the start of a job's stage, `limit_s` is
        what its order allows to run. `refusing` is why no new job is let in, or null.
        """
        now = self.clock.now()
        leases = await self.book.store.unfinished()
        sensors = await asyncio.to_thread(self.sensors.read, time.monotonic())
        used = await self.book.store.usage.by_requester(since=now - DAY_S)
        return {
            "pid": os.getpid(),
            "up_s": round(time.monotonic() - self._since, 1),
            "refusing": self.gate.refusal(),
            "slots": {
                "total": self.supply.slots,
                "held": sum(State(lease.state) in HOLDS_SLOT for lease in leases),
                "free": self.slots.free,
            },
            "jobs": [job_document(lease, now) for lease in leases],
            "connected": list(self.connected()),
            "drain": self._drain(leases),
            "schedule": schedule_document(self.gate, self.supply.owner.schedule),
            "machine": asdict(sensors),
            "requesters_last_day": {name: asdict(usage) for name, usage in used.items()},
            "benchmark": self._benchmark(now),
        }

    def _benchmark(self, now: float) -> dict[str, Any] | None:
        offered = self.supply.benchmark
        if offered is None:
            return None
        age_s = max(0.0, now - offered.measured_at)
        return {"measured_at": offered.measured_at, "age_s": age_s, "is_old": age_s > OLD_S}

    def _drain(self, leases: tuple[ProviderLease, ...]) -> dict[str, Any] | None:
        drain = self.gate.drain
        if drain is None:
            return None
        running = sum(State(lease.state) in HOLDS_SLOT for lease in leases)
        return {**asdict(drain), "running": running, "unsettled": len(leases) - running}


def job_document(lease: ProviderLease, now: float) -> dict[str, Any]:
    """Return one open lease as a JSON-serialisable document."""
    order = order_of(lease)
    return {
        "job": to_hex(lease.job),
        "requester": order.requester,
        "scheduler": lease.scheduler,
        "slot": lease.slot,
        "stage": lease.stage or lease.state,
        "elapsed_s": round(max(0.0, now - lease.changed_at), 1),
        "limit_s": order.max_seconds,
        "rate_microusd": lease.rate_microusd,
        "expires_at": lease.expiry,
    }


def schedule_document(gate: Gate, schedule: Schedule) -> dict[str, Any] | None:
    """Return how the owner's schedule stands; null before it was looked at."""
    standing = gate.standing
    if standing is None:
        return None
    return {
        "is_open": standing.is_open,
        "reason": standing.reason,
        "until": standing.until,
        "has_hours": bool(schedule.hours.openings),
        "idle_only": schedule.idle_only,
        "signs": list(signs(schedule, standing.seen)),
        "unknown": list(standing.seen.unknown),
    }
