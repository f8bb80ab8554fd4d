"""What a price is worth to an owner: power, purchase, and how busy the slots must be. Pure.

Amounts are exact fractions of micro-USD until they are shown; costs are rounded up, earnings down.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.units import microusd_to_text

DAY_S: Final = 86_400
HOUR_S: Final = 3600
PRICE_MAX: Final = 10**12
"""A million dollars a second: a bound for arithmetic, not a judgement."""
GPU_PRICES_MAX: Final = 64
_GPU_PRICE: Final = re.compile(r"(?P<words>[^=,]{1,64})=\s*(?P<price>\d{1,13})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one slot is sold for, and what the owner pays. 0 where the owner did not say.

    `slot_milliwatts` is what a busy slot draws more than an idle one; `idle_milliwatts` what the
    machine draws while it waits, if it is on for this alone.
    """

    slots: int
    price_microusd_per_second: int
    floor_microusd_per_second: int = 0
    slot_milliwatts: int = 0
    idle_milliwatts: int = 0
    electricity_microusd_per_kwh: int = 0
    purchase_microusd: int = 0
    amortisation_days: int = 1095


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day at a utilisation: what comes in, what goes out, in micro-USD."""

    earns_microusd: int
    costs_microusd: int

    @property
    def leaves_microusd(self) -> int:
        """What is left of it."""
        return self.earns_microusd - self.costs_microusd


def slot_power_per_second(costs: Costs) -> Fraction:
    """Return what the power of one busy slot costs a second, in micro-USD."""
    return _power(costs.slot_milliwatts, costs, seconds=1)


def fixed_per_day(costs: Costs) -> Fraction:
    """Return what a day costs with every slot idle: waiting, and the machine's purchase."""
    waiting = _power(costs.idle_milliwatts, costs, seconds=DAY_S)
    return waiting + Fraction(costs.purchase_microusd, costs.amortisation_days)


def break_even(costs: Costs) -> Fraction | None:
    """Return which part of the time every slot must be busy to cover its costs; may exceed 1.

    None when no utilisation does: a busy second brings no more than its power costs.
    """
    margin = costs.price_microusd_per_second - slot_power_per_second(costs)
    fixed = fixed_per_day(costs)
    if margin <= 0:
        return None if fixed or margin < 0 else Fraction(0)
    return fixed / (margin * DAY_S * costs.slots)


def day(costs: Costs, *, utilisation: Fraction) -> Day:
    """Return a day on which every slot is busy for this part of the time."""
    busy_s = utilisation * DAY_S * costs.slots
    spent = fixed_per_day(costs) + slot_power_per_second(costs) * busy_s
    return Day(
        earns_microusd=math.floor(costs.price_microusd_per_second * busy_s),
        costs_microusd=math.ceil(spent),
    )


def check_price(costs: Costs, *, below_cost: bool) -> None:
    """Refuse a price that the owner would not want.

    Raises:
        LocalError: with the numbers, and the settings to change.
    """
    price = costs.price_microusd_per_second
    if price < costs.floor_microusd_per_second:
        raise LocalError(
            f"a slot's price of {microusd_to_text(price)} a second is below your floor of "
            f"{microusd_to_text(costs.floor_microusd_per_second)}: raise "
            "provider.price_microusd_per_second or lower provider.prices.floor_microusd_per_second"
        )
    power = slot_power_per_second(costs)
    if price < power and not below_cost:
        raise LocalError(
            f"a slot's price of {microusd_to_text(price * HOUR_S)} an hour is below the "
            f"{microusd_to_text(math.ceil(power * HOUR_S))} that its power costs: set "
            f"provider.price_microusd_per_second to {math.ceil(power)} or more, or "
            "provider.prices.below_cost = true to sell at a loss"
        )


def parse_gpu_prices(text: str) -> tuple[tuple[str, int], ...]:
    """Return the prices of GPUs by words of their models, in micro-USD a second: "H100=2500".

    Raises:
        LocalError: it says something else.
    """
    if not text.strip():
        return ()
    prices: dict[str, int] = {}
    parts = text.split(",")
    if len(parts) > GPU_PRICES_MAX:
        raise LocalError(f"provider.prices.gpus has at most {GPU_PRICES_MAX} models")
    for part in parts:
        found = _GPU_PRICE.fullmatch(part.strip())
        if found is None or int(found["price"]) > PRICE_MAX or not found["words"].strip():
            raise LocalError(
                f"provider.prices.gpus: {part.strip()[:80]!a} is no model with its price in "
                "micro-USD a second, such as RTX 4090=900"
            )
        prices[" ".join(found["words"].lower().split())] = int(found["price"])
    return tuple(sorted(prices.items()))


def price_of_slot(
    base_microusd_per_second: int,
    gpu_prices: Sequence[tuple[str, int]],
    slots: Sequence[Sequence[str]],
) -> int:
    """Return the price of a slot: the base, and that of each of its GPUs.

    One offer has one price, so where slots differ it is that of the dearest.

    Args:
        base_microusd_per_second: for processor and memory.
        gpu_prices: from `parse_gpu_prices`; without any, the base is for the GPUs too.
        slots: the models of each slot's GPUs.

    Raises:
        LocalError: a model that is for sale has no price.
    """
    if not gpu_prices:
        return base_microusd_per_second
    return base_microusd_per_second + max(
        (sum(_gpu_price(model, gpu_prices) for model in models) for models in slots), default=0
    )


def _gpu_price(model: str, gpu_prices: Sequence[tuple[str, int]]) -> int:
    words = " ".join(model.lower().split())
    fitting = [(len(known), price) for known, price in gpu_prices if known in words]
    if not fitting:
        raise LocalError(
            f"provider.prices.gpus has no price for {model[:64]!a}; name it there, or set no GPU "
            "prices at all to have provider.price_microusd_per_second stand for the whole slot"
        )
    return max(fitting)[1]  # the longest words say most: "RTX 4090 D" before "RTX 4090"


def _power(milliwatts: int, costs: Costs, *, seconds: int) -> Fraction:
    # mW x s x microusd/kWh; a kWh is 1000 W x 3600 s = 3.6e9 mW s
    return Fraction(milliwatts * seconds * costs.electricity_microusd_per_kwh, 3_600_000_000)
