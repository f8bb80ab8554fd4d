"""Every numbered check of a lease offer turns a lease down for its own reason."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from assay_node.keys import LocalKey
from assay_node.protocol.errors import ChainUnavailable, Refused, RemoteError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.messages import LeaseOffer
from assay_node.protocol.order import SignedOrder
from assay_provider.lease_verification import LeaseVerifier
from tests.unit.provider_agent.world import (
    DOMAIN,
    NOW,
    OPERATOR,
    OTHER_OPERATOR,
    REQUESTER,
    SCHEDULER,
    SIGNER,
    World,
    an_assign,
    sign_assign,
)

STRANGER = LocalKey(b"\x77" * 32)


def verifier(world: World) -> LeaseVerifier:
    return LeaseVerifier(
        supply=world.supply,
        signer=SIGNER.address,
        chain=world.chain,
        domain=DOMAIN,
        clock=world.clock,
    )


def an_offer(world: World, ticket: int = 1, round_number: int = 0, **changes: Any) -> LeaseOffer:
    signed = world.signed_order(**changes)
    return LeaseOffer(
        signed_order=signed,
        ticket=ticket,
        round_number=round_number,
        assign=an_assign(signed, ticket=ticket, round_number=round_number),
    )


async def refusal(world: World, offer: LeaseOffer, asking: Address | None = SCHEDULER) -> str:
    with pytest.raises(Refused) as refused:
        await verifier(world).verify(offer, asking=asking)
    return str(refused.value)


async def test_a_good_offer_is_taken_at_the_price(world: World) -> None:
    assert await verifier(world).verify(an_offer(world), asking=SCHEDULER) == 400


async def test_1_an_order_signed_by_another_key(world: World) -> None:
    offer = an_offer(world, requester=STRANGER.address)
    assert "not signed by its requester" in await refusal(world, offer)


async def test_1_an_order_by_a_key_that_its_requester_registered(world: World) -> None:
    offer = an_offer(world, requester=STRANGER.address)
    world.chain.requester_signers[STRANGER.address] = REQUESTER.address
    assert await verifier(world).verify(offer, asking=SCHEDULER) == 400


async def test_1_an_order_for_another_chain(world: World) -> None:
    offer = an_offer(world)
    other = dataclasses.replace(verifier(world), domain=dataclasses.replace(DOMAIN, chain_id=1))
    with pytest.raises(Refused, match="not signed by its requester"):
        await other.verify(offer, asking=SCHEDULER)


@pytest.mark.parametrize("signature", [b"", b"\x00" * 65, b"\xff" * 64 + b"\x1b"])
async def test_1_a_signature_of_another_form(world: World, signature: bytes) -> None:
    offer = an_offer(world)
    order = SignedOrder(order=offer.signed_order.order, signature=signature)
    offer = dataclasses.replace(offer, signed_order=order)
    assert "malformed" in await refusal(world, offer)


@pytest.mark.parametrize("numbers", [{"ticket": -1}, {"round_number": -1}, {"round_number": 2**32}])
async def test_1_numbers_out_of_range(world: World, numbers: dict[str, int]) -> None:
    assert "small numbers" in await refusal(world, an_offer(world, **numbers))


async def test_1_a_round_whose_answer_no_panel_could_confirm(world: World) -> None:
    assert "round 256 is beyond 255" in await refusal(world, an_offer(world, round_number=256))
    assert await verifier(world).verify(an_offer(world, round_number=255), asking=SCHEDULER)


async def test_2_too_little_time_is_left(world: World) -> None:
    enough = int(NOW) + 60 + 30 + 20
    assert await verifier(world).verify(an_offer(world, expiry=enough), asking=SCHEDULER)
    assert "take 110 s" in await refusal(world, an_offer(world, expiry=enough - 1))


async def test_2_too_little_time_is_left_by_the_chains_clock(world: World) -> None:
    world.chain.ahead_s = 500
    assert "expires in 100 s" in await refusal(world, an_offer(world))


async def test_2_an_expiry_absurdly_far_away(world: World) -> None:
    assert "more than 30 days" in await refusal(world, an_offer(world, expiry=2**63))


async def test_3_another_scheduler_asks(world: World) -> None:
    assert "another scheduler" in await refusal(world, an_offer(world), STRANGER.address)
    assert "has not welcomed" in await refusal(world, an_offer(world), None)


async def test_4_not_drawn(world: World) -> None:
    assert "not drawn at ticket 0" in await refusal(world, an_offer(world, ticket=0))
    assert "not drawn at ticket 2" in await refusal(world, an_offer(world, ticket=2))
    world.chain.drawn = (OTHER_OPERATOR,) * 4
    assert "not drawn at ticket 1" in await refusal(world, an_offer(world))


async def test_4_a_ticket_beyond_the_orders_reach(world: World) -> None:
    assert "beyond the order's reach" in await refusal(world, an_offer(world, ticket=4))


async def test_5_the_budget_is_too_small(world: World) -> None:
    offer = an_offer(world)
    world.chain.budget_microusd = offer.signed_order.order.max_cost_microusd
    assert await verifier(world).verify(offer, asking=SCHEDULER)
    world.chain.budget_microusd -= 1
    assert "the order can cost $0.061" in await refusal(world, offer)


async def test_6_the_nonce_is_spent(world: World) -> None:
    offer = an_offer(world, nonce=(77).to_bytes(32, "big"))
    world.chain.used_nonces.add(77)
    assert "nonce is spent" in await refusal(world, offer)


async def test_7_the_cap_is_below_the_price(world: World) -> None:
    assert await verifier(world).verify(an_offer(world, max_rate_microusd=400), asking=SCHEDULER)
    reason = await refusal(world, an_offer(world, max_rate_microusd=399))
    assert "at most $0.000399 a second; this provider asks $0.0004" in reason


async def test_8_the_bond_is_too_high(world: World) -> None:
    assert "stakes on one job" in await refusal(world, an_offer(world, bond_microusd=10_000_001))


async def test_9_the_requester_is_denied(world: World) -> None:
    world.supply = dataclasses.replace(
        world.supply, requesters_denied=frozenset({REQUESTER.address})
    )
    assert "does not work for" in await refusal(world, an_offer(world))


async def test_10_another_hardware_class_or_a_longer_run(world: World) -> None:
    other = Digest(b"\x66" * 32)
    assert "hardware class" in await refusal(world, an_offer(world, hardware_class=other))
    offer = an_offer(world, max_seconds=3601, expiry=int(NOW) + 9999)
    assert "for at most 3600 s" in await refusal(world, offer)


@pytest.mark.parametrize("signer", [None, STRANGER.address])
async def test_11_the_chain_does_not_know_the_signing_key(
    world: World, signer: Address | None
) -> None:
    world.chain.signer = signer
    assert "signing key" in await refusal(world, an_offer(world))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"job": Digest(b"\x66" * 32)}, "another job or another round"),
        ({"round_number": 1}, "another job or another round"),
        ({"operators": (OTHER_OPERATOR,)}, "does not name this operator at ticket 1"),
        ({"tickets": (2,)}, "does not name this operator at ticket 1"),
        ({"operators": (), "tickets": (), "replaced": (OPERATOR,)}, "does not name this operator"),
        (
            {
                "operators": (OTHER_OPERATOR, OPERATOR, STRANGER.address),
                "tickets": (0, 1, 2),
            },
            "names 3 operators; the order has 2 replicas",
        ),
    ],
)
async def test_12_the_assignment_is_not_for_this_lease(
    world: World, change: dict[str, Any], said: str
) -> None:
    offer = an_offer(world)
    assign = an_assign(offer.signed_order, **change)
    assert said in await refusal(world, dataclasses.replace(offer, assign=assign))


async def test_12_the_assignment_is_not_signed_by_the_orders_scheduler(world: World) -> None:
    offer = an_offer(world)
    forged = sign_assign(offer.assign.assign, STRANGER)
    said = await refusal(world, dataclasses.replace(offer, assign=forged))
    assert "not signed by the order's scheduler" in said
    cut = dataclasses.replace(offer.assign, signature=b"")
    said = await refusal(world, dataclasses.replace(offer, assign=cut))
    assert "not signed by the order's scheduler" in said


async def test_13_the_schedulers_bond_is_too_small(world: World) -> None:
    world.chain.bond_microusd -= 1
    said = await refusal(world, an_offer(world))
    assert "bond is $99.999999; this provider works for schedulers that bond $100.00" in said
    world.supply = dataclasses.replace(world.supply, scheduler_bond_min_microusd=0)
    world.chain.bond_microusd = world.chain.bond_slashable_until = 0
    assert await verifier(world).verify(an_offer(world), asking=SCHEDULER)


async def test_13_the_schedulers_bond_is_gone_before_the_job(world: World) -> None:
    offer = an_offer(world)
    world.chain.bond_slashable_until = offer.signed_order.order.expiry + 86_400
    assert await verifier(world).verify(offer, asking=SCHEDULER)
    world.chain.bond_slashable_until -= 1
    assert "take its bond back before the order has been expired" in await refusal(world, offer)


async def test_a_chain_that_is_away_is_no_reason_to_refuse(world: World) -> None:
    world.chain.away = True
    with pytest.raises(ChainUnavailable):
        await verifier(world).verify(an_offer(world), asking=SCHEDULER)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        with pytest.raises(RemoteError, match="the chain does not answer; try again"):
            await world.scheduler.lease(world.signed_order())
        assert await world.store.unfinished() == ()
        world.chain.away = False
        assert (await world.scheduler.lease(world.signed_order())).accepted


BREAKING: list[Callable[[World], LeaseOffer]] = [
    lambda world: an_offer(world, ticket=0),
    lambda world: an_offer(world, bond_microusd=10_000_001),
]


@pytest.mark.parametrize("make", BREAKING)
async def test_a_refused_offer_leaves_nothing_behind(
    world: World, make: Callable[[World], LeaseOffer]
) -> None:
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        offer = make(world)
        answer = await world.scheduler.lease(offer.signed_order, ticket=offer.ticket)
        assert not answer.accepted
        assert await world.store.unfinished() == ()
        assert world.sandbox.requests == []


async def test_14_the_stake_is_promised_to_other_jobs_or_locked_on_chain(world: World) -> None:
    offer = an_offer(world)  # a bond of $1, of a stake of $50
    assert await verifier(world).verify(offer, asking=SCHEDULER, promised_microusd=49_000_000)
    with pytest.raises(Refused, match=r"nothing else holds \(\$0.999999\)"):
        await verifier(world).verify(offer, asking=SCHEDULER, promised_microusd=49_000_001)
    world.chain.locked_microusd = 50_000_000
    assert "nothing else holds ($0.00)" in await refusal(world, offer)
