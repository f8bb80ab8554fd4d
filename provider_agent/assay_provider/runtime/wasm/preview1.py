"""WASI preview 1 over files in memory, a clock of instructions and a seeded stream of bytes.

Every function answers from what the module itself did before, so a run gives the same bits on any
machine. Unlike wasmtime's own WASI it never touches the machine, but to read /input and to write
the log. Source: WebAssembly/WASI, legacy/preview1/witx and docs.md; what its words leave open is as
wasi-libc expects it.
"""
# ruff: noqa: D102 - the methods of `Preview1` are described in that specification

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from assay_provider.runtime.wasm.clock import BIRTH_NS, Clock, Randomness
from assay_provider.runtime.wasm.descriptors import (
    OFFSET_MAX,
    Descriptors,
    FdFlags,
    FileType,
    Open,
    OpenDirectory,
    OpenFile,
    Rights,
    Stream,
)
from assay_provider.runtime.wasm.errno import Errno, WasiError
from assay_provider.runtime.wasm.file_tree import (
    InputEntry,
    MemoryDirectory,
    MemoryFile,
    Node,
    Place,
    is_directory,
    resolve,
)

IOVECS_MAX: Final = 1024
"""IOV_MAX of Linux."""
SUBSCRIPTIONS_MAX: Final = 1024
SLEEP_NS_MAX: Final = 1 << 62
_PIECE_BYTES: Final = 1 << 16

_CREATE, _DIRECTORY, _EXCLUSIVE, _TRUNCATE = 1, 2, 4, 8
_SET_ACCESSED_NOW, _SET_MODIFIED, _SET_MODIFIED_NOW = 2, 4, 8
_REALTIME, _CLOCKS = 0, 4
_EVENT_CLOCK = 0
_ABSOLUTE = 1


class Exited(Exception):
    """The module called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit {code}")
        self.code = code


class GuestMemory(Protocol):
    """The module's linear memory. Both raise `WasiError(FAULT)` outside of it."""

    def view(self, address: int, size: int) -> memoryview:
        """Return a part of it, to read or to write before the module goes on."""
        ...

    def store(self, address: int, data: bytes) -> None:
        """Write to it."""
        ...


