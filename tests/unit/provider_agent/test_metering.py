import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_provider.metering import billable_seconds


@pytest.mark.parametrize(
    ("wall_seconds", "billed"),
    [(0.0, 1), (0.2, 1), (1.0, 1), (1.0001, 2), (59.5, 60), (60.02, 60)],
)
def test_seconds_are_rounded_up_between_one_and_the_limit(wall_seconds: float, billed: int) -> None:
    assert billable_seconds(wall_seconds, wall_seconds_max=60) == billed


@given(wall_seconds=st.floats(min_value=0, max_value=1e9), wall_seconds_max=st.integers(1, 1 << 32))
def test_a_bill_is_within_the_order_and_never_a_second_too_much(
    wall_seconds: float, wall_seconds_max: int
) -> None:
    billed = billable_seconds(wall_seconds, wall_seconds_max=wall_seconds_max)

    assert 1 <= billed <= wall_seconds_max
    assert billed < wall_seconds + 1 or billed == 1
    assert billed >= min(wall_seconds, wall_seconds_max)


def test_a_negative_time_cannot_happen() -> None:
    with pytest.raises(AssertionError):
        billable_seconds(-0.1, wall_seconds_max=60)
