"""Disk and hashing work, off the event loop."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from assay_node.protocol.errors import LocalError

_T = TypeVar("_T")


class _StoppedError(Exception):
    """Unwinds work that was asked to stop; whoever asked no longer looks at the outcome."""


class Stop:
    """Tells work in a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def request(self) -> None:
        """Ask the work to end."""
        self._event.set()

    def check(self) -> None:
        """Leave the work if its end was asked for. Call between steps of some megabytes."""
        if self._event.is_set():
            raise _StoppedError


class WorkerThreads:
    """A pool whose work is over when its caller goes on, even a cancelled one.

    That lets a caller clean up behind cancelled work. Errors of the disk and of SQLite come out as
    `LocalError`.
    """

    def __init__(self, name: str, count: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, work: Callable[[Stop], _T]) -> _T:
        """Run `work` in a thread and return its result."""
        stop = Stop()
        future = self._pool.submit(work, stop)
        waiter = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            stop.request()
            if not future.cancel():
                await asyncio.wait([waiter])
            raise
        except OSError as error:
            where = f" ({error.filename})" if error.filename is not None else ""
            raise LocalError(f"disk: {error.strerror or error}{where}") from error
        except sqlite3.Error as error:
            raise LocalError(f"the artifact store's catalog failed: {error}") from error

    def close(self) -> None:
        """Wait for work that is under way and end the threads."""
        self._pool.shutdown(wait=True)
