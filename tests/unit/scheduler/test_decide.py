"""Placement by example: who gets a replica, who does not, and what a person reads about it."""

from dataclasses import replace

import pytest

from assay_node.protocol import cid as cids
from assay_node.protocol.job_spec import Comparison, Exactness, Resources
from assay_node.protocol.lease import LEASE_ACTIVE, LeaseState
from assay_node.protocol.units import GIB
from assay_scheduler.decide import decide
from assay_scheduler.plan import Reason
from assay_scheduler.snapshot import Snapshot
from tests.unit.scheduler.samples import (
    NOW,
    OTHER_SOFTWARE,
    SEED,
    SOFTWARE,
    A,
    B,
    C,
    D,
    E,
    F,
    job,
    lease,
    placed_at,
    provider,
    verdict_on,
)


def plan_of(jobs, providers):
    return decide(Snapshot(jobs=tuple(jobs), providers=tuple(providers)), NOW, SEED)


def decision_of(one_job, providers):
    (decision,) = plan_of([one_job], providers).decisions
    return decision


def test_the_lowest_tickets_that_fit_are_placed():
    plan = plan_of(
        [job(draw=(A, B, C, D))],
        [provider(D), provider(C), provider(B, connected=False), provider(A)],
    )
    assert placed_at(plan) == [(1, A, 0), (1, C, 2), (1, D, 3)]
    (decision,) = plan.decisions
    assert (decision.wanted, decision.placed) == (3, 3)
    assert decision.summary == "3 of 3 replicas placed"
    assert not decision.impossible
    assert decision.relaxations == ()


def test_an_operator_drawn_twice_runs_once_at_its_first_ticket():
    plan = plan_of([job(draw=(A, A, B, A, C))], [provider(A), provider(B), provider(C)])
    assert placed_at(plan) == [(1, A, 0), (1, B, 2), (1, C, 4)]


def test_a_ticket_above_max_ticket_is_not_in_reach():
    decision = decision_of(job(draw=(A, B, C, D), max_ticket=2), [provider(p) for p in (A, B, D)])
    assert decision.placed == 0
    assert verdict_on(decision, D).ticket is None
    assert verdict_on(decision, D).reasons == (
        (Reason.NOT_DRAWN, "none of tickets 0 to 2 drew it"),
    )


def test_verdicts_are_by_ticket_then_by_operator():
    decision = decision_of(job(draw=(D, None, B, A)), [provider(p) for p in (A, B, C, D, E)])
    assert [(v.operator, v.ticket) for v in decision.verdicts] == [
        (D, 0), (B, 2), (A, 3), (C, None), (E, None),
    ]  # fmt: skip


def test_who_fits_and_is_not_needed_hears_so():
    decision = decision_of(job(draw=(A, B, C, D)), [provider(p) for p in (A, B, C, D)])
    assert verdict_on(decision, D).reasons == (
        (Reason.NOT_NEEDED, "fits, but the job's 3 replicas went to other operators"),
    )


def test_a_job_starts_with_all_its_replicas_or_none():
    decision = decision_of(
        job(draw=(A, B, C, D)),
        [provider(A), provider(B), provider(C, price_microusd_per_second=4000)],
    )
    assert decision.placed == 0
    assert not decision.impossible
    assert verdict_on(decision, A).reasons == (
        (
            Reason.WAITS_FOR_OTHERS,
            "fits, but the job needs 3 operators at once and only 2 of those drawn can take it now",
        ),
    )
    assert verdict_on(decision, D).reasons == (
        (Reason.NEVER_HEARD, "drawn, but it has never been heard from"),
    )
    assert decision.summary == (
        "0 of 3 replicas placed; waiting for 3 more: of 4 operators drawn, "
        "2 waits for others, 1 never heard, 1 price above cap"
    )
    assert decision.relaxations == ("1 more at a cap of $0.004 per second",)


def test_a_replacement_is_placed_as_soon_as_one_fits():
    running = (
        lease(A, 0, LeaseState.ACCEPTED),
        lease(B, 1, LeaseState.LOST),
        lease(C, 2, LeaseState.REFUSED),
    )
    plan = plan_of(
        [job(draw=(A, B, C, D, E), leases=running)],
        [provider(p) for p in (A, B, C, D)] + [provider(E, connected=False)],
    )
    assert placed_at(plan) == [(1, D, 3)]
    (decision,) = plan.decisions
    assert (decision.wanted, decision.placed) == (2, 1)
    assert decision.summary == (
        "2 of 3 replicas placed; waiting for 1 more: of 5 operators drawn, 1 offline"
    )


