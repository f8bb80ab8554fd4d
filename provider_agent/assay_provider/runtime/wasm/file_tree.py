"""The files a module sees: /input as it lies there, /output and /tmp in memory.

A file system of our own, because one of the machine's shows through: the order of directories,
inode numbers, times, block sizes and error codes differ between honest machines, and a module that
looks at them would give other bits. Here directories are sorted, times are the module's own clock's
and sizes count to the byte. Links do not exist.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from assay_provider.runtime.wasm.errno import Errno, WasiError

NAME_BYTES_MAX: Final = 255
"""NAME_MAX of Linux's file systems: what is taken over must fit one."""
PATH_BYTES_MAX: Final = 4096
DEPTH_MAX: Final = 64
"""Directories below each other; twice what an output may have."""
INPUT_DEVICE: Final = 1


@dataclass(slots=True, kw_only=True)
class Quota:
    """What one writable tree may hold, and whether it was ever full."""

    bytes_left: int
    entries_left: int
    full: bool = False

    def take_bytes(self, count: int) -> None:
        """Reserve room; a negative count gives it back."""
        if count > self.bytes_left:
            self.full = True
            raise WasiError(Errno.NOSPC)
        self.bytes_left -= count

    def take_entry(self) -> None:
        """Reserve an entry."""
        if self.entries_left < 1:
            self.full = True
            raise WasiError(Errno.NOSPC)
        self.entries_left -= 1


@dataclass(slots=True, kw_only=True, eq=False)
class MemoryFile:
    """A file of /output or /tmp."""

    tree: "MemoryTree"
    inode: int
    modified_ns: int
    data: bytearray = field(default_factory=bytearray)
    linked: bool = True
    opened: int = 0

    @property
    def size(self) -> int:
        """Bytes in it."""
        return len(self.data)

    def read(self, offset: int, count: int) -> bytes:
        """Return what is there, less at the end."""
        return bytes(self.data[offset : offset + count])

    def write(self, offset: int, data: "bytes | memoryview", now_ns: int) -> None:
        """Write all of it, or nothing."""
        end = offset + len(data)
        if end > len(self.data):
            self.resize(end, now_ns)
        self.data[offset:end] = data
        self.modified_ns = now_ns

    def resize(self, size: int, now_ns: int) -> None:
        """Cut it off, or fill it up with zeros."""
        self.tree.quota.take_bytes(size - len(self.data))
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))
        self.modified_ns = now_ns

    def close(self) -> None:
        """One of its descriptors is closed."""
        self.opened -= 1
        self._forget_if_unreachable()

    def unlink(self) -> None:
        """Its name is gone; its bytes live as long as a descriptor does."""
        self.linked = False
        self.tree.quota.entries_left += 1
        self._forget_if_unreachable()

    def _forget_if_unreachable(self) -> None:
        if not self.linked and not self.opened:
            self.tree.quota.take_bytes(-len(self.data))
            self.data = bytearray()


