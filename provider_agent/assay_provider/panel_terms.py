"""When a provider runs a job again on a panel, and when it appeals: pure functions and settings."""

from dataclasses import dataclass
from typing import Final

from assay_node.protocol.panels import PANEL_COMMIT_S

CALLS: Final = 4
"""Into so many parts a panel's time to commit is divided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelTerms:
    """What a provider does at the court. Money in micro-USD."""

    sits: bool = True
    """Whether to run panels' jobs."""
    appeal_max_microusd: int = 5_000_000
    """How much an appeal against a slash of ours may set aside; 0 appeals against none. It is taken
    from what the signing key has free in the Vault."""


def seats_called(*, replicas: int, expiry: int, now: float) -> int:
    """Return how many of the lowest ranks are asked to run a panel's job by now.

    The lowest tickets have the places: whoever has a higher one is asked when those before it had
    time and did not come. Each part of the time asks as many again as the panel has seats.

    Args:
        replicas: the panel's seats.
        expiry: until when it commits, in Unix seconds.
        now: the chain's time.
    """
    elapsed = now - (expiry - PANEL_COMMIT_S)
    return replicas * (1 + max(0, int(CALLS * elapsed / PANEL_COMMIT_S)))
