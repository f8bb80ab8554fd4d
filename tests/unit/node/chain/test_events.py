"""What is read out of a transaction's events, from events made by hand."""

from typing import Any

import pytest
from eth_abi.abi import encode

from assay_node.chain import events
from assay_node.chain.bindings import market
from assay_node.chain.outbox import GAS_MAX
from assay_node.chain.settlement import RECEIPTS_MAX, _fitting, _gas
from assay_node.ports.chain import Paid, Slashed
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address

MARKET = Address("0x" + "0a" * 20)
ROAD = Address("0x" + "0b" * 20)
JUDGES = {MARKET: events.SLASH_REASON, ROAD: events.ROAD_SLASH_REASON}
EVENTS = {event.__name__: event.ABI for event in market.EVENTS.values()}
WHO = [Address(f"0x{n:040x}") for n in range(1, 5)]
JOBS = [bytes([n]) * 32 for n in range(1, 4)]


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
        log("ProviderPaid", JOBS[0], WHO[0], 10),
        log("ProviderSlashed", JOBS[0], WHO[1], 7),
        log("JobSettled", JOBS[0], WHO[2], WHO[3], b"\x05" * 32, 1, 60, 3, 13),
        log("ProviderPaid", JOBS[1], WHO[0], 4),
        log("JobWithoutQuorum", JOBS[1], WHO[2], WHO[3], 4),
    )
    (agreed, split), (skipped,) = events.read_settlements(transaction, JUDGES)
    assert agreed.paid == (Paid(operator=WHO[0], amount_microusd=10),)
    assert agreed.slashed == (
        Slashed(operator=WHO[1], amount_microusd=7, reason=events.SLASH_REASON),
    )
    assert (agreed.agreed, agreed.seconds, agreed.fee_microusd) == (True, 60, 3)
    assert (agreed.cost_microusd, agreed.winning_tag) == (13, b"\x05" * 32)
    assert (split.agreed, split.winning_tag, split.cost_microusd) == (False, None, 4)
    assert split.paid == (Paid(operator=WHO[0], amount_microusd=4),)
    assert {s.gas_used for s in (agreed, split)} == {100_000}
    assert {s.receipts_in_batch for s in (agreed, split)} == {3}
    assert skipped.job_id == JOBS[2]
    assert skipped.reason.startswith("Market_OrderExpired: ")


def test_events_of_other_contracts_are_not_believed() -> None:
    forged = log("JobSettled", JOBS[0], WHO[2], WHO[3], b"\x05" * 32, 1, 60, 3, 13, address=WHO[0])
    assert events.read_settlements(mined(forged), JUDGES) == ((), ())


def test_earnings_add_up_what_was_paid_and_slashed() -> None:
    logs = [
        events.parse_log(log("ProviderPaid", JOBS[0], WHO[0], 10)),
        events.parse_log(log("ProviderPaid", JOBS[1], WHO[0], 5)),
        events.parse_log(log("ProviderSlashed", JOBS[2], WHO[0], 7)),
    ]
    assert events.sum_earnings(logs) == events.Earnings(
        paid_microusd=15, slashed_microusd=7, jobs_paid=2, jobs_slashed=1
    )


@pytest.mark.parametrize("raw", [None, [], {}, {"logs": [{}]}, {"logs": [], "status": "?"}])
def test_a_malformed_receipt_from_a_node_is_a_chain_error(raw: Any) -> None:
    with pytest.raises(ChainError):
        events.parse_transaction_receipt(raw)


def test_batches_stay_below_both_limits_and_are_not_needlessly_small() -> None:
    assert RECEIPTS_MAX == 31
    assert _fitting([3] * 200) == 63
    assert _fitting([3, 3]) == 2
    assert _fitting([1] * 200) == 107
    for replicas in range(1, 9):
        assert _gas([replicas] * _fitting([replicas] * 200)) < GAS_MAX


ABI_ERROR = {error.name: error.selector for error in market.ERRORS.values()}


def test_an_end_on_the_road_is_read_like_one_in_the_market() -> None:
    transaction = mined(
        log("ProviderSlashed", JOBS[0], WHO[1], 7, address=ROAD),
        log("JobWithoutQuorum", JOBS[0], WHO[2], WHO[3], 0, address=ROAD),
    )
    ((failed,), _) = events.read_settlements(transaction, JUDGES)
    assert not failed.agreed
    assert [slashed.reason for slashed in failed.slashed] == [events.ROAD_SLASH_REASON]
