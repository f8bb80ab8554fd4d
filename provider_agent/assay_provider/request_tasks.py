"""Lets request handlers run to their end, and ends them together with the daemon."""

import asyncio

from assay_node.ports import RequestHandler
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import PeerId


class RequestTasks:
    """Owns a task per request being answered.

    A peer that stops waiting cancels its request; a lease half taken or half released would be the
    price. So each handler runs in a task of its own, to its end.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Future[bytes]] = set()
        self._closed_for: str | None = None

    def to_the_end(self, handler: RequestHandler) -> RequestHandler:
        """Return `handler`, finished even when its peer has stopped waiting."""

        async def handle(peer_id: PeerId, payload: bytes) -> bytes:
            if self._closed_for is not None:
                raise Refused(self._closed_for)
            task = asyncio.ensure_future(handler(peer_id, payload))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return await asyncio.shield(task)

        return handle

    async def close(self, reason: str) -> None:
        """Refuse what comes from now on, and cancel what runs; returns when it has ended."""
        self._closed_for = reason
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
