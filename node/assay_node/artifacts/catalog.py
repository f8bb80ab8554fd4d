"""What the store must remember besides blocks: bytes in use, pins, and holds of running work.

SQLite is also the lock between the processes that share a store: whoever adds or deletes blocks
does so inside one immediate transaction, so nothing is collected between "is it here?" and
"I hold it".
"""

import fcntl
import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 120.0
"""Longest wait for another process: collecting a store of a terabyte takes minutes."""

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE usage (bytes INTEGER NOT NULL);
INSERT INTO usage VALUES (0);
CREATE TABLE pins (
    owner TEXT NOT NULL, cid TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (owner, cid)
) WITHOUT ROWID;
CREATE TABLE holds (
    session TEXT NOT NULL, operation TEXT NOT NULL, cid TEXT NOT NULL, expires_at REAL,
    PRIMARY KEY (session, operation, cid)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An artifact of `bytes` bytes of content that `owner` wants kept."""

    owner: str
    cid: Cid
    bytes: int


class Catalog:
    """One process's connection to the catalog; safe to use from several threads.

    A session is one opened store. It holds a file lock for as long as it lives, which the kernel
    releases however the process ends: that is how others know whether its holds still count.
    """

    def __init__(self, root: Path) -> None:
        self.session = uuid.uuid4().hex
        self._sessions = root / "sessions"
        self._sessions.mkdir(mode=0o700, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            root / "catalog.sqlite3",
            timeout=LOCK_WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        self._session_fd = -1
        try:
            self.is_new = self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """End the session: its holds no longer count."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM holds WHERE session = ?", (self.session,))
            (self._sessions / self.session).unlink(missing_ok=True)
        os.close(self._session_fd)
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Shut out every other writer, in this process and in others, and commit at the end."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        """End a transaction, which SQLite has done itself already when its disk was full."""
        if self._connection.in_transaction:
            with suppress(sqlite3.OperationalError):
                self._connection.execute("ROLLBACK")

    def living_sessions(self) -> set[str]:
        """Return the sessions whose process is alive, this one included. Call in a transaction.

        Sessions are made inside one too, so no file is seen between its making and its locking.
        """
        return {
            path.name
            for path in self._sessions.iterdir()
            if path.name == self.session or _is_locked(path)
        }

    def bury_sessions(self, connection: sqlite3.Connection, living: set[str]) -> None:
        """Drop the holds and lock files of sessions that ended without a word."""
        for path in self._sessions.iterdir():
            if path.name not in living:
                path.unlink(missing_ok=True)
        holders = connection.execute("SELECT DISTINCT session FROM holds").fetchall()
        dead = [(session,) for (session,) in holders if session not in living]
        connection.executemany("DELETE FROM holds WHERE session = ?", dead)

    def hold(self, connection: sqlite3.Connection, operation: str, held: Sequence[Cid]) -> None:
        """Keep artifacts from collection while an operation runs. Call inside a transaction."""
        rows = [(self.session, operation, cid) for cid in held]
        connection.executemany("INSERT OR IGNORE INTO holds VALUES (?, ?, ?, NULL)", rows)

    def release(self, operation: str, *, keep: Cid | None, until: float) -> None:
        """Drop the holds of an operation, except for one on `keep` that expires at `until`."""
        with self.transaction() as connection:
            connection.execute(
                "DELETE FROM holds WHERE session = ? AND operation = ?", (self.session, operation)
            )
            if keep is not None:
                connection.execute(
                    "INSERT INTO holds VALUES (?, ?, ?, ?)", (self.session, operation, keep, until)
                )

    def pin(self, pin: Pin) -> None:
        """Record a pin; the same owner may pin the same artifact again."""
        with self.transaction() as connection:
            connection.execute(
                "REPLACE INTO pins VALUES (?, ?, ?)", (pin.owner, pin.cid, pin.bytes)
            )

    def unpin(self, owner: str) -> None:
        """Drop all pins of an owner, which may be none."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM pins WHERE owner = ?", (owner,))

    def pins(self) -> tuple[Pin, ...]:
        """Return all pins, sorted by owner and CID."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT owner, cid, bytes FROM pins ORDER BY owner, cid"
            ).fetchall()
        return tuple(Pin(owner=owner, cid=Cid(cid), bytes=size) for owner, cid, size in rows)

    def used_bytes(self) -> int:
        """Return the bytes of all blocks in the store."""
        with self._lock:
            return used_bytes(self._connection)

    def _prepare(self) -> bool:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SCHEMA_VERSION):
                raise LocalError(
                    f"the artifact store has catalog version {version}, this Assay knows "
                    f"{_SCHEMA_VERSION}: use the Assay that wrote it, or another folder"
                )
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            self._session_fd = _make_locked(self._sessions / self.session)
            return bool(version == 0)


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes of all blocks in the store."""
    return int(connection.execute("SELECT bytes FROM usage").fetchone()[0])


def set_used_bytes(connection: sqlite3.Connection, used: int) -> None:
    """Record the bytes of all blocks in the store."""
    connection.execute("UPDATE usage SET bytes = ?", (used,))


def _make_locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