@dataclass(slots=True, kw_only=True)
class Preview1:
    """One module's world. Each method is the function of its name, with errors as exceptions."""

    memory: GuestMemory
    arguments: Sequence[bytes]
    variables: Sequence[bytes]
    """As NAME=VALUE."""
    clock: Clock
    descriptors: Descriptors
    randomness: Randomness = field(default_factory=Randomness)

    def args_sizes_get(self, count: int, size: int) -> None:
        self._strings_sizes(self.arguments, count, size)

    def args_get(self, pointers: int, buffer: int) -> None:
        self._strings(self.arguments, pointers, buffer)

    def environ_sizes_get(self, count: int, size: int) -> None:
        self._strings_sizes(self.variables, count, size)

    def environ_get(self, pointers: int, buffer: int) -> None:
        self._strings(self.variables, pointers, buffer)

    def clock_res_get(self, clock: int, result: int) -> None:
        self._clock_ns(clock)
        self._store_u64(result, 1)

    def clock_time_get(self, clock: int, _precision: int, result: int) -> None:
        self._store_u64(result, self._clock_ns(clock))

    def random_get(self, buffer: int, size: int) -> None:
        self.memory.view(buffer, size)
        for start in range(0, size, _PIECE_BYTES):
            count = min(_PIECE_BYTES, size - start)
            self.memory.store(buffer + start, self.randomness.draw(count))

    def sched_yield(self) -> None:
        """There is nobody else."""

    def proc_exit(self, code: int) -> None:
        raise Exited(code)

    def proc_raise(self, _signal: int) -> None:
        raise WasiError(Errno.NOSYS)

    def fd_advise(self, fd: int, _offset: int, _length: int, _advice: int) -> None:
        self.descriptors.file(fd)

    def fd_allocate(self, fd: int, _offset: int, _length: int) -> None:
        self.descriptors.file(fd)
        raise WasiError(Errno.NOTSUP)

    def fd_close(self, fd: int) -> None:
        self.descriptors.close(fd)

    def fd_datasync(self, fd: int) -> None:
        self.descriptors.get(fd)

    def fd_sync(self, fd: int) -> None:
        self.descriptors.get(fd)

    def fd_fdstat_get(self, fd: int, result: int) -> None:
        opened = self.descriptors.get(fd)
        flags = opened.flags if isinstance(opened, OpenFile) else 0
        stat = struct.pack("<BxHxxxxQQ", _type_of(opened), flags, opened.rights, opened.rights)
        self.memory.store(result, stat)

    def fd_fdstat_set_flags(self, fd: int, flags: int) -> None:
        opened = self.descriptors.get(fd)
        if flags & ~FdFlags.ALL:
            raise WasiError(Errno.INVAL)
        if isinstance(opened, OpenFile):
            opened.flags = FdFlags(flags)

    def fd_fdstat_set_rights(self, fd: int, base: int, _inheriting: int) -> None:
        opened = self.descriptors.get(fd)
        if base & ~opened.rights:
            raise WasiError(Errno.NOTCAPABLE)
        opened.rights = Rights(base)

    def fd_filestat_get(self, fd: int, result: int) -> None:
        opened = self.descriptors.get(fd)
        match opened:
            case OpenFile():
                self._store_stat(result, opened.node)
            case OpenDirectory():
                self._store_stat(result, opened.directory)
            case Stream():
                stat = (0, fd, FileType.UNKNOWN, 1, 0, 0, 0, 0)
                self.memory.store(result, struct.pack("<QQB7xQQQQQ", *stat))

    def fd_filestat_set_size(self, fd: int, size: int) -> None:
        opened = self.descriptors.file(fd, needs=Rights.WRITE)
        if not isinstance(opened.node, MemoryFile):
            raise WasiError(Errno.ROFS)
        if size > OFFSET_MAX:
            raise WasiError(Errno.INVAL)
        opened.node.resize(size, self._now_ns())

    def fd_filestat_set_times(self, fd: int, _accessed: int, modified: int, flags: int) -> None:
        opened = self.descriptors.get(fd)
        node = opened.directory if isinstance(opened, OpenDirectory) else None
        self._set_times(opened.node if isinstance(opened, OpenFile) else node, modified, flags)

    def fd_read(self, fd: int, vectors: int, count: int, result: int) -> None:
        views = self._vectors(vectors, count)
        opened = self.descriptors.get(fd)
        if isinstance(opened, Stream):
            if opened.target is not None:
                raise WasiError(Errno.BADF)
            self._store_u32(result, 0)
            return
        opened = self.descriptors.file(fd, needs=Rights.READ)
        done = self._read(opened, opened.offset, views)
        opened.offset += done
        self._store_u32(result, done)

    def fd_pread(self, fd: int, vectors: int, count: int, offset: int, result: int) -> None:
        views = self._vectors(vectors, count)
        opened = self.descriptors.file(fd, needs=Rights.READ)
        self._store_u32(result, self._read(opened, _offset(offset), views))

    def fd_write(self, fd: int, vectors: int, count: int, result: int) -> None:
        views = self._vectors(vectors, count)
        opened = self.descriptors.get(fd)
        if isinstance(opened, Stream):
            self._store_u32(result, _log(opened, views))
            return
        opened = self.descriptors.file(fd, needs=Rights.WRITE)
        if opened.flags & FdFlags.APPEND:
            opened.offset = opened.node.size
        done = self._write(opened, opened.offset, views)
        opened.offset += done
        self._store_u32(result, done)

    def fd_pwrite(self, fd: int, vectors: int, count: int, offset: int, result: int) -> None:
        views = self._vectors(vectors, count)
        opened = self.descriptors.file(fd, needs=Rights.WRITE)
        self._store_u32(result, self._write(opened, _offset(offset), views))

    def fd_seek(self, fd: int, offset: int, whence: int, result: int) -> None:
        opened = self.descriptors.file(fd)
        starts = (0, opened.offset, opened.node.size)
        if whence >= len(starts):
            raise WasiError(Errno.INVAL)
        opened.offset = _offset(starts[whence] + _signed(offset))
        self._store_u64(result, opened.offset)

    def fd_tell(self, fd: int, result: int) -> None:
        self._store_u64(result, self.descriptors.file(fd).offset)

    def fd_prestat_get(self, fd: int, result: int) -> None:
        self.memory.store(result, struct.pack("<BxxxI", 0, len(self._preopened(fd))))

    def fd_prestat_dir_name(self, fd: int, buffer: int, size: int) -> None:
        name = self._preopened(fd)
        if size < len(name):
            raise WasiError(Errno.NAMETOOLONG)
        self.memory.store(buffer, name)

    def fd_readdir(self, fd: int, buffer: int, size: int, cookie: int, result: int) -> None:
        opened = self.descriptors.directory(fd)
        if cookie == 0:
            opened.listing = _listing(opened)
        if cookie > len(opened.listing):
            raise WasiError(Errno.INVAL)
        self.memory.view(buffer, size)
        written = bytearray()
        for number, (name, node) in enumerate(opened.listing[cookie:], start=cookie + 1):
            kind = FileType.DIRECTORY if is_directory(node) else FileType.REGULAR_FILE
            written += struct.pack("<QQIB3x", number, node.inode, len(name), kind) + name
            if len(written) >= size:
                break
        # A reader knows by the full buffer that there is more, and by the cookies where to go on.
        self.memory.store(buffer, bytes(written[:size]))
        self._store_u32(result, min(len(written), size))

    def fd_renumber(self, fd: int, target: int) -> None:
        self.descriptors.renumber(fd, target)

    def path_create_directory(self, fd: int, path: int, size: int) -> None:
        directory, name = self._writable(fd, path, size)
        directory.make_directory(name, self._now_ns())

    def path_filestat_get(self, fd: int, _flags: int, path: int, size: int, result: int) -> None:
        self._store_stat(result, self._place(fd, path, size).node())

    def path_filestat_set_times(
        self, fd: int, _flags: int, path: int, size: int, _accessed: int, modified: int, flags: int
    ) -> None:
        self._set_times(self._place(fd, path, size).node(), modified, flags)

    def path_link(self, *_: int) -> None:
        raise WasiError(Errno.NOTSUP)

    def path_symlink(self, *_: int) -> None:
        raise WasiError(Errno.NOTSUP)

    def path_readlink(
        self, fd: int, path: int, size: int, _buffer: int, _buffer_size: int, _result: int
    ) -> None:
        self._place(fd, path, size).node()
        raise WasiError(Errno.INVAL)

    def path_open(
        self,
        fd: int,
        _look_up: int,
        path: int,
        size: int,
        how: int,
        rights: int,
        _inheriting: int,
        flags: int,
        result: int,
    ) -> None:
        place = self._place(fd, path, size)
        if flags & ~FdFlags.ALL or how & ~15:
            raise WasiError(Errno.INVAL)
        self.memory.view(result, 4)
        opened = self._open(place, how, Rights(rights & Rights.ALL), FdFlags(flags))
        try:
            number = self.descriptors.add(opened)
        except WasiError:
            if isinstance(opened, OpenFile):
                opened.close()
            raise
        self._store_u32(result, number)

    def path_remove_directory(self, fd: int, path: int, size: int) -> None:
        directory, name = self._writable(fd, path, size)
        directory.remove_directory(name, self._now_ns())

    def path_unlink_file(self, fd: int, path: int, size: int) -> None:
        directory, name = self._writable(fd, path, size)
        if self._place(fd, path, size).must_be_directory:
            raise WasiError(Errno.NOTDIR)
        directory.remove_file(name, self._now_ns())

    def path_rename(
        self, fd: int, path: int, size: int, target_fd: int, target: int, target_size: int
    ) -> None:
        directory, name = self._writable(fd, path, size)
        target_directory, target_name = self._writable(target_fd, target, target_size)
        directory.move(name, target_directory, target_name, self._now_ns())

    def poll_oneoff(self, subscriptions: int, events: int, count: int, result: int) -> None:
        if not 1 <= count <= SUBSCRIPTIONS_MAX:
            raise WasiError(Errno.INVAL)
        asked = bytes(self.memory.view(subscriptions, 48 * count))
        found = [self._subscribed(asked[48 * n : 48 * (n + 1)]) for n in range(count)]
        at_once = [event for due_ns, event in found if due_ns is None]
        if not at_once:
            now_ns = self.clock.running_ns()
            first_ns = min(due_ns for due_ns, _ in found if due_ns is not None)
            self.clock.sleep(max(0, min(first_ns - now_ns, SLEEP_NS_MAX)))
            at_once = [e for due_ns, e in found if due_ns is not None and due_ns <= first_ns]
        self.memory.store(events, b"".join(at_once))
        self._store_u32(result, len(at_once))

    def sock_accept(self, *_: int) -> None:
        raise WasiError(Errno.NOTSOCK)

    def sock_recv(self, *_: int) -> None:
        raise WasiError(Errno.NOTSOCK)

    def sock_send(self, *_: int) -> None:
        raise WasiError(Errno.NOTSOCK)

    def sock_shutdown(self, *_: int) -> None:
        raise WasiError(Errno.NOTSOCK)

    def _open(self, place: Place, how: int, rights: Rights, flags: FdFlags) -> Open:
        exists = _exists(place)
        if how & _CREATE and not exists:
            return self._created(place, rights, flags)
        if how & _CREATE and how & _EXCLUSIVE:
            raise WasiError(Errno.EXIST)
        node = place.node()
        if isinstance(node, MemoryDirectory) or (
            isinstance(node, InputEntry) and is_directory(node)
        ):
            if how & _TRUNCATE or (rights & Rights.WRITE and not how & _DIRECTORY):
                raise WasiError(Errno.ISDIR)
            return OpenDirectory(directory=node)
        if how & _DIRECTORY:
            raise WasiError(Errno.NOTDIR)
        if isinstance(node, InputEntry):
            return _opened_input(node, how, rights, flags)
        if how & _TRUNCATE:
            node.resize(0, self._now_ns())
        node.opened += 1
        return OpenFile(node=node, rights=rights, flags=flags)

    def _created(self, place: Place, rights: Rights, flags: FdFlags) -> Open:
        if not isinstance(place.directory, MemoryDirectory):
            raise WasiError(Errno.ROFS)
        if place.must_be_directory:
            raise WasiError(Errno.ISDIR)
        made = place.directory.make_file(place.name, self._now_ns())
        made.opened += 1
        return OpenFile(node=made, rights=rights, flags=flags)

    def _read(self, opened: OpenFile, offset: int, views: Iterator[memoryview]) -> int:
        done = 0
        for view in views:
            data = opened.read_at(offset + done, len(view))
            view[: len(data)] = data
            done += len(data)
            if len(data) < len(view):
                break
        return done

    def _write(self, opened: OpenFile, offset: int, views: Iterator[memoryview]) -> int:
        done = 0
        for view in views:
            if offset + done + len(view) > OFFSET_MAX:
                raise WasiError(Errno.FBIG)
            opened.write_at(offset + done, view, self._now_ns())
            done += len(view)
        return done

    def _vectors(self, vectors: int, count: int) -> Iterator[memoryview]:
        if count > IOVECS_MAX:
            raise WasiError(Errno.INVAL)
        words = struct.unpack(f"<{2 * count}I", self.memory.view(vectors, 8 * count))
        spans = list(zip(words[::2], words[1::2], strict=True))
        if sum(size for _, size in spans) > 0xFFFFFFFF:
            raise WasiError(Errno.INVAL)
        return iter([self.memory.view(address, size) for address, size in spans])

    def _place(self, fd: int, path: int, size: int) -> Place:
        directory = self.descriptors.directory(fd).directory
        return resolve(directory, bytes(self.memory.view(path, size)))

    def _writable(self, fd: int, path: int, size: int) -> tuple[MemoryDirectory, str]:
        place = self._place(fd, path, size)
        if not isinstance(place.directory, MemoryDirectory):
            raise WasiError(Errno.ROFS)
        if not place.name:
            raise WasiError(Errno.INVAL)
        return place.directory, place.name

    def _preopened(self, fd: int) -> bytes:
        opened = self.descriptors.get(fd)
        if not isinstance(opened, OpenDirectory) or opened.preopened is None:
            raise WasiError(Errno.BADF)
        return opened.preopened

    def _subscribed(self, asked: bytes) -> tuple[int | None, bytes]:
        """Return when a subscription is due, in running time, None for at once; and its event."""
        user_data, kind = struct.unpack_from("<QB", asked)
        if kind != _EVENT_CLOCK:
            errno = Errno.SUCCESS
            try:
                self.descriptors.get(struct.unpack_from("<I", asked, 16)[0])
            except WasiError as error:
                errno = error.errno
            return None, struct.pack("<QHB5xQH6x", user_data, errno, kind, 0, 0)
        clock, timeout, flags = struct.unpack_from("<I4xQ8xH", asked, 16)
        event = struct.pack("<QHB5xQH6x", user_data, 0, kind, 0, 0)
        if not flags & _ABSOLUTE:
            return self.clock.running_ns() + timeout, event
        return timeout - (BIRTH_NS if clock == _REALTIME else 0), event

    def _set_times(self, node: Node | None, modified: int, flags: int) -> None:
        if node is None:
            raise WasiError(Errno.BADF)
        if isinstance(node, InputEntry):
            raise WasiError(Errno.ROFS)
        if flags & _SET_MODIFIED and flags & _SET_MODIFIED_NOW:
            raise WasiError(Errno.INVAL)
        if flags & _SET_MODIFIED:
            node.modified_ns = modified
        elif flags & _SET_MODIFIED_NOW:
            node.modified_ns = self._now_ns()

    def _store_stat(self, result: int, node: Node) -> None:
        kind = FileType.DIRECTORY if is_directory(node) else FileType.REGULAR_FILE
        if isinstance(node, InputEntry):
            device, size, time_ns = 1, node.size, BIRTH_NS
        else:
            device, time_ns = node.tree.device, node.modified_ns
            size = node.size if isinstance(node, MemoryFile) else 0
        stat = (device, node.inode, kind, 1, size, time_ns, time_ns, time_ns)
        self.memory.store(result, struct.pack("<QQB7xQQQQQ", *stat))

    def _strings_sizes(self, strings: Sequence[bytes], count: int, size: int) -> None:
        self._store_u32(count, len(strings))
        self._store_u32(size, sum(len(text) + 1 for text in strings))

    def _strings(self, strings: Sequence[bytes], pointers: int, buffer: int) -> None:
        for number, text in enumerate(strings):
            self._store_u32(pointers + 4 * number, buffer)
            self.memory.store(buffer, text + b"\0")
            buffer += len(text) + 1

    def _clock_ns(self, clock: int) -> int:
        if clock >= _CLOCKS:
            raise WasiError(Errno.INVAL)
        return self._now_ns() if clock == _REALTIME else self.clock.running_ns()

    def _now_ns(self) -> int:
        return BIRTH_NS + self.clock.running_ns()

    def _store_u32(self, address: int, value: int) -> None:
        self.memory.store(address, struct.pack("<I", value))

    def _store_u64(self, address: int, value: int) -> None:
        self.memory.store(address, struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF))


