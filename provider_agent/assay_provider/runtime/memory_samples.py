"""The most anonymous memory a job was seen to use.

A group's own peak counts page cache and files in memory too, which cost an owner nothing that was
not set aside; the kernel keeps no peak without them. So the present value is read again and again,
often at first, because most jobs are short. What comes and goes between two looks is missed: the
figure is a lower bound, and the group's peak an upper one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from assay_provider.runtime.cgroups import Cgroup

LOOK_S_MIN: Final = 0.02
LOOK_S_MAX: Final = 1.0
"""A look costs the kernel some 0.05 ms."""


@dataclass(slots=True)
class MemorySamples:
    """`largest_bytes` is None until there was a look."""

    largest_bytes: int | None = None


@contextlib.asynccontextmanager
async def sampled(group: Cgroup | None) -> AsyncIterator[MemorySamples]:
    """Look at a group's anonymous memory while the block runs."""
    samples = MemorySamples()
    if group is None:
        yield samples
        return
    looking = asyncio.create_task(_look(group, samples))
    try:
        yield samples
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def _look(group: Cgroup, samples: MemorySamples) -> None:
    wait_s = LOOK_S_MIN
    while True:
        with contextlib.suppress(OSError, ValueError):  # the group may be going
            samples.largest_bytes = max(samples.largest_bytes or 0, group.anonymous_bytes())
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, LOOK_S_MAX)
