"""Whether new jobs are let in at the moment, and whose are not: what leases are checked against."""

import asyncio
from dataclasses import dataclass, field
from typing import Final

from assay_provider.owner.denials import Denials
from assay_provider.owner.drain import Drain
from assay_provider.owner.schedule import Standing

DRAINING: Final = "this provider is draining: it finishes the jobs it has and takes no new ones"


@dataclass(slots=True, kw_only=True)
class Gate:
    """Set by the owner's commands and schedule, asked by whoever would take a job."""

    denials: Denials = field(default_factory=Denials)
    drain: Drain | None = None
    standing: Standing | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a drain begins or ends, for whoever attends to it."""

    def refusal(self) -> str | None:
        """Return why no job is let in now, None when jobs are."""
        if self.drain is not None:
            return DRAINING
        if self.standing is not None and not self.standing.is_open:
            return f"this provider is {self.standing.reason}"
        return None
