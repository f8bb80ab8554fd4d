"""Gossip between real libp2p hosts, where the library needed help."""

import asyncio

import pytest
from libp2p.pubsub.pb import rpc_pb2

from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.network.gossip import ContainedPubsub

TOPIC = "adverts"


async def test_a_subscription_made_during_the_greeting_is_announced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    greet = ContainedPubsub.get_hello_packet
    greeting: list[ContainedPubsub] = []
    greeted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def greet_and_subscribe(pubsub: ContainedPubsub) -> rpc_pb2.RPC:
        packet = greet(pubsub)
        if not greeting:  # the one that dialled; the packet above does not name the topic
            greeting.append(pubsub)
            loop.call_soon_threadsafe(greeted.set)
            pubsub.manager.run_task(pubsub.subscribe, TOPIC)
        return packet

    monkeypatch.setattr(ContainedPubsub, "get_hello_packet", greet_and_subscribe)
    async with (
        open_network(NetworkSettings(), new_peer_key()) as one,
        open_network(NetworkSettings(), new_peer_key()) as other,
    ):
        await one.connect(other.addresses[0])
        async with asyncio.timeout(20):
            await greeted.wait()
            subscriber, publisher = (
                (one, other) if str(greeting[0].my_id) == one.peer_id else (other, one)
            )
            subscription = subscriber.subscribe(TOPIC)
            heard = asyncio.ensure_future(anext(subscription))
            while not heard.done():  # a mesh takes a moment to form
                await publisher.publish(TOPIC, b"gpu for hire")
                await asyncio.wait([heard], timeout=0.2)
        assert heard.result().data == b"gpu for hire"
