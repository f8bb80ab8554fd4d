"""The oldest driver and container toolkit that GPUs are offered with, from their CVEs. Pure.

A job reaches the driver's kernel module through hundreds of ioctls, so a hole in it that needs
nothing but a GPU is a way out of every sandbox. There is no switch to offer GPUs below a floor.

Only what a vendor published is in the table, with its bulletin. A driver passes a row when its
branch is named and its version is the fixed one or newer, or when its branch is newer than all that
are named. A branch in between that a bulletin does not name gets no fix: it is refused.

No row is AMD's: its cards are shown and not offered (see `fitness`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

Version = tuple[int, ...]

_VERSION: Final = re.compile(r"\d+(\.\d+)+")


class Component(StrEnum):
    """What a row is about. Values are for people."""

    NVIDIA_DRIVER = "NVIDIA driver"
    NVIDIA_TOOLKIT = "nvidia-container-toolkit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """One bulletin, and the first versions in which what it is about is mended."""

    cves: tuple[str, ...]
    component: Component
    fixed: tuple[str, ...]
    """One version for each branch that was mended, oldest branch first; a branch is all versions
    with one first number. The toolkit has one branch."""
    why: str
    bulletin: str


FLOORS: Final = (
    Floor(
        cves=("CVE-2025-23280", "CVE-2025-23282"),
        component=Component.NVIDIA_DRIVER,
        fixed=("535.274.02", "570.195.03", "580.95.05"),
        why="use after free and a race in the kernel module: a job may run code in the kernel",
        bulletin="https://nvidia.custhelp.com/app/answers/detail/a_id/5703",
    ),
    Floor(
        cves=("CVE-2026-24187", "CVE-2026-24190", "CVE-2026-24194"),
        component=Component.NVIDIA_DRIVER,
        fixed=("535.309.01", "580.159.03", "595.71.05"),
        why="use after free (8.8 of 10) and missing checks of rights in the kernel module: a job "
        "may run code in the kernel",
        bulletin="https://nvidia.custhelp.com/app/answers/detail/a_id/5821",
    ),
    Floor(
        cves=("CVE-2024-0132",),
        component=Component.NVIDIA_TOOLKIT,
        fixed=("1.16.2",),
        why="a race while a container is set up: an image may reach the host's files",
        bulletin="https://nvidia.custhelp.com/app/answers/detail/a_id/5582",
    ),
    Floor(
        cves=("CVE-2025-23359",),
        component=Component.NVIDIA_TOOLKIT,
        fixed=("1.17.4",),
        why="a way around the fix of CVE-2024-0132",
        bulletin="https://nvidia.custhelp.com/app/answers/detail/a_id/5616",
    ),
    Floor(
        cves=("CVE-2025-23266",),
        component=Component.NVIDIA_TOOLKIT,
        fixed=("1.17.8",),
        why="its hooks obey an image's variables: an image may run code as root on the host",
        bulletin="https://nvidia.custhelp.com/app/answers/detail/a_id/5659",
    ),
    Floor(
        cves=("CVE-2026-24260",),
        component=Component.NVIDIA_TOOLKIT,
        fixed=("1.19.1",),
        why="another race while a container is set up: an image may run code on the host",
        bulletin="https://nvidia.custhelp.com/app/answers/detail/a_id/5850",
    ),
)


def below_floor(component: Component, version: str, floors: Iterable[Floor] = FLOORS) -> str:
    """Return why a version is too old, with the remedy; empty when it is not.

    What cannot be read as a version is too old: nothing is known about it.
    """
    rows = [floor for floor in floors if floor.component is component]
    number = version_number(version)
    broken = [floor for floor in rows if number is None or not _mended(number, floor)]
    if not broken:
        return ""
    remedy = f"install {' or '.join(_remedies(rows, number))} or newer"
    if number is None:
        return f"the version of {component} cannot be read ({version[:40]!r}); {remedy}"
    worst = broken[-1]
    return (
        f"{component} {version} has known holes ({', '.join(worst.cves)}: {worst.why}); {remedy} "
        f"({worst.bulletin})"
    )


def version_number(text: str) -> Version | None:
    """Return the first dotted number in a text, such as a program's answer to --version."""
    found = _VERSION.search(text)
    return tuple(int(part) for part in found[0].split(".")) if found else None


def _mended(version: Version, floor: Floor) -> bool:
    fixed = [number for text in floor.fixed if (number := version_number(text))]
    branches = {number[0]: number for number in fixed}
    named = branches.get(version[0])
    if named is not None:
        return version >= named
    return version[0] > max(branches)


def _remedies(rows: list[Floor], version: Version | None) -> list[str]:
    """Return the versions to change to: in the same branch, if it was mended in every row."""
    good = [
        text
        for row in rows
        for text in row.fixed
        if (number := version_number(text)) and all(_mended(number, other) for other in rows)
    ]
    same = [text for text in good if version and version_number(text)[:1] == version[:1]]  # type: ignore[index]
    return same or good
