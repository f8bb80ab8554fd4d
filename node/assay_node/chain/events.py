"""What the Market's events say: settled jobs, skipped receipts, an operator's earnings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay_node.chain.abi_codec import Event, Interface, Log
from assay_node.chain.contracts import to_address, to_bytes, to_digest, to_int
from assay_node.chain.refusals import skip_reason
from assay_node.ports.chain import Paid, Settlement, SkippedReceipt, Slashed
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest

SLASH_REASON: Final = "contradicted by the quorum"
"""The one thing that the Market slashes for when it settles a receipt."""

_JUDGED: Final = ("JobSettled", "JobWithoutQuorum", "ReceiptSkipped")  # one of them per receipt


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
        gas_used=to_int(raw.get("gasUsed")),
        logs=tuple(map(parse_log, raw["logs"])),
    )


def judged_topics(market: Interface) -> list[str]:
    """Return the topics of the events that end a receipt, as `eth_getLogs` wants them."""
    return ["0x" + market.event(name).hash.hex() for name in _JUDGED]


def read_settlements(
    mined: MinedTransaction, market_address: Address, market: Interface
) -> tuple[tuple[Settlement, ...], tuple[SkippedReceipt, ...]]:
    """Return what a transaction did with each of its receipts, in the order of the events.

    A settlement's `gas_used` is the transaction's gas divided by all of its receipts, the skipped
    ones too: somebody paid for looking at them.
    """
    events = [
        (market.events[log.topics[0]], log)
        for log in mined.logs
        if log.address == market_address and log.topics and log.topics[0] in market.events
    ]
    decoded = [(event.name, event.decode_log(log)) for event, log in events]
    receipts = sum(name in _JUDGED for name, _ in decoded)
    skipped = tuple(
        SkippedReceipt(
            job_id=Digest(members["job"]), reason=skip_reason(members["reason"], market.errors)
        )
        for name, members in decoded
        if name == "ReceiptSkipped"
    )
    settled = tuple(
        _settlement(mined, members, decoded, receipts)
        for name, members in decoded
        if name in ("JobSettled", "JobWithoutQuorum")
    )
    return settled, skipped


def sum_earnings(logs: Iterable[Log], market: Interface) -> Earnings:
    """Add up the `ProviderPaid` and `ProviderSlashed` events of one operator."""
    paid = _amounts(logs, market.event("ProviderPaid"))
    slashed = _amounts(logs, market.event("ProviderSlashed"))
    return Earnings(
        paid_microusd=sum(paid),
        slashed_microusd=sum(slashed),
        jobs_paid=len(paid),
        jobs_slashed=len(slashed),
    )


def _amounts(logs: Iterable[Log], event: Event) -> list[int]:
    return [event.decode_log(log)["amount"] for log in logs if log.topics[0] == event.hash]


def _settlement(
    mined: MinedTransaction,
    job: Mapping[str, Any],
    decoded: list[tuple[str, dict[str, Any]]],
    receipts: int,
) -> Settlement:
    # A job's nonce is spent with it, so its events occur once in a transaction.
    shares = [(name, m) for name, m in decoded if m["job"] == job["job"]]
    agreed = "winners" in job
    return Settlement(
        job_id=Digest(job["job"]),
        transaction=mined.hash,
        block_number=mined.block_number,
        agreed=agreed,
        winning_tag=Digest(job["tag"]) if agreed else None,
        seconds=job["secs"] if agreed else 0,
        paid=tuple(
            Paid(operator=Address(m["operator"]), amount_microusd=m["amount"])
            for name, m in shares
            if name == "ProviderPaid"
        ),
        slashed=tuple(
            Slashed(
                operator=Address(m["operator"]), amount_microusd=m["amount"], reason=SLASH_REASON
            )
            for name, m in shares
            if name == "ProviderSlashed"
        ),
        fee_microusd=job["fee"] if agreed else 0,
        cost_microusd=job["cost"],
        gas_used=mined.gas_used // receipts,
        receipts_in_batch=receipts,
    )
