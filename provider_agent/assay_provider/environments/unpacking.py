"""Writes a layer's entries below an open directory, and nothing anywhere else.

Every name is created relative to the descriptor of the directory it lies in, which was created a
moment before by this same walk; nothing that exists is ever opened, followed or replaced.
"""

import os
import stat
from typing import BinaryIO, Final

from assay_node.protocol.errors import MalformedMessage
from assay_provider.environments.layer_tar import Entry, EntryKind, LayerReader, LayerSize

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(stream: BinaryIO, directory: int, limits: LayerSize) -> LayerSize:
    """Unpack a layer into the empty directory open as `directory`; return what it held.

    A whiteout becomes what overlayfs takes for one, the character device 0/0, which leads nowhere
    and which anybody may make (Linux 5.8).

    Raises:
        MalformedMessage: the bytes are not a layer, or exceed the limits.
        OSError: the disk refuses.
    """
    reader = LayerReader(stream, limits)
    folders = _Folders(directory)
    try:
        for entry in reader.entries():
            folder = folders.enter(entry.path)
            try:
                _create(entry, folder, reader)
            except FileExistsError:
                raise MalformedMessage(f"{entry.path[:80]!a} is there twice") from None
            if entry.kind is EntryKind.DIRECTORY:
                folders.push(entry.path)
    finally:
        folders.close()
    return reader.size


class _Folders:
    """The open directories from the root to the entry at hand."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: list[int] = []

    def enter(self, path: str) -> int:
        """Return the descriptor of the directory that holds `path`."""
        depth = path.count("/")
        while len(self._open) > depth:
            os.close(self._open.pop())
        return self._top()

    def push(self, path: str) -> None:
        """Open the directory that was just made."""
        name = path.rpartition("/")[2]
        self._open.append(os.open(name, _DIRECTORY, dir_fd=self._top()))

    def close(self) -> None:
        """Close all but the root."""
        while self._open:
            os.close(self._open.pop())

    def _top(self) -> int:
        return self._open[-1] if self._open else self._root


def _create(entry: Entry, folder: int, reader: LayerReader) -> None:
    name = entry.path.rpartition("/")[2]
    match entry.kind:
        case EntryKind.DIRECTORY:
            os.mkdir(name, 0o755, dir_fd=folder)
        case EntryKind.LINK:
            os.symlink(entry.target, name, dir_fd=folder)
        case EntryKind.WHITEOUT:
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(0, 0), dir_fd=folder)
        case EntryKind.FILE:
            mode = 0o755 if entry.executable else 0o644
            with os.fdopen(os.open(name, _NEW_FILE, mode, dir_fd=folder), "wb") as file:
                reader.copy(file.write)
