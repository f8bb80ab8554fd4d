"""The provider's connections to its schedulers: kept up, introduced, heartbeating."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from assay_node.ports import Clock, Network
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, LocalError, MalformedMessage, RemoteError
from assay_node.protocol.ids import ZERO_ADDRESS, Address, PeerId
from assay_node.protocol.messages import (
    HEARTBEAT,
    HELLO,
    PROGRESS,
    Ack,
    Heartbeat,
    Hello,
    Progress,
    Welcome,
)
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLeases, SchedulerContact
from assay_provider.offering import Offering
from assay_provider.outage import Outage

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT_S: Final = 10.0
"""Schedulers answer from memory or one database write; whoever needs longer is as good as gone."""
BACKOFF_S_MIN: Final = 0.2
BACKOFF_S_MAX: Final = 5.0
"""A lease waits for its scheduler to come back, so the wait stays short of any reveal window."""
HEARTBEAT_S_MIN: Final = 1
HEARTBEAT_S_MAX: Final = 60
"""A scheduler may ask for any rhythm; these bounds keep it from making us flood or fall silent."""
PROGRESS_IN_FLIGHT_MAX: Final = 64
"""Progress is for people; when a scheduler does not keep up it goes without."""

_M = TypeVar("_M")
Welcomed = Callable[[Welcome, float], Awaitable[None]]
"""Called after each Welcome with the time at which its HELLO was sent."""


class UnusableAddress(LocalError):
    """A configured scheduler address can never be dialled."""


class Backoff:
    """Waits that double up to a limit, each shortened at random so that peers spread out."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_S_MIN
        self._random = random.SystemRandom()

    def next_wait_s(self) -> float:
        """Return how long to wait now, in seconds."""
        wait_s = self._random.uniform(self._next_s / 2, self._next_s)
        self._next_s = min(2 * self._next_s, BACKOFF_S_MAX)
        return wait_s

    def reset(self) -> None:
        """Start again from the shortest wait."""
        self._next_s = BACKOFF_S_MIN


