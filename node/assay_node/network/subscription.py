"""The queue between gossip and the service that listens to a topic."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from assay_node.network import limits
from assay_node.ports import GossipMessage


class Subscription(AsyncIterator[GossipMessage]):
    """Messages heard on one topic; holds GOSSIP_QUEUE_MESSAGES and then drops the oldest."""

    def __init__(self, topic: str, closed: Callable[["Subscription"], None]) -> None:
        self.topic = topic
        self.dropped = 0
        self._closed = closed
        self._messages: deque[GossipMessage] = deque(maxlen=limits.GOSSIP_QUEUE_MESSAGES)
        self._changed = asyncio.Event()
        self._over = False

    async def __anext__(self) -> GossipMessage:
        while not self._messages:
            if self._over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()

    async def aclose(self) -> None:
        """Stop listening; iteration ends after what is queued."""
        if not self._over:
            self.finish()
            self._closed(self)

    def put(self, message: GossipMessage) -> None:
        """Queue one message."""
        if len(self._messages) == limits.GOSSIP_QUEUE_MESSAGES:
            self.dropped += 1
        self._messages.append(message)
        self._changed.set()

    def finish(self) -> None:
        """End the iteration."""
        self._over = True
        self._changed.set()
