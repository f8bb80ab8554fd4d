"""What the contracts' events say: settled jobs, skipped receipts, an operator's earnings.

Shares and sums are words of several numbers; `contracts/src/types/Share.sol` and `Sums.sol` say
which bits are whose.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay_node.chain.abi_codec import Log
from assay_node.chain.bindings import market
from assay_node.chain.bindings.market import JobSettled, JobWithoutQuorum, ReceiptSkipped
from assay_node.chain.bindings.vault import OperatorSettled
from assay_node.chain.hex_values import to_address, to_bytes, to_digest, to_int
from assay_node.chain.refusals import skip_reason
from assay_node.ports.chain import Paid, Settlement, SkippedReceipt, Slashed
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.receipt import TAG_BYTES_COMPARED

SLASH_REASON: Final = "contradicted by the quorum"
"""The one thing that the Market slashes for when it settles a receipt."""

ROAD_SLASH_REASON: Final = "contradicted by the quorum, or silent on the on-chain road"

_ENDED: Final = (JobSettled, JobWithoutQuorum)
_JUDGED: Final = (*_ENDED, ReceiptSkipped)  # one of them per receipt

_WON, _EFFORT, _SLASHED, _FEE = range(4)
"""`ShareKind` of the contracts, as far as a job's shares go."""


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
    """Return the topic of the event about one operator, as `eth_getLogs` wants it."""
    return [_topic(OperatorSettled)]


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
        _settlement(mined, event, receipts, judges[judge])
        for judge, event in said
        if isinstance(event, JobSettled | JobWithoutQuorum)
    )
    return settled, skipped


def sum_earnings(logs: Iterable[Log]) -> Earnings:
    """Add up the `OperatorSettled` events of one operator."""
    topic = OperatorSettled.ABI.hash
    sums = [OperatorSettled.decode(log).sums for log in logs if log.topics[0] == topic]
    return Earnings(
        paid_microusd=sum(_bits(word, 0, 64) for word in sums),
        slashed_microusd=sum(_bits(word, 64, 64) for word in sums),
        jobs_paid=sum(_bits(word, 128, 32) + _bits(word, 160, 32) for word in sums),
        jobs_slashed=sum(_bits(word, 192, 32) for word in sums),
    )


def _topic(event: type[market.Event | OperatorSettled]) -> str:
    return "0x" + event.ABI.hash.hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    party: Address
    amount_microusd: int
    kind: int

    @classmethod
    def of(cls, word: int) -> "_Share":
        party = Address(f"0x{_bits(word, 0, 160):040x}")
        return cls(party=party, amount_microusd=_bits(word, 160, 64), kind=_bits(word, 224, 8))


def _bits(word: int, first: int, count: int) -> int:
    return word >> first & ((1 << count) - 1)


def _settlement(
    mined: MinedTransaction, job: JobSettled | JobWithoutQuorum, receipts: int, slash_reason: str
) -> Settlement:
    shares = [_Share.of(word) for word in job.shares]
    vote = job.vote if isinstance(job, JobSettled) else b""
    return Settlement(
        job_id=job.job,
        transaction=mined.hash,
        block_number=mined.block_number,
        agreed=bool(vote),
        winning_tag=Digest(vote[:TAG_BYTES_COMPARED] + bytes(4)) if vote else None,
        seconds=int.from_bytes(vote[TAG_BYTES_COMPARED:]),
        paid=tuple(
            Paid(operator=share.party, amount_microusd=share.amount_microusd)
            for share in shares
            if share.kind in (_WON, _EFFORT)
        ),
        slashed=tuple(
            Slashed(
                operator=share.party, amount_microusd=share.amount_microusd, reason=slash_reason
            )
            for share in shares
            if share.kind == _SLASHED
        ),
        fee_microusd=sum(share.amount_microusd for share in shares if share.kind == _FEE),
        cost_microusd=sum(share.amount_microusd for share in shares if share.kind != _SLASHED),
        gas_used=mined.gas_used // receipts,
        receipts_in_batch=receipts,
    )
