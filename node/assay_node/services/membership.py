"""Who sells at the moment: verified offers, live connections, records from the chain."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from assay_node.ports import (
    Account,
    ChainReader,
    Clock,
    GossipMessage,
    LeaseRecord,
    Network,
    SchedulerStore,
)
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, MalformedMessage, Refused
from assay_node.protocol.ids import Address, PeerId
from assay_node.protocol.lease import LEASE_ACTIVE, LEASE_RUNS
from assay_node.protocol.messages import Hello
from assay_node.protocol.offer import Offer, SignedOffer, open_offer
from assay_node.protocol.typed_data import Domain
from assay_scheduler.hardware import NEVER_ASKED, HardwareView
from assay_scheduler.snapshot import ProviderView

logger = logging.getLogger(__name__)

PROVIDERS_MAX: Final = 100_000
"""Offers kept; each has a stake behind it, so filling this costs more than it spoils."""
HEARTBEATS_MISSED: Final = 3
"""A provider that misses so many heartbeats counts as away although its connection stands."""
RETURN_S: Final = 8.0
"""After the scheduler's own restart: providers knock again every 5 s at the latest, and must not
lose their replicas for an absence that was not theirs."""
ACCOUNT_AGE_S_MAX: Final = 30.0
"""How old an operator's balances may be before they are read again."""


@dataclass(slots=True)
class _Member:
    offer: Offer
    account: Account
    account_read_at: float
    heard_at: float
    peer_connected: bool
    away_since: float
    slots_free: int


