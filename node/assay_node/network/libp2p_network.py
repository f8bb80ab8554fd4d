"""`ports.Network` over libp2p: the asyncio facade of the trio thread."""

import asyncio
import logging
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from assay_node.network import limits, wire
from assay_node.network.crossing import CLOSED, Crossing
from assay_node.network.crossing_stream import CrossingStream
from assay_node.network.misbehaviour import MisbehaviourLedger
from assay_node.network.peer_key import peer_id_of
from assay_node.network.requests import Answerer, Asker
from assay_node.network.settings import NetworkSettings
from assay_node.network.subscription import Subscription
from assay_node.ports import GossipMessage, RequestHandler, Stream, StreamHandler
from assay_node.protocol.errors import AssayError, LocalError, RemoteError
from assay_node.protocol.ids import PeerId

if TYPE_CHECKING:
    # libp2p takes a second and 60 MB to import; commands that open no network do without.
    from assay_node.network.host import Host

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_network(
    settings: NetworkSettings, peer_key: bytes
) -> AsyncIterator["Libp2pNetwork"]:
    """Run a libp2p host for as long as the context lasts.

    Args:
        settings: Where to listen, and limits.
        peer_key: 32 bytes from `new_peer_key`.

    Raises:
        LocalError: the key is malformed, or an address cannot be listened on.
    """
    network = Libp2pNetwork(settings, peer_key)
    await network.start()
    try:
        yield network
    finally:
        await network.stop()


