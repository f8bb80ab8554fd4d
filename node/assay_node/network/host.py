"""The libp2p host: everything that runs on trio. Only `Libp2pNetwork` talks to it.

TCP, Noise and Yamux, nothing else: QUIC in py-libp2p 0.8.1 is slower and lost the tails of
transfers, and its default host accepts plaintext, over which anybody is any peer.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection import swarm_connection
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.tools.anyio_service import background_trio_service
from libp2p.transport.tcp.tcp import TCP
from multiaddr import Multiaddr

from assay_node.network import addresses, limits
from assay_node.network.crossing import Crossing
from assay_node.network.crossing_stream import CrossingStream
from assay_node.network.gossip import ContainedPubsub, gossip_router
from assay_node.network.muxing import BoundedYamux, BoundedYamuxUpgrader
from assay_node.network.settings import NetworkSettings
from assay_node.network.stream_pump import StreamPump
from assay_node.network.swarm import NO_RETRIES, BoundedSwarm, connection_config
from assay_node.network.wire import printable
from assay_node.ports import GossipMessage
from assay_node.protocol.errors import LocalError, RemoteError
from assay_node.protocol.ids import PeerId

logger = logging.getLogger(__name__)

# libp2p logs at length, with bytes of peers in it. Its own LIBP2P_DEBUG lowers this level; without
# it nothing is meant to be seen, and a logger without handlers would still write to stderr.
_libp2p_logger = logging.getLogger("libp2p")
_libp2p_logger.addHandler(logging.NullHandler())
if _libp2p_logger.level == logging.WARNING:
    _libp2p_logger.setLevel(logging.CRITICAL)
# This module logs through the functions of `logging`, that is through the root logger, which they
# configure with a handler to stderr on the way.
vars(swarm_connection)["logging"] = logging.getLogger(swarm_connection.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEvents:
    """What the host tells the asyncio side; each is called there, in order."""

    connected: Callable[[PeerId], None]
    disconnected: Callable[[PeerId], None]
    stream_opened: Callable[[CrossingStream], None]
    heard: Callable[[GossipMessage], None]
    misbehaved: Callable[[PeerId, str], None]
    addresses: Callable[[tuple[str, ...]], None]


class Host:
    """One libp2p host. Every method runs on trio."""

    def __init__(
        self, crossing: Crossing, settings: NetworkSettings, peer_key: bytes, events: HostEvents
    ) -> None:
        self._crossing = crossing
        self._settings = settings
        self._events = events
        self._connections: dict[PeerId, set[BoundedYamux]] = {}
        self._banned: dict[PeerId, float] = {}
        self._dials: dict[PeerId, trio.Lock] = {}
        self._dial_slots = trio.CapacityLimiter(limits.DIALS_MAX)
        self._publishing = trio.Lock()
        self._streams: dict[tuple[PeerId, str], int] = {}
        private = Ed25519PrivateKey.from_bytes(peer_key)
        self._key = KeyPair(private, private.get_public_key())
        self._id = ID.from_pubkey(self._key.public_key)
        self._announce = [addresses.parse(text) for text in settings.announce]
        self._listen_on = [addresses.parse_listenable(text) for text in settings.listen]
        self._swarm = self._new_swarm()
        self._host = BasicHost(
            self._swarm,
            negotiate_timeout=int(limits.NEGOTIATE_TIMEOUT_S),
            addrs_factory=self._announced,
        )
        self._swarm.register_notifee(_ConnectionNotifee(self._on_connected))
        self._router = gossip_router(settings)
        self._pubsub: ContainedPubsub

    # --- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Listen and serve until the crossing is asked to stop.

        Raises:
            LocalError: an address cannot be listened on.
        """
        async with self._services():
            self._tell_addresses()
            self._crossing.ready()
            await self._crossing.stop_requested.wait()
            await self._say_goodbye()

    @asynccontextmanager
    async def _services(self) -> AsyncIterator[None]:
        for address in self._listen_on:
            await addresses.refuse_shared_port(address)
        async with AsyncExitStack() as stack:
            # Before the host: trio dies at exit when a service outlives what it runs on.
            await stack.enter_async_context(trio.open_nursery())
            await stack.enter_async_context(self._host.run(listen_addrs=[]))
            stack.push_async_callback(self._host.close)
            self._pubsub = ContainedPubsub(
                self._host, self._router, heard=self._on_heard, misbehaved=self._on_misbehaved
            )
            stack.callback(self._pubsub.seen_messages.stop)  # a thread of its own
            await stack.enter_async_context(background_trio_service(self._pubsub))
            await stack.enter_async_context(background_trio_service(self._router))
            await self._pubsub.wait_until_ready()
            await self._listen()
            yield

    async def _listen(self) -> None:
        await self._swarm.listen(*self._listen_on)
        for address in self._listen_on:
            if str(address) not in self._swarm.listeners:
                raise LocalError(f"cannot listen on {address}; is it an address of this machine?")

    async def _say_goodbye(self) -> None:
        """Close all connections at once: one takes libp2p 0.3 s, and it takes them in turn."""
        async with trio.open_nursery() as nursery:
            for group in self._connections.values():
                for yamux in group:
                    nursery.start_soon(_close, yamux)

    def _new_swarm(self) -> BoundedSwarm:
        noise = NoiseTransport(self._key, noise_privkey=new_noise_key().private_key)
        upgrader = BoundedYamuxUpgrader(
            {NOISE_PROTOCOL: noise},
            settings=self._settings,
            misbehaved=self._on_misbehaved,
            lost=self._on_lost,
        )
        peerstore = PeerStore()
        peerstore.add_key_pair(self._id, self._key)
        return BoundedSwarm(
            self._id,
            peerstore,
            upgrader,
            transports=[TCP()],
            retry_config=NO_RETRIES,
            connection_config=connection_config(self._settings),
        )

    # --- calls from the asyncio side ------------------------------------------------------------

    async def connect(self, address: str) -> PeerId:
        """Dial `address` unless its peer is connected; return the peer.

        Straight to this address: libp2p's own dialling picks among remembered ones, of which a
        restarted peer has a stale one, and blocks a peer for 60 s after a failure.
        """
        multiaddr, peer_id = addresses.parse_dialable(address)
        if peer_id == self._id.to_base58():
            raise LocalError(f"{address} is this host itself")
        lock = self._dials.setdefault(peer_id, trio.Lock())
        try:
            async with lock, self._dial_slots:
                if not self._is_connected(peer_id):
                    await self._dial(multiaddr, peer_id)
        finally:
            if not lock.locked():
                self._dials.pop(peer_id, None)
        return peer_id

    async def open_stream(self, peer_id: PeerId, protocol: str) -> CrossingStream:
        """Open a stream to a connected peer."""
        if not self._is_connected(peer_id):
            raise RemoteError(f"{peer_id} is not connected")
        try:
            with trio.fail_after(limits.NEGOTIATE_TIMEOUT_S):
                transport = await self._host.new_stream(
                    ID.from_base58(peer_id), [TProtocol(protocol)]
                )
        except (BaseLibp2pError, trio.TooSlowError) as error:
            if self._is_connected(peer_id):
                raise RemoteError(f"{peer_id} does not serve {protocol}") from error
            raise RemoteError(f"the connection to {peer_id} was lost") from error
        assert isinstance(transport, NetStream)
        stream = CrossingStream(self._crossing, peer_id, protocol)
        pump = StreamPump(self._crossing, transport, stream, self._on_misbehaved)
        self._crossing.spawn(pump.run)
        return stream

    def serve(self, protocol: str) -> None:
        """Accept streams of `protocol`."""

        async def serve_stream(transport: INetStream) -> None:
            assert isinstance(transport, NetStream)
            await self._serve_stream(protocol, transport)

        self._host.set_stream_handler(TProtocol(protocol), serve_stream)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip one message, waiting a little for queues that a burst has filled."""
        async with self._publishing:
            with trio.move_on_after(limits.GOSSIP_PACE_S):
                while not self._pubsub.has_room():  # noqa: ASYNC110 - libp2p has no event for it
                    await trio.sleep(0.002)
            await self._pubsub.publish(topic, data)

    async def subscribe(self, topic: str) -> None:
        """Start hearing `topic`."""
        await self._pubsub.subscribe(topic)

    async def unsubscribe(self, topic: str) -> None:
        """Stop hearing `topic`."""
        await self._pubsub.unsubscribe(topic)

    async def disconnect(self, peer_id: PeerId) -> None:
        """Close all connections to a peer."""
        async with trio.open_nursery() as nursery:
            for yamux in self._connections.get(peer_id, set()):
                nursery.start_soon(_close, yamux)

    async def ban(self, peer_id: PeerId) -> None:
        """Cut a peer off and refuse it for BAN_S."""
        now = trio.current_time()
        self._banned = {peer: until for peer, until in self._banned.items() if until > now}
        self._banned[peer_id] = now + limits.BAN_S
        await self.disconnect(peer_id)

    # --- parts ----------------------------------------------------------------------------------

    async def _dial(self, address: Multiaddr, peer_id: PeerId) -> None:
        if self._is_banned(peer_id):
            raise RemoteError(f"{peer_id} misbehaved and is refused for up to {limits.BAN_S:.0f} s")
        try:
            with trio.fail_after(limits.DIAL_TIMEOUT_S):
                await self._swarm.dial_addr(address, ID.from_base58(peer_id))
        except trio.TooSlowError:
            raise RemoteError(
                f"{address} did not answer in {limits.DIAL_TIMEOUT_S:.0f} s"
            ) from None
        except BaseLibp2pError as error:
            raise RemoteError(f"cannot connect to {address}: {_root_cause(error)}") from error

    async def _serve_stream(self, protocol: str, transport: NetStream) -> None:
        peer_id = PeerId(transport.muxed_conn.peer_id.to_base58())
        key = (peer_id, protocol)
        if self._streams.get(key, 0) >= limits.STREAMS_PER_PEER_MAX:
            # Not held against the peer: a close of its own may be on its way to us.
            await transport.reset()
            return
        self._streams[key] = self._streams.get(key, 0) + 1
        try:
            stream = CrossingStream(self._crossing, peer_id, protocol)
            pump = StreamPump(self._crossing, transport, stream, self._on_misbehaved)
            self._crossing.to_asyncio(self._events.stream_opened, stream)
            await pump.run()
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

    def _is_connected(self, peer_id: PeerId) -> bool:
        return any(yamux.alive for yamux in self._connections.get(peer_id, ()))

    def _is_banned(self, peer_id: PeerId) -> bool:
        return self._banned.get(peer_id, 0.0) > trio.current_time()

    def _tell_addresses(self) -> None:
        told = tuple(str(address) for address in self._host.get_addrs())
        self._crossing.to_asyncio(self._events.addresses, told)

    def _announced(self, candidates: list[Multiaddr]) -> list[Multiaddr]:
        """Return what peers are told: the setting, else what we listen on and were seen at."""
        if self._announce:
            return self._announce
        return addresses.without_wildcards(candidates)

    # --- events ---------------------------------------------------------------------------------

    def _on_connected(self, yamux: BoundedYamux) -> None:
        peer_id = PeerId(yamux.peer_id.to_base58())
        if self._is_banned(peer_id):
            self._crossing.spawn(_close, yamux)
        elif yamux.alive:
            group = self._connections.setdefault(peer_id, set())
            group.add(yamux)
            if len(group) == 1:
                self._crossing.to_asyncio(self._events.connected, peer_id)
            self._tell_addresses()

    def _on_lost(self, yamux: BoundedYamux) -> None:
        peer_id = PeerId(yamux.peer_id.to_base58())
        group = self._connections.get(peer_id, set())
        if yamux in group:
            group.remove(yamux)
            if not group:
                del self._connections[peer_id]
                self._crossing.to_asyncio(self._events.disconnected, peer_id)

    def _on_heard(self, message: GossipMessage) -> None:
        self._crossing.to_asyncio(self._events.heard, message)

    def _on_misbehaved(self, peer_id: str, what: str) -> None:
        self._crossing.to_asyncio(self._events.misbehaved, PeerId(peer_id), what)


class _ConnectionNotifee(INotifee):
    """Hears of new connections; their ends are heard from Yamux, 0.2 s earlier than here."""

    def __init__(self, connected: Callable[[BoundedYamux], None]) -> None:
        self._connected = connected

    async def connected(self, network: INetwork, conn: INetConn) -> None:  # noqa: ARG002
        if isinstance(conn.muxed_conn, BoundedYamux):
            self._connected(conn.muxed_conn)

    async def disconnected(self, network: INetwork, conn: INetConn) -> None: ...

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...


async def _close(yamux: BoundedYamux) -> None:
    """Say goodbye on a connection; cut it when the peer is not reading."""

    async def cut() -> None:
        await trio.sleep(limits.SHUTDOWN_TIMEOUT_S)
        with suppress(BaseLibp2pError):
            await yamux.secured_conn.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut)
        await yamux.close()
        nursery.cancel_scope.cancel()


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return printable(str(error).encode()) or type(error).__name__
