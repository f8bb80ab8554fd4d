"""Keeps one signed offer current: issued anew at half its life and whenever it changes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from assay_node.ports import Clock, Network, OrderSigner
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError
from assay_node.protocol.messages import OFFERS_TOPIC
from assay_node.protocol.offer import ADDRESSES_MAX, Offer, SignedOffer, offer_digest
from assay_node.protocol.typed_data import Domain
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

CHANGE_CHECK_S: Final = 5.0
"""How soon a new address reaches the schedulers; asking the network for its addresses is free."""


class Offering:
    """The provider's newest signed offer."""

    def __init__(
        self,
        *,
        supply: Supply,
        network: Network,
        signer: OrderSigner,
        domain: Domain,
        leases: ProviderLeases,
        clock: Clock,
        lets_in: Callable[[], bool] = lambda: True,
    ) -> None:
        self._supply = supply
        self._network = network
        self._signer = signer
        self._domain = domain
        self._leases = leases
        self._clock = clock
        self._lets_in = lets_in
        self._look = asyncio.Event()
        self._current: tuple[Offer, SignedOffer] | None = None
        self._renewed = asyncio.Event()

    @property
    def signed(self) -> SignedOffer:
        """The newest signed offer."""
        assert self._current is not None, "renew() comes first"
        return self._current[1]

    @property
    def renewed(self) -> asyncio.Event:
        """An event that is set when a newer offer takes the place of the present one."""
        return self._renewed

    def is_due(self) -> bool:
        """Tell whether the offer is past half its life or no longer true."""
        if self._current is None:
            return True
        offer = self._current[0]
        half_life = (offer.issued_at + offer.expires_at) / 2
        now = self._clock.now()  # before the offer was issued: the clock was set back
        return (
            not offer.issued_at <= now < half_life
            or offer.addresses != self._addresses()
            or offer.slots != self._slots()
        )

    def look_again(self) -> None:
        """Have `keep_current` see at once that jobs are let in, or are not any more."""
        self._look.set()

    async def renew(self) -> SignedOffer:
        """Sign a new offer under the next generation and tell everybody who waits for it."""
        generation = await self._leases.next_offer_generation()
        offer = self._compose(generation)
        body = codec.encode(offer)
        signature = self._signer.sign_digest(offer_digest(self._domain, body))
        signed = SignedOffer(body=body, signature=signature)
        self._current = (offer, signed)
        earlier, self._renewed = self._renewed, asyncio.Event()
        earlier.set()
        return signed

    async def publish(self) -> None:
        """Gossip the offer. Gossip is best effort: schedulers we know get it with HELLO anyway."""
        try:
            await self._network.publish(OFFERS_TOPIC, codec.encode(self.signed))
        except AssayError as error:
            logger.debug("the offer was not gossiped: %s", error)

    async def keep_current(self) -> None:
        """Renew and publish for ever."""
        while True:
            try:
                if self.is_due():
                    await self.renew()
                    await self.publish()
            except StoreUnavailable as error:  # the present one stands for half its life yet
                logger.debug("the offer is not renewed: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(CHANGE_CHECK_S, self._supply.offer_lifetime_s / 4)):
                    await self._look.wait()
            self._look.clear()

    def _addresses(self) -> tuple[str, ...]:
        return self._network.addresses[:ADDRESSES_MAX]

    def _slots(self) -> int:
        """No slots while no job is let in: schedulers then draw others instead of asking us."""
        return self._supply.slots if self._lets_in() else 0

    def _compose(self, generation: int) -> Offer:
        supply, now = self._supply, int(self._clock.now())
        return Offer(
            operator=supply.operator,
            signer=self._signer.address,
            peer_id=self._network.peer_id,
            addresses=self._addresses(),
            hardware_class=supply.hardware_class,
            cpu_model=supply.cpu_model,
            tiers=supply.tiers,
            runtimes=supply.runtimes,
            software_digest=supply.software_digest,
            exact_modes=supply.exact.modes,
            slots=self._slots(),
            slot=supply.slot,
            gpus=supply.gpus,
            benchmark=supply.benchmark,
            price_microusd_per_second=supply.price_microusd_per_second,
            bond_max_microusd=supply.bond_max_microusd,
            issued_at=now,
            expires_at=now + supply.offer_lifetime_s,
            generation=generation,
        )