@dataclass(slots=True, kw_only=True, eq=False)
class MemoryDirectory:
    """A directory of /output or /tmp."""

    tree: "MemoryTree"
    inode: int
    modified_ns: int
    parent: "MemoryDirectory | None"
    depth: int
    linked: bool = True
    entries: "dict[str, MemoryFile | MemoryDirectory]" = field(default_factory=dict)

    def names(self) -> "list[tuple[str, Node]]":
        """Return what is in it, by the bytes of the names."""
        return sorted(self.entries.items(), key=lambda item: os.fsencode(item[0]))

    def child(self, name: str) -> "Node":
        """Return one entry."""
        if name not in self.entries:
            raise WasiError(Errno.NOENT)
        return self.entries[name]

    def make_file(self, name: str, now_ns: int) -> MemoryFile:
        """Make an empty file; the name must be free."""
        self.check_linked()
        self.tree.quota.take_entry()
        made = MemoryFile(tree=self.tree, inode=self.tree.next_inode(), modified_ns=now_ns)
        self.put(name, made, now_ns)
        return made

    def make_directory(self, name: str, now_ns: int) -> None:
        """Make an empty directory."""
        if name in self.entries:
            raise WasiError(Errno.EXIST)
        if self.depth >= DEPTH_MAX:
            raise WasiError(Errno.NAMETOOLONG)
        self.check_linked()
        self.tree.quota.take_entry()
        made = MemoryDirectory(
            tree=self.tree,
            inode=self.tree.next_inode(),
            modified_ns=now_ns,
            parent=self,
            depth=self.depth + 1,
        )
        self.put(name, made, now_ns)

    def remove_file(self, name: str, now_ns: int) -> None:
        """Remove a file."""
        found = self.child(name)
        if not isinstance(found, MemoryFile):
            raise WasiError(Errno.ISDIR)
        del self.entries[name]
        found.unlink()
        self.modified_ns = now_ns

    def remove_directory(self, name: str, now_ns: int) -> None:
        """Remove an empty directory."""
        found = self.child(name)
        if not isinstance(found, MemoryDirectory):
            raise WasiError(Errno.NOTDIR)
        if found.entries:
            raise WasiError(Errno.NOTEMPTY)
        del self.entries[name]
        found.linked = False
        self.tree.quota.entries_left += 1
        self.modified_ns = now_ns

    def move(self, name: str, target: "MemoryDirectory", target_name: str, now_ns: int) -> None:
        """Rename an entry, over an existing one of its kind."""
        found = self.child(name)
        assert not isinstance(found, InputEntry), "a memory tree holds its own alone"
        if target.tree is not self.tree:
            raise WasiError(Errno.XDEV)
        if isinstance(found, MemoryDirectory):
            _check_move(found, target)
        target.check_linked()
        replaced = target.entries.get(target_name)
        if replaced is found:
            return
        match found, replaced:
            case MemoryFile(), MemoryDirectory():
                raise WasiError(Errno.ISDIR)
            case MemoryDirectory(), MemoryFile():
                raise WasiError(Errno.NOTDIR)
            case _, MemoryFile():
                target.remove_file(target_name, now_ns)
            case _, MemoryDirectory():
                target.remove_directory(target_name, now_ns)
        del self.entries[name]
        self.modified_ns = now_ns
        if isinstance(found, MemoryDirectory):
            found.parent = target
            _set_depth(found, target.depth + 1)
        target.put(target_name, found, now_ns)

    def check_linked(self) -> None:
        """Refuse to put something into a directory that was removed."""
        if not self.linked:
            raise WasiError(Errno.NOENT)

    def put(self, name: str, node: "MemoryFile | MemoryDirectory", now_ns: int) -> None:
        """Give a node a name."""
        self.entries[name] = node
        self.modified_ns = now_ns


@dataclass(slots=True, kw_only=True, eq=False)
class MemoryTree:
    """/output or /tmp. `device` is what a module sees as their file systems' number."""

    device: int
    quota: Quota
    _inodes: int = 1

    def root(self) -> MemoryDirectory:
        """Make the tree's root."""
        return MemoryDirectory(tree=self, inode=1, modified_ns=0, parent=None, depth=0)

    def next_inode(self) -> int:
        """Return a number not used before in this tree."""
        self._inodes += 1
        return self._inodes


