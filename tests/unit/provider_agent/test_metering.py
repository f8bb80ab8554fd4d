import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol.ids import Digest
from assay_node.store.provider_runs import LoggedRun
from assay_provider.metering import NANOSECONDS, billable_seconds, metered, seconds_of
from assay_provider.runtime.sandbox import RunMeter, Verdict
from tests.fakes.sandbox import a_result


@pytest.mark.parametrize(
    ("wall_ns", "billed"),
    [
        (0, 1),
        (NANOSECONDS // 5, 1),
        (NANOSECONDS, 1),
        (NANOSECONDS + 1, 2),
        (60 * NANOSECONDS - 1, 60),
        (60 * NANOSECONDS + 1, 60),
    ],
)
def test_seconds_are_rounded_up_between_one_and_the_limit(wall_ns: int, billed: int) -> None:
    assert billable_seconds(wall_ns, wall_seconds_max=60) == billed


@given(wall_ns=st.integers(0, 10**18), wall_seconds_max=st.integers(1, 1 << 32))
def test_a_bill_is_within_the_order_and_never_a_second_too_much(
    wall_ns: int, wall_seconds_max: int
) -> None:
    billed = billable_seconds(wall_ns, wall_seconds_max=wall_seconds_max)

    assert 1 <= billed <= wall_seconds_max
    assert billed * NANOSECONDS < wall_ns + NANOSECONDS or billed == 1
    assert billed * NANOSECONDS >= min(wall_ns, wall_seconds_max * NANOSECONDS)


def test_a_negative_time_cannot_happen() -> None:
    with pytest.raises(AssertionError):
        billable_seconds(-1, wall_seconds_max=60)


def a_run(**changes: object) -> LoggedRun:
    fields = {
        "job": Digest(b"\x01" * 32),
        "attempt": 1,
        "round_number": 0,
        "slot": 0,
        "tier": "t1",
        "seconds_max": 60,
        "began_at": 5.0,
    }
    return LoggedRun(**{**fields, **changes})  # type: ignore[arg-type]


@given(started_ns=st.integers(0, 10**18), wall_ns=st.integers(0, 10**13))
def test_what_is_billed_follows_from_the_logged_meters_alone(started_ns: int, wall_ns: int) -> None:
    meter = RunMeter(
        source="cgroup v2",
        started_ns=started_ns,
        exited_ns=started_ns + wall_ns,
        memory_anonymous_bytes=7,
        oom_kills=1,
        pids_refused=2,
    )
    result = a_result(Verdict.OUT_OF_MEMORY, meter=meter, wall_seconds=0.0, cpu_seconds=1.25)
    kept = metered(result, seconds_max=60)

    assert seconds_of(a_run(metered=kept)) == kept.billable_seconds
    assert (kept.cpu_ns, kept.oom_kills, kept.pids_refused) == (1_250_000_000, 1, 2)
    assert (kept.meter, kept.verdict, kept.memory_anonymous_bytes) == (
        "cgroup v2",
        "out_of_memory",
        7,
    )


def test_a_runtime_without_meters_is_billed_by_its_wall_time() -> None:
    kept = metered(a_result(wall_seconds=1.2), seconds_max=60)

    assert (kept.meter, kept.billable_seconds) == ("runtime", 2)
    assert kept.exited_ns - kept.started_ns == 1_200_000_000


def test_a_run_without_an_end_bills_nothing() -> None:
    assert seconds_of(a_run()) is None
