"""Takes what a job left under /output over into an ordinary directory of the provider.

The job is dead by then, so nothing moves; what it left may still be hostile. Only regular files and
directories pass. Everything is opened relative to an open directory and without following links.
What the walk finds first, in the order of names as bytes, is the reason given: replicas of one job
give the same one. Modes and times are normalised, so nothing of this machine enters the output.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

DEPTH_MAX: Final = 32
"""Directories below each other; the artifact store's limit, and it bounds the open descriptors."""

_NAME_SHOWN_MAX: Final = 120
_COPY_BYTES: Final = 1 << 20
_SET_ID_BITS: Final = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLimits:
    """What may be taken over."""

    bytes_max: int
    files_max: int


class OutputRefused(Exception):
    """The output holds something that cannot be handed over; the text says what."""


class OutputTooLarge(Exception):
    """The output exceeds its limits; the text says which."""


@dataclass(slots=True)
class _Totals:
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    parent: int
    """Open descriptor of the directory that holds it."""
    path: str
    """Path below /output."""
    name: str
    status: os.stat_result


def collect(source: str, destination: str, limits: OutputLimits) -> None:
    """Check everything below `source`, then copy it into the empty directory `destination`.

    Nothing is written before everything was checked.

    Raises:
        OutputTooLarge: more bytes or files than the limits allow.
        OutputRefused: an entry is neither a plain file nor a directory, carries set-id bits,
            lies too deep, or has a name that is not UTF-8.
        OSError: the destination cannot be written.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    from_fd = os.open(source, flags)
    to_fd = os.open(destination, flags)
    try:
        _check(from_fd, limits)
        _copy(from_fd, to_fd)
    finally:
        os.close(from_fd)
        os.close(to_fd)


def _check(directory: int, limits: OutputLimits) -> None:
    totals = _Totals()
    for entry in _walk(directory, "", 1):
        _check_entry(entry)
        totals.files += 1
        if stat.S_ISREG(entry.status.st_mode):
            totals.bytes += entry.status.st_size
        if totals.files > limits.files_max:
            raise OutputTooLarge(f"more than {limits.files_max} files and directories in /output")
        if totals.bytes > limits.bytes_max:
            raise OutputTooLarge(f"more than {limits.bytes_max} bytes in /output")


def _check_entry(entry: _Entry) -> None:
    shown = _shown(entry.path)
    try:
        entry.name.encode("utf-8")
    except UnicodeEncodeError:
        raise OutputRefused(f"the name {shown} in /output is not UTF-8") from None
    mode = entry.status.st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputRefused(f"{shown} in /output is {_kind(mode)}, not a file or directory")
    if mode & _SET_ID_BITS:
        raise OutputRefused(f"{shown} in /output is set-user-id or set-group-id")


def _walk(directory: int, prefix: str, depth: int) -> Iterator[_Entry]:
    """Yield every entry, parents first, siblings in the order of their names as bytes."""
    for name in sorted(os.listdir(directory), key=os.fsencode):
        path = prefix + name
        if depth > DEPTH_MAX:
            raise OutputRefused(f"{_shown(path)} lies more than {DEPTH_MAX} directories deep")
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        yield _Entry(parent=directory, path=path, name=name, status=status)
        if stat.S_ISDIR(status.st_mode):
            child = _open_directory(name, directory)
            try:
                yield from _walk(child, path + "/", depth + 1)
            finally:
                os.close(child)


def _copy(source: int, destination: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            _copy_file(name, source, destination)
            continue
        os.mkdir(name, 0o755, dir_fd=destination)
        below_source = _open_directory(name, source)
        below_destination = _open_directory(name, destination)
        try:
            _copy(below_source, below_destination)
        finally:
            os.close(below_source)
            os.close(below_destination)


def _copy_file(name: str, source: int, destination: int) -> None:
    read_flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    write_flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        os.fdopen(os.open(name, read_flags, dir_fd=source), "rb") as reader,
        os.fdopen(os.open(name, write_flags, 0o644, dir_fd=destination), "wb") as writer,
    ):
        shutil.copyfileobj(reader, writer, _COPY_BYTES)


def _open_directory(name: str, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent)


def _shown(path: str) -> str:
    return ascii(path[:_NAME_SHOWN_MAX])


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    )
    return next((text for test, text in kinds if test(mode)), "of an unknown kind")