@dataclass(frozen=True, slots=True, kw_only=True)
class InputEntry:
    """A file or directory of /input: verified content, which nobody can write."""

    path: str
    """In the sandbox; nothing of it is shown to the module but the names below."""
    relative: str
    """Below /input."""
    is_directory: bool
    size: int

    @classmethod
    def at(cls, path: str, relative: str) -> "InputEntry":
        """Look at a path. What is neither a file nor a directory does not exist."""
        try:
            status = os.lstat(path)
        except OSError:
            raise WasiError(Errno.NOENT) from None
        directory = stat.S_ISDIR(status.st_mode)
        if not (directory or stat.S_ISREG(status.st_mode)):
            raise WasiError(Errno.NOENT)
        return cls(
            path=path,
            relative=relative,
            is_directory=directory,
            size=0 if directory else status.st_size,
        )

    @property
    def inode(self) -> int:
        """The same on every machine: from the path."""
        return int.from_bytes(hashlib.sha256(os.fsencode(self.relative)).digest()[:7], "big")

    def names(self) -> "list[tuple[str, Node]]":
        """Return what is in it, by the bytes of the names."""
        names = sorted((entry.name for entry in os.scandir(self.path)), key=os.fsencode)
        return [(name, self.child(name)) for name in names]

    def child(self, name: str) -> "Node":
        """Return one entry."""
        relative = f"{self.relative}/{name}" if self.relative else name
        return InputEntry.at(f"{self.path}/{name}", relative)


Node = MemoryFile | MemoryDirectory | InputEntry
Directory = MemoryDirectory | InputEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path leads: a directory, and the last name in it; "" for the directory itself."""

    directory: Directory
    name: str
    must_be_directory: bool

    def node(self) -> Node:
        """Return what is there."""
        found = self.directory.child(self.name) if self.name else self.directory
        if self.must_be_directory and not is_directory(found):
            raise WasiError(Errno.NOTDIR)
        return found


def resolve(base: Directory, path: bytes) -> Place:
    """Follow a path from a directory, never above it.

    Raises:
        WasiError: NOTCAPABLE for a path that leads out of `base`.
    """
    text = _text(path)
    if text.startswith("/"):
        raise WasiError(Errno.NOTCAPABLE)
    words = [word for word in text.split("/") if word not in ("", ".")]
    trail: list[Directory] = [base]
    for word in words[:-1]:
        _step(trail, word)
    last = words[-1] if words else ""
    if last == "..":
        _step(trail, last)
        last = ""
    ends_in_slash = text.endswith(("/", "/."))
    return Place(directory=trail[-1], name=last, must_be_directory=ends_in_slash)


def is_directory(node: Node) -> bool:
    """Whether a node is a directory of either kind."""
    return isinstance(node, MemoryDirectory) or (isinstance(node, InputEntry) and node.is_directory)


def files_below(directory: MemoryDirectory, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Yield every path below a directory, parents first, by the bytes of the names."""
    for name, node in directory.names():
        path = f"{prefix}{name}"
        yield path, node
        if isinstance(node, MemoryDirectory):
            yield from files_below(node, f"{path}/")


def _step(trail: list[Directory], word: str) -> None:
    if word == "..":
        if len(trail) == 1:
            raise WasiError(Errno.NOTCAPABLE)
        trail.pop()
        return
    found = trail[-1].child(word)
    if isinstance(found, MemoryFile) or not is_directory(found):
        raise WasiError(Errno.NOTDIR)
    trail.append(found)


def _text(path: bytes) -> str:
    if not path:
        raise WasiError(Errno.NOENT)
    if len(path) > PATH_BYTES_MAX or any(len(w) > NAME_BYTES_MAX for w in path.split(b"/")):
        raise WasiError(Errno.NAMETOOLONG)
    if b"\0" in path:
        raise WasiError(Errno.INVAL)
    try:
        return path.decode()
    except UnicodeDecodeError:
        raise WasiError(Errno.ILSEQ) from None


def _check_move(moved: MemoryDirectory, target: MemoryDirectory) -> None:
    above: MemoryDirectory | None = target
    while above is not None:
        if above is moved:
            raise WasiError(Errno.INVAL)
        above = above.parent
    if target.depth + _height(moved) > DEPTH_MAX:
        raise WasiError(Errno.NAMETOOLONG)


def _height(directory: MemoryDirectory) -> int:
    below = [_height(d) for d in directory.entries.values() if isinstance(d, MemoryDirectory)]
    return 1 + max(below, default=0)


def _set_depth(directory: MemoryDirectory, depth: int) -> None:
    directory.depth = depth
    for node in directory.entries.values():
        if isinstance(node, MemoryDirectory):
            _set_depth(node, depth + 1)
