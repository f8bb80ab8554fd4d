"""Which limits can be run, and how much memory a run can hold under them. Pure.

What a tmpfs holds is memory, and the kernel charges it to the job. So that files do not eat the
memory an order asked for, the cgroup's limit is the job's memory plus the sizes of scratch and
output; a provider must have `memory_reserved_bytes` to spare for each slot. A job that leaves
scratch empty can use that much more memory: it costs the owner nothing that was not set aside.
"""

from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.units import MIB
from assay_provider.runtime.sandbox import RunLimits

MEMORY_BYTES_MIN: Final = 4 * MIB
"""bwrap itself needs about 1 MiB; less than this says nothing about the job."""

LOG_BYTES_MAX: Final = 16 * MIB
"""Kept in the provider's own memory while the job runs."""

_PAGE_BYTES: Final = 4096


def memory_reserved_bytes(limits: RunLimits) -> int:
    """Return the memory a run can hold at most, which the provider must set aside for it."""
    return limits.memory_bytes + scratch_tmpfs_bytes(limits) + output_tmpfs_bytes(limits)


def check_limits(limits: RunLimits, *, machine_memory_bytes: int) -> None:
    """Refuse limits under which nothing can run, or that are none.

    Raises:
        LocalError: naming the limit.
    """
    if limits.memory_bytes < MEMORY_BYTES_MIN:
        raise LocalError(f"memory limit {limits.memory_bytes}: at least {MEMORY_BYTES_MIN} bytes")
    positive = {
        "cpus": limits.cpus,
        "pids_max": limits.pids_max,
        "scratch_bytes": limits.scratch_bytes,
        "wall_seconds": limits.wall_seconds,
    }
    not_negative = {
        "output_bytes": limits.output_bytes,
        "output_files_max": limits.output_files_max,
        "log_bytes": limits.log_bytes,
    }
    wrong = [name for name, value in positive.items() if value <= 0]
    wrong += [name for name, value in not_negative.items() if value < 0]
    if wrong:
        raise LocalError(f"limits too small to run anything: {', '.join(wrong)}")
    if limits.log_bytes > LOG_BYTES_MAX:
        raise LocalError(f"log_bytes {limits.log_bytes}: at most {LOG_BYTES_MAX} are kept")
    if memory_reserved_bytes(limits) > machine_memory_bytes:
        raise LocalError(
            f"a run with these limits may hold {memory_reserved_bytes(limits)} bytes of memory "
            f"(its own, scratch and output), and this machine has {machine_memory_bytes}"
        )


def scratch_tmpfs_bytes(limits: RunLimits) -> int:
    """Return the size of the tmpfs behind /tmp and /dev/shm."""
    return _whole_pages(limits.scratch_bytes)


def output_tmpfs_bytes(limits: RunLimits) -> int:
    """Return the size of the tmpfs behind /output.

    Every file may waste most of its last page, so there is a page more for each; the exact sum of
    sizes is checked when the output is taken over.
    """
    return _whole_pages(limits.output_bytes) + limits.output_files_max * _PAGE_BYTES


def _whole_pages(size: int) -> int:
    # A tmpfs of size 0 is one without a limit.
    return max(-(-size // _PAGE_BYTES), 1) * _PAGE_BYTES
