"""What the daemon asks of the runner in a T0 sandbox, and what it hears. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

REPORT: Final = "report.json"
"""The report, in the sandbox's real /output."""
FILES: Final = "files"
"""The folder of what the module left under its own /output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the module may use. Sizes are in bytes."""

    memory_bytes: int
    scratch_bytes: int
    scratch_files_max: int
    output_room_bytes: int
    """What /output takes while the module runs, a little more than it may hold in the end."""
    output_bytes: int
    output_files_max: int
    wall_seconds: int
    deadline: float
    """In seconds of the monotonic clock, which is one for the whole machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run."""

    limits: Limits
    command: Sequence[str]
    variables: Sequence[str]
    """As NAME=VALUE."""
    input: str = "/input"
    output: str = "/output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was seen of a run."""

    exit_code: int | None
    timed_out: bool = False
    memory_refused: int = 0
    scratch_full: bool = False
    output_full: bool = False
    output_too_large: bool = False
    refused: str = ""
    """Why the output cannot be handed over."""
    instructions: int = 0
