"""Framed streams: the trio end that moves bytes. See `crossing_stream` for the other one."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio
from libp2p.io.exceptions import IOException
from libp2p.network.stream.net_stream import NetStream
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from assay_node.network import limits, wire
from assay_node.network.crossing import Crossing
from assay_node.network.crossing_stream import CrossingStream
from assay_node.protocol.errors import MalformedMessage, RemoteError
from assay_node.protocol.ids import PeerId

# A Yamux frame of this size and its header of 12 bytes fill one Noise message exactly; py-libp2p's
# own 64 KiB frames spill 17 bytes into a second one.
_CHUNK_BYTES = 65_519 - 12
_READ_BYTES = 256 * 1024
_BATCH_BYTES = 256 * 1024
# Yamux tells nobody that a window has opened; libp2p itself polls every 10 ms.
_WINDOW_POLL_S = 0.002


class StreamPump:
    """The trio end: moves frames between a libp2p stream and its `CrossingStream`."""

    def __init__(
        self,
        crossing: Crossing,
        transport: NetStream,
        stream: CrossingStream,
        misbehaved: Callable[[PeerId, str], None],
    ) -> None:
        self._crossing = crossing
        self._transport = transport
        self._stream = stream
        self._misbehaved = misbehaved
        self._outgoing: deque[bytes] = deque()
        self._outgoing_changed = trio.Event()
        self._finishing = False
        self._sent_end = False
        self._received_end = False
        self._unread_bytes = 0
        self._credited = trio.Event()
        self._scope = trio.CancelScope()
        stream.attach(self)

    def push(self, frame: bytes) -> None:
        """Queue a frame for the transport."""
        self._outgoing.append(frame)
        self._outgoing_changed.set()

    def finish(self) -> None:
        """Send what is queued, then close."""
        self._finishing = True
        self._outgoing_changed.set()
        self.credit(self._unread_bytes)  # nobody reads any more; discard to see the peer's end

    def abort(self) -> None:
        """Reset the stream."""
        self._scope.cancel()

    def credit(self, count_bytes: int) -> None:
        """Learn that this much has been read by the asyncio side."""
        self._unread_bytes -= count_bytes
        self._credited.set()

    async def run(self) -> None:
        """Pump until both sides have closed or the stream breaks."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_until_end, nursery.cancel_scope)
                    await self._write_until_finished()
                    # The peer answers an end with its own; a peer that does not is cut off.
                    nursery.cancel_scope.deadline = trio.current_time() + limits.CLOSE_TIMEOUT_S
        finally:
            self._crossing.to_asyncio(self._stream.pump_done)
            await self._let_go()

    async def _read_until_end(self, both: trio.CancelScope) -> None:
        decoder = wire.FrameDecoder()
        error: RemoteError | None = None
        try:
            while not decoder.ended:
                data = await self._transport.read(_READ_BYTES)
                if not data:
                    break
                await self._deliver(decoder.feed(data))
            self._received_end = decoder.ended
            if not decoder.ended:
                error = RemoteError(f"{self._stream.peer_id} broke off the stream")
        except IOException:
            # StreamEOF as well: an end of file without our end mark is a lost connection.
            error = RemoteError(f"the connection to {self._stream.peer_id} was lost")
        except MalformedMessage as malformed:
            self._misbehaved(self._stream.peer_id, str(malformed))
            error = RemoteError(f"{self._stream.peer_id} sent a malformed frame: {malformed}")
        self._crossing.to_asyncio(self._stream.end, error)
        if error is not None:
            both.cancel()

    async def _deliver(self, frames: list[bytes]) -> None:
        if not frames or self._finishing:
            return
        self._unread_bytes += sum(len(frame) + limits.FRAME_COST_BYTES for frame in frames)
        self._crossing.to_asyncio(self._stream.deliver, frames)
        while self._unread_bytes >= limits.RECEIVE_BUFFER_BYTES and not self._finishing:
            self._credited = trio.Event()
            await self._credited.wait()

    async def _write_until_finished(self) -> None:
        try:
            while True:
                if self._outgoing:
                    await self._write_batch()
                elif self._finishing:
                    await self._write(wire.END)
                    await self._transport.close_write()
                    self._sent_end = True
                    self._crossing.to_asyncio(self._stream.flushed)
                    return
                else:
                    self._outgoing_changed = trio.Event()
                    await self._outgoing_changed.wait()
        except IOException:
            error = RemoteError(f"the connection to {self._stream.peer_id} was lost")
            self._crossing.to_asyncio(self._stream.end, error)
            self._scope.cancel()

    async def _write_batch(self) -> None:
        parts: list[bytes] = []
        size = cost = 0
        while self._outgoing and size < _BATCH_BYTES:
            frame = self._outgoing.popleft()
            parts.append(wire.frame(frame))
            size += len(frame)
            cost += len(frame) + limits.FRAME_COST_BYTES
        await self._write(b"".join(parts))
        self._crossing.to_asyncio(self._stream.sent, cost)

    async def _write(self, data: bytes) -> None:
        """Write all of `data`, waiting for the peer's window for as long as it takes.

        libp2p itself gives up, and breaks the stream, when a window stays shut for 5 s. So it is
        never asked to write more than the window holds.
        """
        muxed = self._transport.muxed_stream
        assert isinstance(muxed, YamuxStream)
        offset = 0
        while offset < len(data):
            while muxed.send_window <= 0 and not muxed.closed:  # noqa: ASYNC110 - see the constant
                await trio.sleep(_WINDOW_POLL_S)
            size = min(max(muxed.send_window, 1), _CHUNK_BYTES, len(data) - offset)
            await self._transport.write(data[offset : offset + size])
            offset += size

    async def _let_go(self) -> None:
        """Release the libp2p stream, even while being cancelled."""
        with (
            trio.move_on_after(limits.CLOSE_TIMEOUT_S, shield=True),  # type: ignore[call-arg]  # old stubs
            suppress(IOException),
        ):
            if self._sent_end and self._received_end:
                await self._transport.close()
            else:
                await self._transport.reset()
