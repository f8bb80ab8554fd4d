"""Where things are kept unless a setting says otherwise (XDG base directories)."""

import os
from pathlib import Path

import platformdirs


def assay_home() -> Path:
    """Return the folder of everything Assay keeps: ASSAY_HOME, else `~/.local/share/assay`."""
    named = os.environ.get("ASSAY_HOME")
    return full_path(Path(named)) if named else platformdirs.user_data_path("assay")


def default_config_path() -> Path:
    """Return the config file's usual place, `~/.config/assay/config.toml`."""
    return platformdirs.user_config_path("assay") / "config.toml"


def config_in_use(named: Path | None) -> Path | None:
    """Return the config file that this process reads: as named, ASSAY_CONFIG, the usual place.

    None when nobody named one and there is none in the usual place.
    """
    chosen = named or (Path(text) if (text := os.environ.get("ASSAY_CONFIG")) else None)
    if chosen is not None:
        return full_path(chosen)
    usual = default_config_path()
    return usual if usual.exists() else None


def full_path(path: Path) -> Path:
    """Return a path that means the same in every working directory and for every shell."""
    return path.expanduser().absolute()
