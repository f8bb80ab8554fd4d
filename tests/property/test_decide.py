"""Laws of `decide`, checked against a plain restatement of what fits, not against its table."""

import re
from dataclasses import replace
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Digest
from assay_node.protocol.job_spec import EXACT_MODES, Comparison, Exactness, Resources
from assay_node.protocol.lease import LEASE_ACTIVE, LeaseState
from assay_node.protocol.units import GIB, KIB, MIB, usd_to_microusd
from assay_scheduler.decide import decide
from assay_scheduler.hardware import Hardware, HardwareView
from assay_scheduler.plan import LASTING
from assay_scheduler.snapshot import JobView, ProviderView, Snapshot
from tests.unit.scheduler.samples import (
    NOW,
    OTHER_SOFTWARE,
    SEED,
    SOFTWARE,
    job,
    lease,
    operator,
    provider,
)

ENVIRONMENT = cids.of_block(cids.DAG_CBOR, b"an environment")
OPERATORS = [operator(n) for n in range(1, 9)]
SOFTWARES = st.sampled_from([SOFTWARE, OTHER_SOFTWARE])


LAW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no reason for a law to fail."""

AMISS = {
    "connected": (False,),
    "slots_free": (0,),
    "hardware": (
        HardwareView(state=Hardware.DISPROVED, text="too slow"),
        HardwareView(required=True),
        HardwareView(being_asked=True),
    ),
    "stake_free_microusd": (0, 999_999, 1_000_000),
    "hardware_class": (Digest(b"x" * 32),),
    "runtimes": ((), ("host-python",), ("environment",)),
    "tiers": (("t0",), ("t2",), ()),
    "exact_modes": ((), ("E14",)),
    "price_microusd_per_second": (1001, 1500, 4000, 2**64 - 1),
    "bond_max_microusd": (0, 1_000_000, 999_999),
    "memory_bytes": (0, GIB, 2 * GIB - 1, 2 * GIB, 3 * GIB),
    "cpus_milli": (1, 1500, 1999),
    "scratch_bytes": (0, 5 * MIB + 3),
    "output_bytes": (1000,),
    "input_bytes": (100 * MIB + 1,),
    "seconds_max": (0, 60, 599),
    "expires_at": (int(NOW),),
}
"""What can be wrong with a provider, field by field."""


def usually(good, *others):
    return st.sampled_from([good] * 8 + list(others))


@st.composite
def provider_of(draw, who, amiss_min):
    """A provider with at most two things amiss: with more, hardly any job would ever be placed."""
    changes = {
        "issued_at": int(NOW) - 900,
        "slots_free": draw(st.integers(1, 2)),
        "stake_free_microusd": draw(st.sampled_from([10**8, 2_500_000])),
        "software_digest": draw(SOFTWARES),
        "runtimes": ("host-python", "environment"),
    }
    often = ["price_microusd_per_second", "memory_bytes"] * 5  # relaxations need several of a kind
    fields = st.lists(
        st.sampled_from([*AMISS, *often]), unique=True, min_size=amiss_min, max_size=2
    )
    for field in draw(fields if amiss_min else st.one_of(st.just([]), fields)):
        changes[field] = draw(st.sampled_from(AMISS[field]))
    return provider(who, **changes)


@st.composite
def providers(draw, amiss_min):
    some = st.lists(st.sampled_from(OPERATORS), unique=True)
    chosen = draw(st.one_of(st.just(OPERATORS), some))
    return tuple(draw(provider_of(who, amiss_min)) for who in draw(st.permutations(chosen)))


@st.composite
def jobs(draw, number=1):
    replicas = draw(st.integers(1, 4))
    anyhow = st.lists(st.sampled_from([*OPERATORS, None]), min_size=replicas, max_size=9)
    tickets = draw(st.one_of(st.permutations(OPERATORS), anyhow))
    drawn = list(dict.fromkeys(who for who in tickets if who is not None))
    some = st.lists(st.sampled_from(drawn), unique=True, max_size=3) if drawn else st.just([])
    used = draw(st.one_of(st.just([]), some))
    states = draw(st.lists(st.sampled_from(LeaseState), min_size=len(used), max_size=len(used)))
    software = draw(SOFTWARES)
    leases = []
    for who, state in zip(used, states, strict=True):
        active = sum(one.state in LEASE_ACTIVE for one in leases)
        if state in LEASE_ACTIVE and active == replicas:
            state = LeaseState.LOST
        leases.append(lease(who, tickets.index(who), state, software))
    return job(
        number,
        draw=tuple(tickets),
        leases=tuple(leases),
        admitted_at=NOW - draw(st.sampled_from([0, 5])),
        runtime=draw(st.sampled_from(["host-python", ENVIRONMENT])),
        comparison=draw(st.sampled_from(Comparison)),
        exact=draw(st.sampled_from([Exactness.AS_IS, Exactness.E21, Exactness.E14])),
        replicas=replicas,
        quorum=replicas // 2 + 1,
        max_ticket=draw(usually(len(tickets) - 1, replicas - 1)),
        bond_microusd=draw(st.sampled_from([0, 1_000_000, 2_000_000])),
        max_rate_microusd=1000,
        expiry=draw(usually(int(NOW) + 7200, int(NOW))),
        resources=Resources(
            memory_bytes=draw(st.sampled_from([GIB, 2 * GIB, 3 * GIB + 1])),
            cpus_milli=draw(st.sampled_from([1000, 2000])),
        ),
    )


@st.composite
def snapshots(draw, *, jobs_max=3, amiss_min=0):
    count = draw(st.sampled_from(range(jobs_max, 0, -1)))
    return Snapshot(
        jobs=tuple(draw(jobs(number)) for number in range(1, count + 1)),
        providers=draw(providers(amiss_min)),
    )


def fits(one_job: JobView, supply: ProviderView) -> bool:
    """The restatement: everything but the draw, former leases and shared software."""
    order, asked, slot = one_job.order, one_job.spec.resources, supply.offer.slot
    return (
        order.expiry > NOW
        and supply.offer.hardware_class == order.hardware_class
        and one_job.spec.tier == "t1"
        and bool({"t1", "t2"} & set(supply.offer.tiers))
        and ("environment" if one_job.spec.runtime == ENVIRONMENT else one_job.spec.runtime)
        in supply.offer.runtimes
        and (
            one_job.spec.exact not in EXACT_MODES or one_job.spec.exact in supply.offer.exact_modes
        )
        and slot.memory_bytes >= asked.memory_bytes
        and slot.cpus_milli >= asked.cpus_milli
        and slot.scratch_bytes >= asked.scratch_bytes
        and slot.output_bytes >= asked.output_bytes
        and slot.input_bytes >= asked.input_bytes
        and slot.seconds_max >= order.max_seconds
        and supply.offer.price_microusd_per_second <= order.max_rate_microusd
        and min(supply.offer.bond_max_microusd, supply.stake_free_microusd) >= order.bond_microusd
        and supply.hardware.state is not Hardware.DISPROVED
        and not (supply.hardware.required and supply.hardware.state is Hardware.UNPROVEN)
        and not supply.hardware.being_asked
        and supply.offer.expires_at > NOW
        and supply.connected
        and supply.slots_free > 0
    )


def used_by(one_job: JobView):
    return [one.operator for one in one_job.leases]


def model(one_job: JobView, supplies: dict) -> list:
    """Placements of one job, in the dullest way: [(ticket, operator)]."""
    seen, candidates = used_by(one_job), []
    unused = 0
    for ticket, who in enumerate(one_job.draw):
        if ticket > one_job.order.max_ticket or who is None or who in seen:
            continue
        seen.append(who)
        unused += 1
        if who in supplies and fits(one_job, supplies[who]):
            candidates.append((ticket, who))
    active = [one for one in one_job.leases if one.state in LEASE_ACTIVE]
    wanted = one_job.order.replicas - len(active)
    groups = [candidates]
    if one_job.spec.comparison == Comparison.CLASS and one_job.spec.runtime != ENVIRONMENT:
        digests = [active[0].software_digest] if active else sorted([SOFTWARE, OTHER_SOFTWARE])
        groups = [
            [c for c in candidates if supplies[c[1]].offer.software_digest == digest]
            for digest in digests
        ]
    if unused < wanted or wanted == 0 or one_job.order.expiry <= NOW:
        return []
    complete = [group[:wanted] for group in groups if len(group) >= wanted]
    if complete:
        return min(complete, key=lambda group: group[-1])
    return groups[0] if active else []


@LAW
@given(snapshots())
def test_every_job_gets_what_the_model_gives_it_from_what_is_left(snapshot):
    supplies = {supply.operator: supply for supply in snapshot.providers}
    by_id = {one.job: one for one in snapshot.jobs}
    plan = decide(snapshot, NOW, SEED)
    assert sorted(d.job for d in plan.decisions) == sorted(by_id)
    for decision in plan.decisions:
        one_job = by_id[decision.job]
        given_to = [(p.ticket, p.operator) for p in plan.placements if p.job == decision.job]
        assert given_to == model(one_job, supplies)
        assert given_to == [(v.ticket, v.operator) for v in decision.verdicts if v.chosen]
        assert decision.placed == len(given_to)
        for _, who in given_to:
            supplies[who] = replace(
                supplies[who],
                slots_free=supplies[who].slots_free - 1,
                stake_free_microusd=supplies[who].stake_free_microusd - one_job.order.bond_microusd,
            )


@LAW
@given(snapshots(), st.binary(max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_a_snapshot_means_nothing(snapshot, seed, random):
    def shuffled(items):
        return tuple(random.sample(items, len(items)))

    permuted = Snapshot(
        jobs=shuffled([replace(j, leases=shuffled(j.leases)) for j in snapshot.jobs]),
        providers=shuffled(snapshot.providers),
    )
    plan = decide(snapshot, NOW, seed)
    assert decide(snapshot, NOW, seed) == plan
    assert decide(permuted, NOW, seed) == plan


@LAW
@given(snapshots())
def test_placements_are_drawn_distinct_and_feasible(snapshot):
    supplies = {supply.operator: supply for supply in snapshot.providers}
    plan = decide(snapshot, NOW, SEED)
    for one_job in snapshot.jobs:
        mine = [p for p in plan.placements if p.job == one_job.job]
        assert not {p.operator for p in mine} & set(used_by(one_job))
        assert len({p.operator for p in mine}) == len(mine)
        for placement in mine:
            assert one_job.draw[placement.ticket] == placement.operator
            assert placement.ticket <= one_job.order.max_ticket
            assert fits(one_job, supplies[placement.operator])


@LAW
@given(snapshots())
def test_slots_and_stake_are_never_promised_twice(snapshot):
    bonds = {one.job: one.order.bond_microusd for one in snapshot.jobs}
    plan = decide(snapshot, NOW, SEED)
    for supply in snapshot.providers:
        mine = [p for p in plan.placements if p.operator == supply.operator]
        assert len(mine) <= supply.slots_free
        assert sum(bonds[p.job] for p in mine) <= supply.stake_free_microusd


@LAW
@given(snapshots())
def test_everybody_gets_one_verdict_and_every_no_a_reason(snapshot):
    for decision in decide(snapshot, NOW, SEED).decisions:
        (one_job,) = [one for one in snapshot.jobs if one.job == decision.job]
        reach = one_job.draw[: one_job.order.max_ticket + 1]
        known = {supply.operator for supply in snapshot.providers} | set(reach) - {None}
        assert sorted(v.operator for v in decision.verdicts) == sorted(known)
        key = [(v.ticket is None, v.ticket or 0, v.operator) for v in decision.verdicts]
        assert key == sorted(key)
        for verdict in decision.verdicts:
            assert verdict.chosen == (not verdict.reasons)
            assert all(sentence.isprintable() and sentence for _, sentence in verdict.reasons)
        assert decision.summary.isprintable()


@LAW
@given(snapshots())
def test_a_job_that_waits_has_a_drawn_operator_whose_reason_can_pass(snapshot):
    for decision in decide(snapshot, NOW, SEED).decisions:
        if decision.placed < decision.wanted and not decision.impossible:
            waiting = [v for v in decision.verdicts if v.ticket is not None and v.reasons]
            assert any(not {r for r, _ in v.reasons} & LASTING for v in waiting)
            assert "waiting for" in decision.summary


@LAW
@given(snapshots(jobs_max=1))
def test_impossible_is_what_a_perfect_market_could_not_place_either(snapshot):
    (one_job,) = snapshot.jobs
    (decision,) = decide(snapshot, NOW, SEED).decisions
    active = [one.software_digest for one in one_job.leases if one.state in LEASE_ACTIVE]
    perfect = tuple(
        provider(
            who,
            price_microusd_per_second=0,
            software_digest=(active or [SOFTWARE])[0],
            runtimes=("host-python", "environment"),
        )
        for who in OPERATORS
    )
    (best,) = decide(replace(snapshot, providers=perfect), NOW, SEED).decisions
    assert decision.impossible == (best.placed < best.wanted) == best.impossible


UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}
RESOURCES = {
    "memory": "memory_bytes",
    "scratch space": "scratch_bytes",
    "output": "output_bytes",
    "input": "input_bytes",
}


def follow(one_job: JobView, advice: str) -> tuple[JobView, int]:
    """Do what a person would who reads the sentence; return the new job and the promised number."""
    number, rest = re.fullmatch(r"(\d+) more (.*)", advice).groups()
    order, asked = one_job.order, one_job.spec.resources
    if found := re.fullmatch(r"at a cap of (\S+) per second", rest):
        order = replace(order, max_rate_microusd=usd_to_microusd(found[1]))
    elif found := re.fullmatch(r"with a bond of (\S+) instead of .*", rest):
        order = replace(order, bond_microusd=usd_to_microusd(found[1]))
    elif found := re.fullmatch(r"with runs of at most (\d+) s instead of .*", rest):
        order = replace(order, max_seconds=int(found[1]))
    elif found := re.fullmatch(r"with (\S+) CPUs instead of .*", rest):
        asked = replace(asked, cpus_milli=int(Decimal(found[1]) * 1000))
    else:
        found = re.fullmatch(r"with (\S+) (\S+) of ([a-z ]+) instead of .*", rest)
        size = int(Decimal(found[1]) * UNITS[found[2]])
        asked = replace(asked, **{RESOURCES[found[3]]: size})
    spec = replace(one_job.spec, resources=asked)
    return replace(one_job, order=order, spec=spec), int(number)


@settings(LAW, max_examples=300)
@given(snapshots(jobs_max=1, amiss_min=1))
def test_following_a_relaxation_wins_at_least_the_providers_it_promises(snapshot):
    (one_job,) = snapshot.jobs
    (decision,) = decide(snapshot, NOW, SEED).decisions
    market = [one for one in snapshot.providers if one.operator not in used_by(one_job)]
    before = [one.operator for one in market if fits(one_job, one)]
    for advice in decision.relaxations:
        relaxed, promised = follow(one_job, advice)
        after = [one.operator for one in market if fits(relaxed, one)]
        assert set(before) <= set(after)
        assert len(after) - len(before) >= promised >= 1
