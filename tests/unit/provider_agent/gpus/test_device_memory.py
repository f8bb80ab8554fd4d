import random
from dataclasses import dataclass, field

import pytest

from assay_node.protocol.units import GIB, MIB
from assay_provider.gpus.device_memory import (
    PIECE_BYTES,
    STRETCH_BYTES,
    DeviceFault,
    DeviceOutOfMemory,
    clear_memory,
)


@dataclass(slots=True)
class Memory:
    """A device's memory as runs of words, without the bytes."""

    size: int
    held: int = 0
    aliased: bool = False
    """Every block is the same memory."""
    stuck_from: int | None = None
    """From this offset in each block on, fills change nothing."""
    fails: str = ""
    blocks: dict[int, int] = field(default_factory=dict)
    words: dict[int, int] = field(default_factory=dict)
    fills: list[int] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    last: int = 0

    def allocate(self, size: int) -> int:
        if self.fails == "allocate":
            raise DeviceFault("cuMemAlloc_v2 failed: CUDA_ERROR_UNKNOWN")
        if sum(self.blocks.values()) + size > self.size - self.held:
            raise DeviceOutOfMemory
        address = (len(self.blocks) + 1) << 40
        self.blocks[address] = size
        self.words[address] = 0xDEADBEEF
        return address

    def fill(self, address: int, size: int, word: int) -> None:
        if self.fails == "fill":
            raise DeviceFault("cuMemsetD32_v2 failed: CUDA_ERROR_ECC_UNCORRECTABLE")
        assert self.blocks[address] == size
        self.words[address] = self.last = word
        self.fills.append(word)

    def read(self, address: int, size: int) -> bytes:
        self.reads.append((address, size))
        block = address >> 40 << 40
        offset = address - block
        assert offset + size <= self.blocks[block], "beyond the block"
        word = self.last if self.aliased else self.words[block]
        if self.stuck_from is not None and offset >= self.stuck_from:
            word = 0xDEADBEEF
        return word.to_bytes(4, "little") * (size // 4)

    def free(self, address: int) -> None:
        if self.fails == "free":
            raise DeviceFault("cuMemFree_v2 failed: CUDA_ERROR_LAUNCH_FAILED")
        del self.blocks[address]


def test_all_that_can_be_had_is_filled_twice_and_given_back() -> None:
    memory = Memory(size=3 * GIB + 700 * MIB + 1)

    done = clear_memory(memory, least_bytes=3 * GIB)

    assert done.fault == ""
    assert done.cleared_bytes == 3 * GIB + 700 * MIB
    assert memory.blocks == {}
    blocks = len(memory.fills) // 2
    assert memory.fills[blocks:] == [0] * blocks
    assert len(set(memory.fills[:blocks])) == blocks, "each block has a word of its own"
    assert 0 not in memory.fills[:blocks]


def test_every_stretch_is_read_at_an_unforeseeable_place() -> None:
    memory = Memory(size=64 * MIB)
    clear_memory(memory, least_bytes=0, draw=random.Random(1).randrange)
    first = list(memory.reads)
    again = Memory(size=64 * MIB)
    clear_memory(again, least_bytes=0, draw=random.Random(2).randrange)

    assert len(first) == 2 * 64 * MIB // STRETCH_BYTES
    stretches = {(address >> 40, address % (1 << 40) // STRETCH_BYTES) for address, _ in first}
    assert len(stretches) == len(first) // 2
    assert {size for _, size in first} == {PIECE_BYTES}
    assert first != again.reads


def test_memory_that_somebody_holds_is_missed() -> None:
    done = clear_memory(Memory(size=8 * GIB, held=2 * GIB), least_bytes=7 * GIB)

    assert "another program holds the rest" in done.fault
    assert done.cleared_bytes == 6 * GIB


@pytest.mark.parametrize("stuck_from", [0, 1 * MIB * 20])
def test_memory_that_does_not_take_a_word_is_noticed(stuck_from: int) -> None:
    done = clear_memory(Memory(size=1 * GIB, stuck_from=stuck_from), least_bytes=0)

    assert "does not hold what was written" in done.fault


def test_two_blocks_that_are_one_memory_are_noticed() -> None:
    done = clear_memory(Memory(size=3 * GIB, aliased=True), least_bytes=0)

    assert "does not hold what was written" in done.fault


@pytest.mark.parametrize("call", ["allocate", "fill", "free"])
def test_a_drivers_failure_is_the_devices_fault(call: str) -> None:
    done = clear_memory(Memory(size=1 * GIB, fails=call), least_bytes=0)

    assert "failed: CUDA_ERROR" in done.fault


def test_a_device_without_room_clears_nothing() -> None:
    done = clear_memory(Memory(size=1 * GIB, held=1 * GIB), least_bytes=1)

    assert (done.cleared_bytes, done.read_bytes) == (0, 0)
    assert done.fault
