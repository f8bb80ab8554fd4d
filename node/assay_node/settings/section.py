"""What all sections of the settings share."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One part's or role's settings: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


def sqlite_in_home(section: dict[str, Any], name: str) -> str:
    """Return the URL of a role's own database, in the home its section names."""
    home = section.get("home", Path())
    return f"sqlite:///{home / name}.sqlite"
