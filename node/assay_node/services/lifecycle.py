"""What a job needs next: a pure function from its record and the time to actions.

The engine performs the actions; it makes no choices. Everything a scheduler may do to a job after
it was admitted is listed here, in the order in which a job lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from assay_node.ports import JobRecord, LeaseRecord
from assay_node.protocol.ids import Address
from assay_node.protocol.lease import JOB_ENDS, LEASE_ACTIVE, JobState, LeaseState


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a scheduler waits for whom, in seconds."""

    lease_grace_s: float
    """How long a provider may be disconnected before its replica is given to another."""
    offer_timeout_s: float
    """How long a provider has to answer a lease offer."""
    settle_margin_s: float
    """What must be left before an order's expiry for its receipt to be mined."""


@dataclass(frozen=True, slots=True)
class FailJob:
    """End the job; nothing is charged."""

    reason: str


@dataclass(frozen=True, slots=True)
class DrawProviders:
    """Read the draw from the chain, once the seed block is there."""


@dataclass(frozen=True, slots=True)
class FindProviders:
    """Replicas are missing: ask the matcher."""


@dataclass(frozen=True, slots=True)
class OfferLease:
    """Send the lease to its provider."""

    lease: LeaseRecord


@dataclass(frozen=True, slots=True)
class LoseLease:
    """Give a silent provider's replica up."""

    lease: LeaseRecord
    reason: str


@dataclass(frozen=True, slots=True)
class ReplaceAtLimit:
    """Replace replicas that ended at a resource limit while others finished."""

    leases: tuple[LeaseRecord, ...]


@dataclass(frozen=True, slots=True)
class FixCommitSet:
    """All replicas have committed: fix the set and show it."""


@dataclass(frozen=True, slots=True)
class AskReveal:
    """Show the commit set to a provider and take its reveal."""

    lease: LeaseRecord


@dataclass(frozen=True, slots=True)
class NextRound:
    """Some never revealed: replace them, and let the others commit anew."""

    silent: tuple[LeaseRecord, ...]


@dataclass(frozen=True, slots=True)
class CompleteReceipt:
    """All replicas have revealed: the receipt is ready to settle."""


Action = (
    FailJob
    | DrawProviders
    | FindProviders
    | OfferLease
    | LoseLease
    | ReplaceAtLimit
    | FixCommitSet
    | AskReveal
    | NextRound
    | CompleteReceipt
)

ROUNDS_MAX: Final = 8
"""Each round costs its silent provider its place; more rounds than this means an attack."""


def next_actions(
    job: JobRecord, *, now: float, away_s: Mapping[Address, float], timing: Timing
) -> tuple[Action, ...]:
    """Return what to do for `job` now; nothing means: wait.

    Args:
        job: the job as stored.
        now: Unix seconds, comparable with the order's expiry and the record's times.
        away_s: for each operator with an active lease that is not connected, how long it has been
            away, in seconds.
        timing: the scheduler's patience.
    """
    if job.state in JOB_ENDS or job.state in (JobState.SETTLING, JobState.ON_ROAD):
        return ()
    if now > job.order.expiry - timing.settle_margin_s:
        return (FailJob(f"the order's time ran out while the job was {job.state.value}"),)
    if job.draw is None:
        return (DrawProviders(),)
    if job.state is JobState.REVEALING:
        return _while_revealing(job, now, away_s, timing)
    return _while_running(job, now, away_s, timing)


def active_leases(job: JobRecord) -> tuple[LeaseRecord, ...]:
    """Return the leases that count towards the job's replicas, by ticket."""
    return tuple(lease for lease in job.leases if lease.state in LEASE_ACTIVE)


def _while_running(
    job: JobRecord, now: float, away_s: Mapping[Address, float], timing: Timing
) -> tuple[Action, ...]:
    active = active_leases(job)
    actions: list[Action] = []
    for lease in active:
        lost = _lost(job, lease, now, away_s, timing)
        if lost is not None:
            actions.append(LoseLease(lease, lost))
        elif lease.state is LeaseState.OFFERED and lease.operator not in away_s:
            actions.append(OfferLease(lease))
    if actions:
        return tuple(actions)
    if len(active) < job.order.replicas:
        return (FindProviders(),)
    if any(lease.state is not LeaseState.COMMITTED for lease in active):
        return ()
    at_limit = tuple(lease for lease in active if lease.commit and lease.commit.at_limit)
    if at_limit and len(at_limit) < len(active):
        return (ReplaceAtLimit(at_limit),)
    return (FixCommitSet(),)


def _while_revealing(
    job: JobRecord, now: float, away_s: Mapping[Address, float], timing: Timing
) -> tuple[Action, ...]:
    waiting = [lease for lease in active_leases(job) if lease.state is LeaseState.COMMITTED]
    if not waiting:
        return (CompleteReceipt(),)
    assert job.revealing_since is not None
    late = now > job.revealing_since + job.order.reveal_window_s
    silent = tuple(
        lease for lease in waiting if late or away_s.get(lease.operator, 0.0) > timing.lease_grace_s
    )
    if silent:
        if job.round_number + 1 >= ROUNDS_MAX:
            return (FailJob(f"in each of {ROUNDS_MAX} rounds a provider withheld its reveal"),)
        return (NextRound(silent),)
    return tuple(AskReveal(lease) for lease in waiting if lease.operator not in away_s)


def _lost(
    job: JobRecord,
    lease: LeaseRecord,
    now: float,
    away_s: Mapping[Address, float],
    timing: Timing,
) -> str | None:
    if lease.state not in (LeaseState.OFFERED, LeaseState.ACCEPTED):
        return None  # a commitment stands without its provider until the reveal
    away = away_s.get(lease.operator, 0.0)
    if away > timing.lease_grace_s:
        return f"disconnected for {away:.0f} s"
    allowed = timing.offer_timeout_s + job.order.max_seconds + job.order.commit_window_s
    if now > lease.offered_at + allowed:
        return f"did not commit within {allowed:.0f} s"
    return None
