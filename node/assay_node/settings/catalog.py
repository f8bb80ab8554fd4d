"""Every setting as data: for error messages, for `docs/settings.md` and for tests."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from assay_node.settings.sections import Settings

ENVIRONMENT_PREFIX: Final = "ASSAY_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingEntry:
    """One setting: its dotted key, what it allows in words, and its default as text."""

    key: str
    allowed: str
    default: str
    description: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable_of(self.key)


def variable_of(key: str) -> str:
    """Return the environment variable of a dotted key."""
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def settings_catalog() -> Mapping[str, SettingEntry]:
    """Return all settings by dotted key, in the order of their models."""
    return {entry.key: entry for entry in _entries(Settings, prefix="")}


def _entries(model: type[BaseModel], *, prefix: str) -> Iterator[SettingEntry]:
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _entries(field.annotation, prefix=f"{prefix}{name}.")
            continue
        default = None if field.default_factory is not None else field.default
        yield SettingEntry(
            key=prefix + name,
            allowed=_allowed(properties[name]),
            default=_default_text(default),
            description=field.description or "",
        )


def _allowed(schema: Mapping[str, Any]) -> str:
    for option in schema.get("anyOf", ()):
        return _allowed(option)
    match schema:
        case {"allowed": str(text)}:
            return text
        case {"enum": [*values]}:
            return "one of " + ", ".join(str(value) for value in values)
        case {"const": value}:
            return str(value)
        case {"type": "integer", "minimum": low, "maximum": high}:
            return f"a whole number from {low} to {high}"
        case {"type": "number", "exclusiveMinimum": low, "maximum": high}:
            return f"a number above {low:g}, at most {high:g}"
        case {"type": "number", "minimum": low, "maximum": high}:
            return f"a number from {low:g} to {high:g}"
        case {"type": "boolean"}:
            return "true or false"
        case {"type": "string", "pattern": _}:
            return "lower-case letters, digits, dots, dashes and underscores"
        case {"type": "string"}:
            return "text"
    raise AssertionError(f"no words for {schema}")


def _default_text(default: object) -> str:
    if isinstance(default, tuple):
        return ", ".join(str(item) for item in default)
    return "" if default is None else str(default)
