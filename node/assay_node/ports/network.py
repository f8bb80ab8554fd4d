"""One libp2p host as a port."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from assay_node.protocol.ids import PeerId


class Stream(Protocol):
    """A reliable, ordered, framed byte stream to one peer.

    A frame is a length-prefixed byte string of at most `FRAME_BYTES_MAX` bytes. All calls raise
    `RemoteError` when the peer misbehaves or goes away, and `TimeoutError` never: the caller bounds
    time with `asyncio.timeout`.
    """

    @property
    def peer_id(self) -> PeerId:
        """The peer at the other end, authenticated by the transport."""
        ...

    async def send(self, frame: bytes) -> None:
        """Send one frame; returns when it has been handed to the transport."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next frame, or None when the peer has closed its side cleanly."""
        ...

    async def close(self) -> None:
        """Close both directions. Never raises."""
        ...


RequestHandler = Callable[[PeerId, bytes], Awaitable[bytes]]
StreamHandler = Callable[[Stream], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipMessage:
    """One message heard on a topic; `source` is the authenticated author, not the last hop."""

    topic: str
    source: PeerId
    data: bytes


class Network(Protocol):
    """One libp2p host. All requests to a peer share one long-lived framed stream."""

    @property
    def peer_id(self) -> PeerId:
        """This host's peer ID."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs under which this host can be dialled, each ending in `/p2p/<peer ID>`."""
        ...

    async def connect(self, address: str) -> PeerId:
        """Dial a multiaddr that ends in `/p2p/<peer ID>`; a no-op when already connected.

        Raises `LocalError` for a malformed address, `RemoteError` when the peer cannot be reached
        or is not who the address says.
        """
        ...

    async def request(
        self, peer_id: PeerId, protocol: str, payload: bytes, *, timeout_s: float
    ) -> bytes:
        """Send one request to a connected peer and return its answer.

        Raises `RemoteError` when the peer is not connected, goes away, does not answer in time,
        or answers with an error (its reason is the message).
        """
        ...

    def serve_requests(self, protocol: str, handler: RequestHandler) -> None:
        """Answer requests of `protocol` with `handler`.

        An `AssayError` that the handler raises is answered with its text; anything else is logged
        and answered with "internal error".
        """
        ...

    async def open_stream(self, peer_id: PeerId, protocol: str) -> Stream:
        """Open a stream of its own, for bulk data."""
        ...

    def serve_streams(self, protocol: str, handler: StreamHandler) -> None:
        """Run `handler` for each stream of `protocol` that a peer opens; closes it afterwards."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip one message."""
        ...

    def subscribe(self, topic: str) -> AsyncIterator[GossipMessage]:
        """Yield messages heard on `topic` from now on, in a bounded queue that drops the oldest."""
        ...

    def on_disconnect(self, callback: Callable[[PeerId], None]) -> None:
        """Call `callback` whenever the last connection to a peer has ended."""
        ...

    def connected_peers(self) -> frozenset[PeerId]:
        """Peers with a live connection now."""
        ...
