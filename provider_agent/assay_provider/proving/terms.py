"""How much proving an owner puts up with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofTerms:
    """When challenges are taken.

    `rounds_per_hour` counts those of one scheduler; 0 takes none, and schedulers that
    give work to proven hardware alone then give none. `seconds_max` bounds a round's computing at
    the advertised figure. `kept_in` is the folder of the owner's record, None to keep none.
    """

    rounds_per_hour: int = 6
    seconds_max: float = 60.0
    kept_in: Path | None = None
