"""Requests over one framed stream per direction: asking and answering. See `wire` for the format.

Both halves are plain asyncio; they know nothing of libp2p.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import count
from typing import Any

from assay_node.network import limits, wire
from assay_node.network.crossing_stream import CrossingStream
from assay_node.ports import RequestHandler
from assay_node.protocol.errors import (
    AssayError,
    LocalError,
    MalformedMessage,
    Refused,
    RemoteError,
)
from assay_node.protocol.ids import PeerId

logger = logging.getLogger(__name__)

Misbehaved = Callable[[PeerId, str], None]


class Asker:
    """Sends requests to one peer and matches the answers to them.

    The stream is opened at the first request and again after it broke. Owned by the network, which
    runs `_read_answers` through `start_task`.
    """

    def __init__(
        self,
        peer_id: PeerId,
        *,
        open_stream: Callable[[], Awaitable[CrossingStream]],
        start_task: Callable[[Coroutine[Any, Any, None]], None],
        misbehaved: Misbehaved,
    ) -> None:
        self._peer_id = peer_id
        self._open_stream = open_stream
        self._start_task = start_task
        self._misbehaved = misbehaved
        self._stream: CrossingStream | None = None
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(limits.REQUESTS_IN_FLIGHT_MAX)
        self._ids = count(1)
        self._pending: dict[int, asyncio.Future[bytes]] = {}

    async def ask(self, protocol: str, payload: bytes) -> bytes:
        """Return the peer's answer; may wait for a free slot first.

        Raises:
            RemoteError: the peer went away or answered with an error.
            Refused: the peer refused, with the reason.
        """
        async with self._slots:
            stream = await self._opened()
            number = next(self._ids)
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._pending[number] = answer
            try:
                await stream.send(
                    wire.encode(wire.Request(id=number, protocol=protocol, payload=payload))
                )
                return await answer
            except asyncio.CancelledError:
                await self._cancel(stream, number)
                raise
            finally:
                del self._pending[number]

    def lost(self) -> None:
        """Fail everything pending: the peer is gone."""
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(RemoteError(f"the connection to {self._peer_id} was lost"))

    async def _opened(self) -> CrossingStream:
        async with self._opening:
            if self._stream is None:
                self._stream = await self._open_stream()
                self._start_task(self._read_answers(self._stream))
            return self._stream

    async def _cancel(self, stream: CrossingStream, number: int) -> None:
        """Tell the peer, unless that would make the cancelled caller wait."""
        try:
            async with asyncio.timeout(0):
                await stream.send(wire.encode(wire.Cancel(id=number)))
        except (TimeoutError, AssayError):
            logger.debug("could not tell %s that a request was cancelled", self._peer_id)

    async def _read_answers(self, stream: CrossingStream) -> None:
        reason = RemoteError(f"the connection to {self._peer_id} was lost")
        try:
            while (frame := await stream.receive()) is not None:
                self._take(wire.decode(frame))
        except MalformedMessage as error:
            self._misbehaved(self._peer_id, str(error))
            reason = RemoteError(f"{self._peer_id} sent a malformed answer: {error}")
            stream.abort()
        except (RemoteError, LocalError) as error:
            reason = RemoteError(str(error))
        finally:
            if self._stream is stream:
                self._stream = None
            for answer in self._pending.values():
                if not answer.done():
                    answer.set_exception(reason)
            await stream.close()

    def _take(self, message: wire.Message) -> None:
        match message:
            case wire.Response(id=number, payload=payload):
                answer = self._pending.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(payload)
            case wire.Failure(id=number, code=code, text=text):
                answer = self._pending.get(number)
                if answer is not None and not answer.done():
                    kind = Refused if code == Refused.code else RemoteError
                    answer.set_exception(kind(text or code))
            case wire.Request() | wire.Cancel():
                raise MalformedMessage("a question where an answer belongs")


class Answerer:
    """Answers the requests of one peer on one stream it opened."""

    def __init__(
        self,
        stream: CrossingStream,
        handlers: Mapping[str, RequestHandler],
        *,
        misbehaved: Misbehaved,
    ) -> None:
        self._stream = stream
        self._handlers = handlers
        self._misbehaved = misbehaved
        self._running: dict[int, asyncio.Task[None]] = {}
        self._running_bytes = 0
        self._ended = asyncio.Event()
        self._over_limit = 0

    async def run(self) -> None:
        """Answer until the peer closes the stream; what then still runs is cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._read_questions(tasks)
                finally:
                    for task in self._running.values():
                        task.cancel()
        except* (RemoteError, LocalError) as errors:
            logger.debug("requests of %s end: %s", self._stream.peer_id, errors.exceptions[0])
        finally:
            await self._stream.close()

    async def _read_questions(self, tasks: asyncio.TaskGroup) -> None:
        try:
            while (frame := await self._stream.receive()) is not None:
                await self._take(wire.decode(frame), tasks)
        except MalformedMessage as error:
            self._misbehaved(self._stream.peer_id, str(error))
            self._stream.abort()

    async def _take(self, message: wire.Message, tasks: asyncio.TaskGroup) -> None:
        match message:
            case wire.Request(id=number) if number in self._running:
                raise MalformedMessage("a request id that is in use")
            case wire.Request() if len(self._running) >= limits.REQUESTS_IN_FLIGHT_MAX:
                await self._turn_away(message)
            case wire.Request():
                await self._start(message, tasks)
            case wire.Cancel(id=number):
                # Its slot is free at once: the peer's next request may be in the same packet.
                if task := self._running.pop(number, None):
                    task.cancel()
            case wire.Response() | wire.Failure():
                raise MalformedMessage("an answer where a question belongs")

    async def _start(self, request: wire.Request, tasks: asyncio.TaskGroup) -> None:
        task = tasks.create_task(self._answer(request))
        self._running[request.id] = task
        self._running_bytes += len(request.payload)

        def done(task: asyncio.Task[None]) -> None:
            if self._running.get(request.id) is task:
                del self._running[request.id]
            self._running_bytes -= len(request.payload)
            self._ended.set()

        task.add_done_callback(done)
        while self._running_bytes > limits.REQUEST_BYTES_IN_FLIGHT_MAX:
            self._ended.clear()
            await self._ended.wait()

    async def _turn_away(self, request: wire.Request) -> None:
        self._over_limit += 1
        if self._over_limit > limits.REQUESTS_IN_FLIGHT_MAX:
            raise MalformedMessage("requests without regard to the limit")
        text = f"more than {limits.REQUESTS_IN_FLIGHT_MAX} requests in flight"
        await self._send(wire.Failure(id=request.id, code=wire.CODE_BUSY, text=text))

    async def _answer(self, request: wire.Request) -> None:
        await self._send(await self._handle(request))

    async def _handle(self, request: wire.Request) -> wire.Message:
        handler = self._handlers.get(request.protocol)
        if handler is None:
            text = f"{request.protocol} is not served here"
            return wire.Failure(id=request.id, code=wire.CODE_UNKNOWN_PROTOCOL, text=text)
        try:
            payload = await handler(self._stream.peer_id, request.payload)
            if len(payload) > limits.REQUEST_BYTES_MAX:
                raise ValueError(f"an answer of {len(payload)} bytes; streams carry more")
        except AssayError as error:
            return wire.Failure(id=request.id, code=error.code, text=str(error))
        except Exception:
            logger.exception("the handler of %s failed", request.protocol)
            return wire.Failure(id=request.id, code=wire.CODE_INTERNAL, text="internal error")
        return wire.Response(id=request.id, payload=payload)

    async def _send(self, message: wire.Message) -> None:
        try:
            async with asyncio.timeout(limits.ANSWER_TIMEOUT_S):
                await self._stream.send(wire.encode(message))
        except TimeoutError:
            self._misbehaved(self._stream.peer_id, "does not read its answers")
            self._stream.abort()
