"""Everything an owner decides beside price and slots, already checked."""

from dataclasses import dataclass, field
from pathlib import Path

from assay_provider.owner.limits import Limits
from assay_provider.owner.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerTerms:
    """The owner's settings.

    `home` is where the deny list, a drain and the control socket are; without one there are none.
    """

    home: Path | None = None
    schedule: Schedule = field(default_factory=Schedule)
    limits: Limits = field(default_factory=Limits)
    denied_files: tuple[Path, ...] = ()
