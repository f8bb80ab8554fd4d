from dataclasses import replace

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.protocol.units import MIB
from assay_provider.runtime.memory_budget import (
    check_limits,
    memory_reserved_bytes,
    output_tmpfs_bytes,
    scratch_tmpfs_bytes,
)
from assay_provider.runtime.sandbox import RunLimits

LIMITS = RunLimits(
    memory_bytes=64 * MIB,
    cpus=0.5,
    pids_max=8,
    scratch_bytes=MIB,
    output_bytes=MIB,
    output_files_max=10,
    wall_seconds=1,
    log_bytes=0,
)


def test_what_files_may_hold_is_reserved_beside_the_memory() -> None:
    assert memory_reserved_bytes(LIMITS) == 64 * MIB + MIB + MIB + 10 * 4096


def test_sizes_are_whole_pages_and_never_the_kernels_word_for_no_limit() -> None:
    tiny = replace(LIMITS, scratch_bytes=1, output_bytes=0, output_files_max=0)

    assert scratch_tmpfs_bytes(tiny) == 4096
    assert output_tmpfs_bytes(tiny) == 4096
    assert output_tmpfs_bytes(replace(tiny, output_bytes=4097)) == 8192


def test_possible_limits_pass() -> None:
    check_limits(LIMITS, machine_memory_bytes=memory_reserved_bytes(LIMITS))


@pytest.mark.parametrize(
    "change",
    [
        {"memory_bytes": 0},
        {"memory_bytes": 4 * MIB - 1},
        {"cpus": 0.0},
        {"cpus": -1.0},
        {"pids_max": 0},
        {"scratch_bytes": 0},
        {"output_bytes": -1},
        {"output_files_max": -1},
        {"wall_seconds": 0},
        {"log_bytes": -1},
        {"log_bytes": 16 * MIB + 1},
        {"scratch_bytes": 1 << 40},
        {"output_files_max": 1 << 32},
    ],
)
def test_impossible_limits_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(LocalError):
        check_limits(replace(LIMITS, **change), machine_memory_bytes=1 << 34)
