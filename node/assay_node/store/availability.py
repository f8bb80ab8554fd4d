"""A database that cannot be used at the moment is one error, whatever the driver calls it."""

import functools
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from assay_node.protocol.errors import LocalError

_P = ParamSpec("_P")
_R = TypeVar("_R")

_PLAIN_REASONS: Final = {
    "SQLITE_FULL": "its disk is full",
    "SQLITE_IOERR": "its disk fails",
    "SQLITE_READONLY": "it may not be written",
    "SQLITE_CANTOPEN": "its file cannot be opened",
    "SQLITE_BUSY": "another process keeps it locked",
}


class StoreUnavailable(LocalError):
    """The database cannot be used now, most often for a full disk; the same call may succeed later.

    What was asked for has not been kept, but for a commit whose answer was lost.
    """

    code = "store_unavailable"


def available(
    method: Callable[_P, Coroutine[Any, Any, _R]],
) -> Callable[_P, Coroutine[Any, Any, _R]]:
    """Let a database call raise `StoreUnavailable` where the database, not the call, is at fault.

    The text names no file or host: peers may get to read it.
    """

    @functools.wraps(method)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return await method(*args, **kwargs)
        except (OperationalError, InterfaceError) as error:
            raise StoreUnavailable(f"the database cannot be used: {_reason(error)}") from error
        except sqlite3.OperationalError as error:  # from a commit, past SQLAlchemy's own dialect
            raise StoreUnavailable(f"the database cannot be used: {_named(error)}") from error

    return call


def _reason(error: DBAPIError) -> str:
    if isinstance(error.orig, sqlite3.Error):
        return _named(error.orig)
    return "its server does not answer"


def _named(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    # extended names begin with the plain one: SQLITE_IOERR_WRITE
    found = (text for plain, text in _PLAIN_REASONS.items() if name.startswith(plain))
    return next(found, str(error))