@pytest.mark.parametrize("state", list(LeaseState))
def test_an_operator_is_used_once_per_job(state):
    decision = decision_of(
        job(draw=(A, B, C, D), leases=(lease(A, 0, state),)), [provider(p) for p in (A, B, C, D)]
    )
    ((reason, sentence),) = verdict_on(decision, A).reasons
    assert reason is Reason.ALREADY_USED
    if state in LEASE_ACTIVE:
        assert sentence == "already has a replica of this job, at ticket 0"
        assert decision.placed == 2
    else:
        words = state.value.replace("_", " ")
        assert sentence == (
            f"had a replica of this job that was {words}; an operator is used once per job"
        )
        assert decision.placed == 3


def test_an_active_replica_outweighs_an_ended_one_in_whatever_order_they_come():
    both = (lease(A, 0, LeaseState.ACCEPTED), lease(A, 3, LeaseState.LOST))
    plans = [plan_of([job(leases=leases)], [provider(A)]) for leases in (both, both[::-1])]
    assert plans[0] == plans[1]
    assert verdict_on(plans[0].decisions[0], A).reasons[0][1].startswith("already has a replica")


def test_a_job_with_all_its_replicas_wants_nothing():
    full = tuple(lease(p, t, LeaseState.COMMITTED) for t, p in enumerate((A, B, C)))
    decision = decision_of(job(leases=full), [provider(p) for p in (A, B, C, D)])
    assert (decision.wanted, decision.placed, decision.impossible) == (0, 0, False)
    assert decision.summary == "3 of 3 replicas placed"
    assert verdict_on(decision, D).reasons[0][0] is Reason.NOT_NEEDED


def test_too_few_operators_drawn_is_impossible_whatever_they_offer():
    decision = decision_of(job(draw=(A, A, B, None)), [provider(p) for p in (A, B, C)])
    assert decision.impossible
    assert decision.placed == 0
    assert decision.summary == (
        "0 of 3 replicas placed, and the rest never can be: it takes 3 more operators, "
        "but tickets 0 to 3 drew 2, of which 0 were used already; "
        "order again with a higher max_ticket"
    )


def test_using_operators_up_makes_a_job_impossible_and_nobody_runs_for_nothing():
    gone = (lease(A, 0, LeaseState.ACCEPTED), lease(B, 1, LeaseState.LOST))
    decision = decision_of(job(draw=(A, B, C), leases=gone), [provider(p) for p in (A, B, C)])
    assert decision.wanted == 2
    assert decision.impossible
    assert decision.placed == 0
    assert "drew 3, of which 2 were used already" in decision.summary


@pytest.mark.parametrize(
    "state_of_supply",
    [{"connected": False}, {"slots_free": 0}, {"price_microusd_per_second": 10**9}, None],
)
def test_what_can_change_keeps_a_job_possible(state_of_supply):
    providers = (
        [] if state_of_supply is None else [provider(p, **state_of_supply) for p in (A, B, C)]
    )
    decision = decision_of(job(draw=(A, B, C)), providers)
    assert (decision.placed, decision.impossible) == (0, False)


@pytest.mark.parametrize("providers", [[], [provider(p) for p in (A, B, C)]])
def test_an_expired_order_is_impossible(providers):
    decision = decision_of(job(expiry=int(NOW)), providers)
    assert decision.impossible
    assert decision.placed == 0
    assert decision.summary.endswith("the order has expired")


def test_a_class_job_takes_the_software_that_is_complete_first():
    # SOFTWARE is the lower digest, has the lowest ticket, and is complete as well, but later.
    draw = (A, B, C, D, E, F)
    late = dict.fromkeys((A, C, F), SOFTWARE)
    early = dict.fromkeys((B, D, E), OTHER_SOFTWARE)
    plan = plan_of(
        [job(draw=draw, comparison=Comparison.CLASS)],
        [provider(who, software_digest=software) for who, software in (late | early).items()],
    )
    assert placed_at(plan) == [(1, B, 1), (1, D, 3), (1, E, 4)]
    assert verdict_on(plan.decisions[0], A).reasons == (
        (
            Reason.SOFTWARE_DIFFERS,
            "runs software 7373737373737373; all replicas of this job run 7474747474747474",
        ),
    )


