"""What one daemon has for itself on this machine: its home, and its range of user ids.

Two daemons on one home would both run its leases; two on one range would let strangers' jobs, and
the clean-up after a crash, reach each other's. Both are claimed by locking a file, which the kernel
lets go of however the daemon ends.
"""

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError

HOME_LOCK: Final = "daemon.lock"
REGISTRY: Final = Path("/run/assay/uids")
"""One file for each range in use, named by its first and last id; gone after a reboot."""
_TURN: Final = "turn"
_HOLDER_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class UidRange:
    """Host user ids `first` to `last`, of which each slot has one."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of its file in the registry."""
        return f"{self.first}-{self.last}"

    def overlaps(self, other: "UidRange") -> bool:
        """Tell whether the two share an id."""
        return self.first <= other.last and other.first <= self.last


@contextlib.contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Hold a provider's home while the block runs.

    Raises:
        LocalError: another daemon holds it.
    """
    path = home / HOME_LOCK
    with _opened(path) as descriptor:
        if not _lock(descriptor):
            raise LocalError(
                f"a provider{_holder(descriptor)} runs with the home {home} already; stop it, or "
                "set provider.home to another folder"
            )
        _sign(descriptor, home)
        yield


def home_is_held(home: Path) -> bool:
    """Tell whether a daemon runs with this home."""
    try:
        descriptor = os.open(home / HOME_LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_uids(uids: UidRange, home: Path, registry: Path = REGISTRY) -> Iterator[None]:
    """Hold a range of user ids while the block runs, among all daemons of this machine.

    Raises:
        LocalError: another daemon holds some of them, or the registry cannot be used.
    """
    try:
        descriptor = _claim(uids, home, _usable(registry))
    except OSError as error:
        raise LocalError(
            f"the registry of user ids {registry} cannot be used: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (registry / uids.name).unlink()
        os.close(descriptor)


def _claim(uids: UidRange, home: Path, registry: Path) -> int:
    """Return the locked file of the range. One daemon at a time looks and claims."""
    with _opened(registry / _TURN) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for path in sorted(registry.iterdir()):
            other = _range_of(path.name)
            if other is not None and other.overlaps(uids):
                _check_gone(path, other, uids)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(registry / uids.name, flags, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sign(descriptor, home)
        return descriptor


def _check_gone(path: Path, other: UidRange, wanted: UidRange) -> None:
    """Remove the file of a daemon that is gone; refuse while one lives."""
    with _opened(path) as descriptor:
        if not _lock(descriptor):
            raise LocalError(
                f"the user ids {wanted.first} to {wanted.last} are not free: a "
                f"provider{_holder(descriptor)} has {other.first} to {other.last}; set "
                "provider.uid_first to a range of its own"
            )
        path.unlink()


def _usable(registry: Path) -> Path:
    """Return the registry's folder, which nobody else may write."""
    for folder in (registry.parent, registry):
        folder.mkdir(mode=0o755, exist_ok=True)
        status = folder.lstat()
        others = stat.S_IMODE(status.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or others:
            raise LocalError(f"{folder} must be a folder that only this user may write; remove it")
    return registry


def _range_of(name: str) -> UidRange | None:
    first, _, last = name.partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        return None
    return UidRange(first=int(first), last=int(last))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalError(f"cannot use {path}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, home: Path) -> None:
    """Write who holds a file, for the sentence that another daemon gets to read.

    A full disk keeps the lock and loses the words.
    """
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "home": str(home)}).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, _HOLDER_BYTES_MAX, 0))
        return f" (process {int(found['pid'])}, home {str(found['home'])!a})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
