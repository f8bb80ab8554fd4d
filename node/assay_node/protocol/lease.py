"""States of jobs and leases, and the only moves between them. Everything else is a bug.

The tables are the protocol: services look a move up here before they write it, the store guards
every write with the state it came from, and tests walk the tables.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class JobState(StrEnum):
    """Where a job is, as the scheduler knows it."""

    ADMITTED = "admitted"
    """Stored; waits for its seed block, or for enough providers that fit."""
    RUNNING = "running"
    """Replicas are leased; not all have committed."""
    REVEALING = "revealing"
    """The commit set is fixed; reveals are coming in."""
    SETTLING = "settling"
    """The receipt is complete; its settlement is being mined."""
    ON_ROAD = "on_road"
    """Somebody took it to the on-chain road, from where its end comes."""
    SETTLED = "settled"
    """A quorum agreed and was paid."""
    NO_QUORUM = "no_quorum"
    """Too few agreed; revealers got their effort share, the rest stayed with the requester."""
    FAILED = "failed"
    """Ended without a settlement; nothing was charged. The reason says why."""


class JobEvent(StrEnum):
    """What moves a job on."""

    PLACED = "placed"
    COMMITTED = "committed"
    SILENT = "silent"
    REDRAWN = "redrawn"
    """The chain was reorganised: its seed block now draws others."""
    REVEALED = "revealed"
    TAKEN = "taken"
    """Its order's nonce is spent: it is on the on-chain road."""
    SETTLED = "settled"
    NO_QUORUM = "no_quorum"
    FAILED = "failed"


JOB_MOVES: Final[Mapping[tuple[JobState, JobEvent], JobState]] = MappingProxyType(
    {
        (JobState.ADMITTED, JobEvent.PLACED): JobState.RUNNING,
        (JobState.ADMITTED, JobEvent.REDRAWN): JobState.ADMITTED,
        (JobState.ADMITTED, JobEvent.FAILED): JobState.FAILED,
        (JobState.RUNNING, JobEvent.PLACED): JobState.RUNNING,  # a replacement
        (JobState.RUNNING, JobEvent.COMMITTED): JobState.REVEALING,
        (JobState.RUNNING, JobEvent.REDRAWN): JobState.RUNNING,  # next round
        (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
        (JobState.REVEALING, JobEvent.SILENT): JobState.RUNNING,  # next round
        (JobState.REVEALING, JobEvent.REDRAWN): JobState.RUNNING,  # next round
        (JobState.REVEALING, JobEvent.REVEALED): JobState.SETTLING,
        (JobState.REVEALING, JobEvent.FAILED): JobState.FAILED,
        (JobState.SETTLING, JobEvent.REDRAWN): JobState.RUNNING,  # next round
        (JobState.SETTLING, JobEvent.SETTLED): JobState.SETTLED,
        (JobState.SETTLING, JobEvent.NO_QUORUM): JobState.NO_QUORUM,
        (JobState.SETTLING, JobEvent.FAILED): JobState.FAILED,
        (JobState.ADMITTED, JobEvent.TAKEN): JobState.ON_ROAD,
        (JobState.RUNNING, JobEvent.TAKEN): JobState.ON_ROAD,
        (JobState.REVEALING, JobEvent.TAKEN): JobState.ON_ROAD,
        (JobState.SETTLING, JobEvent.TAKEN): JobState.ON_ROAD,
        (JobState.ON_ROAD, JobEvent.SETTLED): JobState.SETTLED,
        (JobState.ON_ROAD, JobEvent.NO_QUORUM): JobState.NO_QUORUM,
        (JobState.ON_ROAD, JobEvent.FAILED): JobState.FAILED,  # a reorg took it off for good
    }
)

JOB_ENDS: Final = frozenset({JobState.SETTLED, JobState.NO_QUORUM, JobState.FAILED})


class LeaseState(StrEnum):
    """Where one replica is, as the scheduler knows it."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    COMMITTED = "committed"
    REVEALED = "revealed"
    REFUSED = "refused"
    HANDED_BACK = "handed_back"
    LOST = "lost"
    REPLACED = "replaced"
    CLOSED = "closed"


class LeaseEvent(StrEnum):
    """What moves a lease on."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    COMMIT = "commit"
    REVEAL = "reveal"
    NEXT_ROUND = "next_round"
    HAND_BACK = "hand_back"
    LOSE = "lose"
    REPLACE = "replace"
    CLOSE = "close"


LEASE_MOVES: Final[Mapping[tuple[LeaseState, LeaseEvent], LeaseState]] = MappingProxyType(
    {
        (LeaseState.OFFERED, LeaseEvent.ACCEPT): LeaseState.ACCEPTED,
        # a commitment may overtake the note of the acceptance, which it implies
        (LeaseState.OFFERED, LeaseEvent.COMMIT): LeaseState.COMMITTED,
        (LeaseState.OFFERED, LeaseEvent.REFUSE): LeaseState.REFUSED,
        (LeaseState.OFFERED, LeaseEvent.LOSE): LeaseState.LOST,
        (LeaseState.OFFERED, LeaseEvent.NEXT_ROUND): LeaseState.OFFERED,
        (LeaseState.OFFERED, LeaseEvent.CLOSE): LeaseState.CLOSED,
        (LeaseState.OFFERED, LeaseEvent.HAND_BACK): LeaseState.HANDED_BACK,
        (LeaseState.ACCEPTED, LeaseEvent.COMMIT): LeaseState.COMMITTED,
        (LeaseState.ACCEPTED, LeaseEvent.HAND_BACK): LeaseState.HANDED_BACK,
        (LeaseState.ACCEPTED, LeaseEvent.LOSE): LeaseState.LOST,
        (LeaseState.ACCEPTED, LeaseEvent.NEXT_ROUND): LeaseState.OFFERED,
        (LeaseState.ACCEPTED, LeaseEvent.CLOSE): LeaseState.CLOSED,
        (LeaseState.COMMITTED, LeaseEvent.REVEAL): LeaseState.REVEALED,
        (LeaseState.COMMITTED, LeaseEvent.LOSE): LeaseState.LOST,  # silent at the reveal
        (LeaseState.COMMITTED, LeaseEvent.REPLACE): LeaseState.REPLACED,  # ended at a limit
        (LeaseState.COMMITTED, LeaseEvent.NEXT_ROUND): LeaseState.OFFERED,
        (LeaseState.COMMITTED, LeaseEvent.CLOSE): LeaseState.CLOSED,
        (LeaseState.REVEALED, LeaseEvent.LOSE): LeaseState.LOST,  # no longer drawn
        (LeaseState.REVEALED, LeaseEvent.NEXT_ROUND): LeaseState.OFFERED,
        (LeaseState.REVEALED, LeaseEvent.CLOSE): LeaseState.CLOSED,
    }
)

LEASE_ACTIVE: Final = frozenset(
    {LeaseState.OFFERED, LeaseState.ACCEPTED, LeaseState.COMMITTED, LeaseState.REVEALED}
)
"""States in which a replica counts towards the job's k."""

LEASE_RUNS: Final = frozenset({LeaseState.OFFERED, LeaseState.ACCEPTED})
"""States in which a replica holds a slot: once it has committed, its run is over."""


def next_job_state(state: JobState, event: JobEvent) -> JobState | None:
    """Return the state after `event`, None when the table has no such move."""
    return JOB_MOVES.get((state, event))


def next_lease_state(state: LeaseState, event: LeaseEvent) -> LeaseState | None:
    """Return the state after `event`, None when the table has no such move."""
    return LEASE_MOVES.get((state, event))
