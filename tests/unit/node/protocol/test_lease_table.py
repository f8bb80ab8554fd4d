"""The transition tables: every state can be left or is an end, and ends are final."""

from assay_node.protocol.lease import (
    JOB_ENDS,
    JOB_MOVES,
    LEASE_ACTIVE,
    LEASE_MOVES,
    JobEvent,
    JobState,
    LeaseEvent,
    LeaseState,
    next_job_state,
    next_lease_state,
)


def _reachable(moves: object, start: object) -> set[object]:
    assert hasattr(moves, "items")
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for (source, _), target in moves.items():
            if source == here and target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def test_every_job_state_is_reached_and_can_end() -> None:
    assert _reachable(JOB_MOVES, JobState.ADMITTED) == set(JobState)
    for state in JobState:
        assert _reachable(JOB_MOVES, state) & JOB_ENDS


def test_a_job_that_ended_never_moves() -> None:
    for state in JOB_ENDS:
        assert all(next_job_state(state, event) is None for event in JobEvent)


def test_every_job_that_has_not_ended_can_fail() -> None:
    for state in set(JobState) - JOB_ENDS:
        assert next_job_state(state, JobEvent.FAILED) is JobState.FAILED


def test_every_lease_state_is_reached() -> None:
    assert _reachable(LEASE_MOVES, LeaseState.OFFERED) == set(LeaseState)


def test_a_lease_that_ended_never_moves_and_an_active_one_can_be_closed() -> None:
    for state in LeaseState:
        closed = next_lease_state(state, LeaseEvent.CLOSE)
        assert closed is (LeaseState.CLOSED if state in LEASE_ACTIVE else None)
        if state not in LEASE_ACTIVE:
            assert all(next_lease_state(state, event) is None for event in LeaseEvent)


def test_only_a_commitment_can_be_revealed() -> None:
    sources = {source for (source, event) in LEASE_MOVES if event is LeaseEvent.REVEAL}
    assert sources == {LeaseState.COMMITTED}
