"""A provider keeps its assignments, and what shows that a scheduler contradicted itself."""

from typing import Any

import pytest

from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.errors import Refused
from assay_node.protocol.evidence import (
    AssignEvidence,
    CommitSetEvidence,
    convicted,
    decode_evidence,
)
from assay_node.protocol.ids import Digest
from assay_node.protocol.order import SignedOrder, job_id
from tests.unit.provider_agent.test_scheduler_requests import committed, entries
from tests.unit.provider_agent.world import (
    DOMAIN,
    OPERATOR,
    OTHER_OPERATOR,
    REQUESTER,
    SCHEDULER,
    World,
    an_assign,
    sign_assign,
)

BOTH: dict[str, Any] = {"operators": (OTHER_OPERATOR, OPERATOR), "tickets": (0, 1)}


async def leased(world: World) -> tuple[SignedOrder, SignedAssign]:
    """Take a lease with an assignment to two."""
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    signed = world.signed_order()
    assign = an_assign(signed, sequence=4, **BOTH)
    assert (await world.scheduler.lease(signed, assign=assign)).accepted
    return signed, assign


async def test_a_lease_is_stored_with_its_assignments(world: World) -> None:
    async with world.daemon():
        signed, first = await leased(world)
        job = job_id(signed.order, DOMAIN)
        assert await world.store.assigns(job) == (first,)
        second = an_assign(signed, sequence=9, round_number=1, **BOTH)
        assert (await world.scheduler.lease(signed, round_number=1, assign=second)).accepted
        # the same offer again, as after a lost answer
        assert (await world.scheduler.lease(signed, round_number=1, assign=second)).accepted
        assert await world.store.assigns(job) == (first, second)
        assert await world.store.evidence() == ()


async def test_a_refused_lease_keeps_no_assignment(world: World) -> None:
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        signed = world.signed_order()
        assert not (await world.scheduler.lease(signed, ticket=0)).accepted
        assert await world.store.assigns(job_id(signed.order, DOMAIN)) == ()


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({"sequence": 4, "round_number": 1, **BOTH}, 4),  # another of the same number
        ({"sequence": 5, "round_number": 1}, 4),  # a later one that hides the other operator
        ({"sequence": 3, "round_number": 1, **BOTH, "replaced": (REQUESTER.address,)}, 4),
    ],
)
async def test_a_contradiction_is_refused_and_both_are_kept(
    world: World, change: dict[str, Any], held: int
) -> None:
    async with world.daemon():
        signed, first = await leased(world)
        job = job_id(signed.order, DOMAIN)
        other = an_assign(signed, **change)
        answer = await world.scheduler.lease(signed, round_number=1, assign=other)
        assert not answer.accepted
        assert f"contradicts number {held} of the same job" in answer.reason
        assert (await world.stored(job)).round_number == 0
    async with world.daemon():  # and is still there after a crash
        (kept,) = await world.store.evidence()
        assert (kept.job, kept.scheduler) == (job, SCHEDULER)
        evidence = decode_evidence(kept.body)
        assert evidence == AssignEvidence(first=first, second=other)
        assert convicted(evidence, DOMAIN) == SCHEDULER


async def test_a_contradiction_is_kept_also_when_the_lease_is_over(world: World) -> None:
    async with world.daemon():
        signed, _ = await leased(world)
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.release(job, "replaced")
        other = an_assign(signed, sequence=5, round_number=1)
        answer = await world.scheduler.lease(signed, round_number=1, assign=other)
        assert "kept as evidence" in answer.reason
        assert len(await world.store.evidence()) == 1


async def test_what_the_scheduler_did_not_sign_is_no_evidence(world: World) -> None:
    async with world.daemon():
        signed, _ = await leased(world)
        forged = sign_assign(an_assign(signed, sequence=5, round_number=1).assign, REQUESTER)
        answer = await world.scheduler.lease(signed, round_number=1, assign=forged)
        assert "not signed by the order's scheduler" in answer.reason
        assert await world.store.evidence() == ()


async def test_two_sets_of_one_round_are_kept(world: World) -> None:
    async with world.daemon():
        commit = await committed(world)
        one = world.commit_set(commit)
        # it lacks our entry as well: what counts is that the scheduler signed it
        two = world.commit_set(
            commit, entries=entries(commit, ("other", 0, Digest(b"\x0a" * 32)), ("other", 1, None))
        )
        await world.scheduler.reveal(one)
        await world.scheduler.reveal(one)
        forged = world.commit_set(commit, entries=two.entries, signature=one.signature)
        with pytest.raises(Refused):
            await world.scheduler.reveal(forged)
        assert await world.store.evidence() == ()
        with pytest.raises(Refused):
            await world.scheduler.reveal(two)
        (kept,) = await world.store.evidence()
        evidence = decode_evidence(kept.body)
        assert evidence == CommitSetEvidence(first=one, second=two)
        assert convicted(evidence, DOMAIN) == SCHEDULER


async def test_the_sets_of_two_rounds_are_no_evidence(world: World) -> None:
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        await world.scheduler.reveal(world.commit_set(await world.scheduler.committed()))
        await world.scheduler.lease(signed, round_number=1)
        await world.scheduler.reveal(world.commit_set(await world.scheduler.committed(2)))
        assert await world.store.evidence() == ()
