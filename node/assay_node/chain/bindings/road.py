"""Road as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import Commit, Entry, Opening, Order, Receipt, RoadJob
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class JobSettled(DecodedEvent):
    """The event JobSettled."""

    ABI = EventType(
        "JobSettled",
        ("job", "requester", "vote", "shares"),
        ("bytes32", "address", "bytes32", "uint256[]"),
        (True, True, False, False),
    )
    job: Digest
    requester: Address
    vote: Digest
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobWithoutQuorum(DecodedEvent):
    """The event JobWithoutQuorum."""

    ABI = EventType(
        "JobWithoutQuorum",
        ("job", "requester", "shares"),
        ("bytes32", "address", "uint256[]"),
        (True, True, False),
    )
    job: Digest
    requester: Address
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProviderCommitted(DecodedEvent):
    """The event ProviderCommitted."""

    ABI = EventType(
        "ProviderCommitted",
        ("job", "operator", "ticket", "rate", "commitment"),
        ("bytes32", "address", "uint8", "uint64", "bytes32"),
        (True, True, False, False, False),
    )
    job: Digest
    operator: Address
    ticket: int
    rate: int
    commitment: Digest


@dataclass(frozen=True, slots=True)
class ProviderDisplaced(DecodedEvent):
    """The event ProviderDisplaced."""

    ABI = EventType("ProviderDisplaced", ("job", "operator"), ("bytes32", "address"), (True, True))
    job: Digest
    operator: Address


@dataclass(frozen=True, slots=True)
class ProviderRevealed(DecodedEvent):
    """The event ProviderRevealed."""

    ABI = EventType(
        "ProviderRevealed",
        ("job", "operator", "tag", "secs", "salt"),
        ("bytes32", "address", "bytes32", "uint32", "bytes32"),
        (True, True, False, False, False),
    )
    job: Digest
    operator: Address
    tag: Digest
    secs: int
    salt: Digest


@dataclass(frozen=True, slots=True)
class RoadOpened(DecodedEvent):
    """The event RoadOpened."""

    ABI = EventType(
        "RoadOpened",
        ("job", "requester", "scheduler", "round_", "deadline", "is_fixed"),
        ("bytes32", "address", "address", "uint32", "uint40", "bool"),
        (True, True, True, False, False, False),
    )
    job: Digest
    requester: Address
    scheduler: Address
    round_: int
    deadline: int
    is_fixed: bool


_ROAD_WINDOW: Final = Function("ROAD_WINDOW", (), (), ("uint256",))
_COMMIT: Final = Function(
    "commit",
    ("order", "round_", "entries", "commits"),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
        "uint32",
        "(address,uint8,uint64,bytes32)[]",
        "(address,uint64,uint8,uint8,bytes32,bytes32,bytes32)[]",
    ),
    (),
)
_COURT: Final = Function("court", (), (), ("address",))
_FINALIZE: Final = Function(
    "finalize",
    ("order", "round_", "entries", "openings"),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
        "uint32",
        "(address,uint8,uint64,bytes32)[]",
        "(uint8,uint32,bytes32,bytes32)[]",
    ),
    (),
)
_JOBS: Final = Function("jobs", ("job",), ("bytes32",), ("(bytes23,uint40,uint24,uint8)",))
_MARKET: Final = Function("market", (), (), ("address",))
_OPEN: Final = Function(
    "open",
    ("order", "requester_sig", "round_", "commits", "set_sig"),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
        "bytes",
        "uint32",
        "(address,uint64,uint8,uint8,bytes32,bytes32,bytes32)[]",
        "bytes",
    ),
    (),
)
_PROVIDERS: Final = Function("providers", (), (), ("address",))
_REVEAL: Final = Function(
    "reveal",
    ("job", "round_", "entries", "openings"),
    ("bytes32", "uint32", "(address,uint8,uint64,bytes32)[]", "(uint8,uint32,bytes32,bytes32)[]"),
    (),
)
_SETTLE: Final = Function(
    "settle",
    ("receipt", "round_", "entries"),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes,(address,uint64,uint8,uint32,bytes32,bytes32,bytes)[])",
        "uint32",
        "(address,uint8,uint64,bytes32)[]",
    ),
    (),
)
_VAULT: Final = Function("vault", (), (), ("address",))
ROAD_AUDIT_INVALID: Final = ErrorType("Road_AuditInvalid", (), ())
ROAD_COMMIT_SIGNATURE_INVALID: Final = ErrorType(
    "Road_CommitSignatureInvalid", ("operator",), ("address",)
)
ROAD_CONTEXT_WRONG: Final = ErrorType("Road_ContextWrong", ("job",), ("bytes32",))
ROAD_COST_TOO_HIGH: Final = ErrorType("Road_CostTooHigh", ("cost",), ("uint256",))
ROAD_EXPIRY_TOO_FAR: Final = ErrorType("Road_ExpiryTooFar", ("expiry",), ("uint64",))
ROAD_NO_COMMIT: Final = ErrorType("Road_NoCommit", (), ())
ROAD_NO_PLACE_LEFT: Final = ErrorType("Road_NoPlaceLeft", ("operator",), ("address",))
ROAD_NO_QUORUM_IN_RECEIPT: Final = ErrorType("Road_NoQuorumInReceipt", (), ())
ROAD_NOT_COMMITTING: Final = ErrorType("Road_NotCommitting", ("job",), ("bytes32",))
ROAD_NOT_COURT: Final = ErrorType("Road_NotCourt", ("caller",), ("address",))
ROAD_NOT_OPEN: Final = ErrorType("Road_NotOpen", ("job",), ("bytes32",))
ROAD_NOT_REVEALING: Final = ErrorType("Road_NotRevealing", ("job",), ("bytes32",))
ROAD_OPENING_MISSING: Final = ErrorType("Road_OpeningMissing", ("job",), ("bytes32",))
ROAD_OPENING_WRONG: Final = ErrorType("Road_OpeningWrong", ("index",), ("uint256",))
ROAD_OPERATOR_NOT_DRAWN: Final = ErrorType("Road_OperatorNotDrawn", (), ())
ROAD_OPERATOR_TWICE: Final = ErrorType("Road_OperatorTwice", ("operator",), ("address",))
ROAD_ORDER_EXPIRED: Final = ErrorType("Road_OrderExpired", ("expiry",), ("uint64",))
ROAD_QUORUM_INVALID: Final = ErrorType("Road_QuorumInvalid", (), ())
ROAD_RATE_TOO_HIGH: Final = ErrorType("Road_RateTooHigh", ("operator",), ("address",))
ROAD_RECEIPT_REFUSED: Final = ErrorType("Road_ReceiptRefused", ("reason",), ("bytes4",))
ROAD_REPLICA_COUNT_INVALID: Final = ErrorType("Road_ReplicaCountInvalid", (), ())
ROAD_REQUESTER_SIGNATURE_INVALID: Final = ErrorType("Road_RequesterSignatureInvalid", (), ())
ROAD_SEED_TOO_OLD: Final = ErrorType("Road_SeedTooOld", (), ())
ROAD_SEED_UNKNOWN: Final = ErrorType("Road_SeedUnknown", (), ())
ROAD_SET_INCOMPLETE: Final = ErrorType("Road_SetIncomplete", (), ())
ROAD_SET_SIGNATURE_INVALID: Final = ErrorType("Road_SetSignatureInvalid", (), ())
ROAD_SIGNER_NOT_REGISTERED: Final = ErrorType("Road_SignerNotRegistered", (), ())
ROAD_TICKET_TOO_HIGH: Final = ErrorType("Road_TicketTooHigh", ("operator",), ("address",))
ROAD_TOO_EARLY: Final = ErrorType("Road_TooEarly", ("deadline",), ("uint40",))
ROAD_TOO_LATE: Final = ErrorType("Road_TooLate", ("deadline",), ("uint40",))
ROAD_WIRED_TO_OTHER: Final = ErrorType("Road_WiredToOther", (), ())
SAFE_CAST_OVERFLOWED_UINT_DOWNCAST: Final = ErrorType(
    "SafeCastOverflowedUintDowncast", ("bits", "value"), ("uint8", "uint256")
)

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _ROAD_WINDOW.selector: _ROAD_WINDOW,
    _COMMIT.selector: _COMMIT,
    _COURT.selector: _COURT,
    _FINALIZE.selector: _FINALIZE,
    _JOBS.selector: _JOBS,
    _MARKET.selector: _MARKET,
    _OPEN.selector: _OPEN,
    _PROVIDERS.selector: _PROVIDERS,
    _REVEAL.selector: _REVEAL,
    _SETTLE.selector: _SETTLE,
    _VAULT.selector: _VAULT,
}


Event = (
    JobSettled
    | JobWithoutQuorum
    | ProviderCommitted
    | ProviderDisplaced
    | ProviderRevealed
    | RoadOpened
)
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    JobSettled.ABI.hash: JobSettled,
    JobWithoutQuorum.ABI.hash: JobWithoutQuorum,
    ProviderCommitted.ABI.hash: ProviderCommitted,
    ProviderDisplaced.ABI.hash: ProviderDisplaced,
    ProviderRevealed.ABI.hash: ProviderRevealed,
    RoadOpened.ABI.hash: RoadOpened,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    ROAD_AUDIT_INVALID.selector: ROAD_AUDIT_INVALID,
    ROAD_COMMIT_SIGNATURE_INVALID.selector: ROAD_COMMIT_SIGNATURE_INVALID,
    ROAD_CONTEXT_WRONG.selector: ROAD_CONTEXT_WRONG,
    ROAD_COST_TOO_HIGH.selector: ROAD_COST_TOO_HIGH,
    ROAD_EXPIRY_TOO_FAR.selector: ROAD_EXPIRY_TOO_FAR,
    ROAD_NO_COMMIT.selector: ROAD_NO_COMMIT,
    ROAD_NO_PLACE_LEFT.selector: ROAD_NO_PLACE_LEFT,
    ROAD_NO_QUORUM_IN_RECEIPT.selector: ROAD_NO_QUORUM_IN_RECEIPT,
    ROAD_NOT_COMMITTING.selector: ROAD_NOT_COMMITTING,
    ROAD_NOT_COURT.selector: ROAD_NOT_COURT,
    ROAD_NOT_OPEN.selector: ROAD_NOT_OPEN,
    ROAD_NOT_REVEALING.selector: ROAD_NOT_REVEALING,
    ROAD_OPENING_MISSING.selector: ROAD_OPENING_MISSING,
    ROAD_OPENING_WRONG.selector: ROAD_OPENING_WRONG,
    ROAD_OPERATOR_NOT_DRAWN.selector: ROAD_OPERATOR_NOT_DRAWN,
    ROAD_OPERATOR_TWICE.selector: ROAD_OPERATOR_TWICE,
    ROAD_ORDER_EXPIRED.selector: ROAD_ORDER_EXPIRED,
    ROAD_QUORUM_INVALID.selector: ROAD_QUORUM_INVALID,
    ROAD_RATE_TOO_HIGH.selector: ROAD_RATE_TOO_HIGH,
    ROAD_RECEIPT_REFUSED.selector: ROAD_RECEIPT_REFUSED,
    ROAD_REPLICA_COUNT_INVALID.selector: ROAD_REPLICA_COUNT_INVALID,
    ROAD_REQUESTER_SIGNATURE_INVALID.selector: ROAD_REQUESTER_SIGNATURE_INVALID,
    ROAD_SEED_TOO_OLD.selector: ROAD_SEED_TOO_OLD,
    ROAD_SEED_UNKNOWN.selector: ROAD_SEED_UNKNOWN,
    ROAD_SET_INCOMPLETE.selector: ROAD_SET_INCOMPLETE,
    ROAD_SET_SIGNATURE_INVALID.selector: ROAD_SET_SIGNATURE_INVALID,
    ROAD_SIGNER_NOT_REGISTERED.selector: ROAD_SIGNER_NOT_REGISTERED,
    ROAD_TICKET_TOO_HIGH.selector: ROAD_TICKET_TOO_HIGH,
    ROAD_TOO_EARLY.selector: ROAD_TOO_EARLY,
    ROAD_TOO_LATE.selector: ROAD_TOO_LATE,
    ROAD_WIRED_TO_OTHER.selector: ROAD_WIRED_TO_OTHER,
    SAFE_CAST_OVERFLOWED_UINT_DOWNCAST.selector: SAFE_CAST_OVERFLOWED_UINT_DOWNCAST,
}


class Road(BoundContract):
    """The contract Road at its address."""

    errors = ERRORS

    async def road_window(self, *, block: str = "latest") -> int:
        """`ROAD_WINDOW()`."""
        values = await self._read(_ROAD_WINDOW, (), block)
        return int(values[0])

    def commit(
        self, order: Order, round_: int, entries: Sequence[Entry], commits: Sequence[Commit]
    ) -> Call:
        """`commit(Order, uint32, Entry[], Commit[])`."""
        return self._call(_COMMIT, (order, round_, entries, commits))

    async def court(self, *, block: str = "latest") -> Address:
        """`court()`."""
        values = await self._read(_COURT, (), block)
        return Address(values[0])

    def finalize(
        self, order: Order, round_: int, entries: Sequence[Entry], openings: Sequence[Opening]
    ) -> Call:
        """`finalize(Order, uint32, Entry[], Opening[])`."""
        return self._call(_FINALIZE, (order, round_, entries, openings))

    async def jobs(self, job: bytes, *, block: str = "latest") -> RoadJob:
        """`jobs(bytes32)`."""
        values = await self._read(_JOBS, (job,), block)
        return RoadJob(bytes(values[0][0]), int(values[0][1]), int(values[0][2]), int(values[0][3]))

    async def market(self, *, block: str = "latest") -> Address:
        """`market()`."""
        values = await self._read(_MARKET, (), block)
        return Address(values[0])

    def open(
        self,
        order: Order,
        requester_sig: bytes,
        round_: int,
        commits: Sequence[Commit],
        set_sig: bytes,
    ) -> Call:
        """`open(Order, bytes, uint32, Commit[], bytes)`."""
        return self._call(_OPEN, (order, requester_sig, round_, commits, set_sig))

    async def providers(self, *, block: str = "latest") -> Address:
        """`providers()`."""
        values = await self._read(_PROVIDERS, (), block)
        return Address(values[0])

    def reveal(
        self, job: bytes, round_: int, entries: Sequence[Entry], openings: Sequence[Opening]
    ) -> Call:
        """`reveal(bytes32, uint32, Entry[], Opening[])`."""
        return self._call(_REVEAL, (job, round_, entries, openings))

    def settle(self, receipt: Receipt, round_: int, entries: Sequence[Entry]) -> Call:
        """`settle(Receipt, uint32, Entry[])`."""
        return self._call(_SETTLE, (receipt, round_, entries))

    async def vault(self, *, block: str = "latest") -> Address:
        """`vault()`."""
        values = await self._read(_VAULT, (), block)
        return Address(values[0])
