"""Database calls that a cancellation does not cut in two.

Cancelling a task in the middle of a call to aiosqlite makes SQLAlchemy terminate the connection,
and the two then stop its thread twice: a close is left waiting for ever, which hangs the loop at
its end (seen with SQLAlchemy 2.1.9 and aiosqlite 0.22.1, about one cancellation in twenty). Our
transactions take milliseconds, so a cancelled caller waits for its own to end.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def undisturbed(
    method: Callable[_P, Coroutine[Any, Any, _R]],
) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Let a call run to its end when its caller is cancelled; the caller is cancelled after it."""

    @functools.wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        task = asyncio.ensure_future(method(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({task})
            raise

    return call
