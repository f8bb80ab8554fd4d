"""What is read out of a transaction's events, from events made by hand."""

from typing import Any

import pytest
from eth_abi.abi import encode

from assay_node.chain import events
from assay_node.chain.bindings import market, vault
from assay_node.ports.chain import Paid, Slashed
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address

MARKET = Address("0x" + "0a" * 20)
ROAD = Address("0x" + "0b" * 20)
JUDGES = {MARKET: events.SLASH_REASON, ROAD: events.ROAD_SLASH_REASON}
EVENTS = {event.__name__: event.ABI for event in (*market.EVENTS.values(), *vault.EVENTS.values())}
WHO = [Address(f"0x{n:040x}") for n in range(1, 5)]
JOBS = [bytes([n]) * 32 for n in range(1, 4)]


def share(party: Address, amount: int, kind: int) -> int:
    place = 0xFFFFFF  # of no meaning here
    return int(party, 16) | amount << 160 | kind << 224 | place << 232


VOTE = b"\x05" * 28 + (60).to_bytes(4)
SHARES = [share(WHO[0], 10, 0), share(WHO[1], 7, 2), share(WHO[3], 3, 3)]


def log(name: str, *values: Any, address: Address = MARKET) -> dict[str, Any]:
    event = EVENTS[name]
    members = list(zip(event.types, event.indexed, values, strict=True))
    topics = [event.hash] + [encode([t], [v]) for t, indexed, v in members if indexed]
    data = encode([t for t, i, _ in members if not i], [v for _, i, v in members if not i])
    return {
        "address": address, "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x" + data.hex(), "transactionHash": "0x" + "77" * 32, "blockNumber": "0x9",
    }  # fmt: skip


def mined(*logs: dict[str, Any]) -> events.MinedTransaction:
    return events.parse_transaction_receipt(
        {
            "transactionHash": "0x" + "77" * 32, "status": "0x1", "blockNumber": "0x9",
            "blockHash": "0x" + "88" * 32, "gasUsed": hex(300_001), "logs": list(logs),
        }
    )  # fmt: skip


def test_each_job_gets_its_own_shares_and_its_part_of_the_gas() -> None:
    transaction = mined(
        log("ReceiptSkipped", JOBS[2], ABI_ERROR["Market_OrderExpired"]),
        log("JobSettled", JOBS[0], WHO[2], VOTE, SHARES),
        log("JobWithoutQuorum", JOBS[1], WHO[2], [share(WHO[0], 4, 1), share(WHO[3], 0, 3)]),
    )
    (agreed, split), (skipped,) = events.read_settlements(transaction, JUDGES)
    assert agreed.paid == (Paid(operator=WHO[0], amount_microusd=10),)
    assert agreed.slashed == (
        Slashed(operator=WHO[1], amount_microusd=7, reason=events.SLASH_REASON),
    )
    assert (agreed.agreed, agreed.seconds, agreed.fee_microusd) == (True, 60, 3)
    assert (agreed.cost_microusd, agreed.winning_tag) == (13, b"\x05" * 28 + bytes(4))
    assert (split.agreed, split.winning_tag, split.cost_microusd) == (False, None, 4)
    assert split.paid == (Paid(operator=WHO[0], amount_microusd=4),)
    assert {s.gas_used for s in (agreed, split)} == {100_000}
    assert {s.receipts_in_batch for s in (agreed, split)} == {3}
    assert skipped.job_id == JOBS[2]
    assert skipped.reason.startswith("Market_OrderExpired: ")


def test_events_of_other_contracts_are_not_believed() -> None:
    forged = log("JobSettled", JOBS[0], WHO[2], VOTE, SHARES, address=WHO[0])
    assert events.read_settlements(mined(forged), JUDGES) == ((), ())


def test_earnings_add_up_what_was_paid_and_slashed() -> None:
    sums = [
        10 + (1 << 128) + (1 << 160),  # a win and an effort
        5 + (7 << 64) + (1 << 128) + (1 << 192),  # a win and a fault
    ]
    logs = [events.parse_log(log("OperatorSettled", WHO[0], word)) for word in sums]
    assert events.sum_earnings(logs) == events.Earnings(
        paid_microusd=15, slashed_microusd=7, jobs_paid=3, jobs_slashed=1
    )


@pytest.mark.parametrize("raw", [None, [], {}, {"logs": [{}]}, {"logs": [], "status": "?"}])
def test_a_malformed_receipt_from_a_node_is_a_chain_error(raw: Any) -> None:
    with pytest.raises(ChainError):
        events.parse_transaction_receipt(raw)


ABI_ERROR = {error.name: error.selector for error in market.ERRORS.values()}


def test_an_end_on_the_road_is_read_like_one_in_the_market() -> None:
    shares = [share(WHO[1], 7, 2), share(WHO[3], 0, 3)]
    transaction = mined(log("JobWithoutQuorum", JOBS[0], WHO[2], shares, address=ROAD))
    ((failed,), _) = events.read_settlements(transaction, JUDGES)
    assert not failed.agreed
    assert [slashed.reason for slashed in failed.slashed] == [events.ROAD_SLASH_REASON]
