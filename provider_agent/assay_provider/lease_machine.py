"""A provider's side of a lease: its states, and the only moves between them. Pure.

Laws, which tests walk: a closed lease never moves again; a lease that has an output never runs
again; a slot is held exactly until there is an output; every open state can be closed, so no lease
outlives its deadline.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a lease is, as its provider knows it durably."""

    ACCEPTED = "accepted"
    """Promised; the run has not begun."""
    RUNNING = "running"
    """Fetching, running or storing; after a crash all of it begins again."""
    EXECUTED = "executed"
    """The output is kept and the commitment is fixed; the scheduler has not acknowledged it."""
    COMMITTED = "committed"
    """The scheduler holds the commitment."""
    REVEALED = "revealed"
    """A reveal over one commit set was signed for this round."""
    CLOSED = "closed"
    """Over. The reason says why."""


class Event(StrEnum):
    """What moves a lease on."""

    START = "start"
    STAGE = "stage"
    EXECUTE = "execute"
    COMMIT = "commit"
    REVEAL = "reveal"
    NEXT_ROUND = "next_round"
    CLOSE = "close"


MOVES: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.ACCEPTED, Event.START): State.RUNNING,
        (State.ACCEPTED, Event.NEXT_ROUND): State.ACCEPTED,
        (State.ACCEPTED, Event.CLOSE): State.CLOSED,
        (State.RUNNING, Event.START): State.RUNNING,  # after a crash
        (State.RUNNING, Event.STAGE): State.RUNNING,
        (State.RUNNING, Event.EXECUTE): State.EXECUTED,
        (State.RUNNING, Event.NEXT_ROUND): State.RUNNING,
        (State.RUNNING, Event.CLOSE): State.CLOSED,
        (State.EXECUTED, Event.COMMIT): State.COMMITTED,
        (State.EXECUTED, Event.REVEAL): State.REVEALED,  # the set is the acknowledgement
        (State.EXECUTED, Event.NEXT_ROUND): State.EXECUTED,
        (State.EXECUTED, Event.CLOSE): State.CLOSED,
        (State.COMMITTED, Event.REVEAL): State.REVEALED,
        (State.COMMITTED, Event.NEXT_ROUND): State.EXECUTED,
        (State.COMMITTED, Event.CLOSE): State.CLOSED,
        (State.REVEALED, Event.NEXT_ROUND): State.EXECUTED,
        (State.REVEALED, Event.CLOSE): State.CLOSED,
    }
)

HOLDS_SLOT: Final = frozenset({State.ACCEPTED, State.RUNNING})
"""States that occupy a slot; who has an output only waits, and that costs no CPU."""

HAS_OUTPUT: Final = frozenset({State.EXECUTED, State.COMMITTED, State.REVEALED})
"""Open states in which the output is kept and a commitment for the current round is fixed."""


def next_state(state: State, event: Event) -> State | None:
    """Return the state after `event`, None when the table has no such move."""
    return MOVES.get((state, event))
