"""What the contracts' events say: settled jobs, skipped receipts, an operator's earnings.

Shares and sums are words of several numbers; `contracts/src/types/Share.sol` and `Sums.sol` say
which bits are whose.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay_node.chain.abi_codec import Interface, Log
from assay_node.chain.contracts import to_address, to_bytes, to_digest, to_int
from assay_node.chain.refusals import skip_reason
from assay_node.ports.chain import Paid, Settlement, SkippedReceipt, Slashed
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.receipt import TAG_BYTES_COMPARED

SLASH_REASON: Final = "contradicted by the quorum"
"""The one thing that the Market slashes for when it settles a receipt."""

_WON, _EFFORT, _SLASHED, _FEE = range(4)
"""`ShareKind` of the contracts."""

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
        _settlement(mined, members, receipts)
        for name, members in decoded
        if name in ("JobSettled", "JobWithoutQuorum")
    )
    return settled, skipped


def sum_earnings(logs: Iterable[Log], vault: Interface) -> Earnings:
    """Add up the `OperatorSettled` events of one operator."""
    event = vault.event("OperatorSettled")
    sums = [event.decode_log(log)["sums"] for log in logs if log.topics[0] == event.hash]
    return Earnings(
        paid_microusd=sum(_bits(word, 0, 64) for word in sums),
        slashed_microusd=sum(_bits(word, 64, 64) for word in sums),
        jobs_paid=sum(_bits(word, 128, 32) + _bits(word, 160, 32) for word in sums),
        jobs_slashed=sum(_bits(word, 192, 32) for word in sums),
    )


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


def _settlement(mined: MinedTransaction, job: Mapping[str, Any], receipts: int) -> Settlement:
    shares = [_Share.of(word) for word in job["shares"]]
    agreed = "vote" in job
    vote = job["vote"] if agreed else b""
    return Settlement(
        job_id=Digest(job["job"]),
        transaction=mined.hash,
        block_number=mined.block_number,
        agreed=agreed,
        winning_tag=Digest(vote[:TAG_BYTES_COMPARED] + bytes(4)) if agreed else None,
        seconds=int.from_bytes(vote[TAG_BYTES_COMPARED:]),
        paid=tuple(
            Paid(operator=share.party, amount_microusd=share.amount_microusd)
            for share in shares
            if share.kind in (_WON, _EFFORT)
        ),
        slashed=tuple(
            Slashed(
                operator=share.party, amount_microusd=share.amount_microusd, reason=SLASH_REASON
            )
            for share in shares
            if share.kind == _SLASHED
        ),
        fee_microusd=sum(share.amount_microusd for share in shares if share.kind == _FEE),
        cost_microusd=sum(share.amount_microusd for share in shares if share.kind != _SLASHED),
        gas_used=mined.gas_used // receipts,
        receipts_in_batch=receipts,
    )
