"""The daemon's leases: the store's rows, moved only as the lease machine allows."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from assay_node.ports import Clock
from assay_node.protocol import codec
from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.ids import ZERO_ADDRESS, Digest
from assay_node.protocol.order import Order, SignedOrder
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease, ProviderLeases
from assay_node.store.provider_runs import Metered
from assay_provider.lease_machine import Event, State, next_state
from assay_provider.outage import Outage

logger = logging.getLogger(__name__)

RETRY_S: Final = 2.0
"""After a write that the database could not take: room is made by people, in minutes."""

Change = Callable[[ProviderLease], ProviderLease]
_T = TypeVar("_T")


def order_of(lease: ProviderLease) -> Order:
    """Return the order a lease was given for."""
    return codec.decode(SignedOrder, lease.signed_order).order


class LeaseBook:
    """Applies events to stored leases; whoever else changes a lease meanwhile is respected."""

    def __init__(self, *, leases: ProviderLeases, clock: Clock) -> None:
        self.store = leases
        self.outage = Outage(what="the database", logger=logger, clock=clock)
        self._clock = clock
        self._locks: dict[Digest, tuple[asyncio.Lock, int]] = {}

    async def get(self, job: Digest) -> ProviderLease | None:
        """Return the lease for a job, None when there never was one."""
        return await self.store.get(job)

    async def add(self, lease: ProviderLease, assign: SignedAssign) -> bool:
        """Store a new lease and what it was assigned with; False when the job is known already."""
        return await self.store.add(lease, assign, event="accept")

    async def add_panel(self, lease: ProviderLease) -> bool:
        """Store a seat on a panel, which nobody assigns; False when the job is known already."""
        return await self.store.add(lease, None, event="sit")

    async def promised_microusd(self) -> int:
        """Return the bonds of open leases; one on a panel is locked once it has committed."""
        return sum(
            order_of(lease).bond_microusd
            for lease in await self.store.unfinished()
            if lease.scheduler != ZERO_ADDRESS or lease.state != State.COMMITTED
        )

    async def apply(
        self, job: Digest, event: Event, change: Change = lambda lease: lease, *, detail: str = ""
    ) -> ProviderLease | None:
        """Move a lease and change it with the move; return it as stored.

        None means that the lease is in no state in which `event` can happen: the caller was late.
        `change` may be called more than once, each time with the newest row.
        """
        while (lease := await self.store.get(job)) is not None:
            target = next_state(State(lease.state), event)
            if target is None:
                return None
            after = dataclasses.replace(change(lease), state=target.value)
            saved = await self.store.save(
                lease, after, event=event.value, detail=detail, now=self._clock.now()
            )
            if saved is not None:
                self.outage.over()
                return saved  # otherwise somebody else made progress: decide anew
        return None

    async def insist(self, write: Callable[[], Awaitable[_T]]) -> _T:
        """Write what must not be lost, again and again until the database takes it."""
        while True:
            try:
                return await write()
            except StoreUnavailable as error:
                self.outage.failed(error)
            await asyncio.sleep(RETRY_S)

    async def begin_run(self, lease: ProviderLease, *, tier: str, seconds_max: int) -> int:
        """Open the metering log's row of a run that is about to start; return its attempt."""
        assert lease.slot is not None, "a lease that runs holds a slot"
        return await self.store.runs.begin(
            lease.job,
            round_number=lease.round_number,
            slot=lease.slot,
            tier=tier,
            seconds_max=seconds_max,
            now=self._clock.now(),
        )

    async def end_run(self, job: Digest, attempt: int, metered: Metered) -> None:
        """Write down what was metered, however long the database takes: the run is not repeated."""
        await self.insist(lambda: self.store.runs.end(job, attempt, metered, now=self._clock.now()))

    @asynccontextmanager
    async def exclusively(self, job: Digest) -> AsyncIterator[None]:
        """Hold a job so that no other handler accepts it or gives it up meanwhile."""
        lock, holders = self._locks.get(job, (asyncio.Lock(), 0))
        self._locks[job] = (lock, holders + 1)
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._locks[job]
            if holders == 1:
                del self._locks[job]
            else:
                self._locks[job] = (lock, holders - 1)
