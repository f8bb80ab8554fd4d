"""Seats on panels: taken when the draw asks for this provider, under the terms of any lease."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from assay_node.ports import CalledPanel, Clock, CourtChain, Head, Matter, RoadState
from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import ZERO_ADDRESS, Digest
from assay_node.protocol.order import Order, SignedOrder
from assay_node.protocol.panels import PANEL_ROUND, panel_order, place_of
from assay_node.protocol.typed_data import Domain
from assay_node.services.court import barred
from assay_node.store.provider_leases import ProviderLease
from assay_provider.lease_acceptance import LeaseAcceptance
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import State
from assay_provider.lease_verification import LeaseVerifier, check_stake
from assay_provider.panel_terms import PanelTerms, seats_called
from assay_provider.slots import Slots
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class PanelAcceptance:
    """Takes seats on panels while a slot is free. `start` begins work on a stored lease."""

    chain: CourtChain
    book: LeaseBook
    verifier: LeaseVerifier
    acceptance: LeaseAcceptance
    slots: Slots
    supply: Supply
    domain: Domain
    clock: Clock
    terms: PanelTerms
    start: Callable[[Digest], None]
    _places: dict[Digest, tuple[int, int] | None] = field(default_factory=dict)
    _declined: dict[Digest, str] = field(default_factory=dict)

    async def consider(self, called: CalledPanel, matter: Matter, head: Head) -> None:
        """Take a seat on a panel if it is this provider's turn and its terms are met.

        Raises:
            ChainError: the chain cannot be asked; look again later.
        """
        if not self.terms.sits or head.number < called.panel.seed_block:
            return
        order = panel_order(matter.order, called.panel, court=self.chain.court, domain=self.domain)
        place = await self._place(called.panel_job, order, matter)
        if place is None:
            return
        ticket, rank = place
        asked = seats_called(replicas=order.replicas, expiry=order.expiry, now=head.timestamp)
        if rank >= asked:
            return
        try:
            rate = await self._check(called, order, matter, ticket, head)
        except Refused as reason:
            if self._declined.get(called.panel_job) != str(reason):
                logger.info("no seat on panel %s: %s", called.panel_job.hex()[:12], reason)
            self._declined[called.panel_job] = str(reason)
            return
        async with self.book.exclusively(called.panel_job):
            await self._take(called, order, ticket, rate)

    async def _place(
        self, panel_job: Digest, order: Order, matter: Matter
    ) -> tuple[int, int] | None:
        if panel_job not in self._places:
            draw = await self.chain.draw(
                order.hardware_class, order.seed_block, panel_job, max_ticket=order.max_ticket
            )
            self._places[panel_job] = place_of(self.supply.operator, draw, barred=barred(matter))
        return self._places[panel_job]

    async def _check(
        self, called: CalledPanel, order: Order, matter: Matter, ticket: int, head: Head
    ) -> int:
        """Return the rate to run a panel's job at.

        Raises:
            Refused: naming what is in the way.
        """
        self.acceptance.check_room()
        if matter.order.requester in self.supply.requesters_denied:
            raise Refused("this provider does not work for the requester")
        rate = self.verifier.check_terms(order)
        if head.timestamp + order.max_seconds + order.commit_window_s > order.expiry:
            raise Refused("too little time is left to run the job")
        road = await self.chain.road_of(called.panel_job, from_block=called.called_in)
        full = len(road.entries) == order.replicas and road.entries[-1].ticket < ticket
        if full or road.state not in (RoadState.ABSENT, RoadState.COMMITTING):
            raise Refused("every seat is taken by a lower ticket")
        if await self.chain.signer_of(self.supply.operator) != self.verifier.signer:
            raise Refused("the chain does not name this provider's signing key (yet)")
        account = await self.chain.account(self.supply.operator)
        check_stake(order, account, await self.book.promised_microusd())
        return rate

    async def _take(self, called: CalledPanel, order: Order, ticket: int, rate: int) -> None:
        if await self.book.get(called.panel_job) is not None or self.slots.free == 0:
            return
        window_s = await self.chain.road_window_s()
        slot = self.slots.take(called.panel_job)
        assert slot is not None, "a slot was free a moment ago"
        await self.book.add_panel(
            ProviderLease(
                job=called.panel_job,
                scheduler=ZERO_ADDRESS,
                signed_order=codec.encode(SignedOrder(order=order, signature=b"")),
                ticket=ticket,
                round_number=PANEL_ROUND,
                rate_microusd=rate,
                slot=slot,
                state=State.ACCEPTED.value,
                # Until everybody has had time to reveal: the output has to last so long.
                expiry=order.expiry + 2 * window_s,
                accepted_at=self.clock.now(),
            )
        )
        logger.info(
            "a seat on the panel (%s) for job %s: running it at ticket %d",
            called.panel.kind.value, called.job.hex()[:12], ticket,
        )  # fmt: skip
        self.start(called.panel_job)
