"""The contract of `ports.Network`, run on the fake and on real libp2p hosts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from assay_node.network import NetworkSettings, limits, new_peer_key, open_network
from assay_node.ports import GossipMessage, Network, Stream
from assay_node.protocol.errors import LocalError, Refused, RemoteError
from assay_node.protocol.ids import PeerId
from tests.fakes.network import FakeHub, FakeNetwork

OpenPeer = Callable[..., Awaitable[Network]]
BLOCK = bytes(range(256)) * 1024  # 256 KiB


@pytest.fixture(params=["fake", "libp2p"])
async def open_peer(request: pytest.FixtureRequest) -> AsyncIterator[OpenPeer]:
    """Open networks that can reach each other; all are closed at the end."""
    async with AsyncExitStack() as stack:
        hub = FakeHub()

        async def open_one(peer_key: bytes | None = None) -> Network:
            key = peer_key or new_peer_key()
            if request.param == "fake":
                return await stack.enter_async_context(FakeNetwork(hub, key))
            return await stack.enter_async_context(open_network(NetworkSettings(), key))

        yield open_one


@pytest.fixture
async def alice(open_peer: OpenPeer) -> Network:
    return await open_peer()


@pytest.fixture
async def bob(open_peer: OpenPeer, alice: Network) -> Network:
    """Bob has dialled Alice, and Alice knows it."""
    network = await open_peer()
    await network.connect(alice.addresses[0])
    await eventually(lambda: network.peer_id in alice.connected_peers())
    return network


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the condition is what is tested
            await asyncio.sleep(0.01)


async def echo(_: PeerId, payload: bytes) -> bytes:
    return payload


async def test_addresses_end_in_the_peer_id(alice: Network) -> None:
    assert all(address.endswith(f"/p2p/{alice.peer_id}") for address in alice.addresses)


async def test_requests_go_both_ways_over_a_single_dial(alice: Network, bob: Network) -> None:
    seen: list[PeerId] = []

    async def greet(peer_id: PeerId, payload: bytes) -> bytes:
        seen.append(peer_id)
        return b"hello " + payload

    alice.serve_requests("/greet/1", greet)
    bob.serve_requests("/greet/1", greet)
    assert await bob.request(alice.peer_id, "/greet/1", b"a", timeout_s=10) == b"hello a"
    assert await alice.request(bob.peer_id, "/greet/1", b"b", timeout_s=10) == b"hello b"
    assert seen == [bob.peer_id, alice.peer_id]


async def test_answers_find_their_requests(alice: Network, bob: Network) -> None:
    async def slower_first(_: PeerId, payload: bytes) -> bytes:
        await asyncio.sleep(0.2 - int(payload) / 1000)
        return payload

    alice.serve_requests("/slow/1", slower_first)
    payloads = [str(number).encode() for number in range(200)]
    answers = await asyncio.gather(
        *(bob.request(alice.peer_id, "/slow/1", payload, timeout_s=30) for payload in payloads)
    )
    assert answers == payloads


async def test_the_longest_request_passes_and_a_longer_one_is_refused_here(
    alice: Network, bob: Network
) -> None:
    alice.serve_requests("/echo/1", echo)
    longest = b"x" * limits.REQUEST_BYTES_MAX
    assert await bob.request(alice.peer_id, "/echo/1", longest, timeout_s=10) == longest
    assert await bob.request(alice.peer_id, "/echo/1", b"", timeout_s=10) == b""
    with pytest.raises(LocalError):
        await bob.request(alice.peer_id, "/echo/1", longest + b"x", timeout_s=10)


async def test_a_refusal_carries_its_reason(alice: Network, bob: Network) -> None:
    async def refuse(_: PeerId, __: bytes) -> bytes:
        raise Refused("the budget is spent; deposit more")

    alice.serve_requests("/refuse/1", refuse)
    with pytest.raises(Refused, match="the budget is spent; deposit more"):
        await bob.request(alice.peer_id, "/refuse/1", b"", timeout_s=10)


async def test_other_errors_of_ours_carry_their_text(alice: Network, bob: Network) -> None:
    async def fail(_: PeerId, __: bytes) -> bytes:
        raise LocalError("no such job")

    alice.serve_requests("/fail/1", fail)
    with pytest.raises(RemoteError, match="no such job"):
        await bob.request(alice.peer_id, "/fail/1", b"", timeout_s=10)


async def test_a_bug_in_a_handler_is_not_told(alice: Network, bob: Network) -> None:
    async def crash(_: PeerId, __: bytes) -> bytes:
        raise KeyError("secret")

    alice.serve_requests("/crash/1", crash)
    alice.serve_requests("/echo/1", echo)
    with pytest.raises(RemoteError, match=r"^internal error$"):
        await bob.request(alice.peer_id, "/crash/1", b"", timeout_s=10)
    assert await bob.request(alice.peer_id, "/echo/1", b"still here", timeout_s=10) == b"still here"


async def test_a_protocol_nobody_serves_is_an_error(alice: Network, bob: Network) -> None:
    with pytest.raises(RemoteError, match="not served"):
        await bob.request(alice.peer_id, "/nothing/1", b"", timeout_s=10)
    with pytest.raises(RemoteError, match="does not serve"):
        await bob.open_stream(alice.peer_id, "/nothing/1")


async def test_a_request_to_a_stranger_fails_at_once(alice: Network, bob: Network) -> None:
    stranger = PeerId("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")
    with pytest.raises(RemoteError, match="not connected"):
        await bob.request(stranger, "/echo/1", b"", timeout_s=10)
    with pytest.raises(RemoteError, match="not connected"):
        await bob.open_stream(stranger, "/echo/1")


async def test_a_late_answer_is_an_error_and_its_handler_is_cancelled(
    alice: Network, bob: Network
) -> None:
    cancelled = asyncio.Event()
    alice.serve_requests("/hang/1", hang(asyncio.Event(), cancelled))
    alice.serve_requests("/echo/1", echo)
    with pytest.raises(RemoteError, match="did not answer"):
        await bob.request(alice.peer_id, "/hang/1", b"", timeout_s=0.2)
    async with asyncio.timeout(10):
        await cancelled.wait()
    assert await bob.request(alice.peer_id, "/echo/1", b"next", timeout_s=10) == b"next"


async def test_a_cancelled_request_cancels_its_handler(alice: Network, bob: Network) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()
    alice.serve_requests("/hang/1", hang(started, cancelled))
    request = asyncio.create_task(bob.request(alice.peer_id, "/hang/1", b"", timeout_s=60))
    async with asyncio.timeout(10):
        await started.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await cancelled.wait()


def hang(
    started: asyncio.Event, cancelled: asyncio.Event
) -> Callable[[PeerId, bytes], Awaitable[bytes]]:
    async def handler(_: PeerId, __: bytes) -> bytes:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    return handler


async def test_addresses_that_lead_nowhere(alice: Network, bob: Network) -> None:
    for malformed in ("", "nonsense", "/ip4/127.0.0.1/tcp/1", f"/p2p/{alice.peer_id}"):
        with pytest.raises(LocalError):
            await bob.connect(malformed)
    with pytest.raises(LocalError):
        await bob.connect(bob.addresses[0])
    stranger = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
    with pytest.raises(RemoteError):
        await bob.connect(f"/ip4/127.0.0.1/tcp/1/p2p/{stranger}")
    another = alice.addresses[0].replace(alice.peer_id, stranger)
    with pytest.raises(RemoteError):  # somebody answers there, but not who the address says
        await bob.connect(another)
    assert bob.connected_peers() == {alice.peer_id}


async def test_connecting_again_changes_nothing(alice: Network, bob: Network) -> None:
    assert await bob.connect(alice.addresses[0]) == alice.peer_id
    assert await alice.connect(bob.addresses[0]) == bob.peer_id
    assert bob.connected_peers() == {alice.peer_id}
    assert alice.connected_peers() == {bob.peer_id}


async def test_two_peers_that_dial_each_other_at_once_can_talk(open_peer: OpenPeer) -> None:
    one, other = await open_peer(), await open_peer()
    one.serve_requests("/echo/1", echo)
    other.serve_requests("/echo/1", echo)
    await asyncio.gather(one.connect(other.addresses[0]), other.connect(one.addresses[0]))
    assert await one.request(other.peer_id, "/echo/1", b"1", timeout_s=10) == b"1"
    assert await other.request(one.peer_id, "/echo/1", b"2", timeout_s=10) == b"2"


async def test_a_stream_carries_frames_in_order_and_ends(alice: Network, bob: Network) -> None:
    frames = [b"", b"a", BLOCK, b"x" * limits.FRAME_BYTES_MAX, b"", b"last"]

    async def mirror(stream: Stream) -> None:
        assert stream.peer_id == bob.peer_id
        for _ in frames:
            frame = await stream.receive()
            assert frame is not None
            await stream.send(frame)

    alice.serve_streams("/mirror/1", mirror)
    stream = await bob.open_stream(alice.peer_id, "/mirror/1")
    assert stream.peer_id == alice.peer_id
    sending = asyncio.gather(*(stream.send(frame) for frame in frames))
    async with asyncio.timeout(20):
        assert [await stream.receive() for _ in frames] == frames
        assert await stream.receive() is None
        assert await stream.receive() is None
    await sending
    with pytest.raises(RemoteError):
        await stream.send(b"nobody listens")
    await stream.close()
    await stream.close()
    for call in (stream.send(b""), stream.receive()):
        with pytest.raises(LocalError):
            await call


async def test_a_frame_that_is_too_long_is_refused_here(alice: Network, bob: Network) -> None:
    alice.serve_streams("/drain/1", drain)
    stream = await bob.open_stream(alice.peer_id, "/drain/1")
    with pytest.raises(LocalError):
        await stream.send(b"x" * (limits.FRAME_BYTES_MAX + 1))
    await stream.close()


async def drain(stream: Stream) -> None:
    while await stream.receive() is not None:
        pass


async def test_a_slow_reader_stops_the_writer(alice: Network, bob: Network) -> None:
    go, received = asyncio.Event(), asyncio.Event()
    frames = 256  # 64 MiB, far more than all buffers together
    heard: list[int] = []

    async def lazy(stream: Stream) -> None:
        await go.wait()
        while (frame := await stream.receive()) is not None:
            heard.append(int.from_bytes(frame[:4], "big"))
        received.set()

    alice.serve_streams("/lazy/1", lazy)
    stream = await bob.open_stream(alice.peer_id, "/lazy/1")
    sent = 0

    async def pour() -> None:
        nonlocal sent
        for number in range(frames):
            await stream.send(number.to_bytes(4, "big") + BLOCK[4:])
            sent += 1

    pouring = asyncio.create_task(pour())
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.5)
    assert sent * len(BLOCK) <= 16 * 1024 * 1024
    # Longer than the 5 s after which libp2p breaks a stream whose window stays shut.
    await asyncio.sleep(6)
    go.set()
    async with asyncio.timeout(30):
        await pouring
        await stream.close()
        await received.wait()
    assert heard == list(range(frames))


async def test_a_handler_that_fails_does_not_look_like_a_clean_end(
    alice: Network, bob: Network
) -> None:
    async def half(stream: Stream) -> None:
        await stream.send(b"first half")
        assert await stream.receive() == b"and then?"
        raise LocalError("the disk is full")

    alice.serve_streams("/half/1", half)
    stream = await bob.open_stream(alice.peer_id, "/half/1")
    assert await stream.receive() == b"first half"
    await stream.send(b"and then?")
    with pytest.raises(RemoteError):
        await stream.receive()
    await stream.close()


async def test_a_cancelled_receive_loses_nothing(alice: Network, bob: Network) -> None:
    go = asyncio.Event()

    async def later(stream: Stream) -> None:
        await go.wait()
        await stream.send(b"late")

    alice.serve_streams("/later/1", later)
    stream = await bob.open_stream(alice.peer_id, "/later/1")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await stream.receive()
    go.set()
    assert await stream.receive() == b"late"
    await stream.close()


async def test_a_peer_that_leaves_fails_what_waits_for_it(
    open_peer: OpenPeer, alice: Network
) -> None:
    gone: list[PeerId] = []
    started = asyncio.Event()
    network = await open_peer()
    await network.connect(alice.addresses[0])
    await eventually(lambda: network.peer_id in alice.connected_peers())
    network.serve_requests("/hang/1", hang(started, asyncio.Event()))
    network.serve_streams("/drain/1", drain)
    alice.on_disconnect(gone.append)
    stream = await alice.open_stream(network.peer_id, "/drain/1")
    waiting = asyncio.create_task(alice.request(network.peer_id, "/hang/1", b"", timeout_s=60))
    await started.wait()
    await alice.disconnect(network.peer_id)
    async with asyncio.timeout(10):
        with pytest.raises(RemoteError):
            await waiting
        with pytest.raises(RemoteError):
            await stream.receive()
    await eventually(lambda: gone == [network.peer_id])
    assert alice.connected_peers() == frozenset()
    await stream.close()
    # And back again at once.
    await eventually(lambda: not network.connected_peers())
    await network.connect(alice.addresses[0])
    alice.serve_requests("/echo/1", echo)
    assert await network.request(alice.peer_id, "/echo/1", b"back", timeout_s=10) == b"back"


async def test_gossip_reaches_everybody_and_names_its_author(open_peer: OpenPeer) -> None:
    one, middle, other = [await open_peer() for _ in range(3)]
    await one.connect(middle.addresses[0])
    await other.connect(middle.addresses[0])
    heard = {network.peer_id: network.subscribe("adverts") for network in (one, middle, other)}
    second = other.subscribe("adverts")
    message = await published(one, heard[other.peer_id], b"gpu for hire")
    assert message == GossipMessage(topic="adverts", source=one.peer_id, data=b"gpu for hire")
    assert (await next_message(second)).data == b"gpu for hire"
    assert (await next_message(heard[middle.peer_id])).source == one.peer_id
    await published(one, heard[other.peer_id], b"once more")  # by now all have joined
    message = await published(other, heard[one.peer_id], b"mine too")
    assert message.data == b"mine too"  # the first thing it hears: its own words it does not


async def test_a_burst_of_gossip_is_not_dropped(alice: Network, bob: Network) -> None:
    subscription = bob.subscribe("adverts")
    await published(alice, subscription, b"begin")
    burst = [str(number).encode() for number in range(150)]
    await asyncio.gather(*(alice.publish("adverts", data) for data in burst))
    heard: set[bytes] = set()
    async with asyncio.timeout(20):
        while not heard >= set(burst):
            heard.add((await anext(subscription)).data)


async def published(
    network: Network, subscription: AsyncIterator[GossipMessage], data: bytes
) -> GossipMessage:
    """Publish until heard: a mesh takes a moment to form, and gossip promises no delivery."""
    async with asyncio.timeout(20):
        while True:
            await network.publish("adverts", data)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    return await anext(subscription)


async def next_message(subscription: AsyncIterator[GossipMessage]) -> GossipMessage:
    async with asyncio.timeout(20):
        return await anext(subscription)


async def test_gossip_that_is_too_long_is_refused_here(alice: Network) -> None:
    with pytest.raises(LocalError):
        await alice.publish("adverts", b"x" * (limits.GOSSIP_BYTES_MAX + 1))


async def test_a_subscription_ends_when_closed(alice: Network) -> None:
    subscription = alice.subscribe("adverts")
    await subscription.aclose()
    assert [message async for message in subscription] == []


async def test_a_closed_network_says_so(open_peer: OpenPeer) -> None:
    del open_peer  # closes by itself; here the end of the context is the point
    hub = FakeHub()
    for context in (FakeNetwork(hub), open_network(NetworkSettings(), new_peer_key())):
        async with context as network:
            subscription = network.subscribe("adverts")
        assert [message async for message in subscription] == []
        with pytest.raises(LocalError, match="closed"):
            await network.connect("/ip4/127.0.0.1/tcp/1/p2p/" + "1" * 50)
        with pytest.raises(LocalError, match="closed"):
            await network.request(network.peer_id, "/echo/1", b"", timeout_s=1)
        with pytest.raises(LocalError, match="closed"):
            await network.publish("adverts", b"")