class Membership:
    """The scheduler's view of its providers."""

    def __init__(
        self,
        *,
        network: Network,
        chain: ChainReader,
        store: SchedulerStore,
        clock: Clock,
        domain: Domain,
        heartbeat_s: float,
    ) -> None:
        self._network = network
        self._chain = chain
        self._store = store
        self._clock = clock
        self._domain = domain
        self._heartbeat_s = heartbeat_s
        self._members: dict[Address, _Member] = {}
        self._operator_of: dict[PeerId, Address] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.hardware_of: Callable[[Offer], HardwareView] = lambda _offer: NEVER_ASKED

    async def restore(self) -> None:
        """Load the offers heard before a restart; their absence counts from `RETURN_S` on."""
        now = self._clock.now()
        for signed, _ in await self._store.offers():
            try:
                offer = open_offer(signed, self._domain)
            except MalformedMessage as error:  # signed for contracts deployed before these
                logger.info("forgot an offer: %s", error)
                continue
            account = await self._chain.account(offer.operator)
            self._put(offer, account, now, connected=False)
            self._members[offer.operator].away_since = now + RETURN_S

    async def hello(self, peer: PeerId, hello: Hello) -> Offer:
        """Take a provider's offer from its own connection.

        Raises:
            Refused: with the reason, when the offer is not good.
        """
        offer = await self._verified(peer, hello.offer)
        account = await self._chain.account(offer.operator)
        now = self._clock.now()
        await self._store.save_offer(offer.operator, hello.offer, now=now)
        self._put(offer, account, now, connected=True)
        self.on_change()
        return offer

    async def hear(self, message: GossipMessage) -> None:
        """Take an offer from gossip; anything wrong with it is dropped with a log line."""
        try:
            signed = codec.decode(SignedOffer, message.data)
            offer = await self._verified(message.source, signed)
            known = self._members.get(offer.operator)
            if known is not None and known.offer.generation >= offer.generation:
                return
            account = await self._chain.account(offer.operator)
            now = self._clock.now()
            await self._store.save_offer(offer.operator, signed, now=now)
            connected = offer.peer_id in self._network.connected_peers()
            self._put(offer, account, now, connected=connected)
            self.on_change()
        except AssayError as error:
            logger.info("dropped an offer from %s: %s", message.source, error)

    def heartbeat(self, peer: PeerId, slots_free: int) -> None:
        """Note that a provider is alive.

        Raises:
            Refused: the peer has not introduced itself.
        """
        member = self._members[self.operator_of(peer)]
        came_back = not member.peer_connected
        member.heard_at = self._clock.now()
        member.peer_connected = True
        if slots_free != member.slots_free or came_back:
            member.slots_free = min(slots_free, member.offer.slots)
            self.on_change()

    def disconnected(self, peer: PeerId) -> None:
        """Note that a peer's connection ended."""
        operator = self._operator_of.get(peer)
        if operator is not None and self._members[operator].peer_connected:
            self._members[operator].peer_connected = False
            self._members[operator].away_since = self._clock.now()
            self.on_change()

    def operator_of(self, peer: PeerId) -> Address:
        """Return the operator a connected provider works for.

        Raises:
            Refused: the peer has not introduced itself.
        """
        operator = self._operator_of.get(peer)
        if operator is None:
            raise Refused("say hello first: this peer has sent no valid offer")
        return operator

    def offer_of(self, operator: Address) -> Offer | None:
        """Return an operator's newest offer."""
        member = self._members.get(operator)
        return None if member is None else member.offer

    def slots_free(self, operator: Address) -> int:
        """Return the free slots that a known operator last told of."""
        return self._members[operator].slots_free

    def away_s(self, operators: Iterable[Address]) -> dict[Address, float]:
        """Return for each of these operators that is not reachable how long it has not been."""
        now = self._clock.now()
        away: dict[Address, float] = {}
        for operator in operators:
            member = self._members.get(operator)
            if member is None:
                away[operator] = float("inf")
            elif not member.peer_connected:
                away[operator] = max(now - member.away_since, 1e-9)
            elif now - member.heard_at > HEARTBEATS_MISSED * self._heartbeat_s:
                away[operator] = now - member.heard_at
        return away

    def views(self, leases: Sequence[tuple[LeaseRecord, int]]) -> tuple[ProviderView, ...]:
        """Return all providers as the matcher sees them.

        Args:
            leases: every lease of every unfinished job, with the bond its order puts at risk.
        """
        bonds: dict[Address, int] = defaultdict(int)
        running: dict[Address, int] = defaultdict(int)
        for lease, bond in leases:
            bonds[lease.operator] += bond if lease.state in LEASE_ACTIVE else 0
            running[lease.operator] += lease.state in LEASE_RUNS
        away = self.away_s(self._members)
        return tuple(
            ProviderView(
                operator=operator,
                offer=member.offer,
                connected=operator not in away,
                last_heard=member.heard_at,
                slots_free=max(0, member.offer.slots - running[operator]),
                stake_free_microusd=max(
                    0,
                    member.account.stake_microusd
                    - member.account.locked_microusd
                    - bonds[operator],
                ),
                wins=member.account.wins,
                faults=member.account.faults,
                hardware=self.hardware_of(member.offer),
            )
            for operator, member in sorted(self._members.items())
        )

    async def refresh_accounts(self, operators: Iterable[Address] = ()) -> None:
        """Read balances again: those of `operators`, and all that have grown old."""
        now = self._clock.now()
        wanted = set(operators) & self._members.keys()
        for operator, member in self._members.items():
            if now - member.account_read_at > ACCOUNT_AGE_S_MAX:
                wanted.add(operator)
        ordered = sorted(wanted)
        accounts = await asyncio.gather(*(self._chain.account(o) for o in ordered))
        for operator, account in zip(ordered, accounts, strict=True):
            self._members[operator].account = account
            self._members[operator].account_read_at = now

    async def _verified(self, peer: PeerId, signed: SignedOffer) -> Offer:
        """Check an offer.

        1. Its signer signed it. 2. It comes from the peer it names. 3. It is in force. 4. The chain
        says that the signer signs for the operator. 5. No newer offer of the operator is known.
        """
        try:
            offer = open_offer(signed, self._domain)  # 1
        except MalformedMessage as error:
            raise Refused(f"bad offer: {error}") from None
        if offer.peer_id != peer:  # 2
            raise Refused("the offer names another peer than the one that sent it")
        if not offer.issued_at - self._heartbeat_s <= self._clock.now() < offer.expires_at:  # 3
            raise Refused("the offer is not in force; check this machine's clock")
        if await self._chain.signer_of(offer.operator) != offer.signer:  # 4
            raise Refused(f"the chain does not name {offer.signer} as signer of {offer.operator}")
        known = self._members.get(offer.operator)
        if known is not None and known.offer.generation > offer.generation:  # 5
            raise Refused("a newer offer of this operator is known")
        if known is None and len(self._members) >= PROVIDERS_MAX:
            raise Refused(f"this scheduler keeps {PROVIDERS_MAX} providers and has no room")
        return offer

    def _put(self, offer: Offer, account: Account, now: float, *, connected: bool) -> None:
        known = self._members.get(offer.operator)
        if known is not None and known.offer.peer_id != offer.peer_id:
            self._operator_of.pop(known.offer.peer_id, None)
        self._operator_of[offer.peer_id] = offer.operator
        self._members[offer.operator] = _Member(
            offer=offer,
            account=account,
            account_read_at=now,
            heard_at=now,
            peer_connected=connected,
            away_since=now,
            slots_free=offer.slots,
        )
