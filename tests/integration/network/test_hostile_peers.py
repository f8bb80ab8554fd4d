"""Peers that break the protocol harm themselves only."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import trio
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IOException
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_varint_prefixed

from assay_node.network import (
    Libp2pNetwork,
    NetworkSettings,
    limits,
    new_peer_key,
    open_network,
    wire,
)
from assay_node.ports import Stream
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.ids import PeerId
from tests.integration.network.raw_peer import as_raw_peer, open_raw, read_frames


@pytest.fixture
async def network() -> AsyncIterator[Libp2pNetwork]:
    async with open_network(NetworkSettings(connections_max=8), new_peer_key()) as opened:
        opened.serve_requests("/echo/1", echo)
        opened.serve_requests("/hang/1", hang)
        opened.serve_streams("/drain/1", drain)
        yield opened


@pytest.fixture(autouse=True)
async def honest(network: Libp2pNetwork) -> AsyncIterator[None]:
    """An honest peer is connected all along and must not notice anything."""
    async with open_network(NetworkSettings(), new_peer_key()) as peer:
        await peer.connect(network.addresses[0])
        waiting = asyncio.create_task(
            peer.request(network.peer_id, "/hang/1", b"honest", timeout_s=120)
        )
        stream = await peer.open_stream(network.peer_id, "/drain/1")
        yield
        assert not waiting.done()
        assert await peer.request(network.peer_id, "/echo/1", b"ok", timeout_s=10) == b"ok"
        await stream.send(b"still open")
        await stream.close()
        waiting.cancel()


async def echo(_: PeerId, payload: bytes) -> bytes:
    return payload


async def hang(_: PeerId, __: bytes) -> bytes:
    await asyncio.sleep(3600)
    return b""


async def drain(stream: Stream) -> None:
    while await stream.receive() is not None:
        pass


def request(number: int, protocol: str = "/echo/1", payload: bytes = b"") -> bytes:
    message = wire.Request(id=number, protocol=protocol, payload=payload)
    return wire.frame(wire.encode(message))


async def test_noise_is_spoken(network: Libp2pNetwork) -> None:
    """The control for the next test, and a request written by hand."""

    async def script(host: IHost) -> list[bytes]:
        stream = await open_raw(host)
        await stream.write(request(7, payload=b"by hand"))
        return await read_frames(stream, count=1)

    frames = await as_raw_peer(network.addresses[0], script)
    assert [wire.decode(frame) for frame in frames] == [wire.Response(id=7, payload=b"by hand")]


@pytest.mark.parametrize("kind", ["plaintext", "secio"])
async def test_nothing_but_noise_is_accepted(network: Libp2pNetwork, kind: str) -> None:
    async def script(_: IHost) -> None: ...

    before = network.connected_peers()
    with pytest.RaisesGroup(SwarmException, flatten_subgroups=True):
        await as_raw_peer(network.addresses[0], script, kind=kind)
    assert network.connected_peers() == before


MALFORMED = {
    "an oversize frame": (limits.FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x" * 1000,
    "an empty message": wire.frame(b""),
    "an unknown kind": wire.frame(b"\x09" + bytes(8)),
    "a name cut short": wire.frame(b"\x01" + bytes(8) + b"\x20abc"),
    "a name that is not ASCII": wire.frame(b"\x01" + bytes(8) + b"\x01\xff"),
    "an oversize payload": request(1, payload=b"x" * (limits.REQUEST_BYTES_MAX + 1)),
    "an id in use": request(1, "/hang/1") + request(1, "/hang/1"),
    "an answer to nothing": wire.frame(wire.encode(wire.Response(id=1, payload=b""))),
    "bytes after the end": wire.END + b"x",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_frame_costs_the_stream_and_is_counted(
    network: Libp2pNetwork, data: bytes
) -> None:
    async def script(host: IHost) -> PeerId:
        stream = await open_raw(host)
        await stream.write(data)
        assert await read_frames(stream) == []
        return PeerId(host.get_id().to_base58())

    assert network.misbehaviour(await as_raw_peer(network.addresses[0], script)) == 1


async def test_a_protocol_nobody_serves_is_answered(network: Libp2pNetwork) -> None:
    async def script(host: IHost) -> list[bytes]:
        stream = await open_raw(host)
        await stream.write(request(1, "/evil\x1b[31m/1") + request(2))
        return await read_frames(stream, count=2)

    error, answer = (
        wire.decode(frame) for frame in await as_raw_peer(network.addresses[0], script)
    )
    assert isinstance(error, wire.Failure)
    assert error.code == wire.CODE_UNKNOWN_PROTOCOL
    assert "\x1b" not in error.text
    assert answer == wire.Response(id=2, payload=b"")


async def test_requests_beyond_the_limit_are_told_that_it_is_busy(network: Libp2pNetwork) -> None:
    beyond = 5

    async def script(host: IHost) -> tuple[PeerId, list[bytes]]:
        stream = await open_raw(host)
        for number in range(limits.REQUESTS_IN_FLIGHT_MAX + beyond):
            await stream.write(request(number, "/hang/1"))
        frames = await read_frames(stream, count=beyond)
        return PeerId(host.get_id().to_base58()), frames

    peer_id, frames = await as_raw_peer(network.addresses[0], script)
    answers = [wire.decode(frame) for frame in frames]
    assert [answer.code for answer in answers if isinstance(answer, wire.Failure)] == [
        "busy"
    ] * beyond
    assert network.misbehaviour(peer_id) == 0


async def test_a_flood_of_requests_is_cut_and_counted(network: Libp2pNetwork) -> None:
    async def script(host: IHost) -> tuple[PeerId, list[bytes]]:
        stream = await open_raw(host)
        try:
            for number in range(limits.REQUESTS_IN_FLIGHT_MAX * 3):
                await stream.write(request(number, "/hang/1"))
        except IOException:
            pass
        return PeerId(host.get_id().to_base58()), await read_frames(stream)

    peer_id, frames = await as_raw_peer(network.addresses[0], script)
    answers = [wire.decode(frame) for frame in frames]
    # the cut discards what is under way, so any number of the answers may be missing
    assert {answer.code for answer in answers if isinstance(answer, wire.Failure)} <= {"busy"}
    assert len(answers) <= limits.REQUESTS_IN_FLIGHT_MAX
    assert network.misbehaviour(peer_id) == 1


async def test_a_peer_that_goes_on_misbehaving_is_cut_off(
    network: Libp2pNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    key = create_new_key_pair()

    async def script(host: IHost) -> None:
        (peer_id,) = host.get_network().connections
        with trio.fail_after(20):
            while peer_id in host.get_network().connections:
                try:
                    stream = await host.new_stream(peer_id, [wire.REQUEST_PROTOCOL])
                    await stream.write(wire.frame(b""))
                    await read_frames(stream)
                except (BaseLibp2pError, IOException):
                    return

    async def knock(host: IHost) -> bool:
        with trio.move_on_after(2):
            while host.get_network().connections:  # noqa: ASYNC110 - libp2p has no event for it
                await trio.sleep(0.01)
        return bool(host.get_network().connections)

    with caplog.at_level(logging.INFO):
        await as_raw_peer(network.addresses[0], script, key=key)
    assert f"{ID.from_pubkey(key.public_key)} misbehaved too often" in caplog.text
    assert not await as_raw_peer(network.addresses[0], knock, key=key)


async def test_a_protocol_name_that_is_not_text_harms_nobody(network: Libp2pNetwork) -> None:
    """In libp2p as shipped this ends the whole host."""

    async def script(host: IHost) -> None:
        (peer_id,) = host.get_network().connections
        stream = await host.get_network().new_stream(peer_id)
        await stream.write(encode_varint_prefixed(b"/multistream/1.0.0\n"))
        await stream.write(encode_varint_prefixed(b"\xff\xfe\n"))
        await read_to_the_end(stream)

    await as_raw_peer(network.addresses[0], script)


async def read_to_the_end(stream: object) -> None:
    with trio.fail_after(20):
        try:
            while await stream.read(65536):
                pass
        except IOException:
            pass


def gossip(**fields: object) -> rpc_pb2.Message:
    defaults = {
        "data": b"x",
        "topicIDs": ["adverts"],
        "from_id": create_new_key_pair().public_key.serialize(),
        "seqno": b"1",
        "signature": b"s" * 64,
        "key": b"k",
    }
    return rpc_pb2.Message(**(defaults | fields))


def signed_gossip(**fields: object) -> rpc_pb2.Message:
    key = create_new_key_pair()
    author = ID.from_pubkey(key.public_key).to_bytes()
    message = rpc_pb2.Message(
        **({"data": b"x", "topicIDs": ["adverts"], "from_id": author, "seqno": b"1"} | fields)
    )
    signature = key.private_key.sign(b"libp2p-pubsub:" + message.SerializeToString())
    message.signature = signature
    return message


BAD_GOSSIP = {
    "an undecodable key": gossip(from_id=b"\x12\x20" + bytes(32), key=b"\xff\xff"),
    "an empty author": gossip(from_id=b""),
    "a wrong signature": gossip(
        from_id=ID.from_pubkey(create_new_key_pair().public_key).to_bytes()
    ),
    "no topic": signed_gossip(topicIDs=[]),
    "two topics": signed_gossip(topicIDs=["adverts", "adverts"]),
    "oversize data": signed_gossip(data=b"x" * (limits.GOSSIP_BYTES_MAX + 1)),
    "a long sequence number": signed_gossip(seqno=b"1" * 100),
}


async def send_gossip(address: str, *packets: bytes) -> None:
    """Send each packet on a gossip stream of its own, which a bad one may end."""

    async def script(host: IHost) -> None:
        for packet in packets:
            stream = await open_raw(host, "/meshsub/1.1.0")
            await stream.write(encode_varint_prefixed(packet))
            with trio.move_on_after(0.3):
                await read_to_the_end(stream)

    await as_raw_peer(address, script)


@pytest.mark.parametrize("message", BAD_GOSSIP.values(), ids=BAD_GOSSIP.keys())
async def test_bad_gossip_is_dropped(network: Libp2pNetwork, message: rpc_pb2.Message) -> None:
    """In libp2p as shipped the first of these ends the whole host."""
    subscription = network.subscribe("adverts")
    packet = rpc_pb2.RPC(publish=[message]).SerializeToString()
    await send_gossip(network.addresses[0], packet, b"\xff\xff not a protobuf")
    await subscription.aclose()
    assert [message async for message in subscription] == []


async def test_good_gossip_written_by_hand_is_heard(network: Libp2pNetwork) -> None:
    """The control for the test before."""
    subscription = network.subscribe("adverts")
    message = signed_gossip(data=b"by hand")
    packet = rpc_pb2.RPC(publish=[message]).SerializeToString()
    await send_gossip(network.addresses[0], packet)
    await subscription.aclose()
    assert [heard.data async for heard in subscription] == [b"by hand"]


async def test_a_peer_that_ignores_flow_control_is_disconnected(network: Libp2pNetwork) -> None:
    """libp2p as shipped logs a warning and buffers on."""
    stop = asyncio.Event()
    network.serve_streams("/lazy/1", lambda _: stop.wait())

    async def script(host: IHost) -> PeerId:
        (peer_id,) = host.get_network().connections
        stream = await open_raw(host, "/lazy/1")
        sent = 0
        with trio.fail_after(60):
            while peer_id in host.get_network().connections:
                stream.muxed_stream.send_window = 2**30
                try:
                    await stream.write(wire.frame(b"x" * 65_000))
                except IOException:
                    break
                sent += 65_000
                assert sent < 4 * limits.CONNECTION_BUFFER_BYTES_MAX
        return PeerId(host.get_id().to_base58())

    peer_id = await as_raw_peer(network.addresses[0], script)
    await eventually(lambda: peer_id not in network.connected_peers())
    assert network.misbehaviour(peer_id) == 1
    stop.set()


async def test_streams_beyond_the_limits_are_reset(network: Libp2pNetwork) -> None:
    async def script(host: IHost) -> int:
        (peer_id,) = host.get_network().connections
        streams = [
            await host.get_network().new_stream(peer_id)
            for _ in range(limits.MUXED_STREAMS_PER_CONNECTION_MAX + 5)
        ]
        with trio.move_on_after(2):
            await read_to_the_end(streams[-1])
        return sum(stream.muxed_stream.reset_received for stream in streams)

    assert 1 <= await as_raw_peer(network.addresses[0], script) <= 10


async def test_bulk_streams_beyond_the_limit_are_reset(network: Libp2pNetwork) -> None:
    async def script(host: IHost) -> list[bool]:
        streams = [await open_raw(host, "/drain/1") for _ in range(limits.STREAMS_PER_PEER_MAX)]
        with suppress(StreamFailure):  # the reset may overtake the agreement on the protocol
            streams.append(await open_raw(host, "/drain/1"))
            await read_to_the_end(streams.pop())
        await streams[0].write(wire.frame(b"still open"))
        return [stream.muxed_stream.reset_received for stream in streams]

    within = await as_raw_peer(network.addresses[0], script)
    assert within == [False] * limits.STREAMS_PER_PEER_MAX


async def test_connections_that_ended_make_room_for_others(network: Libp2pNetwork) -> None:
    """In libp2p as shipped a node that accepted `connections_max` is deaf until it restarts."""

    async def script(_: IHost) -> None: ...

    for _ in range(20):
        await as_raw_peer(network.addresses[0], script)


async def test_a_silent_connection_takes_no_slot_for_long(network: Libp2pNetwork) -> None:
    host, port = network.addresses[0].split("/")[2], int(network.addresses[0].split("/")[4])
    writers = [(await asyncio.open_connection(host, port))[1] for _ in range(8)]
    try:
        async with open_network(NetworkSettings(), new_peer_key()) as late:
            with pytest.raises(RemoteError):
                await late.connect(network.addresses[0])
            async with asyncio.timeout(6 * limits.DIAL_TIMEOUT_S):
                while not late.connected_peers():
                    try:
                        await late.connect(network.addresses[0])
                    except RemoteError:
                        await asyncio.sleep(0.2)
    finally:
        for writer in writers:
            writer.close()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the condition is what is tested
            await asyncio.sleep(0.01)
