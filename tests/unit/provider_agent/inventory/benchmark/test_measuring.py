"""Rates from a clock that stands still until a kernel moves it; memory that holds or does not."""

import itertools

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.filling import Chunk, OutOfMemory, filled
from assay_provider.inventory.benchmark.measuring import (
    Unsupported,
    Work,
    measure_device,
    product_text,
)
from assay_provider.inventory.benchmark.sampling import Effort, sustained

EFFORT = Effort(
    warm_up_s=5.0, window_s=1.0, windows=5, memory_bytes_max=1 << 40, disk_bytes=1 << 20
)


class FakeTime:
    """A clock, and kernels that take a time of their own."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def taking(self, seconds: float) -> Work:
        def run(calls: int) -> None:
            self.now += calls * seconds

        return Work(run=run, amount=1)

    def throttling(self, fast_s: float, slow_s: float, after_s: float) -> Work:
        began = self.now

        def run(calls: int) -> None:
            for _ in range(calls):
                self.now += fast_s if self.now < began + after_s else slow_s

        return Work(run=run, amount=1)


@pytest.mark.parametrize("seconds", [1e-6, 0.003, 0.4, 7.0])
def test_a_steady_kernel_is_measured_as_it_is(seconds: float) -> None:
    time = FakeTime()
    assert sustained(time.taking(seconds).run, EFFORT, time.clock) == pytest.approx(1 / seconds)


def test_a_turbo_that_ends_during_the_warm_up_does_not_count() -> None:
    time = FakeTime()
    work = time.throttling(0.01, 0.02, after_s=4.9)
    assert sustained(work.run, EFFORT, time.clock) == pytest.approx(50, rel=0.01)


def test_the_median_counts_and_neither_the_best_nor_the_worst() -> None:
    time = FakeTime()
    work = time.throttling(0.01, 0.02, after_s=5.0 + 2.0)  # two windows of five are fast
    assert sustained(work.run, EFFORT, time.clock) == pytest.approx(50, rel=0.05)


def test_a_kernel_faster_than_the_clock_ends_all_the_same() -> None:
    ticks = itertools.count(step=2)
    assert sustained(lambda _: None, EFFORT, lambda: float(next(ticks))) > 0


class Memory:
    """So many real chunks; more are said to be there, and are the first ones again."""

    def __init__(self, real: int, claimed: int) -> None:
        self.real = [_Cell() for _ in range(real)]
        self.claimed = claimed
        self.given = 0

    def allocate(self) -> Chunk:
        if self.given == self.claimed:
            raise OutOfMemory
        self.given += 1
        return self.real[(self.given - 1) % len(self.real)]


class _Cell:
    seed = -1

    def write(self, seed: int) -> None:
        self.seed = seed

    def holds(self, seed: int) -> bool:
        return self.seed == seed


def test_memory_is_as_large_as_what_was_read_back() -> None:
    assert filled(Memory(7, 7).allocate, chunk_bytes=10, bytes_max=1000) == 70
    assert filled(Memory(7, 7).allocate, chunk_bytes=10, bytes_max=39) == 30
    assert filled(Memory(1, 1).allocate, chunk_bytes=10, bytes_max=9) == 0


def test_memory_that_is_claimed_twice_over_is_found_out() -> None:
    with pytest.raises(LocalError, match="4 of 8 pieces of memory came back otherwise"):
        filled(Memory(4, 8).allocate, chunk_bytes=10, bytes_max=1000)


class FakeDevice:
    """Multiplies at 10 GFLOP/s in float32, half of it in float64, in nothing else."""

    name = "fake"
    dtypes = ("float32", "float64", "int8", "float16")
    size_max = 4096
    call_s = 0.2

    def __init__(self, time: FakeTime) -> None:
        self.time = time
        self.sizes: list[tuple[str, int]] = []
        self.memory = Memory(100, 100)

    def product(self, dtype: str, size: int) -> Work:
        self.sizes.append((dtype, size))
        if dtype == "int8":
            raise Unsupported("no such kernel")
        if dtype == "float16":
            raise LocalError("a row is off by 2")
        rate = 10e9 if dtype == "float32" else 5e9
        operations = 2 * size**3
        return Work(run=self.time.taking(operations / rate).run, amount=operations)

    def triad(self, array_bytes: int) -> Work:
        return Work(run=self.time.taking(3 * array_bytes / 20e9).run, amount=3 * array_bytes)

    def memory_bytes(self) -> int:
        return 80 << 20

    def chunk(self, size: int) -> Chunk:
        return self.memory.allocate()

    def copies(self, size: int) -> tuple[Work, Work]:
        there = Work(run=self.time.taking(size / 12e9).run, amount=size)
        return there, Work(run=self.time.taking(size / 11e9).run, amount=size)


class HostDevice(FakeDevice):
    def copies(self, size: int) -> tuple[Work, Work]:
        raise Unsupported("it works in the host's memory")


def test_a_device_is_measured_in_all_it_has_and_the_rest_is_said() -> None:
    time = FakeTime()
    device = FakeDevice(time)
    told: list[str] = []
    found = measure_device(device, EFFORT, time.clock, told.append)
    assert found.gemm_mflops == {"float32": 10_000, "float64": 5_000}
    assert found.memory_bytes_per_second == pytest.approx(20e9)
    assert found.host_to_device_bytes_per_second == pytest.approx(12e9)
    assert found.device_to_host_bytes_per_second == pytest.approx(11e9)
    assert found.memory_bytes == 80 << 20
    assert found.remarks == (
        "fake has no int8: no such kernel",
        "fake multiplies wrongly in float16: a row is off by 2",
    )
    # 2 x 1024^3 at 10 GFLOP/s are 0.2 s; at 5 GFLOP/s that takes sides of 1024 too
    assert [size for dtype, size in device.sizes if dtype == "float32"] == [512, 1024]
    assert told[0] == "fake: float32 10 GFLOP/s"


def test_a_host_has_nothing_to_copy_to() -> None:
    time = FakeTime()
    found = measure_device(HostDevice(time), EFFORT, time.clock, lambda _: None)
    assert (found.host_to_device_bytes_per_second, found.device_to_host_bytes_per_second) == (0, 0)


@pytest.mark.parametrize(
    ("dtype", "mflops", "text"),
    [
        ("float32", 47_456, "47.5 GFLOP/s"),
        ("bfloat16", 790_000_000, "790 TFLOP/s"),
        ("int8", 207_000, "207 GOP/s"),
    ],
)
def test_rates_in_words(dtype: str, mflops: int, text: str) -> None:
    assert product_text(dtype, mflops) == text
