"""The scheduler: `decide(snapshot, now, seed) -> Plan`. Pure, deterministic, totally ordered."""

from dataclasses import replace
from hashlib import sha256

from assay_scheduler.placement import place
from assay_scheduler.plan import Decision, Placement, Plan
from assay_scheduler.snapshot import JobView, ProviderView, Snapshot


def decide(snapshot: Snapshot, now: float, seed: bytes) -> Plan:
    """Return where replicas go and why, the same plan on every machine for the same arguments.

    Jobs are served oldest first. Jobs admitted at the same instant go by `sha256(seed + job)`, so
    that nobody gets ahead by grinding a low job id; the chain draws the providers, so nothing else
    is left to chance. What a job takes (a slot, a bond) is gone for the jobs after it; a job that
    cannot start yet holds nothing back.

    Args:
        snapshot: the jobs that want replicas, and all providers.
        now: Unix seconds; offers and orders expire by it.
        seed: any bytes; publish them with the snapshot to have the plan recomputed.

    Complexity: O(jobs x providers), as every provider gets a verdict for every job.
    """
    left = {p.operator: p for p in sorted(snapshot.providers, key=lambda p: p.operator)}
    placements: list[Placement] = []
    decisions: list[Decision] = []
    for job in sorted(snapshot.jobs, key=lambda job: _turn(job, seed)):
        placed = place(job, left, now)
        for placement in placed.placements:
            left[placement.operator] = _without(job, left[placement.operator])
        placements.extend(placed.placements)
        decisions.append(placed.decision)
    return Plan(placements=tuple(placements), decisions=tuple(decisions))


def _turn(job: JobView, seed: bytes) -> tuple[float, bytes, bytes]:
    return (job.admitted_at, sha256(seed + job.job).digest(), job.job)


def _without(job: JobView, provider: ProviderView) -> ProviderView:
    return replace(
        provider,
        slots_free=provider.slots_free - 1,
        stake_free_microusd=provider.stake_free_microusd - job.order.bond_microusd,
    )
