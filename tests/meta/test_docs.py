"""The documentation names every command, setting, message and error.

Conventions that these tests follow:

- `docs/cli.md` and `docs/settings.md` are generated (`make docs`).
- `docs/protocol/messages.md` has a heading with the name of every message in
  `assay_node/protocol/messages.py` in backquotes (### `Submit`), and below it, before the next
  heading, every field in backquotes; every protocol ID and topic stands in backquotes somewhere.
- `docs/protocol/errors.md` has in backquotes the code of every `AssayError` and the name of every
  reason for which the Market contract passes a receipt over.
"""

import dataclasses
import importlib
import pkgutil
import re
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


def sections(text: str) -> dict[str, str]:
    """Return what stands below each heading that has a name in backquotes."""
    parts = re.split(r"^#+ .*`(\w+)`.*$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_message_and_field_is_documented() -> None:
    documented = sections(page("protocol/messages.md"))
    missing = []
    for name, message in vars(messages).items():
        if not dataclasses.is_dataclass(message) or message.__module__ != messages.__name__:
            continue
        if name not in documented:
            missing.append(name)
            continue
        fields = (field.name for field in dataclasses.fields(message))
        missing += [f"{name}.{field}" for field in fields if f"`{field}`" not in documented[name]]
    assert not missing, "docs/protocol/messages.md lacks " + ", ".join(missing)


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
