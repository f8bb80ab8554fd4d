"""Yamux with the bounds and the cancel safety that py-libp2p 0.8.1 lacks.

Each override names the fault it works around; all were seen by running them.
"""

import struct
from collections.abc import Callable

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, ISecureConn
from libp2p.custom_types import TProtocol, TSecurityOptions
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.stream_muxer.yamux import yamux
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader

from assay_node.network import limits
from assay_node.network.settings import NetworkSettings

# A window may grow to 16 MiB per stream by default. The constant is read at every growth; there is
# no parameter for it.
yamux.MAX_WINDOW_SIZE = limits.RECEIVE_WINDOW_BYTES_MAX


class BoundedYamux(yamux.Yamux):
    """One connection's streams, within `limits`, watched by pings."""

    def __init__(
        self,
        secured_conn: ISecureConn,
        peer_id: ID,
        *,
        settings: NetworkSettings,
        misbehaved: Callable[[str, str], None],
        lost: Callable[["BoundedYamux"], None],
    ) -> None:
        super().__init__(secured_conn, peer_id)
        self._settings = settings
        self._misbehaved = misbehaved
        self._lost = lost

    @property
    def alive(self) -> bool:
        """False from the first sign that the connection is over."""
        return not self.event_shutting_down.is_set()

    async def _write_frame(self, data: bytes) -> None:
        """Write one Yamux frame, whole or not at all.

        Cancelled inside a write, the original leaves half a Noise message on the wire and so breaks
        every other stream. A write that the peer blocks for too long ends the connection instead.
        """
        async with self._write_lock:
            timeout_s = limits.WRITE_TIMEOUT_S
            with trio.move_on_after(timeout_s, shield=True) as scope:  # type: ignore[call-arg]  # old stubs
                await self.secured_conn.write(data)
            if scope.cancelled_caught:
                await self.secured_conn.close()
                raise ConnectionClosedError("the peer takes no more data", transport="tcp")
        await trio.lowlevel.checkpoint()

    async def _read_data_body(self, length: int) -> bytes:
        """Read a data frame, unless the peer ignores flow control.

        The original logs a warning for a peer that sends past its window and goes on buffering.
        TooSlowError is the one exception for which it closes the connection.
        """
        buffered = sum(map(len, self.stream_buffers.values()))
        if buffered + length > limits.CONNECTION_BUFFER_BYTES_MAX:
            self._misbehaved(self.peer_id.to_base58(), "sent far past its windows")
            raise trio.TooSlowError
        return await super()._read_data_body(length)

    async def accept_stream(self) -> IMuxedStream:
        """Return the next stream the peer opens; the original accepts any number of them."""
        while True:
            stream = await super().accept_stream()
            if len(self.streams) <= limits.MUXED_STREAMS_PER_CONNECTION_MAX:
                return stream
            self._misbehaved(self.peer_id.to_base58(), "opened too many streams")
            await stream.reset()

    async def _measure_rtt_loop(self) -> None:
        """Ping the peer and close the connection when it stays silent; the original only looks."""
        while self.alive:
            with trio.move_on_after(self._settings.keep_alive_interval_s):
                await self.event_shutting_down.wait()
                return
            with trio.move_on_after(self._settings.keep_alive_timeout_s) as scope:
                await self._ping()
            if scope.cancelled_caught:
                await self._cleanup_on_error()

    async def _ping(self) -> None:
        self._ping_id = (self._ping_id + 1) % 2**32
        self._ping_event = trio.Event()
        self._ping_sent_time = trio.current_time()
        header = (0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, self._ping_id)
        await self._write_frame(struct.pack(yamux.YAMUX_HEADER_FORMAT, *header))
        await self._ping_event.wait()

    async def _cleanup_on_error(self) -> None:
        self.event_shutting_down.set()
        self._lost(self)
        await super()._cleanup_on_error()

    async def close(self, error_code: int = yamux.GO_AWAY_NORMAL) -> None:
        """Say goodbye and close."""
        self._lost(self)
        await super().close(error_code)


class BoundedYamuxUpgrader(TransportUpgrader):
    """Offers Yamux and nothing else, and builds it as `BoundedYamux`.

    The original constructs its own Yamux whatever class it was given for that protocol.
    """

    def __init__(
        self,
        security: TSecurityOptions,
        *,
        settings: NetworkSettings,
        misbehaved: Callable[[str, str], None],
        lost: Callable[[BoundedYamux], None],
    ) -> None:
        super().__init__(security, {TProtocol(yamux.PROTOCOL_ID): BoundedYamux})
        self._settings = settings
        self._misbehaved = misbehaved
        self._lost = lost

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Agree on Yamux over a secured connection."""
        try:
            await self.muxer_multistream.select_transport(conn)
        except MultiselectError as error:
            raise MuxerUpgradeFailure("the peer does not speak Yamux") from error
        return BoundedYamux(
            conn,
            peer_id,
            settings=self._settings,
            misbehaved=self._misbehaved,
            lost=self._lost,
        )
