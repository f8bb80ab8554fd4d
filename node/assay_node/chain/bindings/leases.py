"""Leases as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import Lease, Terms
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


class EarnedResult(NamedTuple):
    """What `earned` returns."""

    amount: int
    fee: int


class Eip712DomainResult(NamedTuple):
    """What `eip712Domain` returns."""

    fields: bytes
    name: str
    version: str
    chain_id: int
    verifying_contract: Address
    salt: Digest
    extensions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EIP712DomainChanged(DecodedEvent):
    """The event EIP712DomainChanged."""

    ABI = EventType("EIP712DomainChanged", (), (), ())


@dataclass(frozen=True, slots=True)
class LeaseCancelled(DecodedEvent):
    """The event LeaseCancelled."""

    ABI = EventType("LeaseCancelled", ("lease", "by"), ("bytes32", "address"), (True, True))
    lease: Digest
    by: Address


@dataclass(frozen=True, slots=True)
class LeaseEnded(DecodedEvent):
    """The event LeaseEnded."""

    ABI = EventType("LeaseEnded", ("lease", "refund"), ("bytes32", "uint64"), (True, False))
    lease: Digest
    refund: int


@dataclass(frozen=True, slots=True)
class LeasePaid(DecodedEvent):
    """The event LeasePaid."""

    ABI = EventType(
        "LeasePaid",
        ("lease", "amount", "fee", "paid_until"),
        ("bytes32", "uint64", "uint64", "uint256"),
        (True, False, False, False),
    )
    lease: Digest
    amount: int
    fee: int
    paid_until: int


@dataclass(frozen=True, slots=True)
class LeaseStarted(DecodedEvent):
    """The event LeaseStarted."""

    ABI = EventType(
        "LeaseStarted",
        (
            "lease",
            "requester",
            "operator",
            "scheduler",
            "spec",
            "rate",
            "fee_rate",
            "escrow",
            "notice",
        ),
        (
            "bytes32",
            "address",
            "address",
            "address",
            "bytes32",
            "uint256",
            "uint256",
            "uint64",
            "uint256",
        ),
        (True, True, True, False, False, False, False, False, False),
    )
    lease: Digest
    requester: Address
    operator: Address
    scheduler: Address
    spec: Digest
    rate: int
    fee_rate: int
    escrow: int
    notice: int


@dataclass(frozen=True, slots=True)
class LeaseStopped(DecodedEvent):
    """The event LeaseStopped."""

    ABI = EventType(
        "LeaseStopped",
        ("lease", "by", "stops_at"),
        ("bytes32", "address", "uint256"),
        (True, True, False),
    )
    lease: Digest
    by: Address
    stops_at: int


@dataclass(frozen=True, slots=True)
class LeaseToppedUp(DecodedEvent):
    """The event LeaseToppedUp."""

    ABI = EventType(
        "LeaseToppedUp",
        ("lease", "from_", "amount", "ends_at"),
        ("bytes32", "address", "uint64", "uint256"),
        (True, True, False, False),
    )
    lease: Digest
    from_: Address
    amount: int
    ends_at: int


_NOTICE_MAX: Final = Function("NOTICE_MAX", (), (), ("uint256",))
_CANCEL: Final = Function(
    "cancel",
    ("terms",),
    ("(address,address,bytes32,bytes32,address,uint48,uint48,uint64,uint32,uint64,uint256)",),
    (),
)
_DOMAIN_SEPARATOR: Final = Function("domainSeparator", (), (), ("bytes32",))
_EARNED: Final = Function("earned", ("lease",), ("bytes32",), ("uint64", "uint64"))
_EIP712_DOMAIN: Final = Function(
    "eip712Domain",
    (),
    (),
    ("bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"),
)
_ENDS_AT: Final = Function("endsAt", ("lease",), ("bytes32",), ("uint256",))
_LEASE_ID: Final = Function(
    "leaseId",
    ("terms",),
    ("(address,address,bytes32,bytes32,address,uint48,uint48,uint64,uint32,uint64,uint256)",),
    ("bytes32",),
)
_LEASE_OF: Final = Function(
    "leaseOf",
    ("lease",),
    ("bytes32",),
    ("(address,uint64,uint24,uint8,address,uint48,uint48,address,uint48,uint48)",),
)
_PROVIDERS: Final = Function("providers", (), (), ("address",))
_SETTLE: Final = Function("settle", ("lease",), ("bytes32",), ())
_START: Final = Function(
    "start",
    ("terms", "requester_sig", "operator_sig"),
    (
        "(address,address,bytes32,bytes32,address,uint48,uint48,uint64,uint32,uint64,uint256)",
        "bytes",
        "bytes",
    ),
    ("bytes32",),
)
_STOP: Final = Function("stop", ("lease",), ("bytes32",), ())
_TOP_UP: Final = Function("topUp", ("lease", "amount"), ("bytes32", "uint64"), ())
_VAULT: Final = Function("vault", (), (), ("address",))
INVALID_SHORT_STRING: Final = ErrorType("InvalidShortString", (), ())
LEASES_ALREADY_STOPPED: Final = ErrorType(
    "Leases_AlreadyStopped", ("lease", "stopsAt"), ("bytes32", "uint256")
)
LEASES_ESCROW_TOO_SMALL: Final = ErrorType(
    "Leases_EscrowTooSmall", ("escrow", "needed"), ("uint256", "uint256")
)
LEASES_FEE_TO_NOBODY: Final = ErrorType("Leases_FeeToNobody", (), ())
LEASES_NO_SEAT: Final = ErrorType(
    "Leases_NoSeat", ("operator", "hardwareClass"), ("address", "bytes32")
)
LEASES_NOT_MODULE: Final = ErrorType("Leases_NotModule", ("vault",), ("address",))
LEASES_NOT_OPEN: Final = ErrorType("Leases_NotOpen", ("lease",), ("bytes32",))
LEASES_NOT_PARTY: Final = ErrorType("Leases_NotParty", ("caller",), ("address",))
LEASES_NOTICE_TOO_LONG: Final = ErrorType(
    "Leases_NoticeTooLong", ("notice", "longest"), ("uint256", "uint256")
)
LEASES_OPERATOR_SIGNATURE_INVALID: Final = ErrorType("Leases_OperatorSignatureInvalid", (), ())
LEASES_OVER: Final = ErrorType("Leases_Over", ("lease", "endedAt"), ("bytes32", "uint256"))
LEASES_RATE_ZERO: Final = ErrorType("Leases_RateZero", (), ())
LEASES_REQUESTER_SIGNATURE_INVALID: Final = ErrorType("Leases_RequesterSignatureInvalid", (), ())
LEASES_START_TOO_LATE: Final = ErrorType("Leases_StartTooLate", ("startBy",), ("uint256",))
LEASES_TERMS_USED: Final = ErrorType("Leases_TermsUsed", ("lease",), ("bytes32",))
SAFE_CAST_OVERFLOWED_UINT_DOWNCAST: Final = ErrorType(
    "SafeCastOverflowedUintDowncast", ("bits", "value"), ("uint8", "uint256")
)
STRING_TOO_LONG: Final = ErrorType("StringTooLong", ("str",), ("string",))

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _NOTICE_MAX.selector: _NOTICE_MAX,
    _CANCEL.selector: _CANCEL,
    _DOMAIN_SEPARATOR.selector: _DOMAIN_SEPARATOR,
    _EARNED.selector: _EARNED,
    _EIP712_DOMAIN.selector: _EIP712_DOMAIN,
    _ENDS_AT.selector: _ENDS_AT,
    _LEASE_ID.selector: _LEASE_ID,
    _LEASE_OF.selector: _LEASE_OF,
    _PROVIDERS.selector: _PROVIDERS,
    _SETTLE.selector: _SETTLE,
    _START.selector: _START,
    _STOP.selector: _STOP,
    _TOP_UP.selector: _TOP_UP,
    _VAULT.selector: _VAULT,
}


Event = (
    EIP712DomainChanged
    | LeaseCancelled
    | LeaseEnded
    | LeasePaid
    | LeaseStarted
    | LeaseStopped
    | LeaseToppedUp
)
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    EIP712DomainChanged.ABI.hash: EIP712DomainChanged,
    LeaseCancelled.ABI.hash: LeaseCancelled,
    LeaseEnded.ABI.hash: LeaseEnded,
    LeasePaid.ABI.hash: LeasePaid,
    LeaseStarted.ABI.hash: LeaseStarted,
    LeaseStopped.ABI.hash: LeaseStopped,
    LeaseToppedUp.ABI.hash: LeaseToppedUp,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    INVALID_SHORT_STRING.selector: INVALID_SHORT_STRING,
    LEASES_ALREADY_STOPPED.selector: LEASES_ALREADY_STOPPED,
    LEASES_ESCROW_TOO_SMALL.selector: LEASES_ESCROW_TOO_SMALL,
    LEASES_FEE_TO_NOBODY.selector: LEASES_FEE_TO_NOBODY,
    LEASES_NO_SEAT.selector: LEASES_NO_SEAT,
    LEASES_NOT_MODULE.selector: LEASES_NOT_MODULE,
    LEASES_NOT_OPEN.selector: LEASES_NOT_OPEN,
    LEASES_NOT_PARTY.selector: LEASES_NOT_PARTY,
    LEASES_NOTICE_TOO_LONG.selector: LEASES_NOTICE_TOO_LONG,
    LEASES_OPERATOR_SIGNATURE_INVALID.selector: LEASES_OPERATOR_SIGNATURE_INVALID,
    LEASES_OVER.selector: LEASES_OVER,
    LEASES_RATE_ZERO.selector: LEASES_RATE_ZERO,
    LEASES_REQUESTER_SIGNATURE_INVALID.selector: LEASES_REQUESTER_SIGNATURE_INVALID,
    LEASES_START_TOO_LATE.selector: LEASES_START_TOO_LATE,
    LEASES_TERMS_USED.selector: LEASES_TERMS_USED,
    SAFE_CAST_OVERFLOWED_UINT_DOWNCAST.selector: SAFE_CAST_OVERFLOWED_UINT_DOWNCAST,
    STRING_TOO_LONG.selector: STRING_TOO_LONG,
}


class Leases(BoundContract):
    """The contract Leases at its address."""

    errors = ERRORS

    async def notice_max(self, *, block: str = "latest") -> int:
        """`NOTICE_MAX()`."""
        values = await self._read(_NOTICE_MAX, (), block)
        return int(values[0])

    def cancel(self, terms: Terms) -> Call:
        """`cancel(Terms)`."""
        return self._call(_CANCEL, (terms,))

    async def domain_separator(self, *, block: str = "latest") -> Digest:
        """`domainSeparator()`."""
        values = await self._read(_DOMAIN_SEPARATOR, (), block)
        return Digest(values[0])

    async def earned(self, lease: bytes, *, block: str = "latest") -> EarnedResult:
        """`earned(bytes32)`."""
        values = await self._read(_EARNED, (lease,), block)
        return EarnedResult(int(values[0]), int(values[1]))

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

    async def ends_at(self, lease: bytes, *, block: str = "latest") -> int:
        """`endsAt(bytes32)`."""
        values = await self._read(_ENDS_AT, (lease,), block)
        return int(values[0])

    async def lease_id(self, terms: Terms, *, block: str = "latest") -> Digest:
        """`leaseId(Terms)`."""
        values = await self._read(_LEASE_ID, (terms,), block)
        return Digest(values[0])

    async def lease_of(self, lease: bytes, *, block: str = "latest") -> Lease:
        """`leaseOf(bytes32)`."""
        values = await self._read(_LEASE_OF, (lease,), block)
        return Lease(
            Address(values[0][0]),
            int(values[0][1]),
            int(values[0][2]),
            int(values[0][3]),
            Address(values[0][4]),
            int(values[0][5]),
            int(values[0][6]),
            Address(values[0][7]),
            int(values[0][8]),
            int(values[0][9]),
        )

    async def providers(self, *, block: str = "latest") -> Address:
        """`providers()`."""
        values = await self._read(_PROVIDERS, (), block)
        return Address(values[0])

    def settle(self, lease: bytes) -> Call:
        """`settle(bytes32)`."""
        return self._call(_SETTLE, (lease,))

    def start(self, terms: Terms, requester_sig: bytes, operator_sig: bytes) -> Call:
        """`start(Terms, bytes, bytes)`."""
        return self._call(_START, (terms, requester_sig, operator_sig))

    def stop(self, lease: bytes) -> Call:
        """`stop(bytes32)`."""
        return self._call(_STOP, (lease,))

    def top_up(self, lease: bytes, amount: int) -> Call:
        """`topUp(bytes32, uint64)`."""
        return self._call(_TOP_UP, (lease, amount))

    async def vault(self, *, block: str = "latest") -> Address:
        """`vault()`."""
        values = await self._read(_VAULT, (), block)
        return Address(values[0])
