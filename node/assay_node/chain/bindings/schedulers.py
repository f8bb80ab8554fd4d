"""Schedulers as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import Assign, SchedulerBond
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


@dataclass(frozen=True, slots=True)
class SchedulerBonded(DecodedEvent):
    """The event SchedulerBonded."""

    ABI = EventType(
        "SchedulerBonded",
        ("scheduler", "amount", "bonded"),
        ("address", "uint64", "uint64"),
        (True, False, False),
    )
    scheduler: Address
    amount: int
    bonded: int


@dataclass(frozen=True, slots=True)
class SchedulerLeaving(DecodedEvent):
    """The event SchedulerLeaving."""

    ABI = EventType(
        "SchedulerLeaving", ("scheduler", "leaves_at"), ("address", "uint256"), (True, False)
    )
    scheduler: Address
    leaves_at: int


@dataclass(frozen=True, slots=True)
class SchedulerLeft(DecodedEvent):
    """The event SchedulerLeft."""

    ABI = EventType("SchedulerLeft", ("scheduler", "amount"), ("address", "uint64"), (True, False))
    scheduler: Address
    amount: int


@dataclass(frozen=True, slots=True)
class SchedulerSlashed(DecodedEvent):
    """The event SchedulerSlashed."""

    ABI = EventType(
        "SchedulerSlashed",
        ("scheduler", "job", "amount"),
        ("address", "bytes32", "uint64"),
        (True, True, False),
    )
    scheduler: Address
    job: Digest
    amount: int


_SCHEDULER_NOTICE: Final = Function("SCHEDULER_NOTICE", (), (), ("uint256",))
_BOND: Final = Function("bond", ("amount",), ("uint64",), ())
_BOND_OF: Final = Function("bondOf", ("scheduler",), ("address",), ("(uint64,uint48,bool)",))
_GIVE_NOTICE: Final = Function("giveNotice", (), (), ())
_MARKET: Final = Function("market", (), (), ("address",))
_RECLAIM: Final = Function("reclaim", ("scheduler",), ("address",), ())
_SLASH_COMMIT_SETS: Final = Function(
    "slashCommitSets",
    ("job", "round_", "first_commits", "first_sig", "second_commits", "second_sig"),
    ("bytes32", "uint32", "bytes32", "bytes", "bytes32", "bytes"),
    (),
)
_SLASH_FORK: Final = Function(
    "slashFork",
    ("first", "first_sig", "second", "second_sig"),
    (
        "(bytes32,uint32,uint32,address[],uint8[],address[])",
        "bytes",
        "(bytes32,uint32,uint32,address[],uint8[],address[])",
        "bytes",
    ),
    (),
)
_SLASH_OMISSION: Final = Function(
    "slashOmission",
    ("earlier", "earlier_sig", "later", "later_sig", "omitted"),
    (
        "(bytes32,uint32,uint32,address[],uint8[],address[])",
        "bytes",
        "(bytes32,uint32,uint32,address[],uint8[],address[])",
        "bytes",
        "address",
    ),
    (),
)
_SLASHABLE_UNTIL: Final = Function("slashableUntil", ("scheduler",), ("address",), ("uint256",))
_VAULT: Final = Function("vault", (), (), ("address",))
SAFE_CAST_OVERFLOWED_UINT_DOWNCAST: Final = ErrorType(
    "SafeCastOverflowedUintDowncast", ("bits", "value"), ("uint8", "uint256")
)
SCHEDULERS_ALREADY_LEAVING: Final = ErrorType(
    "Schedulers_AlreadyLeaving", ("scheduler", "leavesAt"), ("address", "uint256")
)
SCHEDULERS_AMOUNT_ZERO: Final = ErrorType("Schedulers_AmountZero", (), ())
SCHEDULERS_CAUGHT: Final = ErrorType("Schedulers_Caught", ("scheduler",), ("address",))
SCHEDULERS_NO_OFFENCE: Final = ErrorType("Schedulers_NoOffence", (), ())
SCHEDULERS_NOT_LEAVING: Final = ErrorType("Schedulers_NotLeaving", ("scheduler",), ("address",))
SCHEDULERS_NOT_MODULE: Final = ErrorType("Schedulers_NotModule", ("vault",), ("address",))
SCHEDULERS_NOTHING_BONDED: Final = ErrorType(
    "Schedulers_NothingBonded", ("scheduler",), ("address",)
)
SCHEDULERS_SIGNATURE_INVALID: Final = ErrorType("Schedulers_SignatureInvalid", (), ())
SCHEDULERS_SIGNERS_DIFFER: Final = ErrorType(
    "Schedulers_SignersDiffer", ("first", "second"), ("address", "address")
)
SCHEDULERS_STILL_SLASHABLE: Final = ErrorType(
    "Schedulers_StillSlashable", ("scheduler", "leavesAt"), ("address", "uint256")
)

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _SCHEDULER_NOTICE.selector: _SCHEDULER_NOTICE,
    _BOND.selector: _BOND,
    _BOND_OF.selector: _BOND_OF,
    _GIVE_NOTICE.selector: _GIVE_NOTICE,
    _MARKET.selector: _MARKET,
    _RECLAIM.selector: _RECLAIM,
    _SLASH_COMMIT_SETS.selector: _SLASH_COMMIT_SETS,
    _SLASH_FORK.selector: _SLASH_FORK,
    _SLASH_OMISSION.selector: _SLASH_OMISSION,
    _SLASHABLE_UNTIL.selector: _SLASHABLE_UNTIL,
    _VAULT.selector: _VAULT,
}


Event = SchedulerBonded | SchedulerLeaving | SchedulerLeft | SchedulerSlashed
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    SchedulerBonded.ABI.hash: SchedulerBonded,
    SchedulerLeaving.ABI.hash: SchedulerLeaving,
    SchedulerLeft.ABI.hash: SchedulerLeft,
    SchedulerSlashed.ABI.hash: SchedulerSlashed,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    SAFE_CAST_OVERFLOWED_UINT_DOWNCAST.selector: SAFE_CAST_OVERFLOWED_UINT_DOWNCAST,
    SCHEDULERS_ALREADY_LEAVING.selector: SCHEDULERS_ALREADY_LEAVING,
    SCHEDULERS_AMOUNT_ZERO.selector: SCHEDULERS_AMOUNT_ZERO,
    SCHEDULERS_CAUGHT.selector: SCHEDULERS_CAUGHT,
    SCHEDULERS_NO_OFFENCE.selector: SCHEDULERS_NO_OFFENCE,
    SCHEDULERS_NOT_LEAVING.selector: SCHEDULERS_NOT_LEAVING,
    SCHEDULERS_NOT_MODULE.selector: SCHEDULERS_NOT_MODULE,
    SCHEDULERS_NOTHING_BONDED.selector: SCHEDULERS_NOTHING_BONDED,
    SCHEDULERS_SIGNATURE_INVALID.selector: SCHEDULERS_SIGNATURE_INVALID,
    SCHEDULERS_SIGNERS_DIFFER.selector: SCHEDULERS_SIGNERS_DIFFER,
    SCHEDULERS_STILL_SLASHABLE.selector: SCHEDULERS_STILL_SLASHABLE,
}


class Schedulers(BoundContract):
    """The contract Schedulers at its address."""

    errors = ERRORS

    async def scheduler_notice(self, *, block: str = "latest") -> int:
        """`SCHEDULER_NOTICE()`."""
        values = await self._read(_SCHEDULER_NOTICE, (), block)
        return int(values[0])

    def bond(self, amount: int) -> Call:
        """`bond(uint64)`."""
        return self._call(_BOND, (amount,))

    async def bond_of(self, scheduler: Address, *, block: str = "latest") -> SchedulerBond:
        """`bondOf(address)`."""
        values = await self._read(_BOND_OF, (scheduler,), block)
        return SchedulerBond(int(values[0][0]), int(values[0][1]), bool(values[0][2]))

    def give_notice(self) -> Call:
        """`giveNotice()`."""
        return self._call(_GIVE_NOTICE, ())

    async def market(self, *, block: str = "latest") -> Address:
        """`market()`."""
        values = await self._read(_MARKET, (), block)
        return Address(values[0])

    def reclaim(self, scheduler: Address) -> Call:
        """`reclaim(address)`."""
        return self._call(_RECLAIM, (scheduler,))

    def slash_commit_sets(
        self,
        job: bytes,
        round_: int,
        first_commits: bytes,
        first_sig: bytes,
        second_commits: bytes,
        second_sig: bytes,
    ) -> Call:
        """`slashCommitSets(bytes32, uint32, bytes32, bytes, bytes32, bytes)`."""
        return self._call(
            _SLASH_COMMIT_SETS, (job, round_, first_commits, first_sig, second_commits, second_sig)
        )

    def slash_fork(
        self, first: Assign, first_sig: bytes, second: Assign, second_sig: bytes
    ) -> Call:
        """`slashFork(Assign, bytes, Assign, bytes)`."""
        return self._call(_SLASH_FORK, (first, first_sig, second, second_sig))

    def slash_omission(
        self, earlier: Assign, earlier_sig: bytes, later: Assign, later_sig: bytes, omitted: Address
    ) -> Call:
        """`slashOmission(Assign, bytes, Assign, bytes, address)`."""
        return self._call(_SLASH_OMISSION, (earlier, earlier_sig, later, later_sig, omitted))

    async def slashable_until(self, scheduler: Address, *, block: str = "latest") -> int:
        """`slashableUntil(address)`."""
        values = await self._read(_SLASHABLE_UNTIL, (scheduler,), block)
        return int(values[0])

    async def vault(self, *, block: str = "latest") -> Address:
        """`vault()`."""
        values = await self._read(_VAULT, (), block)
        return Address(values[0])
