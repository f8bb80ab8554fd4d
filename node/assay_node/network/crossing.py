"""Crossing between the asyncio loop and the one thread that runs trio.

py-libp2p runs only on trio; everything else here is asyncio. The trio loop lives in a worker thread
of its own, and the two sides exchange plain function calls: `to_trio` and `to_asyncio` hand over a
call and return at once, in order; `call` awaits a trio coroutine from asyncio. trio's guest mode
would save the thread, but then a busy asyncio loop would stall pings and flow control.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

import trio

from assay_node.protocol.errors import LocalError

Result = TypeVar("Result")
Args = TypeVarTuple("Args")

CLOSED = "the network is closed; open it again"

TrioMain = Callable[["Crossing"], Awaitable[None]]
"""What the thread runs: calls `ready()` once usable, returns after `stop_requested` is set."""


class Crossing:
    """One trio thread and the ways to and from it. Created on the asyncio side."""

    def __init__(self, main: TrioMain, ended: Callable[[BaseException | None], None]) -> None:
        """Prepare; `ended` is called on the asyncio side when the thread is gone."""
        self._main = main
        self._on_ended = ended
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._stopped: asyncio.Future[BaseException | None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="assay-network", daemon=True)
        self._entered = threading.Event()
        self._calls: set[asyncio.Future[Any]] = set()
        # Set on the trio side before `_entered`.
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery
        self.stop_requested: trio.Event

    # --- asyncio side ---------------------------------------------------------------------------

    @property
    def failure(self) -> BaseException | None:
        """What ended the thread though nobody had asked it to stop; None while all is well."""
        return self._stopped.result() if self._stopped.done() else None

    async def start(self) -> None:
        """Start the thread and return when it can be used; raise what kept it from starting."""
        self._thread.start()
        try:
            both: tuple[asyncio.Future[Any], ...] = (self._ready, self._stopped)
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        if not self._ready.done():
            self._thread.join()
            raise self._stopped.result() or LocalError(CLOSED)

    async def stop(self) -> None:
        """Ask the thread to stop and return when it is gone, even if cancelled meanwhile."""
        self._entered.wait()  # set within a millisecond of the start, before anything slow
        with suppress(LocalError):
            self.to_trio(self.stop_requested.set)
        cancelled: asyncio.CancelledError | None = None
        while not self._stopped.done():
            try:
                await asyncio.shield(self._stopped)
            except asyncio.CancelledError as error:
                cancelled = error
        self._thread.join()
        if cancelled is not None:
            raise cancelled

    def to_trio(self, function: Callable[[*Args], object], *args: *Args) -> None:
        """Have `function(*args)` called on the trio loop.

        Raises:
            LocalError: the thread has ended.
        """
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            raise LocalError(CLOSED) from self.failure

    async def call(
        self,
        function: Callable[[*Args], Awaitable[Result]],
        *args: *Args,
        discard: Callable[[Result], object] | None = None,
    ) -> Result:
        """Await `function(*args)` on the trio loop. Cancelling this cancels that.

        Args:
            function: A trio coroutine function.
            *args: Its arguments.
            discard: Called with a result that came when nobody awaited it any more.

        Raises:
            LocalError: the thread has ended.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        scope = trio.CancelScope()

        def succeed(result: Result) -> None:
            if not future.done():
                future.set_result(result)
            elif discard is not None:
                discard(result)

        def fail(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        async def run() -> None:
            with scope:
                try:
                    result = await function(*args)
                except Exception as error:  # noqa: BLE001 - raised again on the other side
                    self.to_asyncio(fail, error)
                else:
                    self.to_asyncio(succeed, result)

        self.to_trio(self._spawn, run)
        self._calls.add(future)
        try:
            return await future
        except asyncio.CancelledError:
            with suppress(LocalError):
                self.to_trio(scope.cancel)
            raise
        finally:
            self._calls.discard(future)

    def _end(self, failure: BaseException | None) -> None:
        self._stopped.set_result(failure)
        for future in self._calls:
            if not future.done():
                future.set_exception(LocalError(CLOSED))
        self._on_ended(failure)

    # --- trio side ------------------------------------------------------------------------------

    def ready(self) -> None:
        """Let `start` return."""
        self.to_asyncio(self._mark_ready)

    def spawn(self, function: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Run a trio coroutine until it ends or the thread stops. It must not raise."""
        self._nursery.start_soon(function, *args)

    def to_asyncio(self, function: Callable[[*Args], object], *args: *Args) -> None:
        """Have `function(*args)` called on the asyncio loop; dropped when that loop is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def _mark_ready(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _spawn(self, run: Callable[[], Awaitable[None]]) -> None:
        # After the nursery has closed, `_end` fails what still waits.
        with suppress(RuntimeError):
            self._nursery.start_soon(run)

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            trio.run(self._run_main)
        except BaseException as error:  # noqa: BLE001 - kept, and raised by whoever needs the thread
            failure = error
            while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
                failure = failure.exceptions[0]  # every nursery on the way adds a group
        self._entered.set()
        self.to_asyncio(self._end, failure)

    async def _run_main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.stop_requested = trio.Event()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._entered.set()
            await self._main(self)
            nursery.cancel_scope.cancel()
