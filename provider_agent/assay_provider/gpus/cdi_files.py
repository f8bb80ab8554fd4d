"""Finds CDI files where container engines look for them, and reads those only root could write."""

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_provider.gpus.cdi import SPEC_BYTES_MAX, CdiRefused, CdiSpec, parse_cdi

logger = logging.getLogger(__name__)

FOLDERS: Final = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""The specification's own two; what a later one says of a device counts."""

FILES_MAX: Final = 64
NVIDIA_KIND: Final = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiFile:
    """One file: what it says, or why it is not used."""

    path: Path
    spec: CdiSpec | None
    refused: str = ""


def read_cdi_files(folders: tuple[Path, ...] = FOLDERS) -> tuple[CdiFile, ...]:
    """Return every CDI file of NVIDIA's GPUs, those that count first. Other vendors' are skipped.

    A file that cannot be parsed is returned with the reason: whose it is, is not known.
    """
    found: list[CdiFile] = []
    for folder in reversed(folders):
        for path in _listed(folder):
            file = _read(path)
            if file.spec is None or file.spec.kind == NVIDIA_KIND:
                found.append(file)
    return tuple(found)


def _listed(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    wanted = [path for path in paths if path.suffix in (".yaml", ".yml", ".json")]
    if len(wanted) > FILES_MAX:
        logger.warning("%s has more than %d CDI files; the rest is not read", folder, FILES_MAX)
    return wanted[:FILES_MAX]


def _read(path: Path) -> CdiFile:
    try:
        data = _owners_bytes(path)
        spec = parse_cdi(data, as_json=path.suffix == ".json")
    except (OSError, CdiRefused) as error:
        return CdiFile(path=path, spec=None, refused=str(error))
    return CdiFile(path=path, spec=spec)


def _owners_bytes(path: Path) -> bytes:
    """Read a regular file that nobody but root and this user can have written."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CdiRefused("it is no regular file")
        if status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CdiRefused("others than root can write it; chown root and chmod go-w")
        return file.read(SPEC_BYTES_MAX + 1)
