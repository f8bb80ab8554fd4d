"""What a transaction offers for its gas. Pure arithmetic in wei per gas.

Sources: EIP-1559 (base fee, tip, fee cap); go-ethereum's pool replaces a transaction only by one
whose tip and cap are both 10 % higher (txpool.pricebump), others ask for 12.5 %.
"""

from dataclasses import dataclass
from typing import Final

BASE_FEE_MARGIN: Final = 2
"""The base fee can double in 6 full blocks; what it did not rise is not paid for."""

BUMP_DIVISOR: Final = 8
"""A replacement offers an eighth (12.5 %) more, the most that any known node asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What is offered: `tip` to whoever makes the block, `cap` in all."""

    tip: int
    cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GasMarket:
    """What the chain asks now: its base fee, and the tip that its node suggests."""

    base_fee: int
    tip: int

    @property
    def price(self) -> int:
        """What gas costs in the next block."""
        return self.base_fee + self.tip


def fees_for(market: GasMarket, *, cap_max: int) -> Fees | None:
    """Return what to offer; None while gas costs more than `cap_max`."""
    if market.price > cap_max:
        return None
    return Fees(tip=market.tip, cap=min(market.base_fee * BASE_FEE_MARGIN + market.tip, cap_max))


def bumped(old: Fees, market: GasMarket, *, cap_max: int) -> Fees | None:
    """Return what a replacement offers; None where that would exceed `cap_max`.

    It never offers less than `old` and an eighth, nor less than a new transaction would.
    """
    cap = _an_eighth_more(old.cap)
    if cap > cap_max:
        return None
    tip = max(_an_eighth_more(old.tip), market.tip)
    wanted = market.base_fee * BASE_FEE_MARGIN + tip
    cap = max(cap, min(wanted, cap_max))
    return Fees(tip=tip, cap=cap) if tip <= cap else None


def _an_eighth_more(fee: int) -> int:
    return fee + max(1, -(-fee // BUMP_DIVISOR))