Handler = Callable[..., None]

I32, I64 = "i32", "i64"

SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    "args_get": (I32, I32),
    "args_sizes_get": (I32, I32),
    "clock_res_get": (I32, I32),
    "clock_time_get": (I32, I64, I32),
    "environ_get": (I32, I32),
    "environ_sizes_get": (I32, I32),
    "fd_advise": (I32, I64, I64, I32),
    "fd_allocate": (I32, I64, I64),
    "fd_close": (I32,),
    "fd_datasync": (I32,),
    "fd_fdstat_get": (I32, I32),
    "fd_fdstat_set_flags": (I32, I32),
    "fd_fdstat_set_rights": (I32, I64, I64),
    "fd_filestat_get": (I32, I32),
    "fd_filestat_set_size": (I32, I64),
    "fd_filestat_set_times": (I32, I64, I64, I32),
    "fd_pread": (I32, I32, I32, I64, I32),
    "fd_prestat_dir_name": (I32, I32, I32),
    "fd_prestat_get": (I32, I32),
    "fd_pwrite": (I32, I32, I32, I64, I32),
    "fd_read": (I32, I32, I32, I32),
    "fd_readdir": (I32, I32, I32, I64, I32),
    "fd_renumber": (I32, I32),
    "fd_seek": (I32, I64, I32, I32),
    "fd_sync": (I32,),
    "fd_tell": (I32, I32),
    "fd_write": (I32, I32, I32, I32),
    "path_create_directory": (I32, I32, I32),
    "path_filestat_get": (I32, I32, I32, I32, I32),
    "path_filestat_set_times": (I32, I32, I32, I32, I64, I64, I32),
    "path_link": (I32, I32, I32, I32, I32, I32, I32),
    "path_open": (I32, I32, I32, I32, I32, I64, I64, I32, I32),
    "path_readlink": (I32, I32, I32, I32, I32, I32),
    "path_remove_directory": (I32, I32, I32),
    "path_rename": (I32, I32, I32, I32, I32, I32),
    "path_symlink": (I32, I32, I32, I32, I32),
    "path_unlink_file": (I32, I32, I32),
    "poll_oneoff": (I32, I32, I32, I32),
    "proc_exit": (I32,),
    "proc_raise": (I32,),
    "random_get": (I32, I32),
    "sched_yield": (),
    "sock_accept": (I32, I32, I32),
    "sock_recv": (I32, I32, I32, I32, I32, I32),
    "sock_send": (I32, I32, I32, I32, I32),
    "sock_shutdown": (I32, I32),
}
"""The types of the parameters; all but proc_exit return an errno."""

