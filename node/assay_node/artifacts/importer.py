"""From files and directories on disk to blocks.

The tree may have been left by a hostile job: nothing is opened through a symlink, every name is
resolved relative to a directory that is already open, and whatever is not a plain file or directory
is refused. Hidden files are included (`ipfs add --hidden`); permissions are not part of a CID.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay_node.artifacts.balanced import CHUNK_BYTES, BalancedFile, EmitBlock
from assay_node.artifacts.unixfs import Directory, DirectoryEntry, Part, encode, name_fault
from assay_node.artifacts.worker_threads import Stop
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError

DIRECTORY_LINK_BYTES_MAX = 262_144 - 1
"""Bytes of names and CIDs in one directory: from 256 KiB on Kubo shards it (HAMT), which gives
another CID. About 5,000 names of 15 bytes fit."""

_CID_BYTES = 36
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Importer:
    """One import: emits blocks, children before parents, within its limits."""

    def __init__(self, emit: EmitBlock, *, limits: ArtifactLimits, stop: Stop) -> None:
        self.bytes = 0
        self._emit = emit
        self._entries = 0
        self._limits = limits
        self._stop = stop

    def add(self, path: Path) -> Part:
        """Import the file or directory at `path` and return its root.

        Raises:
            LocalError: it exceeds a limit, holds something that is not a file or directory, or
                changes meanwhile.
            OSError: it cannot be read.
        """
        return self._add_entry(os.fspath(path), None, path, depth=0)

    def _add_entry(self, name: str, parent_fd: int | None, path: Path, *, depth: int) -> Part:
        """Import `name`, relative to the open directory `parent_fd`; `path` is for people."""
        kind = os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kind):
            with _opened(name, parent_fd, _READ_FLAGS | os.O_DIRECTORY) as fd:
                return self._add_directory(fd, path, depth)
        if not stat.S_ISREG(kind):
            raise LocalError(
                f"{_shown(path)} is {_kind_name(kind)}; artifacts hold only files and directories"
            )
        with _opened(name, parent_fd, _READ_FLAGS) as fd:
            return self._add_file(fd, path)

    def _add_directory(self, fd: int, path: Path, depth: int) -> Part:
        entries = []
        for name in self._names(fd, path, depth):
            part = self._add_entry(name, fd, path / name, depth=depth + 1)
            entries.append(DirectoryEntry(name=name, cid=part.cid, tsize=part.tsize))
        block = encode(Directory(entries=tuple(entries)))
        cid = cids.of_block(cids.DAG_PB, block)
        self._emit(cid, block)
        return Part(cid=cid, bytes=0, tsize=len(block) + sum(entry.tsize for entry in entries))

    def _names(self, fd: int, path: Path, depth: int) -> list[str]:
        """Return a directory's names in the order of their bytes."""
        names = []
        link_bytes = 0
        with os.scandir(fd) as found:
            for entry in found:
                self._check_name(entry.name, path, depth)
                names.append(entry.name)
                link_bytes += len(entry.name.encode()) + _CID_BYTES
                if link_bytes > DIRECTORY_LINK_BYTES_MAX:
                    raise LocalError(
                        f"{_shown(path)} has too many entries for one directory (more than 256 KiB "
                        "of names and CIDs; sharded directories are not supported): spread its "
                        "files over subdirectories or pack them into one file"
                    )
        return sorted(names, key=str.encode)

    def _check_name(self, name: str, path: Path, depth: int) -> None:
        self._stop.check()
        if fault := name_fault(name):
            raise LocalError(f"the name {name[:80]!a} in {_shown(path)} {fault}: rename it")
        if depth >= self._limits.depth_max:
            raise LocalError(
                f"{_shown(path)} is nested deeper than {self._limits.depth_max} folders"
            )
        self._entries += 1
        if self._entries > self._limits.files_max:
            raise LocalError(
                f"more than the {self._limits.files_max} files and folders allowed, at "
                f"{_shown(path)}"
            )

    def _add_file(self, fd: int, path: Path) -> Part:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise LocalError(f"{_shown(path)} was replaced while it was being read")
        self._check_bytes(before.st_size, path)
        file = BalancedFile(self._emit)
        size = 0
        while chunk := _read_chunk(fd):
            self._stop.check()
            size += len(chunk)
            self._check_bytes(size, path)
            file.add_chunk(chunk)
        after = os.fstat(fd)
        if size != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
            raise LocalError(f"{_shown(path)} changed while it was being read: add it again")
        self.bytes += size
        return file.finish()

    def _check_bytes(self, size: int, path: Path) -> None:
        if self.bytes + size > self._limits.bytes_max:
            raise LocalError(
                f"more than the {self._limits.bytes_max} bytes allowed, at {_shown(path)}"
            )


@contextmanager
def _opened(name: str, parent_fd: int | None, flags: int) -> Iterator[int]:
    fd = os.open(name, flags, dir_fd=parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_chunk(fd: int) -> bytes:
    """Read a full chunk, or what is left of the file."""
    chunk = os.read(fd, CHUNK_BYTES)
    while 0 < len(chunk) < CHUNK_BYTES:
        more = os.read(fd, CHUNK_BYTES - len(chunk))
        if not more:
            break
        chunk += more
    return chunk


def _shown(path: Path) -> str:
    return ascii(os.fspath(path))


def _kind_name(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symlink"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a device"
