"""Terms of a service: their limits, their arithmetic and the digest that the contract computes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol import codec
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.service_terms import (
    NOBODY,
    NOTICE_S_MAX,
    RunningLease,
    ServiceTerms,
    SignedTerms,
    lease_id,
)
from assay_node.protocol.typed_data import Domain

TERMS = ServiceTerms(
    requester=Address("0x" + "11" * 20),
    operator=Address("0x" + "22" * 20),
    spec=Digest(b"\x03" * 32),
    hardware_class=Digest(b"\x04" * 32),
    scheduler=Address("0x" + "55" * 20),
    rate_microusd=6,
    fee_rate_microusd=7,
    escrow_microusd=130,
    notice_s=9,
    start_by=10,
    nonce=b"\x0b" * 32,
)
DOMAIN = Domain(chain_id=31_337, market=Address("0x" + "1e" * 20))


def test_the_digest_is_that_of_the_contract() -> None:
    # The same values stand in contracts/test/unit/Leases.t.sol, test_leaseId_vector.
    assert (
        lease_id(TERMS, DOMAIN).hex()
        == "f45383f09aa701e3f703b2f42898f23010902be0619c17995bd52b5ee56ce9d3"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"requester": Address("0x" + "12" * 20)},
        {"operator": Address("0x" + "12" * 20)},
        {"spec": Digest(b"\x13" * 32)},
        {"hardware_class": Digest(b"\x13" * 32)},
        {"scheduler": Address("0x" + "12" * 20)},
        {"rate_microusd": 5},
        {"fee_rate_microusd": 6},
        {"escrow_microusd": 131},
        {"notice_s": 8},
        {"start_by": 11},
        {"nonce": b"\x0c" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_member_is_signed(change: dict[str, object]) -> None:
    changed = replace(TERMS, **change)  # type: ignore[arg-type]
    assert lease_id(changed, DOMAIN) != lease_id(TERMS, DOMAIN)


def test_another_contract_or_chain_is_another_lease() -> None:
    ids = {
        lease_id(TERMS, domain)
        for domain in (DOMAIN, replace(DOMAIN, chain_id=1), replace(DOMAIN, market=NOBODY))
    }
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate_microusd": 0}, "never run out"),
        ({"rate_microusd": 1 << 48}, "48 unsigned bits"),
        ({"fee_rate_microusd": -1}, "48 unsigned bits"),
        ({"escrow_microusd": 1 << 64}, "64 unsigned bits"),
        ({"escrow_microusd": 9 * 13 - 1}, "what the notice costs, 117"),
        ({"notice_s": NOTICE_S_MAX + 1}, "notice_s is 0 to 86400"),
        ({"notice_s": -1}, "notice_s is 0 to 86400"),
        ({"start_by": 1 << 64}, "64 unsigned bits"),
        ({"scheduler": NOBODY}, "where there is no scheduler"),
        ({"nonce": b"\x0b"}, "nonce has 32 bytes"),
        ({"operator": Address("0x" + "AB" * 20)}, "operator is not written in lower case"),
    ],
)
def test_what_the_contract_would_refuse_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(MalformedMessage, match=said):
        replace(TERMS, **change)  # type: ignore[arg-type]


def test_terms_without_a_scheduler_are_good() -> None:
    assert replace(TERMS, scheduler=NOBODY, fee_rate_microusd=0).price_microusd_per_second == 6


@given(st.integers(0, 10**12))
def test_the_escrow_pays_for_whole_seconds_and_for_every_one_it_can(more: int) -> None:
    terms = replace(TERMS, escrow_microusd=TERMS.notice_cost_microusd + more)
    price = terms.price_microusd_per_second
    assert terms.funded_s >= terms.notice_s
    assert terms.funded_s * price <= terms.escrow_microusd < (terms.funded_s + 1) * price


def books(**changes: object) -> RunningLease:
    members: dict[str, object] = {
        "requester": TERMS.requester, "operator": TERMS.operator, "scheduler": TERMS.scheduler,
        "rate_microusd": 6, "fee_rate_microusd": 7, "notice_s": 9, "escrow_microusd": 130 + 12,
        "paid_until": 1_000, "stops_at": None,
    }  # fmt: skip
    return RunningLease(**members | changes)  # type: ignore[arg-type]


def test_it_ends_when_the_money_has_run_out_or_at_a_stop_before() -> None:
    assert books().ends_at == 1_010
    assert books(stops_at=1_004).ends_at == 1_004
    assert books(stops_at=1_011).ends_at == 1_010


@given(st.integers(0, 2_000), st.none() | st.integers(1_000, 1_020), st.integers(0, 10**6))
def test_every_second_is_paid_once_and_the_rest_goes_back(
    now: int, stops_at: int | None, escrow: int
) -> None:
    lease = books(stops_at=stops_at, escrow_microusd=escrow)
    rate, fee = lease.due_at(now)
    seconds = min(max(0, now - 1_000), lease.ends_at - 1_000)
    assert (rate, fee) == (6 * seconds, 7 * seconds)
    assert lease.left_at(now) == escrow - rate - fee >= 0
    if stops_at is None:
        assert lease.left_at(lease.ends_at) < 13


def test_signed_terms_go_over_a_file_and_back() -> None:
    signed = SignedTerms(terms=TERMS, operator_signature=b"\x01" * 65)
    assert codec.decode(SignedTerms, codec.encode(signed)) == signed
    with pytest.raises(MalformedMessage, match="never run out"):
        codec.decode(SignedTerms, codec.encode(_unchecked(signed)))


def _unchecked(signed: SignedTerms) -> SignedTerms:
    """What nobody can make with `ServiceTerms`, as a stranger's file may hold it."""
    terms = replace(TERMS)
    object.__setattr__(terms, "rate_microusd", 0)
    return replace(signed, terms=terms)
