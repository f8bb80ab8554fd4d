"""A job on the road, read back from a slot and events made by hand."""

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode

from assay_node.chain.abi_codec import Log
from assay_node.chain.abi_orders import abi_order, abi_receipt, signed_order_of
from assay_node.chain.bindings import road as bindings
from assay_node.chain.bindings.structs import RoadJob as Slot
from assay_node.chain.road import (
    STATES,
    abi_commits,
    context,
    describe,
    job_from_logs,
    order_in_call,
    road_call,
)
from assay_node.chain.rpc import JsonRpc
from assay_node.ports import (
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadCommit,
    RoadEntry,
    RoadOpening,
    RoadState,
)
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import Receipt
from assay_node.protocol.typed_data import Domain
from tests.fixtures.receipts import an_order, key, operator, sign_order

ROAD = Address("0x" + "0d" * 20)
DOMAIN = Domain(31337, Address("0x" + "0a" * 20))
ORDER = an_order(
    requester=key(1).address,
    scheduler=key(2).address,
    hardware_class=Digest(b"\x07" * 32),
    seed_block=5,
    expiry=9_000,
)
SIGNED = sign_order(DOMAIN, ORDER, key(1))
JOB = job_id(ORDER, DOMAIN)
ROUND = 3
EVENTS = {event.__name__: event.ABI for event in bindings.EVENTS.values()}


def entry(number: int) -> RoadEntry:
    return RoadEntry(
        operator=operator(number).address,
        ticket=number,
        rate_microusd=100 + number,
        commitment=Digest(bytes([number]) * 32),
    )


def log(name: str, *values: Any) -> Log:
    event = EVENTS[name]
    members = list(zip(event.types, event.indexed, values, strict=True))
    return Log(
        address=ROAD,
        topics=(event.hash, *(encode([t], [v]) for t, indexed, v in members if indexed)),
        data=encode([t for t, i, _ in members if not i], [v for _, i, v in members if not i]),
        transaction=bytes(32),
        block_number=9,
    )


def opened() -> Log:
    return log("RoadOpened", JOB, ORDER.requester, ORDER.scheduler, ROUND, 7_000, False)


def committed(one: RoadEntry) -> Log:
    return log(
        "ProviderCommitted", JOB, one.operator, one.ticket, one.rate_microusd, one.commitment
    )


def slot(state: RoadState, *entries: RoadEntry, round_number: int = ROUND) -> Slot:
    return Slot(context(round_number, entries), 7_000, 0, STATES.index(state))


def test_entries_rise_by_ticket_whatever_the_order_of_their_commits() -> None:
    logs = [opened(), committed(entry(6)), committed(entry(2)), committed(entry(4))]
    now = slot(RoadState.COMMITTING, entry(2), entry(4), entry(6))
    found = job_from_logs(JOB, now, logs)
    assert found.entries == (entry(2), entry(4), entry(6))
    assert (found.state, found.deadline, found.round_number) == (
        RoadState.COMMITTING, 7_000, ROUND,
    )  # fmt: skip


def test_a_displaced_commit_is_gone_and_openings_have_their_entrys_index() -> None:
    logs = [
        opened(),
        committed(entry(6)),
        committed(entry(4)),
        committed(entry(2)),
        log("ProviderDisplaced", JOB, entry(6).operator),
        log("ProviderRevealed", JOB, entry(4).operator, b"\x01" * 32, 11, b"\x02" * 32),
    ]
    found = job_from_logs(JOB, slot(RoadState.REVEALING, entry(2), entry(4)), logs)
    assert found.entries == (entry(2), entry(4))
    (opening,) = found.openings
    assert opening == RoadOpening(
        index=1, seconds=11, tag=Digest(b"\x01" * 32), salt=Digest(b"\x02" * 32)
    )
    assert found.silent == (entry(2).operator,)


def test_a_slot_and_events_that_do_not_belong_together_are_no_answer() -> None:
    logs = [opened(), committed(entry(2))]
    for other in (
        slot(RoadState.COMMITTING, entry(2), entry(4)),
        slot(RoadState.COMMITTING, entry(2), round_number=ROUND + 1),
        slot(RoadState.ABSENT),
    ):
        with pytest.raises(ChainError, match="while it changes"):
            job_from_logs(JOB, other, logs)
    with pytest.raises(ChainError, match="while it changes"):
        job_from_logs(JOB, slot(RoadState.REVEALING, entry(2)), [])
    assert job_from_logs(JOB, Slot(bytes(25), 0, 0, 0), []).state is RoadState.ABSENT


def test_an_end_is_an_end_though_its_slot_is_wiped() -> None:
    wiped = Slot(bytes(25), 0, 0, STATES.index(RoadState.SETTLED))
    found = job_from_logs(JOB, wiped, [opened(), committed(entry(2))])
    assert (found.state, found.entries) == (RoadState.SETTLED, (entry(2),))


def a_commit() -> RoadCommit:
    return RoadCommit(
        operator=entry(2).operator,
        ticket=2,
        rate_microusd=7,
        commitment=entry(2).commitment,
        signature=b"\x01" * 32 + b"\x02" * 32 + b"\x1c",
    )


OPENING = OpenRoad(signed_order=SIGNED, round_number=ROUND, commits=(a_commit(),))


def contract() -> bindings.Road:
    rpc: JsonRpc = None  # type: ignore[assignment]  # nothing is asked
    return bindings.Road(rpc, ROAD)


def test_the_order_comes_back_from_the_call_that_opened_the_job() -> None:
    call = road_call(contract(), OPENING)
    assert call.to == ROAD
    assert order_in_call(call.data, JOB, DOMAIN) == SIGNED
    assert order_in_call(call.data, Digest(bytes(32)), DOMAIN) is None, "another job's"
    assert order_in_call(call.data[:40], JOB, DOMAIN) is None
    assert order_in_call(b"", JOB, DOMAIN) is None
    other = RevealOnRoad(job=JOB, round_number=ROUND, entries=(), openings=())
    assert order_in_call(road_call(contract(), other).data, JOB, DOMAIN) is None


def test_an_order_no_requester_of_ours_signs_is_none() -> None:
    wrong = abi_order(ORDER)._replace(replicas=0)
    call = contract().open(wrong, SIGNED.signature, ROUND, abi_commits((a_commit(),)), b"")
    assert order_in_call(call.data, JOB, DOMAIN) is None
    assert signed_order_of(abi_order(ORDER), SIGNED.signature) == SIGNED


def test_every_step_is_a_call_of_its_own_and_has_words() -> None:
    opening = RoadOpening(index=0, seconds=1, tag=Digest(bytes(32)), salt=Digest(bytes(32)))
    receipt = Receipt(signed_order=SIGNED, replicas=())
    steps = [
        OPENING,
        CommitOnRoad(order=ORDER, round_number=ROUND, entries=(entry(2),), commits=(a_commit(),)),
        RevealOnRoad(job=JOB, round_number=ROUND, entries=(entry(2),), openings=(opening,)),
        FinalizeRoad(order=ORDER, round_number=ROUND, entries=(entry(2),), openings=(opening,)),
        OverrideRoad(receipt=receipt, round_number=ROUND, entries=(entry(2),)),
    ]
    names = [bindings.FUNCTIONS[road_call(contract(), step).data[:4]].name for step in steps]
    assert names == ["open", "commit", "reveal", "finalize", "settle"]
    assert len({describe(step) for step in steps}) == len(steps)
    assert abi_receipt(receipt).order == abi_order(ORDER)
    assert replace(OPENING, set_signature=b"\x01" * 65) != OPENING
