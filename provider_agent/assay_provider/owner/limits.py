"""What one requester may take of this provider at once and in a day."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import Clock
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.job_spec import Resources
from assay_node.protocol.order import Order
from assay_node.protocol.units import size_to_text
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease
from assay_node.store.requester_usage import Usage
from assay_provider.lease_book import LeaseBook, order_of
from assay_provider.lease_machine import HOLDS_SLOT, State

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """For each requester; 0 is no limit. A day is the last 24 hours."""

    slots: int = 0
    seconds_a_day: int = 0
    bytes_a_day: int = 0


def check_limits(limits: Limits, *, slots_held: int, used: Usage, seconds: int) -> None:
    """Refuse a job of a requester who has, or would then have, more than the owner allows.

    Args:
        limits: the owner's.
        slots_held: slots that the requester's jobs hold now.
        used: what its jobs of the last day took, or may yet take.
        seconds: the most that the job may take.

    Raises:
        Refused: naming the limit and what is left of it.
    """
    if limits.slots and slots_held >= limits.slots:
        raise Refused(
            f"this provider runs {limits.slots} job(s) of one requester at a time; "
            f"{slots_held} run already"
        )
    if limits.seconds_a_day and used.seconds + seconds > limits.seconds_a_day:
        left = max(0, limits.seconds_a_day - used.seconds)
        raise Refused(
            f"this provider runs one requester's jobs for {limits.seconds_a_day} s a day, of "
            f"which {left} s are left; the run may take {seconds} s"
        )
    if limits.bytes_a_day and used.bytes_moved >= limits.bytes_a_day:
        raise Refused(
            f"this provider moves {size_to_text(limits.bytes_a_day)} a day for one requester, "
            "and has moved them"
        )


def check_bytes(limits: Limits, *, used: Usage, resources: Resources) -> None:
    """Refuse a spec that may move more than its requester has left of the day.

    Raises:
        Refused: naming both.
    """
    if not limits.bytes_a_day:
        return
    asked = resources.input_bytes + resources.output_bytes
    left = max(0, limits.bytes_a_day - used.bytes_moved)
    if asked > left:
        raise Refused(
            f"inputs and output may be {size_to_text(asked)}; of what this provider moves for one "
            f"requester in a day, {size_to_text(left)} are left"
        )


@dataclass(slots=True, kw_only=True)
class RequesterLimits:
    """Holds requesters to the owner's limits, by what is stored of their jobs."""

    limits: Limits
    book: LeaseBook
    clock: Clock
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reserve(self, job: Digest, order: Order) -> None:
        """Count a job that is about to be taken with the seconds it may run.

        Raises:
            Refused: its requester has had enough.
        """
        now = self.clock.now()
        async with self._counting:
            check_limits(
                self.limits,
                slots_held=await self._slots_held(order.requester),
                used=await self._used(order.requester),
                seconds=order.max_seconds,
            )
            await self.book.store.usage.reserve(
                job, order.requester, seconds=order.max_seconds, now=now
            )

    async def check_spec(self, order: Order, resources: Resources) -> None:
        """Refuse a spec that may move too much.

        Raises:
            Refused: it may.
        """
        check_bytes(self.limits, used=await self._used(order.requester), resources=resources)

    async def moved(self, job: Digest, bytes_moved: int) -> None:
        """Count what was fetched and kept for a job; a run is not given up for lack of a count."""
        try:
            await self.book.store.usage.moved(job, bytes_moved=bytes_moved)
        except StoreUnavailable as error:
            self.book.outage.failed(error)

    async def _used(self, requester: Address) -> Usage:
        return await self.book.store.usage.of(requester, since=self.clock.now() - DAY_S)

    async def _slots_held(self, requester: Address) -> int:
        open_leases = await self.book.store.unfinished()
        return sum(
            State(lease.state) in HOLDS_SLOT and order_of(lease).requester == requester
            for lease in open_leases
        )


def seconds_taken(lease: ProviderLease, now: float) -> int:
    """Return what a lease that ends now took: its billed seconds, or the time since its start.

    A job that was stopped half-way occupied the machine all the same.
    """
    if lease.seconds is not None:
        return lease.seconds
    if lease.state == State.ACCEPTED:
        return 0
    return min(max(0, round(now - lease.accepted_at)), order_of(lease).max_seconds)
