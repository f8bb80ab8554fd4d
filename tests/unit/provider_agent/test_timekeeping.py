"""Which time it is when the machine's clock is set while jobs run."""

import logging

import pytest

from assay_node.protocol.errors import ChainUnavailable
from assay_provider.timekeeping import Deadlines, SteadyClock

HOUR = 3600.0
START = 1_800_000_000.0


class Machine:
    """A clock that nobody sets, and one that people do."""

    def __init__(self) -> None:
        self.elapsed = 1_000.0
        self.set_by = 0.0

    def wall(self) -> float:
        return START + self.elapsed + self.set_by

    def steady(self) -> SteadyClock:
        return SteadyClock(self.wall, lambda: self.elapsed)

    @property
    def true(self) -> float:
        return START + self.elapsed


@pytest.fixture
def machine() -> Machine:
    return Machine()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_small_corrections_are_followed(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    clock = machine.steady()
    for step in (0.5, 2.0, -3.0):
        machine.set_by += step
        machine.elapsed += 100
        assert clock.now() == pytest.approx(machine.wall())
    assert told(caplog) == []
    machine.set_by += 30
    assert clock.now() == pytest.approx(machine.wall())
    assert told(caplog) == ["clock jumped by +30 s"]


@pytest.mark.parametrize("jump", [2 * HOUR, -2 * HOUR])
def test_a_jump_that_the_chain_denies_is_not_followed(
    machine: Machine, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock = machine.steady()
    machine.set_by = jump
    for _ in range(50):
        machine.elapsed += 10
        assert clock.now() == pytest.approx(machine.true)
        clock.judge(machine.true - 7)
    assert clock.in_doubt
    assert told(caplog)[0] == f"clock jumped by {jump:+.0f} s"
    assert len(told(caplog)) == 2, "said once"
    machine.set_by = 0.0
    assert clock.now() == pytest.approx(machine.true)
    assert not clock.in_doubt


@pytest.mark.parametrize("wrong_by", [2 * HOUR, -2 * HOUR])
def test_a_clock_that_is_mended_is_followed_once_the_chain_agrees(
    machine: Machine, wrong_by: float
) -> None:
    machine.set_by = wrong_by
    clock = machine.steady()
    machine.set_by = 0.0
    assert clock.now() == pytest.approx(machine.true + wrong_by)
    clock.judge(machine.true - 12)
    assert not clock.in_doubt
    assert clock.now() == pytest.approx(machine.true)


def test_without_a_chain_a_jump_stays_in_doubt(machine: Machine) -> None:
    clock = machine.steady()
    machine.set_by = 5 * HOUR
    machine.elapsed += HOUR
    assert clock.now() == pytest.approx(machine.true)
    assert clock.in_doubt


def test_a_chain_that_stands_still_is_no_judge(machine: Machine) -> None:
    clock = machine.steady()
    machine.set_by = HOUR
    clock.now()
    clock.judge(machine.true - 10 * HOUR)
    assert not clock.in_doubt
    assert clock.now() == pytest.approx(machine.wall())


def test_time_never_runs_backwards_between_jumps(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    clock = machine.steady()
    last = clock.now()
    for jump in (HOUR, -3 * HOUR, 7 * HOUR, 0.0):
        machine.set_by = jump
        machine.elapsed += 1
        assert clock.now() > last
        last = clock.now()


class Chain:
    """Tells the time of its newest block, or nothing."""

    def __init__(self, timestamp: float | None) -> None:
        self.timestamp = timestamp

    async def head(self) -> "Chain":
        if self.timestamp is None:
            raise ChainUnavailable("the chain does not answer")
        return self


@pytest.mark.parametrize(("chain", "judged"), [(START + 50, START), (START - 50, START - 50)])
async def test_deadlines_pass_when_both_clocks_say_so(chain: float, judged: float) -> None:
    machine = Machine()
    machine.elapsed = 0.0
    deadlines = Deadlines(chain=Chain(chain), clock=machine.steady())  # type: ignore[arg-type]
    assert await deadlines.now() == pytest.approx(judged)


async def test_no_deadline_passes_without_a_chain() -> None:
    deadlines = Deadlines(chain=Chain(None), clock=Machine().steady())  # type: ignore[arg-type]
    with pytest.raises(ChainUnavailable):
        await deadlines.now()
