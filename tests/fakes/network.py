"""An in-memory `ports.Network`. Same contract as the real one: see test_network_contract.py."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Self

from assay_node.network import limits, new_peer_key, peer_id_of
from assay_node.network.subscription import Subscription
from assay_node.ports import GossipMessage, RequestHandler, Stream, StreamHandler
from assay_node.protocol.errors import AssayError, LocalError, Refused, RemoteError
from assay_node.protocol.ids import PeerId

_STREAM_BYTES = 1024 * 1024


class FakeHub:
    """The wire between fake networks. Everything happens in one loop, in order, at once."""

    def __init__(self) -> None:
        self.networks: dict[str, FakeNetwork] = {}
        self._ports = iter(range(1, 65536))

    def address_of(self, peer_id: PeerId) -> str:
        return f"/ip4/127.0.0.1/tcp/{next(self._ports)}/p2p/{peer_id}"

    def sever(self, one: "FakeNetwork", other: "FakeNetwork") -> None:
        """Cut the connection between two networks, as a lost cable would."""
        one.lose(other.peer_id)
        other.lose(one.peer_id)


class FakeNetwork:
    """One peer on a hub. Use as an async context manager."""

    def __init__(self, hub: FakeHub, peer_key: bytes | None = None) -> None:
        self._hub = hub
        self._peer_id = peer_id_of(peer_key or new_peer_key())
        self._address = hub.address_of(self._peer_id)
        self._links: dict[PeerId, FakeNetwork] = {}
        self._request_handlers: dict[str, RequestHandler] = {}
        self._stream_handlers: dict[str, StreamHandler] = {}
        self._subscriptions: dict[str, list[Subscription]] = defaultdict(list)
        self._callbacks: list[Callable[[PeerId], None]] = []
        self._tasks: dict[PeerId, set[asyncio.Task[Any]]] = defaultdict(set)
        self._streams: dict[PeerId, list[FakeStream]] = defaultdict(list)
        self._closed = False

    async def __aenter__(self) -> Self:
        self._hub.networks[self._address] = self
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._hub.networks.pop(self._address, None)  # a test may have ended it before
        for other in list(self._links.values()):
            self._hub.sever(self, other)
        tasks = [task for group in self._tasks.values() for task in group]
        await asyncio.gather(*tasks, return_exceptions=True)
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.finish()

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self._address,)

    async def connect(self, address: str) -> PeerId:
        self._check_open()
        if "/p2p/" not in address or "/tcp/" not in address:
            raise LocalError(f"{address!r} does not end in /p2p/<peer ID>")
        peer_id = PeerId(address.rsplit("/", 1)[1])
        if peer_id == self._peer_id:
            raise LocalError(f"{address} is this host itself")
        if peer_id in self._links:
            return peer_id
        other = self._hub.networks.get(address)
        if other is None:
            raise RemoteError(f"cannot connect to {address}: nobody is there")
        self._links[peer_id] = other
        other._links[self._peer_id] = self
        return peer_id

    async def disconnect(self, peer_id: PeerId) -> None:
        if other := self._links.get(peer_id):
            self._hub.sever(self, other)

    async def request(
        self, peer_id: PeerId, protocol: str, payload: bytes, *, timeout_s: float
    ) -> bytes:
        if len(payload) > limits.REQUEST_BYTES_MAX:
            raise LocalError("the request is too long")
        other = self._linked(peer_id)
        answer = other._start(self._peer_id, other._answer(self._peer_id, protocol, payload))
        try:
            async with asyncio.timeout(timeout_s):
                # Its cancellation must not look like ours, so wait for it from outside.
                await asyncio.wait({answer})
        except TimeoutError:
            raise RemoteError(f"{peer_id} did not answer {protocol} in {timeout_s:g} s") from None
        finally:
            answer.cancel()
        if answer.cancelled():
            raise RemoteError(f"the connection to {peer_id} was lost")
        return answer.result()

    def serve_requests(self, protocol: str, handler: RequestHandler) -> None:
        self._request_handlers[protocol] = handler

    async def serving(self, protocol: str) -> None:
        """Wait until a handler of the protocol is there."""
        async with asyncio.timeout(20):
            while protocol not in self._request_handlers:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0)

    async def open_stream(self, peer_id: PeerId, protocol: str) -> Stream:
        other = self._linked(peer_id)
        handler = other._stream_handlers.get(protocol)
        if handler is None:
            raise RemoteError(f"{peer_id} does not serve {protocol}")
        ours, theirs = FakeStream(peer_id), FakeStream(self._peer_id)
        ours.other, theirs.other = theirs, ours
        self._streams[peer_id].append(ours)
        other._streams[self._peer_id].append(theirs)
        other._start(self._peer_id, other._serve(theirs, handler))
        return ours

    def serve_streams(self, protocol: str, handler: StreamHandler) -> None:
        self._stream_handlers[protocol] = handler

    async def publish(self, topic: str, data: bytes) -> None:
        self._check_open()
        if len(data) > limits.GOSSIP_BYTES_MAX:
            raise LocalError("the message is too long")
        message = GossipMessage(topic=topic, source=self._peer_id, data=data)
        for network in self._reachable():
            for subscription in network._subscriptions.get(topic, ()):
                subscription.put(message)

    def subscribe(self, topic: str) -> AsyncIterator[GossipMessage]:
        self._check_open()
        subscription = Subscription(topic, lambda it: self._subscriptions[it.topic].remove(it))
        self._subscriptions[topic].append(subscription)
        return subscription

    def connected_peers(self) -> frozenset[PeerId]:
        return frozenset(self._links)

    def on_disconnect(self, callback: Callable[[PeerId], None]) -> None:
        self._callbacks.append(callback)

    # --- for the hub and the other end ----------------------------------------------------------

    def lose(self, peer_id: PeerId) -> None:
        if self._links.pop(peer_id, None) is None:
            return
        for stream in self._streams.pop(peer_id, ()):
            stream.break_off()
        for task in self._tasks.pop(peer_id, ()):
            task.cancel()
        for callback in self._callbacks:
            callback(peer_id)

    def _start(self, peer_id: PeerId, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks[peer_id].add(task)
        task.add_done_callback(self._tasks[peer_id].discard)
        return task

    async def _answer(self, peer_id: PeerId, protocol: str, payload: bytes) -> bytes:
        handler = self._request_handlers.get(protocol)
        if handler is None:
            raise RemoteError(f"{protocol} is not served here")
        try:
            return await handler(peer_id, payload)
        except Refused:
            raise
        except AssayError as error:
            raise RemoteError(str(error)) from None
        except Exception as error:
            raise RemoteError("internal error") from error

    async def _serve(self, stream: "FakeStream", handler: StreamHandler) -> None:
        try:
            await handler(stream)
        except AssayError:
            stream.break_off()
            stream.other.break_off()
        finally:
            await stream.close()

    def _reachable(self) -> list["FakeNetwork"]:
        """Everybody connected to us, directly or over others, in a fixed order."""
        found: dict[PeerId, FakeNetwork] = {}
        waiting = deque([self])
        while waiting:
            for peer_id, network in waiting.popleft()._links.items():
                if peer_id != self._peer_id and peer_id not in found:
                    found[peer_id] = network
                    waiting.append(network)
        return list(found.values())

    def _linked(self, peer_id: PeerId) -> "FakeNetwork":
        self._check_open()
        if peer_id not in self._links:
            raise RemoteError(f"{peer_id} is not connected; connect to it first")
        return self._links[peer_id]

    def _check_open(self) -> None:
        if self._closed:
            raise LocalError("the network is closed; open it again")


class FakeStream:
    """One end of a stream; frames go straight into the queue of the other."""

    def __init__(self, peer_id: PeerId) -> None:
        self.other: FakeStream
        self._peer_id = peer_id
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._ended = False
        self._broken = False
        self._closed = False

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    async def send(self, frame: bytes) -> None:
        if len(frame) > limits.FRAME_BYTES_MAX:
            raise LocalError("the frame is too long")
        while self._sendable() and self.other._bytes >= _STREAM_BYTES:
            await self.other._wait()
        self.other._frames.append(frame)
        self.other._bytes += len(frame)
        self.other._changed.set()

    async def receive(self) -> bytes | None:
        while not self._frames:
            if self._closed:
                raise LocalError("this stream is closed")
            if self._ended:
                return None
            if self._broken:
                raise RemoteError(f"the connection to {self._peer_id} was lost")
            await self._wait()
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        self._changed.set()
        return frame

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._frames.clear()
            self._changed.set()
            self.other._ended = not self.other._broken
            self.other._changed.set()

    def break_off(self) -> None:
        self._broken = not self._ended
        self._changed.set()

    def _sendable(self) -> bool:
        if self._closed:
            raise LocalError("this stream is closed")
        if self._ended or self._broken:
            raise RemoteError(f"{self._peer_id} has closed the stream")
        return True

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
