#!/usr/bin/env python3
"""Write the pages of docs/ that say what the source says: commands, settings, fields, errors.

With --check it writes nothing and fails when a page is stale.
"""

import argparse
import builtins
import collections.abc
import dataclasses
import difflib
import importlib
import inspect
import os
import pkgutil
import sys
import types
import typing
import warnings
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

FIELDS_INTRODUCTION: Final = """
# Fields of everything on the wire

By name; [messages](messages.md) says who sends what to whom, and how it is encoded. A digest is 32
bytes; an address is 0x and 40 lower-case hexadecimal digits; a CID is version 1, base32, sha2-256.
A field with a default may not be left out: encodings are complete.
"""

ERRORS_INTRODUCTION: Final = """
# Errors and reasons

An error crosses a process boundary as its code and one sentence for a person.

| code | meaning |
|---|---|
"""

REASONS_INTRODUCTION: Final = """
## Why the Market passes a receipt over

`ReceiptSkipped` carries one of these; it costs nobody anything.

| reason | meaning |
|---|---|
"""

OPS_INTRODUCTION: Final = """
# Operations that exact_torch defines

Version {version} of [the specification](exact-torch.md), which says what the rules and functions
named here are. Names are ATen's; an in-place or `out=` form is the operation and then a copy. What
is not here is refused with `UnsupportedOp`.
"""

WIRE_MODULES: Final = (
    "messages",
    "offer",
    "order",
    "receipt",
    "assignment",
    "job_spec",
    "environment",
    "hardware_proof",
)


def main() -> int:
    """Write the pages, or compare them with --check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when stale")
    check = parser.parse_args().check
    # texts must not depend on this machine's terminal or home
    os.environ.update(COLUMNS="100", ASSAY_HOME="/home/you/.local/share/assay")
    pages = {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "protocol/fields.md": fields_page(),
        "protocol/errors.md": errors_page(),
        "exact-torch-ops.md": exact_torch_ops_page(),
    }
    stale = [name for name, text in pages.items() if not _is_fresh(name, text, show=check)]
    if check:
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).parent.mkdir(parents=True, exist_ok=True)
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


def exact_torch_ops_page() -> str:
    """Return docs/exact-torch-ops.md: the table of op definitions, by rule."""
    import exact_torch
    from exact_torch.mode import table
    from exact_torch.table import Rule

    parts = [NOTICE, OPS_INTRODUCTION.format(version=exact_torch.SPEC_VERSION)]
    for rule in Rule:
        parts.append(f"\n## {rule}\n\n| operation | definition |\n|---|---|\n")
        by_meaning: dict[str, list[str]] = {}
        for name, definition in sorted(table().items()):
            if definition.rule is rule:
                by_meaning.setdefault(definition.meaning, []).append(f"`{name}`")
        rows = sorted((" ".join(names), text) for text, names in by_meaning.items())
        parts += [f"| {names} | {text.replace('|', chr(92) + '|')} |\n" for names, text in rows]
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


def fields_page() -> str:
    """Return docs/protocol/fields.md."""
    parts = [NOTICE, FIELDS_INTRODUCTION]
    for name in WIRE_MODULES:
        module = importlib.import_module(f"assay_node.protocol.{name}")
        parts += [
            _message(message)
            for message in vars(module).values()
            if dataclasses.is_dataclass(message) and message.__module__ == module.__name__
        ]
    return "".join(parts)


def _message(message: Any) -> str:
    rows = [f"| `{field.name}` | {_type(field.type)} |\n" for field in dataclasses.fields(message)]
    table = "\n| field | type |\n|---|---|\n" + "".join(rows) if rows else "\nNo fields.\n"
    return f"\n## `{message.__name__}`\n\n{_paragraphs(inspect.getdoc(message))}\n{table}"


def _type(kind: Any) -> str:
    match typing.get_origin(kind), typing.get_args(kind):
        case builtins.tuple, (item, builtins.Ellipsis):
            return f"list of {_type(item)}"
        case types.UnionType, (item, types.NoneType):
            return f"{_type(item)} or null"
        case collections.abc.Mapping, (key, value):
            return f"map from {_type(key)} to {_type(value)}"
    words = {"str": "text", "int": "integer", "bool": "true or false", "bytes": "bytes"}
    return words.get(kind.__name__, f"`{kind.__name__}`")


def errors_page() -> str:
    """Return docs/protocol/errors.md."""
    from assay_node.chain.refusals import SKIP_REASONS

    errors = sorted(_all_errors(), key=lambda error: error.code)
    codes = [f"| `{e.code}` | {' '.join((inspect.getdoc(e) or '').split())} |\n" for e in errors]
    reasons = [f"| `{name}` | {text} |\n" for name, text in sorted(SKIP_REASONS.items())]
    return "".join((NOTICE, ERRORS_INTRODUCTION, *codes, REASONS_INTRODUCTION, *reasons))


def _all_errors() -> list[Any]:
    """Return the classes that have a code of their own, from every module."""
    from assay_node.protocol.errors import AssayError

    with warnings.catch_warnings(action="ignore"):  # those of libraries, at import
        for name in ("assay_node", "assay_scheduler", "assay_provider"):
            package = importlib.import_module(name)
            for module in pkgutil.walk_packages(package.__path__, f"{name}."):
                if "__main__" not in module.name and ".migrations." not in module.name:
                    importlib.import_module(module.name)
    found, pending = [], [AssayError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        if "code" in vars(error):
            found.append(error)
    return found


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
