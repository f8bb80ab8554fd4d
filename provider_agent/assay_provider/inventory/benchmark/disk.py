"""How fast the disk below a folder writes and reads, past the page cache.

With O_DIRECT, which goes around the cache; where a file system has none, written data is synced
within the measured time, and dropped from the cache before it is read. What lies beyond (a drive's
own cache, a virtual disk's host) cannot be gone around; sizes beyond it can be chosen.
"""

import contextlib
import mmap
import os
import secrets
import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.sampling import Clock

BLOCK_BYTES: Final = 8 << 20
"""One request; large enough that a disk's throughput counts and not its latency."""
WINDOWS: Final = 8
ROOM_SHARE: Final = 10
"""At most a tenth of what is free is written, for moments."""
FILE_PREFIX: Final = ".benchmark-"
_MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFigures:
    """Sustained rates; 0 where they could not be measured, which `remark` then says."""

    read_bytes_per_second: int = 0
    write_bytes_per_second: int = 0
    remark: str = ""


def measure_disk(folder: Path, *, size: int, clock: Clock) -> DiskFigures:
    """Write a file of about `size` bytes into a folder, read it back, and remove it.

    Raises:
        LocalError: the folder cannot be written, or the data came back otherwise.
    """
    kind = file_system_of(folder)
    if kind in _MEMORY_FILE_SYSTEMS:
        return DiskFigures(remark=f"{folder} is in memory ({kind}); its speed is no disk's")
    room = shutil.disk_usage(folder).free // ROOM_SHARE
    blocks = min(size, room) // BLOCK_BYTES // WINDOWS * WINDOWS
    if blocks == 0:
        return DiskFigures(remark=f"too little room is free below {folder} to measure its disk")
    try:
        with _removed(folder / f"{FILE_PREFIX}{os.getpid()}") as path, _block() as block:
            return _measured(path, block, blocks, clock)
    except OSError as error:
        raise LocalError(f"cannot measure the disk below {folder}: {error.strerror}") from None


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind of the file system that holds a folder, "" when it is not known."""
    place = str(folder.resolve())
    best, kind = "", ""
    with contextlib.suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            fields = line.split(" ")
            if len(fields) < 3:
                continue
            point = fields[1].encode().decode("unicode_escape")  # spaces are \040 there
            below = place == point or place.startswith(point.rstrip("/") + "/")
            if below and len(point) >= len(best):  # of two mounts on one point the later counts
                best, kind = point, fields[2]
    return kind


def _measured(path: Path, block: mmap.mmap, blocks: int, clock: Clock) -> DiskFigures:
    descriptor, is_direct = _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write = statistics.median(_rates(descriptor, block, blocks, clock, _write))
    finally:
        os.close(descriptor)
    descriptor, is_direct = _open(path, os.O_RDONLY)
    try:
        if not is_direct:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        read = statistics.median(_rates(descriptor, block, blocks, clock, _read))
    finally:
        os.close(descriptor)
    how = "" if is_direct else "this file system has no O_DIRECT: its cache was synced and dropped"
    return DiskFigures(
        read_bytes_per_second=round(read), write_bytes_per_second=round(write), remark=how
    )


_Step = Callable[[int, mmap.mmap, int], None]


def _rates(
    descriptor: int, block: mmap.mmap, blocks: int, clock: Clock, step: _Step
) -> Iterator[float]:
    """Yield the bytes a second of each window; what is written is on the disk at its end."""
    each = blocks // WINDOWS
    for window in range(WINDOWS):
        started = clock()
        for number in range(window * each, (window + 1) * each):
            step(descriptor, block, number)
        if step is _write:
            os.fdatasync(descriptor)
        yield each * BLOCK_BYTES / max(clock() - started, 1e-9)


def _write(descriptor: int, block: mmap.mmap, number: int) -> None:
    block[:8] = number.to_bytes(8, "little")  # no two blocks alike: some disks keep one of them
    done = os.pwrite(descriptor, block, number * BLOCK_BYTES)
    if done != BLOCK_BYTES:
        raise LocalError("the disk took less than was written; is it full?")


def _read(descriptor: int, block: mmap.mmap, number: int) -> None:
    done = os.preadv(descriptor, [block], number * BLOCK_BYTES)
    if done != BLOCK_BYTES or block[:8] != number.to_bytes(8, "little"):
        raise LocalError("the disk gave back something else than was written")


def _open(path: Path, flags: int) -> tuple[int, bool]:
    """Return a descriptor, and whether it goes around the page cache."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600), True
    except OSError:
        path_is_new = flags & os.O_CREAT
        if path_is_new:
            path.unlink(missing_ok=True)  # some file systems make it before they refuse
        return os.open(path, flags | os.O_CLOEXEC, 0o600), False


@contextmanager
def _removed(path: Path) -> Iterator[Path]:
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _block() -> Iterator[mmap.mmap]:
    """Give a block of incompressible bytes, at the page boundary that O_DIRECT asks for."""
    with mmap.mmap(-1, BLOCK_BYTES) as block:
        block.write(secrets.token_bytes(BLOCK_BYTES))
        yield block
