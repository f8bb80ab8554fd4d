"""Assembles the command line and turns whatever happens into an exit code and one sentence.

Exit codes: 0 done · 1 refused or failed, for the reason on standard error · 2 wrong usage ·
70 a fault of Assay's own (EX_SOFTWARE of sysexits.h), its traceback in a file · 130 interrupted.
"""

import contextlib
import importlib
import importlib.metadata
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from assay_node.cli.output import config_path
from assay_node.protocol.errors import AssayError, LocalError

EXIT_REFUSED: Final = 1
EXIT_FAULT: Final = 70
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One word after `assay`, and the module that is imported when somebody says it.

    The module has a `typer.Typer` named `app`: for a noun (`is_group`) the whole of it is hung in
    under `name`; for a verb only its command of that name.
    """

    name: str
    module: str
    help: str
    panel: str
    is_group: bool = False


_REQUESTERS: Final = "Order jobs"
_PROVIDERS: Final = "Sell compute"
_OPERATORS: Final = "Run a market"
_EVERYBODY: Final = "Everybody"

ENTRIES: Final = (
    Entry(
        name="submit",
        module="assay_node.cli.submit",
        help="Order a job: a directory with a job.toml.",
        panel=_REQUESTERS,
    ),
    Entry(name="jobs", module="assay_node.cli.jobs", help="List your jobs.", panel=_REQUESTERS),
    Entry(
        name="status",
        module="assay_node.cli.jobs",
        help="Follow one job, stage by stage.",
        panel=_REQUESTERS,
    ),
    Entry(
        name="explain",
        module="assay_node.cli.jobs",
        help="Say why a job waits or failed.",
        panel=_REQUESTERS,
    ),
    Entry(
        name="result",
        module="assay_node.cli.jobs",
        help="Fetch and verify a job's result.",
        panel=_REQUESTERS,
    ),
    Entry(
        name="job",
        module="assay_node.cli.job",
        help="Move a job on without its scheduler.",
        panel=_REQUESTERS,
        is_group=True,
    ),
    Entry(
        name="lease",
        module="assay_node.cli.lease",
        help="Services that are paid by the second.",
        panel=_REQUESTERS,
        is_group=True,
    ),
    Entry(
        name="artifact",
        module="assay_node.cli.artifact",
        help="Add, fetch and list files by CID.",
        panel=_REQUESTERS,
        is_group=True,
    ),
    Entry(
        name="env",
        module="assay_node.cli.env",
        help="The software that jobs bring along.",
        panel=_REQUESTERS,
        is_group=True,
    ),
    Entry(
        name="provider",
        module="assay_node.cli.provider",
        help="Set up and run a provider.",
        panel=_PROVIDERS,
        is_group=True,
    ),
    Entry(
        name="scheduler",
        module="assay_node.cli.scheduler",
        help="Run a scheduler.",
        panel=_OPERATORS,
        is_group=True,
    ),
    Entry(
        name="contracts",
        module="assay_node.cli.contracts",
        help="Deploy a market and verify one.",
        panel=_OPERATORS,
        is_group=True,
    ),
    Entry(
        name="dev",
        module="assay_node.cli.dev",
        help="Run a whole market on this machine.",
        panel=_OPERATORS,
        is_group=True,
    ),
    Entry(
        name="wallet",
        module="assay_node.cli.wallet",
        help="Keys and money.",
        panel=_EVERYBODY,
        is_group=True,
    ),
    Entry(
        name="doctor",
        module="assay_node.cli.doctor",
        help="Say what is missing on this machine.",
        panel=_EVERYBODY,
    ),
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; `arguments` are those of the process by default."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        assemble(command_of(words))(args=words, prog_name="assay")
    except SystemExit as exit_:
        if exit_.code == EXIT_INTERRUPTED:
            _say("interrupted")
        raise
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except AssayError as error:
        _say(f"assay: {error}")
        sys.exit(EXIT_REFUSED)
    except Exception as error:  # noqa: BLE001  # the last place that can tell a person
        log = _write_traceback(error)
        _say(f"assay: a fault of Assay's own ({type(error).__name__}); the details are in {log}")
        sys.exit(EXIT_FAULT)
    sys.exit(0)


def command_of(words: Sequence[str]) -> str | None:
    """Return the first word that is no option: the command to load."""
    rest = iter(words)
    for word in rest:
        if word == "--config":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return None


def assemble(command: str | None, *, everything: bool = False) -> typer.Typer:
    """Return the command line with `command` loaded, or everything; the rest are names with help.

    Importing libp2p, SQLAlchemy and FastAPI for `assay --help` would cost two seconds.
    """
    root = typer.Typer(
        help="A market for GPU work that pays only for results that check out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root)
    for entry in ENTRIES:
        if everything or entry.name == command:
            _hang_in(root, entry)
        else:
            root.command(entry.name, help=entry.help, rich_help_panel=entry.panel)(_not_loaded)
    return root


def _hang_in(root: typer.Typer, entry: Entry) -> None:
    app = importlib.import_module(entry.module).app
    if entry.is_group:
        root.add_typer(app, name=entry.name, help=entry.help, rich_help_panel=entry.panel)
        return
    command = next(info for info in app.registered_commands if info.name == entry.name)
    command.rich_help_panel = entry.panel
    root.registered_commands.append(command)


def _not_loaded() -> None:
    raise AssertionError("a command that was typed is always loaded")


def _show_version(value: bool) -> None:  # the shape of a typer callback
    if value:
        sys.stdout.write(importlib.metadata.version("assay") + "\n")
        raise typer.Exit


def _root(
    config: Annotated[
        Path | None,
        typer.Option(
            help="Config file (TOML); by default ASSAY_CONFIG or ~/.config/assay/config.toml.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    del version
    config_path.set(config)


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # nobody is listening any more
        sys.stderr.write(sentence + "\n")
        sys.stderr.flush()


def _write_traceback(error: Exception) -> Path:
    """Keep the traceback, without local variables: those may hold keys."""
    from assay_node.private_files import write_private
    from assay_node.settings import assay_home

    text = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
    name = f"fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path = assay_home() / "logs" / name
    try:
        write_private(path, text)
    except LocalError:  # a full disk or a home of somebody else must not hide the fault
        path = Path(tempfile.mkdtemp(prefix="assay-")) / name
        write_private(path, text)
    return path
