"""A drain: no new jobs, those under way are finished, then the daemon stops or stays without any.

It is kept in a file of the home, so that a daemon that is restarted in between goes on with it.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from assay_node.private_files import read_private, replace_private
from assay_node.protocol.errors import LocalError

DRAIN_FILE: Final = "drain.json"
DRAIN_BYTES_MAX: Final = 4096
DEADLINE_S_MAX: Final = 30 * 86_400
"""No order lasts longer, so by then every lease is over anyway."""


class Afterwards(StrEnum):
    """What a drained daemon does."""

    STOP = "stop"
    STAY = "stay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """`deadline`: when jobs that still run are handed back, in Unix seconds; None waits for all."""

    since: float
    deadline: float | None = None
    afterwards: Afterwards = Afterwards.STOP

    def __post_init__(self) -> None:
        if self.deadline is not None and not 0 <= self.deadline - self.since <= DEADLINE_S_MAX:
            raise LocalError(f"a drain's deadline is 0 to {DEADLINE_S_MAX} seconds ahead")


def read_drain(home: Path) -> Drain | None:
    """Return the drain that a home's daemon is in, None when it is in none.

    Raises:
        LocalError: the file is not what the daemon wrote.
    """
    path = home / DRAIN_FILE
    if not path.exists():
        return None
    try:
        return _from_document(json.loads(read_private(path, bytes_max=DRAIN_BYTES_MAX)))
    except (ValueError, KeyError, TypeError):
        raise LocalError(
            f"{path} is damaged; to let jobs in again: assay provider resume"
        ) from None


def write_drain(home: Path, drain: Drain) -> None:
    """Keep a drain durably.

    Raises:
        LocalError: the disk refuses.
    """
    replace_private(home / DRAIN_FILE, json.dumps(asdict(drain)).encode() + b"\n")


def forget_drain(home: Path) -> bool:
    """End a drain durably; False when there was none.

    Raises:
        LocalError: the file cannot be removed.
    """
    path = home / DRAIN_FILE
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LocalError(f"cannot remove {path}: {error.strerror}") from None
    return True


def _from_document(document: dict[str, Any]) -> Drain:
    deadline = document["deadline"]
    return Drain(
        since=float(document["since"]),
        deadline=None if deadline is None else float(deadline),
        afterwards=Afterwards(document["afterwards"]),
    )