class SchedulerLinks:
    """Who our schedulers are and how to reach them."""

    def __init__(
        self,
        *,
        network: Network,
        offering: Offering,
        leases: ProviderLeases,
        clock: Clock,
        slots_free: Callable[[], int],
        group: asyncio.TaskGroup,
    ) -> None:
        self._group = group
        self._network = network
        self._offering = offering
        self._leases = leases
        self._clock = clock
        self._slots_free = slots_free
        self._peers: dict[Address, PeerId] = {}
        self._connected: dict[Address, asyncio.Event] = {}
        self._any_connected = asyncio.Event()
        self._introducing: dict[PeerId, asyncio.Event] = {}
        self._progress: set[asyncio.Task[None]] = set()

    async def scheduler_of(self, peer_id: PeerId) -> Address | None:
        """Return the scheduler wallet that this peer named when it welcomed us.

        A request can overtake the Welcome of the same scheduler, so that is waited for.
        """
        introduced = self._introducing.get(peer_id)
        if introduced is not None:
            await introduced.wait()
        return next((wallet for wallet, peer in self._peers.items() if peer == peer_id), None)

    def is_connected(self, scheduler: Address) -> bool:
        """Tell whether a scheduler answers at the moment."""
        return self._event(scheduler).is_set()

    def connected(self) -> tuple[Address, ...]:
        """Return the schedulers that answer at the moment."""
        return tuple(sorted(known for known in self._peers if self.is_connected(known)))

    async def peer_of(self, scheduler: Address) -> PeerId:
        """Return a scheduler's peer once it is connected; waits until then."""
        await self._event(scheduler).wait()
        return self._peers[scheduler]

    async def sources_of(self, scheduler: Address) -> tuple[PeerId, ...]:
        """Return where a scheduler's artifacts come from, once it is connected.

        For a panel's, whose scheduler is nobody, these are all schedulers that are connected.
        """
        if scheduler != ZERO_ADDRESS:
            return (await self.peer_of(scheduler),)
        await self._any_connected.wait()
        return tuple(peer for known, peer in self._peers.items() if self.is_connected(known))

    async def ask(self, scheduler: Address, protocol: str, message: Any, answer: type[_M]) -> _M:
        """Send one request to a connected scheduler.

        Raises:
            Refused: the scheduler turned it down; asking again is of no use.
            RemoteError: it is not connected or does not answer; ask again later.
        """
        if not self._event(scheduler).is_set():
            raise RemoteError(f"scheduler {scheduler} is not connected")
        return await self._ask(self._peers[scheduler], protocol, message, answer)

    async def keep(self, multiaddr: str, welcomed: Welcomed) -> None:
        """Stay connected to one scheduler for ever; call `welcomed` after each introduction.

        Raises:
            UnusableAddress: the multiaddr is malformed, or this provider's own.
        """
        backoff = Backoff()
        outage = Outage(what=f"scheduler {multiaddr}", logger=logger, clock=self._clock)
        while True:
            try:
                peer_id = await self._connect(multiaddr)
                await self._converse(peer_id, multiaddr, welcomed, backoff, outage)
            except UnusableAddress:
                raise  # it does not heal
            except AssayError as error:
                outage.failed(f"{error}; connecting again")
            await asyncio.sleep(backoff.next_wait_s())

    def tell_progress(self, scheduler: Address, told: Progress) -> None:
        """Tell a scheduler what a lease is doing, without waiting and without caring."""
        if self._event(scheduler).is_set() and len(self._progress) < PROGRESS_IN_FLIGHT_MAX:
            task = self._group.create_task(self._tell(scheduler, told))
            self._progress.add(task)
            task.add_done_callback(self._progress.discard)

    def stop_telling(self) -> None:
        """Give up telling progress that is still on its way."""
        for task in self._progress:
            task.cancel()

    async def _tell(self, scheduler: Address, told: Progress) -> None:
        try:
            await self.ask(scheduler, PROGRESS, told, Ack)
        except AssayError as error:
            logger.debug("progress not told: %s", error)

    async def _connect(self, multiaddr: str) -> PeerId:
        try:
            return await self._network.connect(multiaddr)
        except LocalError as error:
            raise UnusableAddress(f"check provider.schedulers: {error}") from None

    async def _converse(
        self,
        peer_id: PeerId,
        multiaddr: str,
        welcomed: Welcomed,
        backoff: Backoff,
        outage: Outage,
    ) -> None:
        scheduler: Address | None = None
        try:
            while True:
                sent_at = self._clock.now()
                renewed = self._offering.renewed
                welcome = await self._introduce(peer_id)
                scheduler = welcome.scheduler
                self._event(scheduler).set()
                self._any_connected.set()
                backoff.reset()
                outage.over()
                await self._agree(multiaddr, welcome, sent_at, welcomed)
                await self._heartbeat_until(renewed, peer_id, welcome.heartbeat_s)
        finally:
            if scheduler is not None:
                self._event(scheduler).clear()
                if not any(event.is_set() for event in self._connected.values()):
                    self._any_connected.clear()

    async def _agree(
        self, multiaddr: str, welcome: Welcome, sent_at: float, welcomed: Welcomed
    ) -> None:
        """Note and act on a Welcome; a database that is away must not cost us the scheduler."""
        contact = SchedulerContact(
            multiaddr=multiaddr, scheduler=welcome.scheduler, heard_at=self._clock.now()
        )
        try:
            await self._leases.heard(contact)
            await welcomed(welcome, sent_at)
        except StoreUnavailable as error:  # the next introduction comes with the next offer
            logger.warning("not agreed with scheduler %s on leases: %s", multiaddr, error)

    async def _introduce(self, peer_id: PeerId) -> Welcome:
        self._introducing[peer_id] = asyncio.Event()
        try:
            hello = Hello(offer=self._offering.signed)
            welcome = await self._ask(peer_id, HELLO, hello, Welcome)
            self._claim(welcome.scheduler, peer_id)
        finally:
            self._introducing.pop(peer_id).set()
        return welcome

    async def _heartbeat_until(
        self, renewed: asyncio.Event, peer_id: PeerId, heartbeat_s: int
    ) -> None:
        interval_s = min(max(heartbeat_s, HEARTBEAT_S_MIN), HEARTBEAT_S_MAX)
        while not renewed.is_set():
            beat = Heartbeat(slots_free=self._slots_free())
            await self._ask(peer_id, HEARTBEAT, beat, Ack)
            try:
                async with asyncio.timeout(interval_s):
                    await renewed.wait()
            except TimeoutError:
                continue

    def _claim(self, scheduler: Address, peer_id: PeerId) -> None:
        """Bind a wallet to the peer that names it; a second peer cannot take it over."""
        if scheduler == ZERO_ADDRESS:  # the scheduler of panels: it could drop our seats on them
            raise RemoteError("the scheduler names nobody as its wallet")
        if self._peers.setdefault(scheduler, peer_id) != peer_id:
            raise RemoteError(f"another scheduler's peer already goes by the wallet {scheduler}")

    def _event(self, scheduler: Address) -> asyncio.Event:
        return self._connected.setdefault(scheduler, asyncio.Event())

    async def _ask(self, peer_id: PeerId, protocol: str, message: Any, answer: type[_M]) -> _M:
        data = await self._network.request(
            peer_id, protocol, codec.encode(message), timeout_s=REQUEST_TIMEOUT_S
        )
        try:
            return codec.decode(answer, data)
        except MalformedMessage as error:
            raise RemoteError(f"the scheduler answered {protocol} with {error}") from None
