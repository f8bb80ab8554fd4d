"""What is said while a part of the world is away: that it went, now and then, and that it is back.

An hour without a chain is a thousand failed looks; a line for each would drown the log, and on a
full disk be the last straw.
"""

import logging
from dataclasses import dataclass
from typing import Final

from assay_node.ports import Clock

TELL_EVERY_S: Final = 600.0
"""While it lasts: often enough for an owner who looks at the end of the log."""


@dataclass(slots=True, kw_only=True)
class Outage:
    """One thing that may be away: `what` begins a sentence, such as "the on-chain road"."""

    what: str
    logger: logging.Logger
    clock: Clock
    _since: float | None = None
    _told_at: float = 0.0

    @property
    def lasts(self) -> bool:
        """Whether it is away, as far as is known."""
        return self._since is not None

    def failed(self, reason: object) -> None:
        """Note that it could not be used, and why; says so at most every `TELL_EVERY_S`."""
        now = self.clock.now()
        if self._since is None:
            self._since = now
        elif abs(now - self._told_at) < TELL_EVERY_S:
            return
        lasted_s = max(0.0, now - self._since)
        self._told_at = now
        so_far = f" (for {lasted_s:.0f} s now)" if lasted_s else ""
        self.logger.warning("%s waits: %s%s", self.what, reason, so_far)

    def over(self) -> None:
        """Note that it works; says so if it was away."""
        if self._since is None:
            return
        lasted_s = max(0.0, self.clock.now() - self._since)
        self._since = None
        self.logger.warning("%s goes on after %.0f s", self.what, lasted_s)
