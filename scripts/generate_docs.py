#!/usr/bin/env python3
"""Write docs/cli.md from the command line and docs/settings.md from the settings.

With --check it writes nothing and fails when a page is stale.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import typer

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
NOTICE: Final = "<!-- Written by `make docs` from the source; do not edit. -->\n"

CLI_INTRODUCTION: Final = """
# Commands

Every command has `--help`. Results go to standard output (with `--json` exactly one JSON document),
everything else to standard error. Exit codes: 0 done · 1 refused or failed, with the reason ·
2 wrong usage · 70 a fault of Assay's own, with the file that holds the details · 130 interrupted.

`assay --config FILE COMMAND` reads another config file; see [settings](settings.md).
"""

SETTINGS_INTRODUCTION: Final = """
# Settings

A setting comes from the first of these that has it: a command's flag, the environment, the config
file, the default. The config file is TOML: `--config`, else `ASSAY_CONFIG`, else
`~/.config/assay/config.toml`. In the environment, names are upper case with `ASSAY_` in front and
two underscores for a dot: `provider.slots` is `ASSAY_PROVIDER__SLOTS`. Lists have commas between
their items there. Money is in micro-USD (1,000,000 are one dollar), sizes are bytes or
`512M`, `2G`.

Everything Assay keeps lies below `ASSAY_HOME`, by default `~/.local/share/assay`.
"""


def main() -> int:
    """Write the pages, or compare them with --check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when stale")
    check = parser.parse_args().check
    # texts must not depend on this machine's terminal or home
    os.environ.update(COLUMNS="100", ASSAY_HOME="/home/you/.local/share/assay")
    pages = {"cli.md": cli_page(), "settings.md": settings_page()}
    stale = [name for name, text in pages.items() if not _is_fresh(name, text, show=check)]
    if check:
        return 1 if stale else 0
    for name in stale:
        DOCS.mkdir(exist_ok=True)
        (DOCS / name).write_text(pages[name])
        print(f"wrote docs/{name}")
    return 0


def cli_page() -> str:
    """Return docs/cli.md."""
    from assay_node.cli.program import ENTRIES, assemble

    root: Any = typer.main.get_command(assemble(None, everything=True))
    parts = [NOTICE, CLI_INTRODUCTION]
    for entry in ENTRIES:
        parts += _command(root.commands[entry.name], f"assay {entry.name}", level=2)
    return "".join(parts)


def _command(command: Any, path: str, *, level: int) -> Iterator[str]:
    yield f"\n{'#' * level} `{path}`\n\n{_paragraphs(command.help)}\n"
    if subcommands := getattr(command, "commands", None):
        for name, subcommand in subcommands.items():
            yield from _command(subcommand, f"{path} {name}", level=level + 1)
        return
    context = typer.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n```\n{path} {usage}\n```\n"
    rows = [row for parameter in command.params if (row := _parameter(parameter, context))]
    if rows:
        yield "\n| | |\n|---|---|\n" + "".join(rows)


def _parameter(parameter: Any, context: typer.Context) -> str | None:
    record = parameter.get_help_record(context)
    if record is None:
        return None
    names, text = (" ".join(part.split()).replace("|", "\\|") for part in record)
    return f"| `{names}` | {text} |\n"


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def settings_page() -> str:
    """Return docs/settings.md."""
    from assay_node.settings.catalog import settings_catalog
    from assay_node.settings.sections import Settings

    entries = list(settings_catalog().values())
    parts = [NOTICE, SETTINGS_INTRODUCTION, "\n## Every role\n"]
    parts.append(_table([entry for entry in entries if "." not in entry.key]))
    for name, field in Settings.model_fields.items():
        if rows := [entry for entry in entries if entry.key.startswith(f"{name}.")]:
            meaning = " ".join((getattr(field.annotation, "__doc__", None) or "").split())
            parts += [f"\n## `[{name}]`\n\n{meaning}\n", _table(rows)]
    return "".join(parts)


def _table(entries: Iterable[Any]) -> str:
    rows = [
        f"| `{entry.key}` | {entry.description} | {entry.allowed} | {_default(entry.default)} |\n"
        for entry in entries
    ]
    return "\n| setting | what it does | allowed | default |\n|---|---|---|---|\n" + "".join(rows)


def _default(text: str) -> str:
    return f"`{text}`" if text else ""


def _is_fresh(name: str, text: str, *, show: bool) -> bool:
    path = DOCS / name
    there = path.read_text() if path.is_file() else ""
    if there == text:
        return True
    if show:
        sys.stderr.write(f"docs/{name} is stale; run `make docs`\n")
        changes = difflib.unified_diff(there.splitlines(), text.splitlines(), n=0, lineterm="")
        sys.stderr.writelines(f"{line}\n" for line in list(changes)[2:22])
    return False


if __name__ == "__main__":
    sys.exit(main())
