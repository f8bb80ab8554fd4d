"""One import, fetch, export or pinning under way, and the blocks it keeps from collection."""

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from assay_node.artifacts.blockstore import Block, Blockstore
from assay_node.protocol.ids import Cid

BATCH_BLOCKS = 64
BATCH_BYTES = 16 << 20
"""Blocks that are synced and recorded in one go, which is all of an import that is in memory."""


class Operation:
    """Collects what is written and holds it. Its methods block on disk, one caller at a time."""

    def __init__(self, blocks: Blockstore, *, grace_s: float = 0.0) -> None:
        """Begin; a finished artifact stays held for `grace_s`, so that its caller can pin it."""
        self._blocks = blocks
        self._grace_s = grace_s
        self._id = uuid.uuid4().hex
        self._batch: list[Block] = []
        self._batch_bytes = 0
        self._folders: set[Path] = set()
        self._finished: Cid | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def hold(self, cid: Cid) -> None:
        """Keep an artifact, and all of it that arrives, until the operation is closed."""
        catalog = self._blocks.catalog
        with catalog.transaction() as connection:
            catalog.hold(connection, self._id, [cid])

    def emit(self, cid: Cid, data: bytes) -> None:
        """Take a block of an import, whose root is not known yet, and hold it.

        Raises:
            LocalError: the quota is exceeded.
        """
        self._batch.append(Block(cid=cid, data=data))
        self._batch_bytes += len(data)
        if len(self._batch) >= BATCH_BLOCKS or self._batch_bytes >= BATCH_BYTES:
            self._flush()

    def store(self, blocks: Sequence[Block]) -> None:
        """Store blocks that lie below an artifact which is already held.

        Raises:
            LocalError: the quota is exceeded.
        """
        self._folders |= self._blocks.put(blocks, hold=None)

    def finish(self, root: Cid) -> Cid:
        """Make everything durable; `root` is the artifact that came of it."""
        self._flush()
        self._blocks.sync_folders(self._folders)
        self._finished = root
        return root

    def close(self) -> None:
        """Let go of what is held, after the grace if the operation was finished."""
        keep = self._finished if self._grace_s > 0 else None
        self._blocks.catalog.release(self._id, keep=keep, until=time.time() + self._grace_s)

    def _flush(self) -> None:
        if not self._batch:
            return
        self._folders |= self._blocks.put(self._batch, hold=self._id)
        self._batch = []
        self._batch_bytes = 0
