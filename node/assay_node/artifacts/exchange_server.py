"""Serving blocks to peers.

Any peer gets any block of the store that it can name, pinned or not: artifacts are public, and what
must stay private is encrypted before it is added. A CID cannot be guessed, and there is no way to
list what is here.
"""

import asyncio
import logging
from collections.abc import Sequence

from assay_node.artifacts.blockstore import Blockstore
from assay_node.artifacts.exchange_frames import (
    Answer,
    FoundBlock,
    MissingBlock,
    Refusal,
    decode_request,
    encode_answer,
)
from assay_node.artifacts.settings import ArtifactSettings
from assay_node.artifacts.worker_threads import Stop, WorkerThreads
from assay_node.ports import Stream
from assay_node.protocol.errors import LocalError, MalformedMessage, RemoteError
from assay_node.protocol.ids import Cid, PeerId

logger = logging.getLogger(__name__)

READ_BLOCKS = 8
"""Blocks read in one go while the previous ones are sent: 2 MiB of chunks, at worst 8 MiB."""


class BlockServer:
    """Answers the streams that peers open, within limits for each peer and for all."""

    def __init__(
        self, blocks: Blockstore, threads: WorkerThreads, settings: ArtifactSettings
    ) -> None:
        self._blocks = blocks
        self._threads = threads
        self._settings = settings
        self._serving: dict[asyncio.Task[None], PeerId] = {}
        self._closed = False

    async def serve(self, stream: Stream) -> None:
        """Serve one stream until its peer closes it, falls silent or breaks the protocol."""
        if reason := self._overload(stream.peer_id):
            await self._refuse(stream, reason)
            return
        task = asyncio.create_task(self._serve_to_the_end(stream))
        self._serving[task] = stream.peer_id
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
            del self._serving[task]
        if not task.cancelled():
            task.result()

    async def close(self) -> None:
        """End all streams and refuse new ones."""
        self._closed = True
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _overload(self, peer_id: PeerId) -> str | None:
        own = list(self._serving.values()).count(peer_id)
        if self._closed:
            return "this artifact store is closed"
        if own >= self._settings.streams_per_peer_max:
            return f"you have {own} streams open, and may not have more"
        if len(self._serving) >= self._settings.streams_max:
            return "too many peers are fetching; try again later"
        return None

    async def _serve_to_the_end(self, stream: Stream) -> None:
        try:
            await self._serve_requests(stream)
        except MalformedMessage as error:
            await self._refuse(stream, str(error))
        except LocalError:
            logger.exception("the artifact store fails to serve blocks")
            await self._refuse(stream, "this artifact store is failing")
        except (RemoteError, TimeoutError) as error:
            logger.info(
                "stream of blocks ended early", extra={"peer": stream.peer_id, "reason": str(error)}
            )

    async def _serve_requests(self, stream: Stream) -> None:
        while True:
            async with asyncio.timeout(self._settings.serve_idle_s):
                frame = await stream.receive()
            if frame is None:
                return
            await self._answer(stream, decode_request(frame))

    async def _answer(self, stream: Stream, wanted: Sequence[Cid]) -> None:
        """Send a block for each CID, reading the next blocks while the last ones are sent."""
        groups = [wanted[at : at + READ_BLOCKS] for at in range(0, len(wanted), READ_BLOCKS)]
        reading = asyncio.create_task(self._read(groups[0]))
        try:
            for following in [*groups[1:], None]:
                answers = await reading
                if following is not None:
                    reading = asyncio.create_task(self._read(following))
                for answer in answers:
                    async with asyncio.timeout(self._settings.serve_idle_s):
                        await stream.send(encode_answer(answer))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, wanted: Sequence[Cid]) -> list[Answer]:
        def read(_: Stop) -> list[Answer]:
            return [self._read_one(cid) for cid in wanted]

        return await self._threads.run(read)

    def _read_one(self, cid: Cid) -> Answer:
        try:
            data = self._blocks.read(cid)
        except LocalError:
            data = None  # damaged, and logged where it was found
        return MissingBlock(cid=cid) if data is None else FoundBlock(cid=cid, data=data)

    async def _refuse(self, stream: Stream, reason: str) -> None:
        try:
            async with asyncio.timeout(self._settings.serve_idle_s):
                await stream.send(encode_answer(Refusal(reason=reason)))
        except (RemoteError, TimeoutError):
            pass  # it will notice the closed stream
