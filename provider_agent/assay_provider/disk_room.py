"""Whether the disks a provider writes to have room for another job."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.units import MIB, size_to_text

logger = logging.getLogger(__name__)

START_BYTES_MIN: Final = 16 * MIB
"""What opening the database and the artifact store may write; with less nothing can be promised."""

WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRoom:
    """The folders a provider writes to, and what must stay free on the disk of each.

    A job's inputs, its output and the database share these disks. Full, they would keep leases that
    are open already from being committed, so new ones are refused while less is free.
    """

    folders: tuple[Path, ...] = ()
    free_bytes_min: int = 0

    def shortage(self) -> str | None:
        """Return why no new job may come, in words fit for a scheduler; None if one may."""
        for status in self._status():
            free = status.f_bavail * status.f_frsize
            if free < self.free_bytes_min:
                return (
                    f"this provider has {size_to_text(free)} of disk left and takes no new jobs "
                    f"below {size_to_text(self.free_bytes_min)}"
                )
            if status.f_files and not status.f_favail:
                return "this provider's disk has no room for more files"
        return None

    def free_bytes(self) -> int | None:
        """Return the bytes free on the fullest disk; None without folders."""
        return min((status.f_bavail * status.f_frsize for status in self._status()), default=None)

    def _status(self) -> Iterator[os.statvfs_result]:
        for folder in self.folders:
            yield os.statvfs(_existing(folder))


async def wait_for_room(room: DiskRoom, stop: asyncio.Event) -> bool:
    """Wait until a daemon can be started at all; False if `stop` was set before.

    Ending instead would have a supervisor start it again and again.
    """
    told = False
    while (free := room.free_bytes()) is not None and free < START_BYTES_MIN:
        if not told:
            logger.error(
                "a disk of this provider is full (%s free); waiting until %s are, because nothing "
                "could be kept: make room in %s",
                size_to_text(free),
                size_to_text(START_BYTES_MIN),
                " or ".join(map(str, room.folders)),
            )
            told = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await stop.wait()
        if stop.is_set():
            return False
    return True


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
