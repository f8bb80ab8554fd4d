"""What a provider checks before it takes a lease, in numbered steps.

A provider that takes a bad lease works for nothing, or stakes its bond on a job it cannot finish.

1. The order is well formed, and its requester signed it.
2. What is left until its expiry holds the run and both windows; it is not absurdly far away.
3. The order names the scheduler whose peer is asking.
4. The chain drew this provider's operator at the ticket, within the order's reach.
5. The requester has set aside at least the most the order can cost.
6. The order's nonce is unspent.
7. The order's cap is at least the price; the rate is the price.
8. The bond is within what the owner puts at stake for one job.
9. The owner does not deny the requester, the scheduler or the spec.
10. A slot offers the order's hardware class and run time.
11. The chain knows this provider's signing key, or its reveal would count as silence.
12. The scheduler's assignment names this operator at the ticket, in this round of this job, among
    no more than the order's replicas. With it the scheduler's bond stands for the lease.
13. That bond is what the owner asks for, and slashable for a day after the order's expiry.
14. The operator's stake holds the bond beside those of its open leases and what is locked on chain.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import Account, ChainReader, Clock, Head, SchedulerBond
from assay_node.protocol.assignment import signer_of_assign
from assay_node.protocol.errors import MalformedMessage, Refused
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.messages import LeaseOffer
from assay_node.protocol.order import Order, job_id
from assay_node.protocol.receipt import ROUNDS_MAX
from assay_node.protocol.typed_data import Domain, recover
from assay_node.protocol.units import UINT32_MAX, microusd_to_text
from assay_provider import pricing
from assay_provider.owner.denials import Denials
from assay_provider.supply import Supply

REPORT_S: Final = 86_400
"""What is left after an order's expiry to find out that its scheduler contradicted itself."""
EXPIRY_AHEAD_S_MAX: Final = 30 * 86_400
"""A lease is kept, with its output, until its order expires; a month is more than any job needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseVerifier:
    """Checks lease offers for one provider."""

    supply: Supply
    signer: Address
    chain: ChainReader
    domain: Domain
    clock: Clock
    denials: Denials = field(default_factory=Denials)

    async def verify(
        self, offer: LeaseOffer, *, asking: Address | None, promised_microusd: int = 0
    ) -> int:
        """Return the rate in micro-USD per second at which the lease can be taken.

        Args:
            offer: what the scheduler sent.
            asking: the scheduler wallet behind the asking peer; None for a stranger.
            promised_microusd: the bonds of the leases that are open already.

        Raises:
            Refused: a check fails; the text names it.
            ChainUnavailable: the chain cannot be asked now.
        """
        order = offer.signed_order.order
        job = job_id(order, self.domain)
        await self._check_signature(offer, job)  # 1
        _check_time(order, self.clock.now())  # 2
        _check_scheduler(order, asking)  # 3
        self.check_assign(offer, job)  # 12
        rate = self.check_terms(order)  # 7, 8, 9, 10: cheaper than asking the chain
        # 2 by the chain's clock, 4, 5, 6, 11, 13, 14
        await self._check_chain(offer, job, promised_microusd)
        return rate

    def check_assign(self, offer: LeaseOffer, job: Digest) -> None:
        """Check the assignment of an offer, whose order is `job`.

        Raises:
            Refused: it does not assign this lease to this provider.
        """
        order, assign = offer.signed_order.order, offer.assign.assign
        if (assign.job, assign.round_number) != (job, offer.round_number):
            raise Refused("the assignment is for another job or another round")
        if len(assign.operators) > order.replicas:
            raise Refused(
                f"the assignment names {len(assign.operators)} operators; the order has "
                f"{order.replicas} replicas"
            )
        places = zip(assign.operators, assign.tickets, strict=True)
        if (self.supply.operator, offer.ticket) not in places:
            raise Refused(f"the assignment does not name this operator at ticket {offer.ticket}")
        if signer_of_assign(offer.assign, self.domain) != order.scheduler:
            raise Refused("the assignment is not signed by the order's scheduler")

    async def _check_signature(self, offer: LeaseOffer, job: Digest) -> None:
        order = offer.signed_order.order
        if not (offer.ticket >= 0 and 0 <= offer.round_number <= UINT32_MAX):
            raise Refused("ticket and round are small numbers that are not negative")
        if offer.round_number >= ROUNDS_MAX:
            raise Refused(
                f"round {offer.round_number} is beyond {ROUNDS_MAX - 1}: no panel could confirm an "
                "answer given in it"
            )
        try:
            signed_by = recover(job, offer.signed_order.signature)
        except MalformedMessage as error:
            raise Refused(f"the order's signature is malformed: {error}") from None
        if signed_by == order.requester:
            return
        # A smart wallet orders by the key that it registered.
        if signed_by != await self.chain.signer_of(order.requester):
            raise Refused("the order is not signed by its requester for this chain and market")

    def check_terms(self, order: Order) -> int:
        """Return the rate at which this provider runs an order, whoever asks.

        Raises:
            Refused: the owner's terms exclude it.
        """
        supply = self.supply
        rate = pricing.quote(order, price_microusd_per_second=supply.price_microusd_per_second)
        if order.bond_microusd > supply.bond_max_microusd:
            raise Refused(
                f"the bond of {microusd_to_text(order.bond_microusd)} is more than this provider "
                f"stakes on one job ({microusd_to_text(supply.bond_max_microusd)})"
            )
        if order.requester in supply.requesters_denied:
            raise Refused("this provider does not work for the requester")
        self.denials.current().check_order(order)
        if order.hardware_class != supply.hardware_class:
            raise Refused("the order asks for another hardware class")
        if order.max_seconds > supply.slot.seconds_max:
            raise Refused(
                f"the run may take {order.max_seconds} s; this provider runs jobs for at most "
                f"{supply.slot.seconds_max} s"
            )
        return rate

    async def _check_chain(self, offer: LeaseOffer, job: Digest, promised_microusd: int) -> None:
        order, operator = offer.signed_order.order, self.supply.operator
        if offer.ticket > order.max_ticket:  # 4, and a bound on what the chain is asked for
            raise Refused(f"ticket {offer.ticket} is beyond the order's reach {order.max_ticket}")
        facts = await self._read_facts(offer, job)
        _check_time(order, facts.head.timestamp)  # 2
        if facts.drawn[offer.ticket] != operator:  # 4
            raise Refused(f"this provider's operator was not drawn at ticket {offer.ticket}")
        if facts.budget_microusd < order.max_cost_microusd:  # 5
            raise Refused(
                f"the requester set {microusd_to_text(facts.budget_microusd)} aside for this "
                f"scheduler; the order can cost {microusd_to_text(order.max_cost_microusd)}"
            )
        if facts.nonce_used:  # 6
            raise Refused("the order's nonce is spent: it was settled or cancelled")
        if facts.signer != self.signer:  # 11
            raise Refused("the chain does not name this provider's signing key (yet)")
        self._check_bond(order, facts.bond)  # 13
        check_stake(order, facts.account, promised_microusd)  # 14

    def _check_bond(self, order: Order, bond: SchedulerBond) -> None:
        least = self.supply.scheduler_bond_min_microusd
        if bond.amount_microusd < least:
            raise Refused(
                f"the scheduler's bond is {microusd_to_text(bond.amount_microusd)}; this provider "
                f"works for schedulers that bond {microusd_to_text(least)}: assay scheduler bond"
            )
        if least and bond.slashable_until < order.expiry + REPORT_S:
            raise Refused(
                "the scheduler can take its bond back before the order has been expired for a day"
            )

    async def _read_facts(self, offer: LeaseOffer, job: Digest) -> "_Facts":
        order, chain = offer.signed_order.order, self.chain
        try:
            async with asyncio.TaskGroup() as group:
                head = group.create_task(chain.head())
                drawn = group.create_task(
                    chain.draw(order.hardware_class, order.seed_block, job, max_ticket=offer.ticket)
                )
                budget = group.create_task(chain.budget(order.requester, order.scheduler))
                used = group.create_task(chain.nonce_used(order.requester, order.nonce_number))
                signer = group.create_task(chain.signer_of(self.supply.operator))
                bond = group.create_task(chain.scheduler_bond(order.scheduler))
                account = group.create_task(chain.account(self.supply.operator))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the first failure is the reason to give
        return _Facts(
            head=head.result(),
            drawn=drawn.result(),
            budget_microusd=budget.result(),
            nonce_used=used.result(),
            signer=signer.result(),
            bond=bond.result(),
            account=account.result(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    head: Head
    drawn: tuple[Address | None, ...]
    budget_microusd: int
    nonce_used: bool
    signer: Address | None
    bond: SchedulerBond
    account: Account


def check_stake(order: Order, account: Account, promised_microusd: int) -> None:
    """Refuse an order whose bond the stake does not hold beside what it is promised to already.

    Raises:
        Refused: naming what is missing.
    """
    free = account.stake_microusd - account.locked_microusd - promised_microusd
    if order.bond_microusd > free:
        raise Refused(
            f"its bond of {microusd_to_text(order.bond_microusd)} is more than the stake that "
            f"nothing else holds ({microusd_to_text(max(free, 0))})"
        )


def _check_time(order: Order, now: float) -> None:
    needed_s = order.max_seconds + order.commit_window_s + order.reveal_window_s
    if order.expiry < now + needed_s:
        raise Refused(
            f"the order expires in {order.expiry - now:.0f} s; run and windows take {needed_s} s"
        )
    if order.expiry > now + EXPIRY_AHEAD_S_MAX:
        raise Refused(f"the order expires in more than {EXPIRY_AHEAD_S_MAX // 86_400} days")


def _check_scheduler(order: Order, asking: Address | None) -> None:
    if asking is None:
        raise Refused("this peer has not welcomed the provider as its scheduler")
    if order.scheduler != asking:
        raise Refused("the order names another scheduler than the one that asks")
