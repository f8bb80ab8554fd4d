"""Market as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import Order, Receipt
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


class Eip712DomainResult(NamedTuple):
    """What `eip712Domain` returns."""

    fields: bytes
    name: str
    version: str
    chain_id: int
    verifying_contract: Address
    salt: Digest
    extensions: tuple[int, ...]


class JudgeResult(NamedTuple):
    """What `judge` returns."""

    reason: bytes
    winners: int
    secs: int


@dataclass(frozen=True, slots=True)
class EIP712DomainChanged(DecodedEvent):
    """The event EIP712DomainChanged."""

    ABI = EventType("EIP712DomainChanged", (), (), ())


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
class ReceiptSkipped(DecodedEvent):
    """The event ReceiptSkipped."""

    ABI = EventType("ReceiptSkipped", ("job", "reason"), ("bytes32", "bytes4"), (True, False))
    job: Digest
    reason: bytes


_EFFORT_BPS: Final = Function("EFFORT_BPS", (), (), ("uint256",))
_HORIZON: Final = Function("HORIZON", (), (), ("uint256",))
_MAX_REPLICAS: Final = Function("MAX_REPLICAS", (), (), ("uint256",))
_COMMIT_DIGEST: Final = Function(
    "commitDigest",
    ("job", "round_", "rate", "commitment"),
    ("bytes32", "uint32", "uint64", "bytes32"),
    ("bytes32",),
)
_COMMITMENT: Final = Function(
    "commitment",
    ("job", "operator", "tag", "secs", "salt"),
    ("bytes32", "address", "bytes32", "uint32", "bytes32"),
    ("bytes32",),
)
_COURT: Final = Function("court", (), (), ("address",))
_DOMAIN_SEPARATOR: Final = Function("domainSeparator", (), (), ("bytes32",))
_EIP712_DOMAIN: Final = Function(
    "eip712Domain",
    (),
    (),
    ("bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"),
)
_JOB_ID: Final = Function(
    "jobId",
    ("order",),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
    ),
    ("bytes32",),
)
_JUDGE: Final = Function(
    "judge",
    ("receipt",),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes,(address,uint64,uint8,uint32,bytes32,bytes32,bytes)[])",
    ),
    ("bytes4", "uint256", "uint256"),
)
_ORDERS_DIGEST: Final = Function("ordersDigest", ("orders",), ("uint256[]",), ("bytes32",))
_PROVIDERS: Final = Function("providers", (), (), ("address",))
_REVEAL_DIGEST: Final = Function(
    "revealDigest",
    ("job", "commits", "tag", "rate", "secs"),
    ("bytes32", "bytes32", "bytes32", "uint64", "uint32"),
    ("bytes32",),
)
_REVEALS_DIGEST: Final = Function("revealsDigest", ("reveals",), ("uint256[]",), ("bytes32",))
_SETTLE: Final = Function(
    "settle",
    ("receipts",),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes,(address,uint64,uint8,uint32,bytes32,bytes32,bytes)[])[]",
    ),
    (),
)
_SETTLE_PACKED: Final = Function("settlePacked", ("packed",), ("bytes",), ())
_VAULT: Final = Function("vault", (), (), ("address",))
INVALID_SHORT_STRING: Final = ErrorType("InvalidShortString", (), ())
MARKET_AUDIT_INVALID: Final = ErrorType("Market_AuditInvalid", (), ())
MARKET_BUDGET_TOO_SMALL: Final = ErrorType("Market_BudgetTooSmall", (), ())
MARKET_EXPIRY_TOO_FAR: Final = ErrorType("Market_ExpiryTooFar", (), ())
MARKET_NONCE_SPENT: Final = ErrorType("Market_NonceSpent", (), ())
MARKET_OPERATOR_NOT_DRAWN: Final = ErrorType("Market_OperatorNotDrawn", (), ())
MARKET_OPERATOR_TWICE: Final = ErrorType("Market_OperatorTwice", (), ())
MARKET_ORDER_EXPIRED: Final = ErrorType("Market_OrderExpired", (), ())
MARKET_PACKED_MALFORMED: Final = ErrorType("Market_PackedMalformed", ("position",), ("uint256",))
MARKET_PACKED_TOO_MANY_FOR: Final = ErrorType("Market_PackedTooManyFor", ("signer",), ("address",))
MARKET_PACKED_UNKNOWN_VERSION: Final = ErrorType(
    "Market_PackedUnknownVersion", ("version",), ("uint256",)
)
MARKET_QUORUM_INVALID: Final = ErrorType("Market_QuorumInvalid", (), ())
MARKET_RATE_TOO_HIGH: Final = ErrorType("Market_RateTooHigh", (), ())
MARKET_REPLICA_COUNT_INVALID: Final = ErrorType("Market_ReplicaCountInvalid", (), ())
MARKET_REQUESTER_SIGNATURE_INVALID: Final = ErrorType("Market_RequesterSignatureInvalid", (), ())
MARKET_REVEAL_SIGNATURE_INVALID: Final = ErrorType("Market_RevealSignatureInvalid", (), ())
MARKET_SEED_TOO_OLD: Final = ErrorType("Market_SeedTooOld", (), ())
MARKET_SEED_UNKNOWN: Final = ErrorType("Market_SeedUnknown", (), ())
MARKET_SIGNER_NOT_REGISTERED: Final = ErrorType("Market_SignerNotRegistered", (), ())
MARKET_TICKET_TOO_HIGH: Final = ErrorType("Market_TicketTooHigh", (), ())
MARKET_TICKETS_NOT_RISING: Final = ErrorType("Market_TicketsNotRising", (), ())
MARKET_WIRED_TO_OTHER: Final = ErrorType("Market_WiredToOther", ("market",), ("address",))
STRING_TOO_LONG: Final = ErrorType("StringTooLong", ("str",), ("string",))

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _EFFORT_BPS.selector: _EFFORT_BPS,
    _HORIZON.selector: _HORIZON,
    _MAX_REPLICAS.selector: _MAX_REPLICAS,
    _COMMIT_DIGEST.selector: _COMMIT_DIGEST,
    _COMMITMENT.selector: _COMMITMENT,
    _COURT.selector: _COURT,
    _DOMAIN_SEPARATOR.selector: _DOMAIN_SEPARATOR,
    _EIP712_DOMAIN.selector: _EIP712_DOMAIN,
    _JOB_ID.selector: _JOB_ID,
    _JUDGE.selector: _JUDGE,
    _ORDERS_DIGEST.selector: _ORDERS_DIGEST,
    _PROVIDERS.selector: _PROVIDERS,
    _REVEAL_DIGEST.selector: _REVEAL_DIGEST,
    _REVEALS_DIGEST.selector: _REVEALS_DIGEST,
    _SETTLE.selector: _SETTLE,
    _SETTLE_PACKED.selector: _SETTLE_PACKED,
    _VAULT.selector: _VAULT,
}


Event = EIP712DomainChanged | JobSettled | JobWithoutQuorum | ReceiptSkipped
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    EIP712DomainChanged.ABI.hash: EIP712DomainChanged,
    JobSettled.ABI.hash: JobSettled,
    JobWithoutQuorum.ABI.hash: JobWithoutQuorum,
    ReceiptSkipped.ABI.hash: ReceiptSkipped,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    INVALID_SHORT_STRING.selector: INVALID_SHORT_STRING,
    MARKET_AUDIT_INVALID.selector: MARKET_AUDIT_INVALID,
    MARKET_BUDGET_TOO_SMALL.selector: MARKET_BUDGET_TOO_SMALL,
    MARKET_EXPIRY_TOO_FAR.selector: MARKET_EXPIRY_TOO_FAR,
    MARKET_NONCE_SPENT.selector: MARKET_NONCE_SPENT,
    MARKET_OPERATOR_NOT_DRAWN.selector: MARKET_OPERATOR_NOT_DRAWN,
    MARKET_OPERATOR_TWICE.selector: MARKET_OPERATOR_TWICE,
    MARKET_ORDER_EXPIRED.selector: MARKET_ORDER_EXPIRED,
    MARKET_PACKED_MALFORMED.selector: MARKET_PACKED_MALFORMED,
    MARKET_PACKED_TOO_MANY_FOR.selector: MARKET_PACKED_TOO_MANY_FOR,
    MARKET_PACKED_UNKNOWN_VERSION.selector: MARKET_PACKED_UNKNOWN_VERSION,
    MARKET_QUORUM_INVALID.selector: MARKET_QUORUM_INVALID,
    MARKET_RATE_TOO_HIGH.selector: MARKET_RATE_TOO_HIGH,
    MARKET_REPLICA_COUNT_INVALID.selector: MARKET_REPLICA_COUNT_INVALID,
    MARKET_REQUESTER_SIGNATURE_INVALID.selector: MARKET_REQUESTER_SIGNATURE_INVALID,
    MARKET_REVEAL_SIGNATURE_INVALID.selector: MARKET_REVEAL_SIGNATURE_INVALID,
    MARKET_SEED_TOO_OLD.selector: MARKET_SEED_TOO_OLD,
    MARKET_SEED_UNKNOWN.selector: MARKET_SEED_UNKNOWN,
    MARKET_SIGNER_NOT_REGISTERED.selector: MARKET_SIGNER_NOT_REGISTERED,
    MARKET_TICKET_TOO_HIGH.selector: MARKET_TICKET_TOO_HIGH,
    MARKET_TICKETS_NOT_RISING.selector: MARKET_TICKETS_NOT_RISING,
    MARKET_WIRED_TO_OTHER.selector: MARKET_WIRED_TO_OTHER,
    STRING_TOO_LONG.selector: STRING_TOO_LONG,
}


class Market(BoundContract):
    """The contract Market at its address."""

    errors = ERRORS

    async def effort_bps(self, *, block: str = "latest") -> int:
        """`EFFORT_BPS()`."""
        values = await self._read(_EFFORT_BPS, (), block)
        return int(values[0])

    async def horizon(self, *, block: str = "latest") -> int:
        """`HORIZON()`."""
        values = await self._read(_HORIZON, (), block)
        return int(values[0])

    async def max_replicas(self, *, block: str = "latest") -> int:
        """`MAX_REPLICAS()`."""
        values = await self._read(_MAX_REPLICAS, (), block)
        return int(values[0])

    async def commit_digest(
        self, job: bytes, round_: int, rate: int, commitment: bytes, *, block: str = "latest"
    ) -> Digest:
        """`commitDigest(bytes32, uint32, uint64, bytes32)`."""
        values = await self._read(_COMMIT_DIGEST, (job, round_, rate, commitment), block)
        return Digest(values[0])

    async def commitment(
        self,
        job: bytes,
        operator: Address,
        tag: bytes,
        secs: int,
        salt: bytes,
        *,
        block: str = "latest",
    ) -> Digest:
        """`commitment(bytes32, address, bytes32, uint32, bytes32)`."""
        values = await self._read(_COMMITMENT, (job, operator, tag, secs, salt), block)
        return Digest(values[0])

    async def court(self, *, block: str = "latest") -> Address:
        """`court()`."""
        values = await self._read(_COURT, (), block)
        return Address(values[0])

    async def domain_separator(self, *, block: str = "latest") -> Digest:
        """`domainSeparator()`."""
        values = await self._read(_DOMAIN_SEPARATOR, (), block)
        return Digest(values[0])

    async def eip712_domain(self, *, block: str = "latest") -> Eip712DomainResult:
        """`eip712Domain()`."""
        values = await self._read(_EIP712_DOMAIN, (), block)
        return Eip712DomainResult(
            bytes(values[0]),
            str(values[1]),
            str(values[2]),
            int(values[3]),
            Address(values[4]),
            Digest(values[5]),
            tuple(int(v0) for v0 in values[6]),
        )

    async def job_id(self, order: Order, *, block: str = "latest") -> Digest:
        """`jobId(Order)`."""
        values = await self._read(_JOB_ID, (order,), block)
        return Digest(values[0])

    async def judge(self, receipt: Receipt, *, block: str = "latest") -> JudgeResult:
        """`judge(Receipt)`."""
        values = await self._read(_JUDGE, (receipt,), block)
        return JudgeResult(bytes(values[0]), int(values[1]), int(values[2]))

    async def orders_digest(self, orders: Sequence[int], *, block: str = "latest") -> Digest:
        """`ordersDigest(uint256[])`."""
        values = await self._read(_ORDERS_DIGEST, (orders,), block)
        return Digest(values[0])

    async def providers(self, *, block: str = "latest") -> Address:
        """`providers()`."""
        values = await self._read(_PROVIDERS, (), block)
        return Address(values[0])

    async def reveal_digest(
        self, job: bytes, commits: bytes, tag: bytes, rate: int, secs: int, *, block: str = "latest"
    ) -> Digest:
        """`revealDigest(bytes32, bytes32, bytes32, uint64, uint32)`."""
        values = await self._read(_REVEAL_DIGEST, (job, commits, tag, rate, secs), block)
        return Digest(values[0])

    async def reveals_digest(self, reveals: Sequence[int], *, block: str = "latest") -> Digest:
        """`revealsDigest(uint256[])`."""
        values = await self._read(_REVEALS_DIGEST, (reveals,), block)
        return Digest(values[0])

    def settle(self, receipts: Sequence[Receipt]) -> Call:
        """`settle(Receipt[])`."""
        return self._call(_SETTLE, (receipts,))

    def settle_packed(self, packed: bytes) -> Call:
        """`settlePacked(bytes)`."""
        return self._call(_SETTLE_PACKED, (packed,))

    async def vault(self, *, block: str = "latest") -> Address:
        """`vault()`."""
        values = await self._read(_VAULT, (), block)
        return Address(values[0])
