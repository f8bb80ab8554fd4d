"""What every part takes and gives."""

import sys
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the parts run.

    Attributes:
        device: "cuda"; "cpu" in a dry run.
        exhaustive: whether all 2^32 float32 are tried, rather than every 251st.
        dry: whether sizes are tiny, to try the script itself.
    """

    device: str
    exhaustive: bool
    dry: bool


@dataclass(slots=True, kw_only=True)
class Findings:
    """What a part found.

    Attributes:
        facts: what was checked or measured, as JSON holds it.
        head: of a table for people.
        rows: of that table.
        problems: what is wrong; the part passed where there are none.
        left_out: why the part could not be tried here; empty where it was.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: str = ""


_STARTED = time.monotonic()


def progress(words: str) -> None:
    """Say what happens now, and how long after the start."""
    print(f"  {time.monotonic() - _STARTED:6.1f} s  {words}", file=sys.stderr, flush=True)
