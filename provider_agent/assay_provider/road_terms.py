"""When a provider takes a job to the on-chain road by itself: a pure function of what it heard.

Answering on the road is no choice: a commit that is there and not revealed costs the bond. Taking a
job there is one. It costs gas, and a scheduler that batches its receipts, waits for cheaper gas or
restarts is not gone; so a provider waits as long as that may take, but not past the order's expiry.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadTerms:
    """A provider's patience with schedulers and with other operators. Times in seconds."""

    opens: bool = True
    """Whether to take jobs to the road; one that is there is answered anyway."""
    patience_s: float = 900.0
    """How long a scheduler may be away after the time to reveal was over."""
    margin_s: float = 300.0
    """So long before an order's expiry its job is taken there, whatever its scheduler says."""
    turn_s: float = 60.0
    """How long the first in line has for what anybody can do, then the second: so that not all pay
    for gas at once."""
    poll_s: float = 15.0
    """Between looks at the chain; the contract gives everybody two hours."""


def opens_at(
    *,
    expiry: int,
    reveal_window_s: int,
    revealed_at: float,
    heard_at: float,
    terms: RoadTerms,
) -> float:
    """Return when to take a job to the road whose commit set was signed and nothing settled.

    It is the first operator's turn then; each next one's comes `turn_s` later.

    Args:
        expiry: the order's; from then on it can no longer be taken there.
        reveal_window_s: the order's; until then the scheduler waits for other reveals.
        revealed_at: when this provider revealed.
        heard_at: when its scheduler was last heard.
        terms: the provider's patience.
    """
    window_over = revealed_at + reveal_window_s
    silent = max(window_over, heard_at) + terms.patience_s
    # An order that expires soon still leaves its scheduler the window.
    return max(window_over, min(silent, expiry - terms.margin_s))
