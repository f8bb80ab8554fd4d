"""Fetching the blocks of an artifact from one source."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from assay_node.artifacts import unixfs
from assay_node.artifacts.blockstore import Block, Blockstore
from assay_node.artifacts.exchange_frames import (
    PROTOCOL,
    REQUEST_CIDS_MAX,
    FoundBlock,
    MissingBlock,
    Refusal,
    decode_answer,
    encode_request,
)
from assay_node.artifacts.operation import Operation
from assay_node.artifacts.reader import next_missing
from assay_node.artifacts.settings import ArtifactSettings
from assay_node.artifacts.unixfs import UnixFsNode
from assay_node.artifacts.walk import Walk, Want
from assay_node.artifacts.worker_threads import Stop, WorkerThreads
from assay_node.ports import Network, Stream
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage, RemoteError
from assay_node.protocol.ids import Cid, PeerId

STORE_BLOCKS = 32
STORE_BYTES = 8 << 20
"""Blocks stored in one go while the next ones arrive. Twice this is what one fetch holds."""

WANTS_WAITING_MAX = 2 * REQUEST_CIDS_MAX + 2 * STORE_BLOCKS
"""Blocks asked for and not yet stored: beside those being stored, 32 MiB of chunks are on their
way, which keeps a line of 100 MB/s busy for 300 ms. They wait in the peer and the transport."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    cid: Cid
    size: int
    node: UnixFsNode | None


class BlockFetch:
    """Fetches from one source what a walk finds missing here."""

    def __init__(
        self,
        blocks: Blockstore,
        threads: WorkerThreads,
        settings: ArtifactSettings,
        *,
        operation: Operation,
        network: Network,
        source: PeerId,
    ) -> None:
        self._blocks = blocks
        self._operation = operation
        self._threads = threads
        self._settings = settings
        self._network = network
        self._source = source
        self._in_flight: deque[Cid] = deque()
        self._waiting: dict[Cid, list[Want]] = {}
        self._waiting_count = 0
        self._arrived: list[Block] = []
        self._storing: asyncio.Task[list[_Stored]] | None = None

    async def run(self, walk: Walk, missing: Sequence[Want]) -> None:
        """Complete `walk`, of which `missing` has been taken already.

        Raises:
            RemoteError: the source stalled, lied, refused, went away or lacks a block.
            MalformedMessage, Refused: the artifact is malformed or exceeds the limits.
            LocalError: the store is full or failing.
        """
        async with _deadline(self._settings.open_timeout_s, "did not accept a stream"):
            stream = await self._network.open_stream(self._source, PROTOCOL)
        try:
            await self._transfer(stream, walk, list(missing))
        finally:
            if self._storing is not None:
                self._storing.cancel()
                await asyncio.gather(self._storing, return_exceptions=True)
            await stream.close()

    async def _transfer(self, stream: Stream, walk: Walk, missing: list[Want]) -> None:
        while True:
            while missing or self._waiting_count <= WANTS_WAITING_MAX - REQUEST_CIDS_MAX:
                missing = missing or await self._next_missing(walk)
                if not missing:
                    break
                await self._request(stream, missing)
                missing = []
            if self._in_flight:
                await self._receive(stream)
            if self._is_batch_due():
                await self._finish_storing(walk)
                self._storing = asyncio.create_task(self._store(self._arrived))
                self._arrived = []
            if not self._in_flight:
                await self._finish_storing(walk)
                if walk.is_over:
                    return

    async def _next_missing(self, walk: Walk) -> list[Want]:
        """Walk over blocks that are here, up to the next that are not."""
        if walk.is_over:
            return []
        return await self._threads.run(lambda stop: next_missing(self._blocks, walk, stop))

    async def _request(self, stream: Stream, missing: Sequence[Want]) -> None:
        """Ask for what is missing, once each: files of zeros want one chunk many times."""
        asked = []
        for want in missing:
            if want.cid not in self._waiting:
                asked.append(want.cid)
            self._waiting.setdefault(want.cid, []).append(want)
            self._waiting_count += 1
        if asked:
            async with _deadline(self._settings.block_timeout_s, "took no request"):
                await stream.send(encode_request(asked))
            self._in_flight.extend(asked)

    async def _receive(self, stream: Stream) -> None:
        wait_s = self._settings.block_timeout_s
        async with _deadline(wait_s, f"stalled: no block for {wait_s:g} s"):
            frame = await stream.receive()
        asked = self._in_flight.popleft()
        if frame is None:
            raise RemoteError("closed the stream before it had answered")
        try:
            answer = decode_answer(frame)
        except MalformedMessage as error:
            raise RemoteError(f"sent {error}") from None
        match answer:
            case Refusal():
                raise RemoteError(f"refused: {answer.reason!a}")
            case _ if answer.cid != asked:
                raise RemoteError(f"answered with another block than {asked}")
            case MissingBlock():
                raise RemoteError(f"does not have block {asked}")
            case FoundBlock():
                self._arrived.append(Block(cid=asked, data=answer.data))

    def _is_batch_due(self) -> bool:
        return bool(self._arrived) and (
            not self._in_flight
            or len(self._arrived) >= STORE_BLOCKS
            or sum(len(block.data) for block in self._arrived) >= STORE_BYTES
        )

    async def _store(self, arrived: list[Block]) -> list[_Stored]:
        def store(_: Stop) -> list[_Stored]:
            for block in arrived:
                if not cids.matches(block.cid, block.data):
                    raise RemoteError(f"lied: sent bytes that do not hash to {block.cid}")
            stored = [_Stored(cid=b.cid, size=len(b.data), node=_node_of(b)) for b in arrived]
            self._operation.store(arrived)
            return stored

        return await self._threads.run(store)

    async def _finish_storing(self, walk: Walk) -> None:
        """Tell the walk about the blocks being stored; only then may it ask what lies below."""
        if self._storing is None:
            return
        stored = await self._storing
        self._storing = None
        for block in stored:
            wants = self._waiting.pop(block.cid)
            self._waiting_count -= len(wants)
            for want in wants:
                walk.saw(want, block.size, block.node)


def _node_of(block: Block) -> UnixFsNode | None:
    if cids.codec_of(block.cid) != cids.DAG_PB:
        return None
    return unixfs.decode(block.data)


@asynccontextmanager
async def _deadline(seconds: float, fault: str) -> AsyncIterator[None]:
    """Bound a wait for the source, whose fault it is when time runs out."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise RemoteError(fault) from None
