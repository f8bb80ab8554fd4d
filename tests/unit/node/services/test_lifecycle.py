"""What a job needs next, state by state."""

import pytest

from assay_node.protocol.lease import JOB_ENDS, JobState, LeaseState
from assay_node.services.lifecycle import (
    ROUNDS_MAX,
    AskReveal,
    CompleteReceipt,
    DrawProviders,
    FailJob,
    FindProviders,
    FixCommitSet,
    LoseLease,
    NextRound,
    OfferLease,
    ReplaceAtLimit,
    Timing,
    next_actions,
)
from tests.builders.jobs import a_commit, a_job, a_lease, operator

NOW = 1010.0
TIMING = Timing(lease_grace_s=10, offer_timeout_s=5, settle_margin_s=60)


def actions(job, *, now=NOW, away=None):
    return next_actions(job, now=now, away_s=away or {}, timing=TIMING)


@pytest.mark.parametrize("state", sorted(JOB_ENDS | {JobState.SETTLING}))
def test_a_job_that_ended_or_settles_needs_nothing(state):
    assert actions(a_job(state=state), now=1e9) == ()


@pytest.mark.parametrize("state", [JobState.ADMITTED, JobState.RUNNING, JobState.REVEALING])
def test_a_job_whose_time_ran_out_fails_before_its_order_expires(state):
    job = a_job(state=state)
    last = job.order.expiry - TIMING.settle_margin_s
    assert not any(isinstance(a, FailJob) for a in actions(job, now=last))
    (action,) = actions(job, now=last + 1)
    assert isinstance(action, FailJob)
    assert state.value in action.reason


def test_without_a_draw_it_is_drawn():
    assert actions(a_job(state=JobState.ADMITTED, draw=None)) == (DrawProviders(),)


def test_missing_replicas_are_looked_for():
    assert actions(a_job(state=JobState.ADMITTED)) == (FindProviders(),)
    job = a_job(a_lease(1, LeaseState.ACCEPTED), a_lease(2, LeaseState.LOST))
    assert actions(job) == (FindProviders(),)


def test_an_offered_lease_is_sent_to_a_provider_that_is_there():
    one, two = a_lease(1), a_lease(2)
    job = a_job(one, two, a_lease(3, LeaseState.ACCEPTED))
    assert actions(job, away={operator(2): 1.0}) == (OfferLease(one),)


@pytest.mark.parametrize("state", [LeaseState.OFFERED, LeaseState.ACCEPTED])
def test_a_provider_that_stays_away_is_replaced(state):
    lease = a_lease(1, state)
    job = a_job(lease, a_lease(2, LeaseState.COMMITTED), a_lease(3, LeaseState.COMMITTED))
    assert not any(isinstance(a, LoseLease) for a in actions(job, away={operator(1): 9.0}))
    (action,) = actions(job, away={operator(1): 11.0})
    assert isinstance(action, LoseLease)
    assert action.lease == lease


def test_a_provider_that_never_commits_is_replaced():
    lease = a_lease(1, LeaseState.ACCEPTED)
    job = a_job(lease, a_lease(2, LeaseState.COMMITTED), a_lease(3, LeaseState.COMMITTED))
    limit = lease.offered_at + TIMING.offer_timeout_s + 60 + 30
    assert actions(job, now=limit) == ()
    (action,) = actions(job, now=limit + 1)
    assert isinstance(action, LoseLease)


def test_a_commitment_stands_while_its_provider_is_away():
    job = a_job(*(a_lease(n, LeaseState.COMMITTED) for n in (1, 2, 3)))
    assert actions(job, away={operator(1): 1e9}) == (FixCommitSet(),)


def test_replicas_at_a_limit_are_replaced_unless_all_are():
    limited = a_lease(1, LeaseState.COMMITTED, commit=a_commit(at_limit=True))
    others = [a_lease(n, LeaseState.COMMITTED) for n in (2, 3)]
    assert actions(a_job(limited, *others)) == (ReplaceAtLimit((limited,)),)
    all_limited = [
        a_lease(n, LeaseState.COMMITTED, commit=a_commit(at_limit=True)) for n in (1, 2, 3)
    ]
    assert actions(a_job(*all_limited)) == (FixCommitSet(),)


def test_reveals_are_asked_of_those_who_are_there():
    one, two = a_lease(1, LeaseState.COMMITTED), a_lease(2, LeaseState.COMMITTED)
    job = a_job(one, two, a_lease(3, LeaseState.REVEALED), state=JobState.REVEALING)
    assert actions(job, away={operator(1): 1.0}) == (AskReveal(two),)


def test_those_who_withhold_their_reveal_cause_another_round():
    one, two = a_lease(1, LeaseState.COMMITTED), a_lease(2, LeaseState.COMMITTED)
    job = a_job(one, two, a_lease(3, LeaseState.REVEALED), state=JobState.REVEALING)
    assert actions(job, away={operator(1): 11.0}) == (NextRound((one,)),)
    late = 1000.0 + job.order.reveal_window_s + 1
    assert actions(job, now=late) == (NextRound((one, two)),)


def test_rounds_are_bounded():
    job = a_job(
        a_lease(1, LeaseState.COMMITTED), state=JobState.REVEALING, round_number=ROUNDS_MAX - 1
    )
    (action,) = actions(job, away={operator(1): 11.0})
    assert isinstance(action, FailJob)


def test_all_reveals_make_a_receipt():
    job = a_job(*(a_lease(n, LeaseState.REVEALED) for n in (1, 2, 3)), state=JobState.REVEALING)
    assert actions(job) == (CompleteReceipt(),)
