"""The documentation names every command, setting, message, field and error.

`make docs` writes docs/cli.md, docs/settings.md, docs/protocol/fields.md and
docs/protocol/errors.md from the source; here it is checked that they are fresh and complete. What
people write has to follow as well: docs/protocol/messages.md names every message and every protocol
ID in backquotes.
"""

import dataclasses
import importlib
import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path

import assay_node
import assay_provider
import assay_scheduler
from assay_node.chain.refusals import SKIP_REASONS
from assay_node.cli.program import ENTRIES, assemble
from assay_node.protocol import messages
from assay_node.protocol.errors import AssayError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    path = DOCS / name
    return path.read_text() if path.is_file() else ""


def test_generated_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_command_loads_and_is_documented() -> None:
    import typer

    root = typer.main.get_command(assemble(None, everything=True))
    commands = getattr(root, "commands", {})
    assert sorted(commands) == sorted(entry.name for entry in ENTRIES)
    missing = [name for name in commands if f"`assay {name}`" not in page("cli.md")]
    assert not missing, f"docs/cli.md lacks {missing}; run `make docs`"
    without_help = [name for name, command in commands.items() if not command.help]
    assert not without_help, f"commands without a help text: {without_help}"


def test_every_message_and_field_is_documented() -> None:
    missing = []
    for name, message in vars(messages).items():
        if not dataclasses.is_dataclass(message) or message.__module__ != messages.__name__:
            continue
        if f"`{name}`" not in page("protocol/messages.md"):
            missing.append(f"messages.md: {name}")
        _, _, below = page("protocol/fields.md").partition(f"## `{name}`\n")
        section = below.partition("\n## ")[0]
        fields = (field.name for field in dataclasses.fields(message))
        missing += [f"fields.md: {name}.{f}" for f in fields if f"| `{f}` |" not in section]
    assert not missing, "docs/protocol lacks " + ", ".join(missing)


def test_every_protocol_is_documented() -> None:
    names = [
        value
        for value in vars(messages).values()
        if isinstance(value, str) and value.startswith("/assay/")
    ]
    assert len(names) > 10
    missing = [name for name in names if f"`{name}`" not in page("protocol/messages.md")]
    assert not missing, "docs/protocol/messages.md lacks " + ", ".join(missing)


def test_every_error_and_reason_is_documented() -> None:
    import_everything()
    wanted = {error.code for error in subclasses(AssayError)} | set(SKIP_REASONS)
    missing = sorted(name for name in wanted if f"`{name}`" not in page("protocol/errors.md"))
    assert not missing, "docs/protocol/errors.md lacks " + ", ".join(missing)


def import_everything() -> None:
    """Load every module, so that every subclass of `AssayError` exists."""
    with warnings.catch_warnings(action="ignore"):  # those of libraries, at import
        for package in (assay_node, assay_scheduler, assay_provider):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if "__main__" not in module.name and ".migrations." not in module.name:
                    importlib.import_module(module.name)


def subclasses(error: type[AssayError]) -> set[type[AssayError]]:
    return {error}.union(*(subclasses(child) for child in error.__subclasses__()))


def test_every_error_says_what_it_means() -> None:
    import_everything()
    silent = [error.__name__ for error in subclasses(AssayError) if not error.__doc__]
    assert not silent, f"errors without a docstring: {silent}"