def test_an_exact_job_mixes_software():
    plan = plan_of([job()], [provider(A), provider(B, software_digest=OTHER_SOFTWARE), provider(C)])
    assert [who for _, who, _ in placed_at(plan)] == [A, B, C]


def test_a_class_job_that_brings_its_environment_brings_its_software():
    environment = cids.of_block(cids.DAG_CBOR, b"an environment")
    both = ("host-python", "environment")
    mixed = [
        provider(A, runtimes=both),
        provider(B, runtimes=both, software_digest=OTHER_SOFTWARE),
        provider(C, runtimes=both),
        provider(D),
    ]
    wanted = job(draw=(D, A, B, C), runtime=environment, comparison=Comparison.CLASS)
    plan = plan_of([wanted], mixed)
    assert [who for _, who, _ in placed_at(plan)] == [A, B, C]
    ((reason, sentence),) = verdict_on(plan.decisions[0], D).reasons
    assert reason is Reason.RUNTIME_MISSING
    assert environment in sentence
    running = (
        lease(A, 1, LeaseState.COMMITTED, SOFTWARE),
        lease(B, 2, LeaseState.LOST, OTHER_SOFTWARE),
        lease(C, 3, LeaseState.COMMITTED, SOFTWARE),
    )
    replaced = replace(wanted, leases=running, draw=(D, A, B, C, E))
    supplies = [provider(E, runtimes=both, software_digest=OTHER_SOFTWARE)]
    replaced = replace(replaced, order=replace(replaced.order, max_ticket=4))
    assert placed_at(plan_of([replaced], supplies)) == [(1, E, 4)]


def test_a_job_under_a_mode_goes_to_those_that_passed_its_self_test():
    providers = [
        provider(A, exact_modes=()),
        provider(B, exact_modes=("E14",)),
        *(provider(who, software_digest=OTHER_SOFTWARE) for who in (C, D)),
        provider(E),
    ]
    plan = plan_of([job(draw=(A, B, C, D, E), exact=Exactness.E21)], providers)
    assert [who for _, who, _ in placed_at(plan)] == [C, D, E]
    for who in (A, B):
        ((reason, _),) = verdict_on(plan.decisions[0], who).reasons
        assert reason is Reason.EXACT_MODE_MISSING
    as_it_is = plan_of([job(draw=(A, B, C), exact=Exactness.AS_IS)], providers)
    assert [who for _, who, _ in placed_at(as_it_is)] == [A, B, C]


def test_a_class_replacement_keeps_to_the_software_that_runs():
    running = (
        lease(A, 0, LeaseState.LOST, SOFTWARE),
        lease(B, 1, LeaseState.COMMITTED, OTHER_SOFTWARE),
        lease(C, 2, LeaseState.COMMITTED, OTHER_SOFTWARE),
    )
    plan = plan_of(
        [job(draw=(A, B, C, D, E), leases=running, comparison=Comparison.CLASS)],
        [provider(D), provider(E, software_digest=OTHER_SOFTWARE)],
    )
    assert placed_at(plan) == [(1, E, 4)]


def test_a_class_split_between_software_waits_and_stays_possible():
    decision = decision_of(
        job(draw=(A, B, C), comparison=Comparison.CLASS),
        [provider(A), provider(B), provider(C, software_digest=OTHER_SOFTWARE)],
    )
    assert (decision.placed, decision.impossible) == (0, False)
    assert [verdict_on(decision, p).reasons[0][0] for p in (A, B, C)] == [
        Reason.WAITS_FOR_OTHERS,
        Reason.WAITS_FOR_OTHERS,
        Reason.SOFTWARE_DIFFERS,
    ]


def test_the_older_job_takes_the_last_slots():
    jobs = [job(1, admitted_at=NOW - 5), job(2, admitted_at=NOW - 9)]
    plan = plan_of(jobs, [provider(p, slots_free=1) for p in (A, B, C)])
    assert {number for number, _, _ in placed_at(plan)} == {2}
    assert plan.decisions[0].job == jobs[1].job
    assert verdict_on(plan.decisions[1], A).reasons == (
        (Reason.NO_FREE_SLOT, "all 2 slots are taken"),
    )