WITHOUT_RESULT: Final = frozenset({"proc_exit"})


def preopened(directories: Sequence[tuple[bytes, "MemoryDirectory | InputEntry"]]) -> Descriptors:
    """Return the descriptors a module starts with: its streams, then these directories."""
    descriptors = Descriptors()
    descriptors.add(Stream(target=None, rights=Rights.READ))
    for target in (1, 2):
        descriptors.add(Stream(target=target, rights=Rights.WRITE))
    for name, directory in directories:
        descriptors.add(OpenDirectory(directory=directory, preopened=name))
    return descriptors


def _opened_input(node: InputEntry, how: int, rights: Rights, flags: FdFlags) -> OpenFile:
    if how & _TRUNCATE or rights & Rights.WRITE:
        raise WasiError(Errno.ROFS)
    try:
        source = os.open(node.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        raise WasiError(Errno.IO) from None
    return OpenFile(node=node, rights=rights, flags=flags, source=source)


def _exists(place: Place) -> bool:
    try:
        place.node()
    except WasiError as error:
        if error.errno is not Errno.NOENT:
            raise
        return False
    return True


def _listing(opened: OpenDirectory) -> list[tuple[bytes, Node]]:
    directory = opened.directory
    above = directory.parent if isinstance(directory, MemoryDirectory) else None
    dots = [(b".", directory), (b"..", above or directory)]
    return [*dots, *((os.fsencode(name), node) for name, node in directory.names())]


def _log(stream: Stream, views: Iterator[memoryview]) -> int:
    if stream.target is None:
        raise WasiError(Errno.BADF)
    done = 0
    for view in views:
        written = 0
        while written < len(view):
            written += os.write(stream.target, view[written:])
        done += len(view)
    return done


def _type_of(opened: Open) -> FileType:
    match opened:
        case Stream():
            return FileType.UNKNOWN
        case OpenDirectory():
            return FileType.DIRECTORY
        case OpenFile():
            return FileType.REGULAR_FILE


def _offset(value: int) -> int:
    if not 0 <= value <= OFFSET_MAX:
        raise WasiError(Errno.INVAL)
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
