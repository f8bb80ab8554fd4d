"""Blocks as files, `<root>/<next-to-last two characters of the CID>/<cid>`.

A block appears under its name only when it is complete and synced to disk, and is verified each
time it is read, so a crash or a bad disk can lose a block but never pass off a wrong one.
"""

import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay_node.artifacts import catalog as catalogs
from assay_node.artifacts.catalog import Catalog
from assay_node.artifacts.dag_pb import BLOCK_BYTES_MAX
from assay_node.artifacts.garbage import live_blocks
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Cid

logger = logging.getLogger(__name__)

_PREFIX_CHARS = 2


class DamagedBlock(LocalError):
    """A block on disk did not hash to its CID; it has been removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Bytes that are known to hash to their CID."""

    cid: Cid
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one garbage collection removed."""

    blocks: int
    bytes: int


class Blockstore:
    """The blocks of one store. Every method blocks on disk: call them from worker threads."""

    def __init__(self, root: Path, *, quota_bytes: int) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root
        self._partial = root / "partial"
        self._partial.mkdir(mode=0o700, exist_ok=True)
        self._quota_bytes = quota_bytes
        self.catalog = Catalog(root)
        with self.catalog.transaction() as connection:
            self._bury_dead_sessions(connection)
            if self.catalog.is_new:
                catalogs.set_used_bytes(connection, sum(size for _, size in self._files()))

    def close(self) -> None:
        """End this process's session with the store."""
        self.catalog.close()

    def size(self, cid: Cid) -> int | None:
        """Return a block's bytes as its file has them, None when it is not here. Not verified."""
        try:
            return self.path(cid).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, cid: Cid) -> bytes | None:
        """Return a block, verified, or None when it is not here.

        Raises:
            DamagedBlock: the bytes on disk were wrong; they have been removed.
        """
        data = self._read_file(self.path(cid))
        if data is None or cids.matches(cid, data):
            return data
        self._remove_damaged(cid)
        raise DamagedBlock(
            f"block {cid} was damaged on disk and has been removed: add or fetch its artifact "
            "again, and check the disk"
        )

    def put(self, blocks: Sequence[Block], *, hold: str | None) -> set[Path]:
        """Store blocks and return the folders that `sync_folders` must see to make names durable.

        Args:
            blocks: verified blocks; those already here are not written again.
            hold: operation in whose name the blocks are kept from collection.

        Raises:
            LocalError: they do not fit into the quota, even after collecting garbage.
        """
        wanted = {block.cid: block for block in blocks}
        written = self._write_partial(self._absent(wanted, but={}))
        try:
            with self.catalog.transaction() as connection:
                if hold is not None:
                    self.catalog.hold(connection, hold, list(wanted))
                # Another process may have collected what was here a moment ago and not yet held.
                written |= self._write_partial(self._absent(wanted, but=written))
                new = {cid: path for cid, path in written.items() if self.size(cid) is None}
                shortage = self._take_in(connection, new)
        finally:
            for path in written.values():
                path.unlink(missing_ok=True)
        if shortage is not None:
            raise LocalError(shortage)
        return {self.path(cid).parent for cid in new}

    def sync_folders(self, folders: set[Path]) -> None:
        """Make the names of stored blocks durable."""
        for folder in sorted(folders) + [self._root] * bool(folders):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def path(self, cid: Cid) -> Path:
        """Return where a block lies, present or not."""
        return self._root / cid[-1 - _PREFIX_CHARS : -1] / cid

    def collect_garbage(self) -> Collected:
        """Delete every block that no pin, hold or running operation of any process reaches."""
        with self.catalog.transaction() as connection:
            return self._collect(connection)

    def _absent(self, wanted: Mapping[Cid, Block], *, but: Container[Cid]) -> list[Block]:
        return [b for cid, b in wanted.items() if cid not in but and self.size(cid) is None]

    def _take_in(self, connection: sqlite3.Connection, new: Mapping[Cid, Path]) -> str | None:
        """Give written blocks their names, or return why there is no room for them."""
        added = sum(path.stat().st_size for path in new.values())
        shortage = self._make_room(connection, added)
        if shortage is None:
            for cid, path in new.items():
                path.rename(self._made_path(cid))
            catalogs.set_used_bytes(connection, catalogs.used_bytes(connection) + added)
        return shortage

    def _make_room(self, connection: sqlite3.Connection, added: int) -> str | None:
        if catalogs.used_bytes(connection) + added <= self._quota_bytes:
            return None
        self._collect(connection)
        used = catalogs.used_bytes(connection)
        if used + added <= self._quota_bytes:
            return None
        return (
            f"the artifact store is full: its quota is {self._quota_bytes} bytes, {used} are "
            f"pinned or in use and at least {added} more are needed; unpin something or raise "
            "quota_bytes in the artifact settings"
        )

    def _collect(self, connection: sqlite3.Connection) -> Collected:
        self._bury_dead_sessions(connection)
        connection.execute("DELETE FROM holds WHERE expires_at < ?", (time.time(),))
        roots = connection.execute("SELECT cid FROM pins UNION SELECT cid FROM holds").fetchall()
        live = live_blocks((Cid(cid) for (cid,) in roots), self._read_for_marking)
        kept = blocks = freed = 0
        for path, size in self._files():
            if path.name in live:
                kept += size
                continue
            path.unlink(missing_ok=True)
            blocks += 1
            freed += size
        catalogs.set_used_bytes(connection, kept)
        logger.info("artifact garbage collected", extra={"blocks": blocks, "bytes": freed})
        return Collected(blocks=blocks, bytes=freed)

    def _read_for_marking(self, cid: Cid) -> bytes | None:
        """Read without removing: a transaction is open, and damage is reported by the next read."""
        data = self._read_file(self.path(cid))
        return data if data is not None and cids.matches(cid, data) else None

    def _bury_dead_sessions(self, connection: sqlite3.Connection) -> None:
        living = self.catalog.living_sessions()
        for path in self._partial.iterdir():
            if path.name.partition("-")[0] not in living:
                path.unlink(missing_ok=True)
        self.catalog.bury_sessions(connection, living)

    def _write_partial(self, blocks: Sequence[Block]) -> dict[Cid, Path]:
        """Write all blocks first and sync them after, so that syncs share journal commits."""
        written: dict[Cid, Path] = {}
        fds: list[int] = []
        try:
            for block in blocks:
                name = f"{self.catalog.session}-{uuid.uuid4().hex}"
                written[block.cid] = path = self._partial / name
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                fds.append(fd)
                _write_all(fd, block.data)
            for fd in fds:
                os.fdatasync(fd)
        except BaseException:
            for path in written.values():
                path.unlink(missing_ok=True)
            raise
        finally:
            for fd in fds:
                os.close(fd)
        return written

    def _made_path(self, cid: Cid) -> Path:
        path = self.path(cid)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return path

    def _read_file(self, path: Path) -> bytes | None:
        try:
            with path.open("rb", buffering=0) as file:
                return file.read(BLOCK_BYTES_MAX + 1)
        except FileNotFoundError:
            return None

    def _remove_damaged(self, cid: Cid) -> None:
        with self.catalog.transaction() as connection:
            data = self._read_file(self.path(cid))
            if data is None or cids.matches(cid, data):
                return  # another process has already removed or replaced it
            size = self.path(cid).stat().st_size
            self.path(cid).unlink()
            catalogs.set_used_bytes(connection, catalogs.used_bytes(connection) - size)
        logger.error("damaged block removed from the artifact store", extra={"cid": cid})

    def _files(self) -> Iterator[tuple[Path, int]]:
        for folder in sorted(self._root.iterdir()):
            if len(folder.name) != _PREFIX_CHARS or not folder.is_dir():
                continue
            for entry in os.scandir(folder):
                if _is_block_name(entry.name):
                    yield Path(entry.path), entry.stat(follow_symlinks=False).st_size


def _is_block_name(name: str) -> bool:
    try:
        cids.parse(name)
    except MalformedMessage:
        return False
    return True


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
