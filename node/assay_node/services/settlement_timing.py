"""When a batch of receipts is settled: a pure function of its size, its age and the price of gas.

A transaction costs a fixed amount beside its receipts, so waiting for more of them makes each
cheaper; what waits keeps providers from their pay and their slots' money at risk. Gas that is dear
now is often cheap within the hour, and an order's expiry ends all waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementTerms:
    """A scheduler's patience with its receipts. Times in seconds, prices in wei per gas."""

    batch_max: int
    """Receipts after which a batch is full and waits no longer."""
    wait_s: float
    """How long the oldest receipt waits for others."""
    gas_cheap: int
    """At this price or below nothing waits: it will hardly get cheaper."""
    gas_dear: int
    """Above this price receipts wait for a better one, full batch or not ..."""
    wait_dear_s: float
    """... but no longer than this."""
    urgent_s: float
    """From so long before an order's expiry on, its receipt is settled whatever gas costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReceipt:
    """When a receipt was complete and when its order expires, in Unix seconds."""

    ready_at: float
    expiry: int


def settle_in_s(
    waiting: Sequence[WaitingReceipt], *, now: float, gas_price: int, terms: SettlementTerms
) -> float:
    """Return after how many seconds to settle the receipts that wait, if nothing changes; 0 is now.

    At least one receipt waits. The price changes by itself: ask again.
    """
    oldest = min(receipt.ready_at for receipt in waiting)
    urgent_at = min(receipt.expiry for receipt in waiting) - terms.urgent_s
    if gas_price <= terms.gas_cheap:
        due_at = now
    elif gas_price > terms.gas_dear:
        due_at = oldest + max(terms.wait_dear_s, terms.wait_s)
    elif len(waiting) >= terms.batch_max:
        due_at = now
    else:
        due_at = oldest + terms.wait_s
    return max(0.0, min(due_at, urgent_at) - now)
