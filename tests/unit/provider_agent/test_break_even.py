"""What a price is worth: worked examples, and laws over all of them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol.errors import LocalError
from assay_provider.break_even import (
    Costs,
    break_even,
    check_price,
    day,
    fixed_per_day,
    parse_gpu_prices,
    price_of_slot,
    slot_power_per_second,
)

RIG = Costs(
    slots=2,
    price_microusd_per_second=100,
    slot_milliwatts=300_000,
    idle_milliwatts=60_000,
    electricity_microusd_per_kwh=300_000,
    purchase_microusd=2_190_000_000,
    amortisation_days=1095,
)
"""$0.36 an hour a slot; 300 W at $0.30/kWh are $0.09 an hour; $2190 over three years $2 a day."""


def test_a_rig_by_hand() -> None:
    assert slot_power_per_second(RIG) == 25
    assert fixed_per_day(RIG) == 432_000 + 2_000_000  # 60 W a day are 1.44 kWh
    assert break_even(RIG) == Fraction(2_432_000, 75 * 86_400 * 2)
    half = day(RIG, utilisation=Fraction(1, 2))
    assert (half.earns_microusd, half.costs_microusd) == (8_640_000, 2_432_000 + 2_160_000)
    assert half.leaves_microusd == 4_048_000


@pytest.mark.parametrize(
    ("price", "fixed", "expected"),
    [(24, 0, None), (25, 0, Fraction(0)), (25, 1, None), (26, 0, Fraction(0))],
)
def test_a_second_that_costs_what_it_brings_never_pays(
    price: int, fixed: int, expected: Fraction | None
) -> None:
    costs = Costs(
        slots=1,
        price_microusd_per_second=price,
        slot_milliwatts=300_000,
        electricity_microusd_per_kwh=300_000,
        purchase_microusd=fixed,
    )
    assert break_even(costs) == expected


def test_a_price_below_the_floor_or_the_power_is_refused_with_the_numbers() -> None:
    check_price(RIG, below_cost=False)
    low = Costs(slots=1, price_microusd_per_second=9, floor_microusd_per_second=10)
    with pytest.raises(LocalError, match=r"\$0\.000009 a second is below your floor of \$0\.00001"):
        check_price(low, below_cost=True)
    lossy = Costs(
        slots=1,
        price_microusd_per_second=20,
        slot_milliwatts=290_000,
        electricity_microusd_per_kwh=300_000,
    )
    with pytest.raises(LocalError, match=r"\$0\.072 an hour is below the \$0\.087 .* to 25 or"):
        check_price(lossy, below_cost=False)
    check_price(lossy, below_cost=True)


costs = st.builds(
    Costs,
    slots=st.integers(1, 256),
    price_microusd_per_second=st.integers(0, 10**6),
    slot_milliwatts=st.integers(0, 10**7),
    idle_milliwatts=st.integers(0, 10**7),
    electricity_microusd_per_kwh=st.integers(0, 10**7),
    purchase_microusd=st.integers(0, 10**12),
    amortisation_days=st.integers(1, 10_000),
)


@given(costs)
def test_at_break_even_a_day_leaves_nothing_and_above_it_something(found: Costs) -> None:
    at = break_even(found)
    if at is None:
        assert day(found, utilisation=Fraction(1)).leaves_microusd <= 0
        return
    assert -1 <= day(found, utilisation=at).leaves_microusd <= 0
    assert day(found, utilisation=at + 1).leaves_microusd >= -1


def test_prices_of_gpus_go_by_the_longest_words_of_the_model() -> None:
    prices = parse_gpu_prices(" RTX  4090 = 900, rtx 4090 d=700 ,H100=2500")
    assert dict(prices) == {"rtx 4090": 900, "rtx 4090 d": 700, "h100": 2500}
    assert price_of_slot(100, prices, [("NVIDIA GeForce RTX 4090",)]) == 1000
    assert price_of_slot(100, prices, [("NVIDIA GeForce RTX 4090 D",) * 2]) == 1500
    assert price_of_slot(100, prices, [("NVIDIA H100",), ("RTX 4090",)]) == 2600
    assert price_of_slot(100, prices, []) == 100
    assert price_of_slot(100, parse_gpu_prices(""), [("anything",)]) == 100
    with pytest.raises(LocalError, match="no price for 'Radeon'"):
        price_of_slot(100, prices, [("Radeon",)])


@pytest.mark.parametrize("text", ["H100", "H100=", "=5", "H100=-1", "H100=1.5", "H100=5,,", " =7"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(LocalError, match=r"provider\.prices\.gpus"):
        parse_gpu_prices(text)


def test_prices_are_bounded() -> None:
    for text in (f"H100={10**13 - 1}", ",".join(f"m{n}=1" for n in range(65))):
        with pytest.raises(LocalError):
            parse_gpu_prices(text)
