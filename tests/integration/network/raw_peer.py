"""A bare libp2p host on trio, for tests that break the protocol on purpose."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secio import transport as secio
from multiaddr import Multiaddr

from assay_node.network import wire

Result = TypeVar("Result")


def security(kind: str, key: KeyPair) -> dict[TProtocol, object]:
    match kind:
        case "noise":
            return {NOISE_PROTOCOL: NoiseTransport(key, new_noise_key().private_key)}
        case "plaintext":
            return {PLAINTEXT_PROTOCOL_ID: InsecureTransport(key)}
        case "secio":
            return {TProtocol(secio.ID): secio.Transport(key)}
        case _:
            raise ValueError(kind)


async def as_raw_peer(
    address: str,
    script: Callable[[IHost], Awaitable[Result]],
    *,
    kind: str = "noise",
    key: KeyPair | None = None,
) -> Result:
    """Connect a bare host to `address` and run `script(host)` on trio, in a thread."""
    key = key or create_new_key_pair()

    async def run() -> Result:
        config = ConnectionConfig(max_connections_per_peer=1, min_connections=0, low_watermark=0)
        host = new_host(key_pair=key, sec_opt=security(kind, key), connection_config=config)
        host.get_network().retry_config = RetryConfig(max_retries=0)
        async with trio.open_nursery(), host.run([]):
            await host.connect(info_from_p2p_addr(Multiaddr(address)))
            result = await script(host)
            await host.close()
        return result

    return await asyncio.to_thread(trio.run, run)


async def open_raw(host: IHost, protocol: str = wire.REQUEST_PROTOCOL) -> INetStream:
    """Open a stream to the one peer the host is connected to."""
    (peer_id,) = host.get_network().connections
    return await host.new_stream(peer_id, [TProtocol(protocol)])


async def read_frames(stream: INetStream, *, count: int | None = None) -> list[bytes]:
    """Read `count` frames, or until the other side closes or cuts the stream."""
    decoder = wire.FrameDecoder()
    frames: list[bytes] = []
    with trio.fail_after(20):
        try:
            while len(frames) != count and not decoder.ended:
                frames += decoder.feed(await stream.read(65536))
        except IOException:
            pass
    return frames
