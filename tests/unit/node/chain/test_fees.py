"""What is offered for gas, and how much more for a replacement."""

from hypothesis import given
from hypothesis import strategies as st

from assay_node.chain.fees import Fees, GasMarket, bumped, fees_for

GWEI = 10**9
WEI = st.integers(min_value=0, max_value=10**13)
MARKETS = st.builds(GasMarket, base_fee=WEI, tip=WEI)


def test_a_new_transaction_survives_a_doubled_base_fee() -> None:
    market = GasMarket(base_fee=30 * GWEI, tip=2 * GWEI)
    assert fees_for(market, cap_max=200 * GWEI) == Fees(tip=2 * GWEI, cap=62 * GWEI)
    assert fees_for(market, cap_max=40 * GWEI) == Fees(tip=2 * GWEI, cap=40 * GWEI)
    assert fees_for(market, cap_max=31 * GWEI) is None


@given(MARKETS, WEI)
def test_nothing_is_offered_above_the_ceiling_nor_below_the_price(
    market: GasMarket, cap_max: int
) -> None:
    fees = fees_for(market, cap_max=cap_max)
    if fees is None:
        assert market.price > cap_max
    else:
        assert market.price <= fees.cap <= cap_max
        assert fees.tip <= fees.cap


@given(st.data(), MARKETS, WEI)
def test_a_replacement_is_an_eighth_dearer_in_both_and_below_the_ceiling(
    data: st.DataObject, market: GasMarket, cap_max: int
) -> None:
    cap = data.draw(WEI)
    old = Fees(tip=data.draw(st.integers(min_value=0, max_value=cap)), cap=cap)
    new = bumped(old, market, cap_max=cap_max)
    if new is None:
        return
    assert new.cap * 8 >= old.cap * 9
    assert new.tip * 8 >= old.tip * 9
    assert new.cap > old.cap
    assert new.tip > old.tip
    assert new.tip <= new.cap <= cap_max


def test_a_replacement_follows_the_market_where_that_rose_more() -> None:
    old = Fees(tip=GWEI, cap=7 * GWEI)
    risen = GasMarket(base_fee=40 * GWEI, tip=3 * GWEI)
    assert bumped(old, risen, cap_max=200 * GWEI) == Fees(tip=3 * GWEI, cap=83 * GWEI)
    assert bumped(old, risen, cap_max=7 * GWEI) is None


def test_bidding_against_oneself_ends_at_the_ceiling() -> None:
    fees, market, steps = Fees(tip=1, cap=1), GasMarket(base_fee=0, tip=0), 0
    while (dearer := bumped(fees, market, cap_max=200 * GWEI)) is not None:
        fees, steps = dearer, steps + 1
    assert fees.cap <= 200 * GWEI
    assert steps < 300
