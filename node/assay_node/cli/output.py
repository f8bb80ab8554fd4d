"""What commands share: settings, running a coroutine, and speaking to people and to scripts.

People are spoken to on standard error, results go to standard output; with `--json` that is
exactly one JSON document. Anything that takes longer than a second shows a spinner, on a terminal.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from assay_node.cli.logs import start_logging as start_logging
from assay_node.protocol.errors import AssayError, LocalError
from assay_node.protocol.ids import to_hex

if TYPE_CHECKING:  # importing them costs more than a command that only prints JSON
    from rich.console import Console

    from assay_node.settings import Settings

T = TypeVar("T")

config_path: ContextVar[Path | None] = ContextVar("config_path", default=None)
"""What `assay --config` named, for `settings`."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        help="File (mode 0600) whose only line is the keystore's password.", show_default=False
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before sending.")]


def settings(flags: Mapping[str, object] | None = None) -> "Settings":
    """Return the settings of this call; `flags` by dotted name win, None means not given.

    Raises:
        LocalError: naming the setting, its source and what is allowed.
    """
    from assay_node.settings import load_settings

    return load_settings(config=config_path.get(), flags=flags)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end.

    An `AssayError` inside task groups comes out as itself: `main` makes a sentence of it.
    """
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        if (error := _reported(group)) is not None:
            raise error from None
        raise


def print_json(document: object) -> None:
    """Write one JSON document to standard output: dataclasses as objects, bytes as 0x hex."""
    sys.stdout.write(json.dumps(document, indent=2, default=_as_json) + "\n")
    sys.stdout.flush()


def print_json_line(document: object) -> None:
    """Write one JSON document on a line of its own, one of many."""
    sys.stdout.write(json.dumps(document, default=_as_json) + "\n")
    sys.stdout.flush()


def results() -> "Console":
    """Return the console of standard output, for what was asked for."""
    return _console(stderr=False)


def people() -> "Console":
    """Return the console of standard error, for what is said beside it."""
    return _console(stderr=True)


@contextlib.contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show that something is under way, if a person is watching."""
    if not sys.stderr.isatty():
        yield
        return
    with people().status(text):
        yield


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that costs money; `yes` has answered already.

    Raises:
        LocalError: the answer is no, or nobody is there to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise LocalError("nothing was sent: confirm with --yes when no terminal is there to ask")
    if not typer.confirm(question, err=True):
        raise LocalError("nothing was sent")


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def _reported(group: BaseExceptionGroup[BaseException]) -> AssayError | None:
    for error in group.exceptions:
        found = _reported(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, AssayError):
            return found
    return None


def _as_json(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return to_hex(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
