"""One database per daemon: opening it, bringing its schema up to date, short transactions."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from assay_node.protocol.errors import LocalError

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_MS: Final = 10_000
"""How long a SQLite writer waits for another process (the CLI beside a daemon)."""
POOL_CONNECTIONS: Final = 4
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


class Database:
    """An engine and its dialect. Repositories open short transactions on it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # SQLite has one writer; queueing here is fair, where its own lock polls
        self._writer = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    @property
    def dialect(self) -> str:
        """Return "sqlite" or "postgresql"."""
        return self._engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection with one consistent view; writes are not kept."""
        async with self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose changes are durable when the block ends without an error.

        Keep it short: no network call inside, SQLite has one writer.
        """
        if self._writer is None:
            async with self._engine.begin() as connection:
                yield connection
            return
        async with self._writer, self._engine.begin() as connection:
            yield connection


@asynccontextmanager
async def open_database(url: str, *, role: str) -> AsyncIterator[Database]:
    """Open a database for a role ("scheduler" or "provider") and migrate it to this version.

    `url` is "sqlite:///path" or "postgresql://...".

    Raises:
        LocalError: the URL is malformed, the database cannot be reached, or a newer Assay wrote it.
    """
    target = _async_url(url)
    if target.get_backend_name() == "sqlite" and target.database:
        Path(target.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = _create_engine(target)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_migrate, role)
        yield Database(engine)
    except (OperationalError, DBAPIError) as error:
        shown = target.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split())
        raise LocalError(f"the database {shown} failed: {reason}") from error
    finally:
        await engine.dispose()


def is_absent(url: str) -> bool:
    """Tell whether a database is a file that is not there; opening it would make it."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists()


def database_file(url: str) -> Path | None:
    """Return the file of a SQLite database; None for a server's, or one in memory."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(str(parsed.database)) if is_file else None


def _async_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        return parsed.set(drivername=_DRIVERS[parsed.get_backend_name()])
    except (ArgumentError, KeyError):
        raise LocalError(
            "a database URL starts with sqlite:/// or postgresql://; check database_url"
        ) from None


def _create_engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=POOL_CONNECTIONS, pool_pre_ping=True)
    engine = create_async_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine.sync_engine, "connect", _on_sqlite_connect)
    event.listen(engine.sync_engine, "begin", _on_sqlite_begin)
    return engine


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _on_sqlite_begin
    cursor = connection.cursor()
    # FULL: a lease or payment acknowledged once survives power loss (sqlite.org/pragma.html)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _migrate(connection: Connection, role: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS / role))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        newest = ScriptDirectory.from_config(config).get_current_head()
        raise LocalError(
            f"this database was written by a newer Assay (this one knows schema {newest}); "
            "upgrade Assay or use another database"
        ) from error
