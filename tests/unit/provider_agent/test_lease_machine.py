"""The laws on top of the lease machine, walked over its whole table."""

import pytest

from assay_provider.lease_machine import HAS_OUTPUT, HOLDS_SLOT, MOVES, Event, State, next_state


def test_a_closed_lease_never_moves() -> None:
    assert all(next_state(State.CLOSED, event) is None for event in Event)


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSED])
def test_every_open_state_can_be_closed(state: State) -> None:
    assert next_state(state, Event.CLOSE) is State.CLOSED


def test_what_has_an_output_never_runs_again() -> None:
    reachable = set(HAS_OUTPUT)
    while True:
        further = {to for (state, _), to in MOVES.items() if state in reachable} | reachable
        if further == reachable:
            break
        reachable = further
    assert not reachable & HOLDS_SLOT


def test_states_are_partitioned() -> None:
    assert set(State) == HOLDS_SLOT | HAS_OUTPUT | {State.CLOSED}
    assert not HOLDS_SLOT & HAS_OUTPUT


def test_only_the_end_of_a_run_takes_a_lease_from_slot_to_output() -> None:
    crossing = {
        event for (state, event), to in MOVES.items() if state in HOLDS_SLOT and to in HAS_OUTPUT
    }
    assert crossing == {Event.EXECUTE}


def test_every_state_is_reachable() -> None:
    reachable = {State.ACCEPTED} | set(MOVES.values())
    assert reachable == set(State)
