"""Framed streams: the asyncio end that the rest of Assay sees.

Both ends bound what they hold. Sending waits while SEND_BUFFER_BYTES are on their way to the
transport; reading from the transport stops while RECEIVE_BUFFER_BYTES wait for `receive`, which
shuts the Yamux window and so stops the peer. `CrossingStream` lives on the asyncio side and
`StreamPump` on the trio side; each touches the other only through the crossing.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from assay_node.network import limits
from assay_node.network.crossing import Crossing
from assay_node.protocol.errors import LocalError, RemoteError
from assay_node.protocol.ids import PeerId

if TYPE_CHECKING:
    from assay_node.network.stream_pump import StreamPump


class CrossingStream:
    """The asyncio end. Implements `ports.Stream`."""

    def __init__(self, crossing: Crossing, peer_id: PeerId, protocol: str) -> None:
        self.protocol = protocol
        self._crossing = crossing
        self._peer_id = peer_id
        self._pump: StreamPump
        self._frames: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._unsent_bytes = 0
        self._consumed_bytes = 0
        self._end: RemoteError | None = None
        self._ended_cleanly = False
        self._closing = False
        self._flushed = asyncio.Event()

    @property
    def peer_id(self) -> PeerId:
        """The peer at the other end, authenticated by the transport."""
        return self._peer_id

    async def send(self, frame: bytes) -> None:
        """Send one frame, waiting for room in the buffer; whole or, when cancelled, not at all.

        Raises:
            LocalError: the frame is too long, or the stream was closed here.
            RemoteError: the peer has closed the stream or is gone.
        """
        if len(frame) > limits.FRAME_BYTES_MAX:
            raise LocalError(f"a frame of {len(frame)} bytes; {limits.FRAME_BYTES_MAX} fit")
        while self._sendable() and self._unsent_bytes >= limits.SEND_BUFFER_BYTES:
            await self._wait()
        self._unsent_bytes += len(frame) + limits.FRAME_COST_BYTES
        self._crossing.to_trio(self._pump.push, frame)

    async def receive(self) -> bytes | None:
        """Return the next frame, None once the peer has closed its side cleanly.

        Raises:
            LocalError: the stream was closed here.
            RemoteError: the stream broke off.
        """
        while not self._frames:
            if self._closing:
                raise LocalError("this stream is closed")
            if self._ended_cleanly:
                return None
            if self._end is not None:
                raise RemoteError(str(self._end))
            await self._wait()
        frame = self._frames.popleft()
        self._consumed_bytes += len(frame) + limits.FRAME_COST_BYTES
        if self._consumed_bytes >= limits.RECEIVE_BUFFER_BYTES // 2:
            with suppress(LocalError):
                self._crossing.to_trio(self._pump.credit, self._consumed_bytes)
            self._consumed_bytes = 0
        return frame

    async def close(self) -> None:
        """Send what is buffered, then close both directions; cut off after CLOSE_TIMEOUT_S."""
        if not self._closing:
            self._closing = True
            self._changed.set()
            self._frames.clear()
            with suppress(LocalError):
                self._crossing.to_trio(self._pump.finish)
        try:
            async with asyncio.timeout(limits.CLOSE_TIMEOUT_S):
                await self._flushed.wait()
        except TimeoutError:
            self.abort()
        except asyncio.CancelledError:
            self.abort()
            raise

    def abort(self) -> None:
        """Cut the stream off at once; the peer sees it break."""
        self._closing = True
        self._changed.set()
        with suppress(LocalError):
            self._crossing.to_trio(self._pump.abort)

    # --- called by the pump through the crossing ------------------------------------------------

    def attach(self, pump: "StreamPump") -> None:
        """Name the trio end; before anything else."""
        self._pump = pump

    def deliver(self, frames: list[bytes]) -> None:
        """Take frames that arrived."""
        if not self._closing:
            self._frames.extend(frames)
            self._changed.set()

    def sent(self, count_bytes: int) -> None:
        """Learn that this much has gone to the transport."""
        self._unsent_bytes -= count_bytes
        self._changed.set()

    def end(self, error: RemoteError | None) -> None:
        """Learn that nothing more will arrive: cleanly, or because of `error`."""
        if self._end is None and not self._ended_cleanly:
            self._end = error
            self._ended_cleanly = error is None
        self._changed.set()

    def flushed(self) -> None:
        """Learn that everything, the end mark included, has gone to the transport."""
        self._flushed.set()

    def pump_done(self) -> None:
        """Learn that the trio end has let go of the transport."""
        self.end(RemoteError(f"the connection to {self._peer_id} was lost"))
        self._flushed.set()

    def _sendable(self) -> bool:
        if self._closing:
            raise LocalError("this stream is closed")
        if self._ended_cleanly:
            raise RemoteError(f"{self._peer_id} has closed the stream")
        if self._end is not None:
            raise RemoteError(str(self._end))
        return True

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
