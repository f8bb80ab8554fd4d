"""What a scheduler signs for a job: one row of assignments that never contradicts itself."""

from dataclasses import replace

from assay_node.protocol.assignment import contradict
from assay_node.protocol.lease import LeaseState
from assay_node.services.assigning import next_assign
from tests.builders.jobs import JOB, a_job, a_lease, operator


def test_the_first_names_who_holds_a_replica() -> None:
    assign = next_assign(a_job(a_lease(1), a_lease(3, LeaseState.COMMITTED)), None)
    assert (assign.job, assign.sequence, assign.round_number) == (JOB, 0, 0)
    assert assign.operators == (operator(1), operator(3))
    assert assign.tickets == (1, 3)
    assert assign.replaced == ()


def test_while_nobody_comes_or_goes_it_stays_the_same() -> None:
    first = next_assign(a_job(a_lease(1), a_lease(2)), None)
    later = a_job(a_lease(1, LeaseState.ACCEPTED), a_lease(2, LeaseState.COMMITTED), generation=7)
    assert next_assign(later, first) == first


def test_who_is_replaced_is_said_for_good_and_another_number_is_taken() -> None:
    row = [next_assign(a_job(a_lease(1), a_lease(2)), None)]
    lost = a_job(a_lease(1, LeaseState.LOST), a_lease(2), a_lease(3))
    row.append(next_assign(lost, row[-1]))
    assert row[-1].replaced == (operator(1),)
    next_round = replace(lost, round_number=1)
    row.append(next_assign(next_round, row[-1]))
    gone = a_job(
        a_lease(1, LeaseState.LOST), a_lease(2, LeaseState.REFUSED), a_lease(3), a_lease(4)
    )
    row.append(next_assign(replace(gone, round_number=1), row[-1]))
    assert [one.sequence for one in row] == [0, 1, 2, 3]
    assert [one.round_number for one in row] == [0, 0, 1, 1]
    assert set(row[-1].replaced) == {operator(1), operator(2)}
    assert not any(contradict(one, other) for one in row for other in row)


def test_other_tickets_after_a_reorganisation_take_another_number() -> None:
    first = next_assign(a_job(a_lease(1), a_lease(2)), None)
    drawn_anew = a_job(a_lease(2, ticket=0), a_lease(1, ticket=5), round_number=1)
    second = next_assign(drawn_anew, first)
    assert (second.sequence, second.tickets) == (1, (0, 5))
    assert second.operators == (operator(2), operator(1))
    assert not contradict(first, second)
