"""The on-chain road: read back from its events, and its steps as calls."""

from collections.abc import Sequence
from typing import Any, Final, assert_never

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from assay_node.chain.abi_codec import SELECTOR_BYTES, Log
from assay_node.chain.abi_orders import abi_order, abi_receipt, signed_order_of
from assay_node.chain.bindings import road, structs
from assay_node.chain.bindings.road import (
    ProviderCommitted,
    ProviderDisplaced,
    ProviderRevealed,
    RoadOpened,
)
from assay_node.chain.bound_contract import Call
from assay_node.ports.road import (
    ROAD_ENDS,
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadCommit,
    RoadEntry,
    RoadJob,
    RoadOpening,
    RoadState,
    RoadStep,
)
from assay_node.protocol.errors import AssayError, ChainError
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.order import SignedOrder, job_id
from assay_node.protocol.typed_data import Domain

STATES: Final = tuple(RoadState)
"""By the contract's number."""

CONTEXT_BYTES: Final = 23
_ENTRY: Final = "(address,uint8,uint64,bytes32)[]"
_STEPS: Final = (RoadOpened, ProviderCommitted, ProviderDisplaced, ProviderRevealed)


def step_topics(job: Digest) -> list[Any]:
    """Return the topics of a job's steps, as `eth_getLogs` wants them."""
    return [["0x" + event.ABI.hash.hex() for event in _STEPS], to_hex(job)]


def opened_topics() -> list[Any]:
    """Return the topics of every job's first step."""
    return ["0x" + RoadOpened.ABI.hash.hex()]


class RoadMoved(ChainError):
    """A job's slot and its events are not of one moment; read them again."""

    code = "road_moved"


def job_from_logs(job: Digest, slot: structs.RoadJob, logs: Sequence[Log]) -> RoadJob:
    """Return where a job stands, from its slot and the events of its steps in the chain's order.

    Raises:
        RoadMoved: the two do not belong together: a block came, or went, between reading them.
    """
    round_number, opened = 0, False
    entries: dict[str, RoadEntry] = {}
    reveals: dict[str, ProviderRevealed] = {}
    for log in logs:
        match road.EVENTS[log.topics[0]].decode(log):
            case RoadOpened() as event:
                round_number, opened = event.round_, True
                entries, reveals = {}, {}
            case ProviderCommitted() as event:
                entries[event.operator] = RoadEntry(
                    operator=event.operator,
                    ticket=event.ticket,
                    rate_microusd=event.rate,
                    commitment=event.commitment,
                )
            case ProviderDisplaced() as event:
                entries.pop(event.operator, None)
            case ProviderRevealed() as event:
                reveals[event.operator] = event
    ordered = tuple(sorted(entries.values(), key=lambda entry: entry.ticket))
    state = STATES[slot.state]
    if (state is not RoadState.ABSENT) != opened:
        raise RoadMoved(f"the road of {to_hex(job)} is being read while it changes")
    if state not in ROAD_ENDS | {RoadState.ABSENT} and slot.context != context(
        round_number, ordered
    ):
        raise RoadMoved(f"the road of {to_hex(job)} is being read while it changes")
    return RoadJob(
        job=job,
        state=state,
        deadline=slot.deadline,
        round_number=round_number,
        entries=ordered,
        openings=tuple(
            RoadOpening(index=i, seconds=shown.secs, tag=shown.tag, salt=shown.salt)
            for i, entry in enumerate(ordered)
            if (shown := reveals.get(entry.operator)) is not None
        ),
    )


def context(round_number: int, entries: Sequence[RoadEntry]) -> bytes:
    """Return what the chain keeps of a job's round and entries."""
    encoded = abi_encode(["uint32", _ENTRY], [round_number, abi_entries(entries)])
    return keccak(encoded)[:CONTEXT_BYTES]


def order_in_call(data: bytes, job: Digest, domain: Domain) -> SignedOrder | None:
    """Return the order that a transaction to the Road opened a job with, None if it did not."""
    function = road.FUNCTIONS.get(data[:SELECTOR_BYTES])
    if function is None or function.name != "open":
        return None
    try:
        order, signature, *_ = function.decode_call(data)
        signed = signed_order_of(order, signature)
    except AssayError:
        return None
    return signed if job_id(signed.order, domain) == job else None


def road_call(contract: road.Road, step: RoadStep) -> Call:
    """Return a step as a call."""
    match step:
        case OpenRoad():
            return contract.open(
                abi_order(step.signed_order.order),
                step.signed_order.signature,
                step.round_number,
                abi_commits(step.commits),
                step.set_signature,
            )
        case CommitOnRoad():
            return contract.commit(
                abi_order(step.order),
                step.round_number,
                abi_entries(step.entries),
                abi_commits(step.commits),
            )
        case RevealOnRoad():
            return contract.reveal(
                step.job, step.round_number, abi_entries(step.entries), abi_openings(step.openings)
            )
        case FinalizeRoad():
            return contract.finalize(
                abi_order(step.order),
                step.round_number,
                abi_entries(step.entries),
                abi_openings(step.openings),
            )
        case OverrideRoad():
            return contract.settle(
                abi_receipt(step.receipt), step.round_number, abi_entries(step.entries)
            )
        case _:
            assert_never(step)


def describe(step: RoadStep) -> str:
    """Return what a step does, in words."""
    match step:
        case OpenRoad():
            return "taking the job to the on-chain road"
        case CommitOnRoad():
            return "committing on the on-chain road"
        case RevealOnRoad():
            return "revealing on the on-chain road"
        case FinalizeRoad():
            return "ending the job on the on-chain road"
        case OverrideRoad():
            return "ending the job on the on-chain road by its receipt"
        case _:
            assert_never(step)


def abi_entries(entries: Sequence[RoadEntry]) -> tuple[structs.Entry, ...]:
    """Return entries as the contract takes them."""
    return tuple(
        structs.Entry(
            operator=entry.operator,
            ticket=entry.ticket,
            rate=entry.rate_microusd,
            commitment=entry.commitment,
        )
        for entry in entries
    )


def abi_commits(commits: Sequence[RoadCommit]) -> tuple[structs.Commit, ...]:
    """Return commits as the contract takes them."""
    return tuple(
        structs.Commit(
            operator=commit.operator,
            rate=commit.rate_microusd,
            ticket=commit.ticket,
            v=commit.signature[64],
            commitment=commit.commitment,
            r=Digest(commit.signature[:32]),
            s=Digest(commit.signature[32:64]),
        )
        for commit in commits
    )


def abi_openings(openings: Sequence[RoadOpening]) -> tuple[structs.Opening, ...]:
    """Return openings as the contract takes them."""
    return tuple(
        structs.Opening(
            index_=opening.index, secs=opening.seconds, tag=opening.tag, salt=opening.salt
        )
        for opening in openings
    )
