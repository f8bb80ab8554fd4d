"""When receipts are settled: by size, by age, by the price of gas, and always before expiry."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from assay_node.services.settlement_timing import SettlementTerms, WaitingReceipt, settle_in_s

GWEI = 10**9
FAR = 10**9
TERMS = SettlementTerms(
    batch_max=3,
    wait_s=10,
    gas_cheap=1 * GWEI,
    gas_dear=50 * GWEI,
    wait_dear_s=3600,
    urgent_s=1800,
)


def waiting(*ready_at: float, expiry: int = FAR) -> list[WaitingReceipt]:
    return [WaitingReceipt(ready_at=at, expiry=expiry) for at in ready_at]


def left(receipts: list[WaitingReceipt], *, now: float, gwei: float) -> float:
    return settle_in_s(receipts, now=now, gas_price=int(gwei * GWEI), terms=TERMS)


def test_a_receipt_waits_for_others_until_the_oldest_is_old_enough() -> None:
    assert left(waiting(100, 103), now=104, gwei=20) == 6
    assert left(waiting(100, 103), now=110, gwei=20) == 0
    assert left(waiting(100), now=500, gwei=20) == 0


def test_a_full_batch_waits_no_longer() -> None:
    assert left(waiting(100, 100), now=100, gwei=20) == 10
    assert left(waiting(100, 100, 100), now=100, gwei=20) == 0


def test_cheap_gas_is_used_at_once() -> None:
    assert left(waiting(100), now=100, gwei=1) == 0
    assert left(waiting(100), now=100, gwei=1.1) == 10


def test_dear_gas_makes_even_a_full_batch_wait_but_not_for_ever() -> None:
    assert left(waiting(100, 100, 100), now=200, gwei=50) == 0
    assert left(waiting(100, 100, 100), now=200, gwei=51) == 3500
    assert left(waiting(100, 100, 100), now=3700, gwei=51) == 0


def test_an_order_near_its_expiry_is_settled_whatever_gas_costs() -> None:
    urgent = [*waiting(100), *waiting(100, expiry=2000)]
    assert left(urgent, now=150, gwei=5000) == 50
    assert left(urgent, now=200, gwei=5000) == 0


@given(
    st.lists(
        st.builds(
            WaitingReceipt,
            ready_at=st.integers(0, 5_000).map(float),
            expiry=st.integers(0, 100_000),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 10_000),
    st.integers(0, 10**12),
)
def test_whatever_waits_is_settled_before_its_margin_and_never_later_for_more_company(
    receipts: list[WaitingReceipt], now: int, gas_price: int
) -> None:
    seconds = settle_in_s(receipts, now=now, gas_price=gas_price, terms=TERMS)
    assert seconds >= 0
    for receipt in receipts:
        assert seconds <= max(0, receipt.expiry - TERMS.urgent_s - now)
        assert seconds <= max(0, receipt.ready_at + TERMS.wait_dear_s - now)
    more = [*receipts, WaitingReceipt(ready_at=float(now), expiry=FAR)]
    assert settle_in_s(more, now=now, gas_price=gas_price, terms=TERMS) <= seconds
    dearer = settle_in_s(receipts, now=now, gas_price=gas_price * 2, terms=TERMS)
    assert dearer >= seconds


def test_dear_gas_never_shortens_a_wait() -> None:
    terms = replace(TERMS, wait_dear_s=0)
    receipts = waiting(100)
    assert settle_in_s(receipts, now=100, gas_price=10**12, terms=terms) == 10
