"""Log lines of the daemons: one line an event, on standard error, nothing unescaped."""

import logging
import sys
import time
from typing import Final

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_CHATTY: Final = (
    "aiosqlite",
    "alembic",
    "asyncio",
    "libp2p",
    "multiaddr",
    "urllib3",
    "uvicorn.access",
)
"""Libraries whose own debug and info lines would drown ours."""


class LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z info assay_node.x: message key=value`.

    Peers choose some of the text; control characters and line breaks in it are escaped, so that
    nobody can forge a line or drive a terminal.
    """

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows indented, its lines escaped as well."""
        extras = (f"{k}={v}" for k, v in vars(record).items() if k not in _PLAIN)
        text = " ".join((record.getMessage(), *extras))
        line = (
            f"{self.formatTime(record, self.datefmt)} {record.levelname.lower()} "
            f"{record.name}: {_escaped(text)}"
        )
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n    {_escaped(part)}" for part in trace)
        return line


def start_logging(level: str) -> None:
    """Send everything from `level` ("debug" to "error") up to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
