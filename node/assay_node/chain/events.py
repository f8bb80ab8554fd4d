"""What the Market's events say: settled jobs, skipped receipts, an operator's earnings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay_node.chain.abi_codec import Log
from assay_node.chain.bindings import market
from assay_node.chain.bindings.market import (
    JobSettled,
    JobWithoutQuorum,
    ProviderPaid,
    ProviderSlashed,
    ReceiptSkipped,
)
from assay_node.chain.hex_values import to_address, to_bytes, to_digest, to_int
from assay_node.chain.refusals import skip_reason
from assay_node.ports.chain import Paid, Settlement, SkippedReceipt, Slashed
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest

SLASH_REASON: Final = "contradicted by the quorum"
"""The one thing that the Market slashes for when it settles a receipt."""

ROAD_SLASH_REASON: Final = "contradicted by the quorum, or silent on the on-chain road"

_ENDED: Final = (JobSettled, JobWithoutQuorum)
_JUDGED: Final = (*_ENDED, ReceiptSkipped)  # one of them per receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Earnings:
    """What settled jobs brought and cost an operator, in micro-USD, and how many they were."""

    paid_microusd: int
    slashed_microusd: int
    jobs_paid: int
    jobs_slashed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MinedTransaction:
    """A transaction as its receipt tells it."""

    hash: Digest
    succeeded: bool
    block_number: int
    block_hash: Digest
    gas_used: int
    logs: tuple[Log, ...]


def parse_log(raw: Any) -> Log:
    """Return an event from a node's JSON.

    Raises:
        ChainError: the node's answer is malformed.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("topics"), list):
        raise ChainError("the chain node answered something that is not an event")
    return Log(
        address=to_address(raw.get("address")),
        topics=tuple(map(to_bytes, raw["topics"])),
        data=to_bytes(raw.get("data")),
        transaction=to_bytes(raw.get("transactionHash")),
        block_number=to_int(raw.get("blockNumber")),
    )


def parse_transaction_receipt(raw: Any) -> MinedTransaction:
    """Return a mined transaction from a node's JSON.

    Raises:
        ChainError: the node's answer is malformed.
    """
    if not isinstance(raw, Mapping) or not isinstance(raw.get("logs"), list):
        raise ChainError("the chain node answered something that is not a transaction receipt")
    return MinedTransaction(
        hash=to_digest(raw.get("transactionHash")),
        succeeded=to_int(raw.get("status")) == 1,
        block_number=to_int(raw.get("blockNumber")),
        block_hash=to_digest(raw.get("blockHash")),
        gas_used=to_int(raw.get("gasUsed")),
        logs=tuple(map(parse_log, raw["logs"])),
    )


def ended_topics() -> list[str]:
    """Return the topics of the events that end a job, as `eth_getLogs` wants them."""
    return [_topic(event) for event in _ENDED]


def judged_topics() -> list[str]:
    """Return the topics of the events that end a receipt, as `eth_getLogs` wants them."""
    return [_topic(event) for event in _JUDGED]


def earnings_topics() -> list[str]:
    """Return the topics of the events about one operator, as `eth_getLogs` wants them."""
    return [_topic(ProviderPaid), _topic(ProviderSlashed)]


def read_settlements(
    mined: MinedTransaction, judges: Mapping[Address, str]
) -> tuple[tuple[Settlement, ...], tuple[SkippedReceipt, ...]]:
    """Return how a transaction ended jobs, in the order of the events of the Market and the Road.

    `judges` are their addresses, and what each slashes for.

    A settlement's `gas_used` is the transaction's gas divided by all of its receipts, the skipped
    ones too: somebody paid for looking at them.
    """
    said = [
        (log.address, market.EVENTS[log.topics[0]].decode(log))
        for log in mined.logs
        if log.address in judges and log.topics and log.topics[0] in market.EVENTS
    ]
    events = [event for _, event in said]
    receipts = sum(isinstance(event, _JUDGED) for event in events)
    skipped = tuple(
        SkippedReceipt(job_id=event.job, reason=skip_reason(event.reason, market.ERRORS))
        for event in events
        if isinstance(event, ReceiptSkipped)
    )
    settled = tuple(
        _settlement(mined, event, events, receipts, judges[judge])
        for judge, event in said
        if isinstance(event, JobSettled | JobWithoutQuorum)
    )
    return settled, skipped


def sum_earnings(logs: Iterable[Log]) -> Earnings:
    """Add up the `ProviderPaid` and `ProviderSlashed` events of one operator."""
    logs = list(logs)
    paid = [e.amount for e in map(ProviderPaid.decode, _of(ProviderPaid, logs))]
    slashed = [e.amount for e in map(ProviderSlashed.decode, _of(ProviderSlashed, logs))]
    return Earnings(
        paid_microusd=sum(paid),
        slashed_microusd=sum(slashed),
        jobs_paid=len(paid),
        jobs_slashed=len(slashed),
    )


def _topic(event: type[market.Event]) -> str:
    return "0x" + event.ABI.hash.hex()


def _of(event: type[market.Event], logs: Iterable[Log]) -> list[Log]:
    return [log for log in logs if log.topics and log.topics[0] == event.ABI.hash]


def _settlement(
    mined: MinedTransaction,
    job: JobSettled | JobWithoutQuorum,
    events: Sequence[market.Event],
    receipts: int,
    slash_reason: str,
) -> Settlement:
    settled = job if isinstance(job, JobSettled) else None
    return Settlement(
        job_id=job.job,
        transaction=mined.hash,
        block_number=mined.block_number,
        agreed=settled is not None,
        winning_tag=settled.tag if settled else None,
        seconds=settled.secs if settled else 0,
        # A job's nonce is spent with it, so its events occur once in a transaction.
        paid=tuple(
            Paid(operator=event.operator, amount_microusd=event.amount)
            for event in events
            if isinstance(event, ProviderPaid) and event.job == job.job
        ),
        slashed=tuple(
            Slashed(operator=event.operator, amount_microusd=event.amount, reason=slash_reason)
            for event in events
            if isinstance(event, ProviderSlashed) and event.job == job.job
        ),
        fee_microusd=settled.fee if settled else 0,
        cost_microusd=job.cost,
        gas_used=mined.gas_used // receipts,
        receipts_in_batch=receipts,
    )
