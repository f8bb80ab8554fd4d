import asyncio

import pytest

from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import PeerId
from assay_provider.request_tasks import RequestTasks

PEER = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")


class Handler:
    """Takes until `gate` is open; what is in its `finally` takes until `cleaned` is."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.cleaned = asyncio.Event()
        self.started = asyncio.Event()
        self.finished = False

    async def __call__(self, peer_id: PeerId, payload: bytes) -> bytes:
        self.started.set()
        try:
            await self.gate.wait()
        finally:
            await self.cleaned.wait()
            self.finished = True
        return payload


async def test_a_handler_ends_although_nobody_waits_for_it() -> None:
    handler = Handler()
    asking = asyncio.create_task(_ask(RequestTasks(), handler))
    await handler.started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    handler.gate.set()
    handler.cleaned.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert handler.finished


async def test_closing_cancels_what_runs_waits_for_its_end_and_refuses_the_rest() -> None:
    tasks, handler = RequestTasks(), Handler()
    asking = asyncio.create_task(_ask(tasks, handler))
    await handler.started.wait()
    closing = asyncio.create_task(tasks.close("shutting down"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not closing.done()
    with pytest.raises(Refused, match="shutting down"):
        await _ask(tasks, handler)
    handler.cleaned.set()
    await closing
    assert handler.finished
    with pytest.raises(asyncio.CancelledError):
        await asking


async def _ask(tasks: RequestTasks, handler: Handler) -> bytes:
    return await tasks.to_the_end(handler)(PEER, b"question")