def test_a_bond_promised_to_one_job_is_not_promised_to_the_next():
    plan = plan_of(
        [job(1, admitted_at=NOW - 9), job(2, admitted_at=NOW - 5)],
        [provider(p, stake_free_microusd=1_999_999) for p in (A, B, C)],
    )
    assert {number for number, _, _ in placed_at(plan)} == {1}
    assert verdict_on(plan.decisions[1], A).reasons[0][0] is Reason.STAKE_TOO_LOW


def test_a_job_that_cannot_start_reserves_nothing():
    jobs = [job(1, draw=(A, B, E), admitted_at=NOW - 9), job(2, draw=(A, B, C))]
    plan = plan_of(jobs, [provider(p, slots_free=1) for p in (A, B, C)])
    assert {number for number, _, _ in placed_at(plan)} == {2}


def test_the_seed_orders_jobs_of_equal_age_and_nothing_else():
    jobs = tuple(job(number) for number in range(1, 5))
    snapshot = Snapshot(jobs=jobs, providers=tuple(provider(p) for p in (A, B, C)))
    orders = {
        tuple(d.job for d in decide(snapshot, NOW, bytes([seed])).decisions) for seed in range(20)
    }
    assert len(orders) > 5
    aged = Snapshot(
        jobs=tuple(job(n, admitted_at=NOW - n) for n in range(1, 5)), providers=snapshot.providers
    )
    assert len({decide(aged, NOW, bytes([seed])) for seed in range(20)}) == 1


def test_relaxations_are_the_nearest_steps_the_smallest_first():
    wanting = job(draw=(A, B, C), resources=Resources(memory_bytes=4 * GIB))
    decision = decision_of(
        wanting,
        [
            provider(A, price_microusd_per_second=2000),
            provider(B, price_microusd_per_second=4000),
            provider(C, memory_bytes=3 * GIB),
            provider(D, price_microusd_per_second=8000),
            provider(E, price_microusd_per_second=9000),
            provider(F, price_microusd_per_second=1500, connected=False),
        ],
    )
    assert decision.relaxations == (
        "1 more with 3 GiB of memory instead of 4 GiB",
        "1 more at a cap of $0.002 per second",
        "3 more at a cap of $0.008 per second",
    )


def test_bond_limits_are_one_relaxation():
    decision = decision_of(
        job(draw=(A, B, C), bond_microusd=2_000_000),
        [
            provider(A, bond_max_microusd=1_500_000, stake_free_microusd=1_000_000),
            provider(B, bond_max_microusd=1_000_000),
        ],
    )
    assert decision.relaxations == ("2 more with a bond of $1.00 instead of $2.00",)


def test_every_other_term_can_be_relaxed():
    small = Resources(memory_bytes=1)
    by_field = {
        "cpus_milli": (500, "1 more with 0.5 CPUs instead of 1 CPUs"),
        "scratch_bytes": (1 << 20, "1 more with 1 MiB of scratch space instead of 256 MiB"),
        "output_bytes": (1 << 20, "1 more with 1 MiB of output instead of 64 MiB"),
        "input_bytes": (1 << 20, "1 more with 1 MiB of input instead of 256 MiB"),
        "seconds_max": (60, "1 more with runs of at most 60 s instead of 600 s"),
    }
    for field, (value, sentence) in by_field.items():
        decision = decision_of(job(resources=small), [provider(A, **{field: value})])
        assert decision.relaxations == (sentence,)


def test_what_no_order_can_say_is_not_offered():
    decision = decision_of(
        job(), [provider(A, memory_bytes=0), provider(B, price_microusd_per_second=2**64 - 1)]
    )
    assert decision.relaxations == ()


def test_the_summary_counts_who_would_fit_but_was_not_drawn():
    decision = decision_of(job(draw=(A, B, None)), [provider(p) for p in (A, C, D)])
    assert decision.impossible
    decision = decision_of(job(draw=(A, B, E)), [provider(p) for p in (A, C, D)])
    assert decision.summary.endswith("; 2 others would fit but were not drawn")


@pytest.mark.parametrize("twice", [{"jobs": (job(), job())}, {"providers": (provider(A),) * 2}])
def test_a_snapshot_that_says_something_twice_is_a_bug(twice):
    with pytest.raises(AssertionError, match="twice"):
        Snapshot(**{"jobs": (), "providers": (), **twice})