class Libp2pNetwork:
    """One libp2p host in a thread of its own. Use `open_network`. Implements `ports.Network`."""

    def __init__(self, settings: NetworkSettings, peer_key: bytes) -> None:
        self._settings = settings
        self._peer_key = peer_key
        self._peer_id = peer_id_of(peer_key)
        self._addresses: tuple[str, ...] = ()
        self._crossing = Crossing(self._run_host, self._on_thread_ended)
        self._host: Host
        self._tasks: asyncio.TaskGroup
        self._owner: asyncio.Task[None]
        self._started = False
        self._closing = False
        self._connected: set[PeerId] = set()
        self._on_disconnect: list[Callable[[PeerId], None]] = []
        self._askers: dict[PeerId, Asker] = {}
        self._answering: dict[PeerId, CrossingStream] = {}
        self._request_handlers: dict[str, RequestHandler] = {}
        self._stream_handlers: dict[str, StreamHandler] = {}
        self._streams: weakref.WeakSet[CrossingStream] = weakref.WeakSet()
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._joined: set[str] = set()
        self._joining = asyncio.Lock()
        self._ledger = MisbehaviourLedger()

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen. `open_network` calls this."""
        await self._crossing.start()
        started = asyncio.Event()
        self._owner = asyncio.create_task(self._own_tasks(started), name="assay-network-tasks")
        await started.wait()
        self._crossing.to_trio(self._host.serve, wire.REQUEST_PROTOCOL)
        self._started = True

    async def stop(self) -> None:
        """Cut all streams, say goodbye to all peers, end the thread.

        Raises:
            Exception: what had ended the thread before, if anything had.
        """
        self._closing = True
        for stream in list(self._streams):
            stream.abort()
        self._owner.cancel()
        try:
            await asyncio.wait({self._owner})
        finally:
            await self._crossing.stop()
        self._finish_subscriptions()
        if self._crossing.failure is not None:
            raise self._crossing.failure

    async def _own_tasks(self, started: asyncio.Event) -> None:
        """Own every task of this network, so that none outlives it."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            started.set()
            await asyncio.get_running_loop().create_future()  # until cancelled

    async def _run_host(self, crossing: Crossing) -> None:
        """Run on trio, in the thread."""
        warnings.filterwarnings(  # libp2p's WebSocket transport, which is not used, imports it
            "ignore", message=r"websockets\.legacy is deprecated", category=DeprecationWarning
        )
        from assay_node.network.host import Host, HostEvents

        events = HostEvents(
            connected=self._on_connected,
            disconnected=self._on_disconnected,
            stream_opened=self._on_stream_opened,
            heard=self._on_heard,
            misbehaved=self._on_misbehaved,
            addresses=self._on_addresses,
        )
        self._host = Host(crossing, self._settings, self._peer_key, events)
        await self._host.run()

    # --- ports.Network --------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """This host's peer ID."""
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiaddrs under which this host can be dialled, each ending in `/p2p/<peer ID>`."""
        return self._addresses

    async def connect(self, address: str) -> PeerId:
        """Dial a multiaddr that ends in `/p2p/<peer ID>`; a no-op when already connected.

        Raises:
            LocalError: the address is malformed.
            RemoteError: the peer cannot be reached or is not who the address says.
        """
        return await self._crossing.call(self._host.connect, address)

    async def disconnect(self, peer_id: PeerId) -> None:
        """Close every connection to a peer; a no-op when there is none."""
        await self._crossing.call(self._host.disconnect, peer_id)

    async def request(
        self, peer_id: PeerId, protocol: str, payload: bytes, *, timeout_s: float
    ) -> bytes:
        """Send one request to a connected peer and return its answer.

        Raises:
            LocalError: the payload is too long, or the network is closed.
            Refused: the peer refused, with the reason.
            RemoteError: the peer is not connected, goes away, does not answer in time, or answers
                with an error (its reason is the message).
        """
        if len(payload) > limits.REQUEST_BYTES_MAX:
            raise LocalError(
                f"a request of {len(payload)} bytes; {limits.REQUEST_BYTES_MAX} fit, use a stream"
            )
        if self._closing:
            raise LocalError(CLOSED)
        if peer_id not in self._connected:
            raise RemoteError(f"{peer_id} is not connected; connect to it first")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._asker(peer_id).ask(_name(protocol), payload)
        except TimeoutError:
            raise RemoteError(f"{peer_id} did not answer {protocol} in {timeout_s:g} s") from None

    def serve_requests(self, protocol: str, handler: RequestHandler) -> None:
        """Answer requests of `protocol` with `handler`.

        An `AssayError` that the handler raises is answered with its text; anything else is logged
        and answered with "internal error". Up to REQUESTS_IN_FLIGHT_MAX run at once for each peer;
        one whose requester has stopped waiting is cancelled.
        """
        self._request_handlers[_name(protocol)] = handler

    async def open_stream(self, peer_id: PeerId, protocol: str) -> Stream:
        """Open a stream of its own to a connected peer, for bulk data.

        Raises:
            RemoteError: the peer is not connected or does not serve `protocol`.
        """
        return await self._open_stream(peer_id, _name(protocol))

    def serve_streams(self, protocol: str, handler: StreamHandler) -> None:
        """Run `handler` for each stream of `protocol` that a peer opens; closes it afterwards.

        A stream whose handler raises is cut instead, so that the peer does not take it for whole.
        """
        self._stream_handlers[_name(protocol)] = handler
        self._crossing.to_trio(self._host.serve, protocol)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip one message; our own subscriptions do not hear it.

        Raises:
            LocalError: the message is too long, or the network is closed.
        """
        if len(data) > limits.GOSSIP_BYTES_MAX:
            raise LocalError(f"a message of {len(data)} bytes; {limits.GOSSIP_BYTES_MAX} fit")
        await self._crossing.call(self._host.publish, _name(topic), data)

    def subscribe(self, topic: str) -> Subscription:
        """Yield messages heard on `topic` from now on, in a bounded queue that drops the oldest.

        Ends when the network closes, or after `aclose()`.
        """
        if self._closing:
            raise LocalError(CLOSED)
        subscription = Subscription(_name(topic), self._on_unsubscribed)
        self._subscriptions.setdefault(topic, []).append(subscription)
        self._start_task(self._join_or_leave(topic))
        return subscription

    def connected_peers(self) -> frozenset[PeerId]:
        """Peers with a live connection now."""
        return frozenset(self._connected)

    def on_disconnect(self, callback: Callable[[PeerId], None]) -> None:
        """Have `callback` called whenever the last connection to a peer is gone."""
        self._on_disconnect.append(callback)

    def misbehaviour(self, peer_id: PeerId) -> int:
        """Return how often a peer broke the protocol since it was last cut off for it."""
        return self._ledger.count(peer_id)

    # --- parts ----------------------------------------------------------------------------------

    async def _open_stream(self, peer_id: PeerId, protocol: str) -> CrossingStream:
        stream = await self._crossing.call(
            self._host.open_stream, peer_id, protocol, discard=_abort
        )
        self._streams.add(stream)
        return stream

    def _asker(self, peer_id: PeerId) -> Asker:
        if peer_id not in self._askers:
            self._askers[peer_id] = Asker(
                peer_id,
                open_stream=lambda: self._open_stream(peer_id, wire.REQUEST_PROTOCOL),
                start_task=self._start_task,
                misbehaved=self._on_misbehaved,
            )
        return self._askers[peer_id]

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closing:
            work.close()
        else:
            self._tasks.create_task(_logged(work))

    async def _serve_stream(self, stream: CrossingStream, handler: StreamHandler) -> None:
        try:
            await handler(stream)
        except AssayError as error:
            logger.info("stream %s of %s failed: %s", stream.protocol, stream.peer_id, error)
            stream.abort()
        except BaseException:
            stream.abort()
            raise
        finally:
            await stream.close()

    async def _join_or_leave(self, topic: str) -> None:
        """Make libp2p's subscription follow ours. One at a time: trio keeps no order of tasks."""
        async with self._joining:
            if topic in self._subscriptions and topic not in self._joined:
                self._joined.add(topic)
                await self._crossing.call(self._host.subscribe, topic)
            elif topic not in self._subscriptions and topic in self._joined:
                self._joined.remove(topic)
                await self._crossing.call(self._host.unsubscribe, topic)

    def _finish_subscriptions(self) -> None:
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.finish()

    # --- events ---------------------------------------------------------------------------------

    def _on_connected(self, peer_id: PeerId) -> None:
        self._connected.add(peer_id)

    def _on_disconnected(self, peer_id: PeerId) -> None:
        self._connected.discard(peer_id)
        if asker := self._askers.pop(peer_id, None):
            asker.lost()
        for callback in self._on_disconnect:
            callback(peer_id)

    def _on_stream_opened(self, stream: CrossingStream) -> None:
        self._streams.add(stream)
        if self._closing:
            stream.abort()
        elif stream.protocol == wire.REQUEST_PROTOCOL:
            self._start_task(self._answer_requests(stream))
        else:
            self._start_task(self._serve_stream(stream, self._stream_handlers[stream.protocol]))

    async def _answer_requests(self, stream: CrossingStream) -> None:
        """Answer on the newest stream of a peer; one before it has died unnoticed."""
        peer_id = stream.peer_id
        if older := self._answering.get(peer_id):
            older.abort()
        self._answering[peer_id] = stream
        try:
            await Answerer(stream, self._request_handlers, misbehaved=self._on_misbehaved).run()
        finally:
            if self._answering.get(peer_id) is stream:
                del self._answering[peer_id]

    def _on_heard(self, message: GossipMessage) -> None:
        for subscription in self._subscriptions.get(message.topic, ()):
            subscription.put(message)

    def _on_unsubscribed(self, subscription: Subscription) -> None:
        rest = self._subscriptions[subscription.topic]
        rest.remove(subscription)
        if not rest:
            del self._subscriptions[subscription.topic]
            self._start_task(self._join_or_leave(subscription.topic))

    def _on_misbehaved(self, peer_id: PeerId, what: str) -> None:
        logger.info("%s misbehaved: %s", peer_id, what)
        if self._ledger.record(peer_id) and not self._closing:
            logger.warning("%s misbehaved too often and is cut off", peer_id)
            self._start_task(self._crossing.call(self._host.ban, peer_id))

    def _on_addresses(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    def _on_thread_ended(self, failure: BaseException | None) -> None:
        self._finish_subscriptions()
        for peer_id in sorted(self._connected):
            self._on_disconnected(peer_id)
        if failure is not None and self._started and not self._closing:
            logger.critical("the network has stopped", exc_info=failure)


def _name(text: str) -> str:
    """Return the name of a protocol or topic if it fits the wire."""
    if not text.isascii() or not 0 < len(text) <= limits.PROTOCOL_NAME_BYTES_MAX:
        raise LocalError(
            f"{text[:200]!r} is no name of 1 to {limits.PROTOCOL_NAME_BYTES_MAX} ASCII characters"
        )
    return text


def _abort(stream: CrossingStream) -> None:
    stream.abort()


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """Run `work`; its failure is logged and ends nothing else."""
    try:
        await work
    except Exception:
        logger.exception("a task of the network failed")
