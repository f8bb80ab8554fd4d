"""Flags, environment and config file become one `Settings`, or a sentence that names the fault."""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource
from pydantic_settings.exceptions import SettingsError

from assay_node.protocol.errors import LocalError
from assay_node.settings.catalog import ENVIRONMENT_PREFIX, settings_catalog, variable_of
from assay_node.settings.places import config_in_use
from assay_node.settings.sections import Settings

CONFIG_BYTES_MAX: Final = 1 << 20
"""A config file is written by hand; a larger file is another file."""

_VALUE_CHARACTERS_SHOWN: Final = 60
_NEVER_SHOWN: Final = frozenset({"database_url", "rpc_url"})  # may hold a password or an API key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Nested values and where they come from."""

    name: str
    values: Mapping[str, Any]

    def describe(self, key: str) -> str:
        if self.name == "environment":
            return f"environment variable {variable_of(key)}"
        return self.name


def load_settings(
    *, config: Path | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """Return the settings of this process.

    Args:
        config: The config file; by default ASSAY_CONFIG, else the usual place if it exists.
        flags: Values from the command line by dotted name (`provider.slots`); None means not given.

    Raises:
        LocalError: naming the setting, its source and what is allowed.
    """
    sources = (
        _Source(name="command line", values=_nested(flags or {})),
        _Source(name="environment", values=_environment()),
        _config_file(config),
    )
    merged: dict[str, Any] = {}
    for source in reversed(sources):
        merged = _merge(merged, source.values)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise LocalError(_explain(error, sources)) from None


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        lower = merged.get(name)
        both_nested = isinstance(lower, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(lower, value) if both_nested else value  # type: ignore[arg-type]
    return merged


def _nested(flags: Mapping[str, object]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in flags.items():
        if value is None:
            continue
        *sections, name = key.split(".")
        section = values
        for section_name in sections:
            section = section.setdefault(section_name, {})
        section[name] = value
    return values


def _environment() -> dict[str, Any]:
    keys = {variable_of(key): key for key in settings_catalog()}
    for variable in os.environ:
        # a name without "__" may belong to a tool of ours; with it, it can only mean a setting
        if (
            variable.startswith(ENVIRONMENT_PREFIX)
            and "__" in variable
            and variable.upper() not in keys
        ):
            raise LocalError(
                f"environment variable {variable} sets nothing{_nearest(variable, list(keys))}"
            )
        if variable.upper() in {variable_of(section) for section in _sections(keys.values())}:
            raise LocalError(f"{variable} is a group of settings; set {variable}__ and a name")
    try:
        return dict(EnvSettingsSource(Settings)())
    except SettingsError as error:
        raise LocalError(f"the environment cannot be read: {error}") from None


def _sections(keys: Iterable[str]) -> set[str]:
    return {key.rpartition(".")[0] for key in keys} - {""}


def _config_file(config: Path | None) -> _Source:
    path = config_in_use(config)
    if path is None:
        return _Source(name="config file", values={})
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
        if len(data) > CONFIG_BYTES_MAX:
            raise LocalError(
                f"{path} is not a config file: it has more than {CONFIG_BYTES_MAX} bytes"
            )
        return _Source(name=f"config file {path}", values=tomllib.loads(data.decode()))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise LocalError(f"cannot read the config file {path}: {reason}") from None
    except ValueError as error:
        raise LocalError(f"the config file {path} is not TOML: {error}") from None


def _explain(error: ValidationError, sources: tuple[_Source, ...]) -> str:
    faults = error.errors(include_url=False, include_context=False)
    more = f" ({len(faults) - 1} more like this)" if len(faults) > 1 else ""
    return _explain_one(faults[0], sources) + more


def _explain_one(fault: ErrorDetails, sources: tuple[_Source, ...]) -> str:
    catalog = settings_catalog()
    path = [str(part) for part in fault["loc"]]
    known = next((n for n in range(len(path), 0, -1) if ".".join(path[:n]) in catalog), None)
    if known is not None:
        path = path[:known]
    key = ".".join(path)
    source = next((s for s in sources if _has(s.values, path)), None)
    origin = source.describe(key) if source else "default"
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {key} ({origin}){_nearest(key, list(catalog))}"
    if known is None:
        return f"{key} ({origin}) is a group of settings, not a value"
    shown = "" if path[-1] in _NEVER_SHOWN or source is None else f" = {_shown(source, path)}"
    return f"{key}{shown} ({origin}) is not allowed; it must be {catalog[key].allowed}"


def _has(values: Any, path: list[str]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def _shown(source: _Source, path: list[str]) -> str:
    value: Any = source.values
    for name in path:
        value = value[name]
    text = ascii(str(value) if isinstance(value, Path) else value)
    return text if len(text) <= _VALUE_CHARACTERS_SHOWN else text[:_VALUE_CHARACTERS_SHOWN] + "..."


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""
