"""The descriptors of a module: streams, preopened directories, and what it opened itself."""

import os
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

from assay_provider.runtime.wasm.errno import Errno, WasiError
from assay_provider.runtime.wasm.file_tree import Directory, InputEntry, MemoryFile, Node

OPEN_MAX: Final = 1024
"""Descriptors open at once: the usual RLIMIT_NOFILE."""

OFFSET_MAX: Final = (1 << 63) - 1


class FileType(IntEnum):
    """Kinds of file, by the wire's numbers."""

    UNKNOWN = 0
    """What the log is: no terminal, so that libraries write it in large pieces."""
    DIRECTORY = 3
    REGULAR_FILE = 4


class Rights(IntFlag):
    """The rights that are looked at; the others are handed out and mean nothing here."""

    NONE = 0
    READ = 1 << 1
    WRITE = 1 << 6
    ALL = (1 << 30) - 1


class FdFlags(IntFlag):
    """Flags of an open descriptor; only appending does something."""

    NONE = 0
    APPEND = 1
    ALL = 31


@dataclass(slots=True, kw_only=True)
class Stream:
    """stdin, stdout or stderr. `target` is our descriptor to write to; None reads an empty file."""

    target: int | None
    rights: Rights


@dataclass(slots=True, kw_only=True)
class OpenDirectory:
    """A directory. `preopened` is the path a module finds it under; None when it opened it."""

    directory: Directory
    preopened: bytes | None = None
    rights: Rights = Rights.ALL
    listing: "list[tuple[bytes, Node]]" = field(default_factory=list)
    """As it was when reading began, so that removing entries on the way skips none."""


@dataclass(slots=True, kw_only=True)
class OpenFile:
    """A file. `source` is our descriptor of a file of /input."""

    node: MemoryFile | InputEntry
    rights: Rights
    flags: FdFlags = FdFlags.NONE
    offset: int = 0
    source: int | None = None

    def read_at(self, offset: int, count: int) -> bytes:
        """Return what is there, less only at the end."""
        if isinstance(self.node, MemoryFile):
            return self.node.read(offset, count)
        assert self.source is not None, "files of /input are opened with a source"
        found = bytearray()
        while len(found) < count:
            piece = os.pread(self.source, count - len(found), offset + len(found))
            if not piece:
                break
            found += piece
        return bytes(found)

    def write_at(self, offset: int, data: memoryview, now_ns: int) -> None:
        """Write all of it."""
        if not isinstance(self.node, MemoryFile):
            raise WasiError(Errno.ROFS)
        self.node.write(offset, data, now_ns)

    def close(self) -> None:
        """Let go of the node."""
        if isinstance(self.node, MemoryFile):
            self.node.close()
        if self.source is not None:
            os.close(self.source)


Open = Stream | OpenDirectory | OpenFile


@dataclass(slots=True)
class Descriptors:
    """Numbered from 0; a new one gets the lowest free number, as everywhere."""

    _open: dict[int, Open] = field(default_factory=dict)

    def add(self, opened: Open) -> int:
        """Return the new descriptor's number."""
        if len(self._open) >= OPEN_MAX:
            raise WasiError(Errno.MFILE)
        number = next(n for n in range(OPEN_MAX) if n not in self._open)
        self._open[number] = opened
        return number

    def get(self, number: int) -> Open:
        """Return what a number stands for."""
        if number not in self._open:
            raise WasiError(Errno.BADF)
        return self._open[number]

    def directory(self, number: int) -> OpenDirectory:
        """Return a directory."""
        found = self.get(number)
        if not isinstance(found, OpenDirectory):
            raise WasiError(Errno.NOTDIR)
        return found

    def file(self, number: int, *, needs: Rights = Rights.NONE) -> OpenFile:
        """Return a file that may be used like that."""
        found = self.get(number)
        if isinstance(found, OpenDirectory):
            raise WasiError(Errno.ISDIR if needs & Rights.READ else Errno.BADF)
        if isinstance(found, Stream):
            raise WasiError(Errno.SPIPE)
        if needs & ~found.rights:
            raise WasiError(Errno.BADF)
        return found

    def close(self, number: int) -> None:
        """Close one."""
        found = self.get(number)
        if isinstance(found, OpenFile):
            found.close()
        del self._open[number]

    def renumber(self, number: int, target: int) -> None:
        """Close `target` and let it stand for what `number` stood for."""
        self.get(target)
        moved = self.get(number)
        if number != target:
            self.close(target)
            self._open[target] = moved
            del self._open[number]
