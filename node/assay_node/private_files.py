"""Files that only their owner may read: keys, passwords, the folders that hold them.

A file is written under a temporary name, synced and linked into place, so that a crash leaves
either nothing or the whole file; linking (unlike renaming) also fails when the name is taken. Files
that change are renamed into place instead.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
_OTHERS: Final = 0o077


def private_directory(path: Path) -> Path:
    """Return `path`, made with mode 0700 (parents too) when it is absent.

    Raises:
        LocalError: it cannot be made, is no directory, or others may enter it.
    """
    try:
        # mode= of mkdir does not reach the parents it makes, so each is made on its own
        for directory in (*reversed(path.parents), path):
            if not directory.exists():
                directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        mode = path.stat().st_mode
    except OSError as error:
        raise LocalError(f"cannot use the directory {path}: {_reason(error)}") from None
    if not stat.S_ISDIR(mode):
        raise LocalError(f"{path} is not a directory; move it away")
    if mode & _OTHERS:
        raise LocalError(f"others can read {path}; run: chmod 700 {path}")
    return path


def check_private_file(path: Path) -> None:
    """Refuse a file that anybody but its owner may read or write.

    Raises:
        LocalError: saying what to do about it.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise LocalError(f"cannot read {path}: {_reason(error)}") from None
    if stat.S_ISDIR(mode):
        raise LocalError(f"{path} is a directory, not a file")
    if mode & _OTHERS:
        raise LocalError(f"others can read {path}; run: chmod 600 {path}")


def read_private(path: Path, *, bytes_max: int) -> bytes:
    """Return the content of a private file.

    Raises:
        LocalError: it is absent, too wide open, or larger than `bytes_max`.
    """
    check_private_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {_reason(error)}") from None
    if len(data) > bytes_max:
        raise LocalError(f"{path} has more than {bytes_max} bytes; it is not the file meant here")
    return data


def write_private(path: Path, data: bytes) -> None:
    """Write a new file with mode 0600 into a directory of mode 0700, wholly or not at all.

    Raises:
        LocalError: the name is taken (nothing is ever overwritten), the directory is open to
            others, or the disk refuses.
    """
    directory = private_directory(path.parent)
    temporary = directory / f".{path.name}.{secrets.token_hex(8)}"
    try:
        try:
            _write_synced(temporary, data)
            path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(directory)
    except FileExistsError:
        raise LocalError(
            f"{path} exists already and is never overwritten; choose another name or move it away"
        ) from None
    except OSError as error:
        raise LocalError(f"cannot write {path}: {_reason(error)}") from None


def replace_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 in place of what goes by its name, wholly or not at all.

    Raises:
        LocalError: the directory is open to others, or the disk refuses.
    """
    directory = private_directory(path.parent)
    temporary = directory / f".{path.name}.{secrets.token_hex(8)}"
    try:
        try:
            _write_synced(temporary, data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(directory)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {_reason(error)}") from None


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
