"""Providers as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import Claim
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


class StandingResult(NamedTuple):
    """What `standing` returns."""

    seats: int
    ready_at: int


@dataclass(frozen=True, slots=True)
class Evicted(DecodedEvent):
    """The event Evicted."""

    ABI = EventType(
        "Evicted",
        ("operator", "hardware_class", "seats", "ready_at"),
        ("address", "bytes32", "uint256", "uint256"),
        (True, True, False, False),
    )
    operator: Address
    hardware_class: Digest
    seats: int
    ready_at: int


@dataclass(frozen=True, slots=True)
class Exited(DecodedEvent):
    """The event Exited."""

    ABI = EventType("Exited", ("operator", "amount"), ("address", "uint64"), (True, False))
    operator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class SeedKept(DecodedEvent):
    """The event SeedKept."""

    ABI = EventType(
        "SeedKept",
        ("hardware_class", "seed_block", "seed", "seats"),
        ("bytes32", "uint256", "bytes32", "uint256"),
        (True, True, False, False),
    )
    hardware_class: Digest
    seed_block: int
    seed: Digest
    seats: int


@dataclass(frozen=True, slots=True)
class SignerSet(DecodedEvent):
    """The event SignerSet."""

    ABI = EventType(
        "SignerSet",
        ("operator", "signer", "effective_at"),
        ("address", "address", "uint256"),
        (True, True, False),
    )
    operator: Address
    signer: Address
    effective_at: int


@dataclass(frozen=True, slots=True)
class Staked(DecodedEvent):
    """The event Staked."""

    ABI = EventType(
        "Staked",
        ("operator", "hardware_class", "seats"),
        ("address", "bytes32", "uint256"),
        (True, True, False),
    )
    operator: Address
    hardware_class: Digest
    seats: int


@dataclass(frozen=True, slots=True)
class ToppedUp(DecodedEvent):
    """The event ToppedUp."""

    ABI = EventType("ToppedUp", ("operator", "amount"), ("address", "uint64"), (True, False))
    operator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Unstaked(DecodedEvent):
    """The event Unstaked."""

    ABI = EventType(
        "Unstaked",
        ("operator", "hardware_class", "seats", "ready_at"),
        ("address", "bytes32", "uint256", "uint256"),
        (True, True, False, False),
    )
    operator: Address
    hardware_class: Digest
    seats: int
    ready_at: int


_SEAT: Final = Function("SEAT", (), (), ("uint256",))
_SEED_LIFE: Final = Function("SEED_LIFE", (), (), ("uint256",))
_SIGNER_DELAY: Final = Function("SIGNER_DELAY", (), (), ("uint256",))
_SIGNER_GRACE: Final = Function("SIGNER_GRACE", (), (), ("uint256",))
_UNBONDING: Final = Function("UNBONDING", (), (), ("uint256",))
_CHECK: Final = Function(
    "check",
    ("hardware_class", "seed_block", "job", "claims"),
    ("bytes32", "uint256", "bytes32", "(uint256,address,address)[]"),
    ("uint8",),
)
_CHECK_BATCH: Final = Function(
    "checkBatch",
    ("claim_words", "keys", "words"),
    ("uint256", "uint256", "uint256[]"),
    ("uint256[]",),
)
_DRAW: Final = Function(
    "draw",
    ("hardware_class", "seed_block", "job", "max_ticket"),
    ("bytes32", "uint256", "bytes32", "uint256"),
    ("address[]",),
)
_DRAW_TICKET: Final = Function(
    "drawTicket",
    ("hardware_class", "seed_block", "job", "ticket"),
    ("bytes32", "uint256", "bytes32", "uint256"),
    ("address",),
)
_EVICT: Final = Function(
    "evict", ("operator", "hardware_class", "seats"), ("address", "bytes32", "uint256"), ()
)
_EXIT: Final = Function("exit", (), (), ())
_IS_SIGNER: Final = Function("isSigner", ("operator", "signer"), ("address", "address"), ("bool",))
_KEEP_SEED: Final = Function(
    "keepSeed", ("hardware_class", "seed_block"), ("bytes32", "uint256"), ()
)
_OPERATOR_OF: Final = Function("operatorOf", ("signer",), ("address",), ("address",))
_SEAT_COUNT: Final = Function("seatCount", ("hardware_class",), ("bytes32",), ("uint256",))
_SEATS_OF: Final = Function(
    "seatsOf", ("operator", "hardware_class"), ("address", "bytes32"), ("uint256",)
)
_SET_SIGNER: Final = Function("setSigner", ("signer",), ("address",), ())
_SIGNER_OF: Final = Function("signerOf", ("operator",), ("address",), ("address",))
_STAKE: Final = Function("stake", ("hardware_class", "seats"), ("bytes32", "uint256"), ())
_STANDING: Final = Function("standing", ("operator",), ("address",), ("uint256", "uint256"))
_TOP_UP: Final = Function("topUp", ("amount",), ("uint64",), ())
_UNSTAKE: Final = Function("unstake", ("hardware_class", "seats"), ("bytes32", "uint256"), ())
_VAULT: Final = Function("vault", (), (), ("address",))
CHECKPOINT_UNORDERED_INSERTION: Final = ErrorType("CheckpointUnorderedInsertion", (), ())
PROVIDERS_CLASS_FULL: Final = ErrorType(
    "Providers_ClassFull", ("hardwareClass", "seats"), ("bytes32", "uint256")
)
PROVIDERS_NO_SEATS: Final = ErrorType("Providers_NoSeats", (), ())
PROVIDERS_NOTHING_TO_EXIT: Final = ErrorType("Providers_NothingToExit", ("operator",), ("address",))
PROVIDERS_SEATS_COVERED: Final = ErrorType(
    "Providers_SeatsCovered", ("operator", "seats", "stake"), ("address", "uint256", "uint64")
)
PROVIDERS_SEED_UNKNOWN: Final = ErrorType("Providers_SeedUnknown", ("seedBlock",), ("uint256",))
PROVIDERS_SIGNER_CHANGING: Final = ErrorType(
    "Providers_SignerChanging", ("operator", "settledAt"), ("address", "uint256")
)
PROVIDERS_SIGNER_TAKEN: Final = ErrorType(
    "Providers_SignerTaken", ("signer", "operator"), ("address", "address")
)
PROVIDERS_SIGNER_ZERO: Final = ErrorType("Providers_SignerZero", (), ())
PROVIDERS_STILL_UNBONDING: Final = ErrorType(
    "Providers_StillUnbonding", ("operator", "readyAt"), ("address", "uint256")
)
PROVIDERS_TOO_FEW_SEATS: Final = ErrorType(
    "Providers_TooFewSeats",
    ("operator", "hardwareClass", "held", "asked"),
    ("address", "bytes32", "uint256", "uint256"),
)
PROVIDERS_WIRED_TO_OTHER: Final = ErrorType("Providers_WiredToOther", ("providers",), ("address",))
SAFE_CAST_OVERFLOWED_UINT_DOWNCAST: Final = ErrorType(
    "SafeCastOverflowedUintDowncast", ("bits", "value"), ("uint8", "uint256")
)

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _SEAT.selector: _SEAT,
    _SEED_LIFE.selector: _SEED_LIFE,
    _SIGNER_DELAY.selector: _SIGNER_DELAY,
    _SIGNER_GRACE.selector: _SIGNER_GRACE,
    _UNBONDING.selector: _UNBONDING,
    _CHECK.selector: _CHECK,
    _CHECK_BATCH.selector: _CHECK_BATCH,
    _DRAW.selector: _DRAW,
    _DRAW_TICKET.selector: _DRAW_TICKET,
    _EVICT.selector: _EVICT,
    _EXIT.selector: _EXIT,
    _IS_SIGNER.selector: _IS_SIGNER,
    _KEEP_SEED.selector: _KEEP_SEED,
    _OPERATOR_OF.selector: _OPERATOR_OF,
    _SEAT_COUNT.selector: _SEAT_COUNT,
    _SEATS_OF.selector: _SEATS_OF,
    _SET_SIGNER.selector: _SET_SIGNER,
    _SIGNER_OF.selector: _SIGNER_OF,
    _STAKE.selector: _STAKE,
    _STANDING.selector: _STANDING,
    _TOP_UP.selector: _TOP_UP,
    _UNSTAKE.selector: _UNSTAKE,
    _VAULT.selector: _VAULT,
}


Event = Evicted | Exited | SeedKept | SignerSet | Staked | ToppedUp | Unstaked
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    Evicted.ABI.hash: Evicted,
    Exited.ABI.hash: Exited,
    SeedKept.ABI.hash: SeedKept,
    SignerSet.ABI.hash: SignerSet,
    Staked.ABI.hash: Staked,
    ToppedUp.ABI.hash: ToppedUp,
    Unstaked.ABI.hash: Unstaked,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    CHECKPOINT_UNORDERED_INSERTION.selector: CHECKPOINT_UNORDERED_INSERTION,
    PROVIDERS_CLASS_FULL.selector: PROVIDERS_CLASS_FULL,
    PROVIDERS_NO_SEATS.selector: PROVIDERS_NO_SEATS,
    PROVIDERS_NOTHING_TO_EXIT.selector: PROVIDERS_NOTHING_TO_EXIT,
    PROVIDERS_SEATS_COVERED.selector: PROVIDERS_SEATS_COVERED,
    PROVIDERS_SEED_UNKNOWN.selector: PROVIDERS_SEED_UNKNOWN,
    PROVIDERS_SIGNER_CHANGING.selector: PROVIDERS_SIGNER_CHANGING,
    PROVIDERS_SIGNER_TAKEN.selector: PROVIDERS_SIGNER_TAKEN,
    PROVIDERS_SIGNER_ZERO.selector: PROVIDERS_SIGNER_ZERO,
    PROVIDERS_STILL_UNBONDING.selector: PROVIDERS_STILL_UNBONDING,
    PROVIDERS_TOO_FEW_SEATS.selector: PROVIDERS_TOO_FEW_SEATS,
    PROVIDERS_WIRED_TO_OTHER.selector: PROVIDERS_WIRED_TO_OTHER,
    SAFE_CAST_OVERFLOWED_UINT_DOWNCAST.selector: SAFE_CAST_OVERFLOWED_UINT_DOWNCAST,
}


class Providers(BoundContract):
    """The contract Providers at its address."""

    errors = ERRORS

    async def seat(self, *, block: str = "latest") -> int:
        """`SEAT()`."""
        values = await self._read(_SEAT, (), block)
        return int(values[0])

    async def seed_life(self, *, block: str = "latest") -> int:
        """`SEED_LIFE()`."""
        values = await self._read(_SEED_LIFE, (), block)
        return int(values[0])

    async def signer_delay(self, *, block: str = "latest") -> int:
        """`SIGNER_DELAY()`."""
        values = await self._read(_SIGNER_DELAY, (), block)
        return int(values[0])

    async def signer_grace(self, *, block: str = "latest") -> int:
        """`SIGNER_GRACE()`."""
        values = await self._read(_SIGNER_GRACE, (), block)
        return int(values[0])

    async def unbonding(self, *, block: str = "latest") -> int:
        """`UNBONDING()`."""
        values = await self._read(_UNBONDING, (), block)
        return int(values[0])

    async def check(
        self,
        hardware_class: bytes,
        seed_block: int,
        job: bytes,
        claims: Sequence[Claim],
        *,
        block: str = "latest",
    ) -> int:
        """`check(bytes32, uint256, bytes32, Claim[])`."""
        values = await self._read(_CHECK, (hardware_class, seed_block, job, claims), block)
        return int(values[0])

    async def check_batch(
        self, claim_words: int, keys: int, words: Sequence[int], *, block: str = "latest"
    ) -> tuple[int, ...]:
        """`checkBatch(uint256, uint256, uint256[])`."""
        values = await self._read(_CHECK_BATCH, (claim_words, keys, words), block)
        return tuple(int(v0) for v0 in values[0])

    async def draw(
        self,
        hardware_class: bytes,
        seed_block: int,
        job: bytes,
        max_ticket: int,
        *,
        block: str = "latest",
    ) -> tuple[Address, ...]:
        """`draw(bytes32, uint256, bytes32, uint256)`."""
        values = await self._read(_DRAW, (hardware_class, seed_block, job, max_ticket), block)
        return tuple(Address(v0) for v0 in values[0])

    async def draw_ticket(
        self,
        hardware_class: bytes,
        seed_block: int,
        job: bytes,
        ticket: int,
        *,
        block: str = "latest",
    ) -> Address:
        """`drawTicket(bytes32, uint256, bytes32, uint256)`."""
        values = await self._read(_DRAW_TICKET, (hardware_class, seed_block, job, ticket), block)
        return Address(values[0])

    def evict(self, operator: Address, hardware_class: bytes, seats: int) -> Call:
        """`evict(address, bytes32, uint256)`."""
        return self._call(_EVICT, (operator, hardware_class, seats))

    def exit(self) -> Call:
        """`exit()`."""
        return self._call(_EXIT, ())

    async def is_signer(self, operator: Address, signer: Address, *, block: str = "latest") -> bool:
        """`isSigner(address, address)`."""
        values = await self._read(_IS_SIGNER, (operator, signer), block)
        return bool(values[0])

    def keep_seed(self, hardware_class: bytes, seed_block: int) -> Call:
        """`keepSeed(bytes32, uint256)`."""
        return self._call(_KEEP_SEED, (hardware_class, seed_block))

    async def operator_of(self, signer: Address, *, block: str = "latest") -> Address:
        """`operatorOf(address)`."""
        values = await self._read(_OPERATOR_OF, (signer,), block)
        return Address(values[0])

    async def seat_count(self, hardware_class: bytes, *, block: str = "latest") -> int:
        """`seatCount(bytes32)`."""
        values = await self._read(_SEAT_COUNT, (hardware_class,), block)
        return int(values[0])

    async def seats_of(
        self, operator: Address, hardware_class: bytes, *, block: str = "latest"
    ) -> int:
        """`seatsOf(address, bytes32)`."""
        values = await self._read(_SEATS_OF, (operator, hardware_class), block)
        return int(values[0])

    def set_signer(self, signer: Address) -> Call:
        """`setSigner(address)`."""
        return self._call(_SET_SIGNER, (signer,))

    async def signer_of(self, operator: Address, *, block: str = "latest") -> Address:
        """`signerOf(address)`."""
        values = await self._read(_SIGNER_OF, (operator,), block)
        return Address(values[0])

    def stake(self, hardware_class: bytes, seats: int) -> Call:
        """`stake(bytes32, uint256)`."""
        return self._call(_STAKE, (hardware_class, seats))

    async def standing(self, operator: Address, *, block: str = "latest") -> StandingResult:
        """`standing(address)`."""
        values = await self._read(_STANDING, (operator,), block)
        return StandingResult(int(values[0]), int(values[1]))

    def top_up(self, amount: int) -> Call:
        """`topUp(uint64)`."""
        return self._call(_TOP_UP, (amount,))

    def unstake(self, hardware_class: bytes, seats: int) -> Call:
        """`unstake(bytes32, uint256)`."""
        return self._call(_UNSTAKE, (hardware_class, seats))

    async def vault(self, *, block: str = "latest") -> Address:
        """`vault()`."""
        values = await self._read(_VAULT, (), block)
        return Address(values[0])
