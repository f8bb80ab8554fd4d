import asyncio

from assay_node.network import limits
from assay_node.network.subscription import Subscription
from assay_node.ports import GossipMessage
from assay_node.protocol.ids import PeerId


def message(number: int) -> GossipMessage:
    return GossipMessage(topic="adverts", source=PeerId("peer"), data=str(number).encode())


async def test_a_full_queue_drops_the_oldest() -> None:
    subscription = Subscription("adverts", lambda _: None)
    for number in range(limits.GOSSIP_QUEUE_MESSAGES + 3):
        subscription.put(message(number))
    assert subscription.dropped == 3
    assert (await anext(subscription)).data == b"3"


async def test_it_waits_for_messages_and_ends_after_those_queued() -> None:
    closed: list[Subscription] = []
    subscription = Subscription("adverts", closed.append)
    waiting = asyncio.create_task(anext(subscription))
    await asyncio.sleep(0)
    subscription.put(message(1))
    subscription.put(message(2))
    assert (await waiting).data == b"1"
    await subscription.aclose()
    await subscription.aclose()
    assert [item.data async for item in subscription] == [b"2"]
    assert closed == [subscription]
