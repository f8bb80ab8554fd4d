"""Log lines of the daemons: one line an event, nothing unescaped, and only so many.

They go to standard error, or to a file that is rotated.
"""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Final

from assay_node.protocol.errors import LocalError

if TYPE_CHECKING:
    from assay_node.settings import Settings

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

LINES_A_SECOND: Final = 50
LINES_AT_ONCE: Final = 1000
"""A daemon that works hard writes a handful of lines a second; whoever makes it write more (a peer,
a fault in a loop) would fill the disk and rotate away what an owner is looking for."""
LINE_CHARACTERS_MAX: Final = 8000
TRACE_LINES_MAX: Final = 100
FILE_MODE: Final = 0o600


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
        extras = (f"{name}={value}" for name, value in _extras(record))
        text = " ".join((record.getMessage(), *extras))
        line = (
            f"{self.formatTime(record, self.datefmt)} {record.levelname.lower()} "
            f"{record.name}: {_escaped(_cut(text))}"
        )
        return line + "".join(f"\n    {_escaped(_cut(part))}" for part in _trace(self, record))


class JsonFormatter(logging.Formatter):
    """One JSON document a line: `at`, `level`, `logger`, `message`, and the record's own fields."""

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        """Return the document; JSON escapes whatever is not plain ASCII."""
        document: dict[str, object] = {
            "at": self.formatTime(record, self.datefmt),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        fields = {name: _cut(str(value)) for name, value in _extras(record)}
        if fields:
            document["fields"] = fields
        if trace := _trace(self, record):
            document["trace"] = [_cut(part) for part in trace]
        return json.dumps(document)


class FloodFilter(logging.Filter):
    """Lets `LINES_AT_ONCE` lines through and then `LINES_A_SECOND`; what is dropped is counted.

    The count is told with the next line that comes through.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._left = float(LINES_AT_ONCE)
        self._at = clock()
        self._dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is written."""
        with self._lock:
            now = self._clock()
            self._left = min(LINES_AT_ONCE, self._left + (now - self._at) * LINES_A_SECOND)
            self._at = now
            if self._left < 1:
                self._dropped += 1
                return False
            self._left -= 1
            if self._dropped:
                record.lines_dropped_before = self._dropped
                self._dropped = 0
        return True


class PrivateRotatingFile(RotatingFileHandler):
    """A log file that only its owner may read, and so many older ones of it."""

    def _open(self) -> TextIOWrapper:
        # a link that somebody else put there must not lead the log elsewhere
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.baseFilename, flags, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)
        return os.fdopen(descriptor, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say once on standard error that the log is not written, and go on."""
        del record
        if not getattr(self, "_told", False):
            self._told = True
            error = sys.exc_info()[1]
            sys.stderr.write(f"assay: cannot write the log {self.baseFilename}: {error}\n")


def start_logging(settings: "Settings") -> None:
    """Send everything from the settings' level up to standard error, or to their file.

    Raises:
        LocalError: the file cannot be written.
    """
    handler = _handler(settings)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else LineFormatter())
    handler.addFilter(FloodFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _handler(settings: "Settings") -> logging.Handler:
    path = settings.log_file
    if path is None:
        return logging.StreamHandler(sys.stderr)
    try:
        _make_folder(path.parent)
        return PrivateRotatingFile(
            path, maxBytes=settings.log_file_bytes_max, backupCount=settings.log_files_kept
        )
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise LocalError(f"cannot write the log {path} (log_file): {reason}") from None


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)


def _extras(record: logging.LogRecord) -> list[tuple[str, object]]:
    return [(name, value) for name, value in vars(record).items() if name not in _PLAIN]


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return formatter.formatException(record.exc_info).splitlines()[-TRACE_LINES_MAX:]


def _cut(text: str) -> str:
    if len(text) <= LINE_CHARACTERS_MAX:
        return text
    return f"{text[:LINE_CHARACTERS_MAX]}... ({len(text)} characters)"


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
