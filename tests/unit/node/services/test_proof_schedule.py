"""When providers are asked and who is asked together, with a seeded draw and no clock."""

import random

import pytest

from assay_node.protocol.ids import Digest
from assay_node.services.proof_schedule import BUSY_MAX, BUSY_S, RETRY_S, ProofSchedule, ProofTerms
from tests.builders.jobs import operator

HOUR = 3600.0
CPU, GPU = Digest(b"c" * 32), Digest(b"g" * 32)
A, B = operator(1), operator(2)


def a_schedule(seed: int = 1, **terms) -> ProofSchedule:
    return ProofSchedule(
        terms=ProofTerms(**{"interval_s": 6 * HOUR, **terms}), draw=random.Random(seed)
    )


def next_due(schedule: ProofSchedule, who, *, after: float) -> float:
    """When an operator alone is due next, to the second."""
    return next(t for t in range(int(after), 10**7) if schedule.next_round({who: CPU}, now=t))


def test_a_new_provider_is_asked_at_once_and_a_known_one_at_its_moment():
    schedule = a_schedule()
    schedule.admit(A, now=0, asked_before=False)
    schedule.admit(B, now=0, asked_before=True)
    assert schedule.next_round({A: CPU}, now=0) == (A,)
    assert schedule.next_round({B: CPU}, now=0) == ()
    schedule.admit(A, now=100, asked_before=False)  # again, at every look
    schedule.answered(A, now=0, again_soon=False)
    assert schedule.next_round({A: CPU}, now=1) == ()


@pytest.mark.parametrize(("count", "together"), [(1, 8), (4, 8), (20, 4)])
def test_a_provider_is_asked_once_an_interval_on_average_however_many_are_taken_along(
    count, together
):
    schedule = a_schedule(together=together)
    eligible = {operator(n): CPU for n in range(count)}
    for one in eligible:
        schedule.admit(one, now=0, asked_before=True)
    asked, days = 0, 400 // count + 20
    for now in range(0, days * 86_400, 60):
        chosen = schedule.next_round(eligible, now=now)
        asked += len(chosen)
        for one in chosen:
            schedule.answered(one, now=now, again_soon=False)
    expected = count * days * 86_400 / (6 * HOUR)
    assert 0.85 < asked / expected < 1.15


def test_a_round_takes_others_of_its_class_along_and_no_more_than_so_many():
    schedule = a_schedule(together=3)
    eligible = {operator(n): CPU for n in range(10)} | {operator(20): GPU}
    for one in eligible:
        schedule.admit(one, now=0, asked_before=True)
    schedule.admit(A, now=0, asked_before=False)
    schedule.hasten(A, now=-RETRY_S[1])
    chosen = schedule.next_round(eligible, now=0)
    assert chosen[0] == A
    assert len(set(chosen)) == 3
    assert operator(20) not in chosen
    companions = {schedule.next_round(eligible, now=0)[1:] for _ in range(20)}
    assert len(companions) > 5, "the others are drawn anew each time"


def test_a_failure_is_asked_about_again_within_minutes():
    schedule = a_schedule()
    schedule.admit(A, now=0, asked_before=False)
    schedule.answered(A, now=0, again_soon=True)
    assert RETRY_S[0] <= next_due(schedule, A, after=0) <= RETRY_S[1] + 1


def test_hastening_never_postpones():
    schedule = a_schedule()
    schedule.admit(A, now=0, asked_before=False)
    schedule.hasten(A, now=0)
    assert schedule.next_round({A: CPU}, now=0) == (A,)


def test_busy_is_postponed_and_counts_when_it_never_ends():
    schedule = a_schedule()
    schedule.admit(A, now=0, asked_before=False)
    assert [schedule.was_busy(A, now=0) for _ in range(BUSY_MAX)] == [
        *[False] * (BUSY_MAX - 1),
        True,
    ]
    assert BUSY_S[0] <= next_due(schedule, A, after=0) <= BUSY_S[1] + 1
    schedule.answered(A, now=0, again_soon=False)
    assert not schedule.was_busy(A, now=0)


def test_a_busy_provider_is_not_taken_along():
    schedule = a_schedule()
    for one in (A, B):
        schedule.admit(one, now=0, asked_before=one == B)
    schedule.was_busy(B, now=0)
    assert schedule.next_round({A: CPU, B: CPU}, now=0) == (A,)


def test_what_is_gone_is_forgotten():
    schedule = a_schedule()
    schedule.admit(A, now=0, asked_before=False)
    schedule.forget([B])
    assert schedule.next_round({A: CPU}, now=10**6) == ()
