"""Which device numbers a job may use, as data. Pure.

The sandbox's /dev shows a job the nodes it may use, and no mount of its admits others. These rules
are the second wall: whatever node a job came by, the kernel refuses numbers that are not listed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from assay_provider.runtime.sandbox import DeviceNode

ACCESS: Final = {"m": 1, "r": 2, "w": 4}
"""Making a node, reading, writing: the letters of cgroup v1, and the kernel's bits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRule:
    """Allows one device, or all of a driver's."""

    major: int
    minor: int | None
    """None: whatever minor."""
    block: bool = False
    access: str = "rwm"
    """Letters of `ACCESS`."""

    def __str__(self) -> str:
        """Return the rule as cgroup v1 reads it."""
        minor = "*" if self.minor is None else self.minor
        return f"{'b' if self.block else 'c'} {self.major}:{minor} {self.access}"


EVERY_JOB: Final = (
    DeviceRule(major=1, minor=3),  # null
    DeviceRule(major=1, minor=5),  # zero
    DeviceRule(major=1, minor=7),  # full
    DeviceRule(major=1, minor=8),  # random
    DeviceRule(major=1, minor=9),  # urandom
    DeviceRule(major=5, minor=0),  # tty
    DeviceRule(major=5, minor=2),  # ptmx
    DeviceRule(major=136, minor=None),  # pseudo terminals
)
"""What bwrap puts in /dev."""


def rules_for(nodes: Iterable[DeviceNode]) -> tuple[DeviceRule, ...]:
    """Return the rules of a job that was granted `nodes`; it can open them, not make them."""
    granted = (
        DeviceRule(major=node.major, minor=node.minor, block=node.block, access="rw")
        for node in nodes
    )
    return (*EVERY_JOB, *granted)
