"""Small jobs and providers that fit each other until a test changes one thing."""

from dataclasses import replace

from assay_node.protocol.ids import Address, Cid, Digest, PeerId
from assay_node.protocol.job_spec import Comparison, Exactness, JobSpec, Resources
from assay_node.protocol.lease import LeaseState
from assay_node.protocol.offer import Offer, Slot
from assay_node.protocol.order import Order
from assay_node.protocol.units import GIB, MIB
from assay_scheduler.plan import Decision, Plan, Verdict
from assay_scheduler.snapshot import JobView, LeaseView, ProviderView

NOW = 1_700_000_000.0
SEED = b"seed"
CLASS = Digest(b"c" * 32)
SOFTWARE = Digest(b"s" * 32)
OTHER_SOFTWARE = Digest(b"t" * 32)
INPUTS = Cid("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")


def operator(number: int) -> Address:
    return Address(f"0x{number:040x}")


A, B, C, D, E, F = (operator(n) for n in range(1, 7))

SLOT = Slot(
    memory_bytes=4 * GIB,
    cpus_milli=2000,
    scratch_bytes=512 * MIB,
    output_bytes=128 * MIB,
    input_bytes=512 * MIB,
    seconds_max=3600,
)


def offer(who: Address, **changes: object) -> Offer:
    sample = Offer(
        operator=who,
        signer=who,
        peer_id=PeerId("1" * 46),
        addresses=(),
        hardware_class=CLASS,
        cpu_model="a processor",
        tiers=("t1",),
        runtimes=("host-python",),
        software_digest=SOFTWARE,
        exact_modes=("E21", "E14", "FMA"),
        slots=2,
        slot=SLOT,
        price_microusd_per_second=1000,
        bond_max_microusd=5_000_000,
        issued_at=int(NOW) - 60,
        expires_at=int(NOW) + 600,
        generation=1,
    )
    return replace(sample, **changes)


def provider(who: Address, **changes: object) -> ProviderView:
    """A provider; fields of its offer and slot are changed by name as well."""
    slot_changes = {k: changes.pop(k) for k in list(changes) if k in Slot.__slots__}
    offer_changes = {k: changes.pop(k) for k in list(changes) if k in Offer.__slots__}
    sample = ProviderView(
        operator=who,
        offer=offer(who, slot=replace(SLOT, **slot_changes), **offer_changes),
        connected=True,
        last_heard=NOW - 2,
        slots_free=2,
        stake_free_microusd=100_000_000,
        wins=0,
        faults=0,
    )
    return replace(sample, **changes)


def job(
    number: int = 1,
    *,
    draw: tuple[Address | None, ...] = (A, B, C, D),
    leases: tuple[LeaseView, ...] = (),
    admitted_at: float = NOW - 10,
    runtime: str = "host-python",
    tier: str = "t1",
    comparison: Comparison = Comparison.EXACT,
    exact: Exactness = Exactness.AS_IS,
    resources: Resources | None = None,
    **order_changes: object,
) -> JobView:
    """A job of three replicas; fields of its order are changed by name."""
    order = Order(
        requester=operator(900),
        spec=Digest(b"p" * 32),
        hardware_class=CLASS,
        scheduler=operator(901),
        fee_microusd=0,
        max_rate_microusd=1000,
        max_seconds=600,
        bond_microusd=1_000_000,
        replicas=3,
        quorum=2,
        max_ticket=max(2, len(draw) - 1),
        commit_window_s=600,
        reveal_window_s=600,
        seed_block=1,
        expiry=int(NOW) + 7200,
        nonce=bytes(32),
    )
    return JobView(
        job=Digest(number.to_bytes(32, "big")),
        order=replace(order, **order_changes),
        spec=JobSpec(
            name="sample",
            command=("python", "/input/main.py"),
            environment={},
            inputs=INPUTS,
            runtime=runtime,
            tier=tier,
            comparison=comparison.value,
            exact=exact.value,
            resources=resources or Resources(),
        ),
        round_number=0,
        admitted_at=admitted_at,
        draw=draw,
        leases=leases,
    )


def lease(who: Address, ticket: int, state: LeaseState, software: Digest = SOFTWARE) -> LeaseView:
    return LeaseView(operator=who, ticket=ticket, state=state, software_digest=software)


def verdict_on(decision: Decision, who: Address) -> Verdict:
    (found,) = [verdict for verdict in decision.verdicts if verdict.operator == who]
    return found


def placed_at(plan: Plan) -> list[tuple[int, Address, int]]:
    """Placements as (job number, operator, ticket)."""
    return [(int.from_bytes(p.job, "big"), p.operator, p.ticket) for p in plan.placements]
