"""A peer in a process of its own, for tests that kill one.

Run as a script: `peer_process.py KEY_HEX LISTEN`. Prints its address, then one line for each gossip
message it hears; publishes each line it reads.
"""

import asyncio
import sys

from assay_node.network import NetworkSettings, open_network
from assay_node.ports import Stream
from assay_node.protocol.ids import PeerId


async def main(key_hex: str, listen: str) -> None:
    settings = NetworkSettings(listen=(listen,))
    async with (
        open_network(settings, bytes.fromhex(key_hex)) as network,
        asyncio.TaskGroup() as tasks,
    ):
        network.serve_requests("/echo/1", echo)
        network.serve_requests("/hang/1", hang)
        network.serve_streams("/pour/1", pour)
        network.serve_streams("/slow-drain/1", slow_drain)
        subscription = network.subscribe("adverts")
        print(network.addresses[0], flush=True)  # noqa: T201 - how it talks to the test

        async def print_heard() -> None:
            async for message in subscription:
                print("heard", message.source, message.data.decode(), flush=True)  # noqa: T201 - how it talks to the test

        listening = tasks.create_task(print_heard())
        while line := await asyncio.to_thread(sys.stdin.readline):
            await network.publish("adverts", line.strip().encode())
        listening.cancel()


async def echo(_: PeerId, payload: bytes) -> bytes:
    return payload


async def hang(_: PeerId, __: bytes) -> bytes:
    print("hanging", flush=True)  # noqa: T201 - how it talks to the test
    await asyncio.sleep(3600)
    return b""


async def pour(stream: Stream) -> None:
    while True:
        await stream.send(b"x" * 262_144)


async def slow_drain(stream: Stream) -> None:
    while await stream.receive() is not None:  # noqa: ASYNC110 - the delay is the point
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
