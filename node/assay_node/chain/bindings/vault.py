"""Vault as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import Account, Budget
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address


class PostResult(NamedTuple):
    """What `post` returns."""

    refusals: tuple[int, ...]
    slashes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BudgetClosed(DecodedEvent):
    """The event BudgetClosed."""

    ABI = EventType(
        "BudgetClosed",
        ("requester", "scheduler", "closes_at"),
        ("address", "address", "uint48"),
        (True, True, False),
    )
    requester: Address
    scheduler: Address
    closes_at: int


@dataclass(frozen=True, slots=True)
class BudgetFunded(DecodedEvent):
    """The event BudgetFunded."""

    ABI = EventType(
        "BudgetFunded",
        ("requester", "scheduler", "amount"),
        ("address", "address", "uint64"),
        (True, True, False),
    )
    requester: Address
    scheduler: Address
    amount: int


@dataclass(frozen=True, slots=True)
class BudgetReclaimed(DecodedEvent):
    """The event BudgetReclaimed."""

    ABI = EventType(
        "BudgetReclaimed",
        ("requester", "scheduler", "amount"),
        ("address", "address", "uint64"),
        (True, True, False),
    )
    requester: Address
    scheduler: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Deposited(DecodedEvent):
    """The event Deposited."""

    ABI = EventType(
        "Deposited",
        ("from_", "account", "amount"),
        ("address", "address", "uint64"),
        (True, True, False),
    )
    from_: Address
    account: Address
    amount: int


@dataclass(frozen=True, slots=True)
class OperatorSettled(DecodedEvent):
    """The event OperatorSettled."""

    ABI = EventType("OperatorSettled", ("operator", "sums"), ("address", "uint256"), (True, False))
    operator: Address
    sums: int


@dataclass(frozen=True, slots=True)
class StakeBonded(DecodedEvent):
    """The event StakeBonded."""

    ABI = EventType("StakeBonded", ("operator", "amount"), ("address", "uint64"), (True, False))
    operator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class StakeReleased(DecodedEvent):
    """The event StakeReleased."""

    ABI = EventType("StakeReleased", ("operator", "amount"), ("address", "uint64"), (True, False))
    operator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn(DecodedEvent):
    """The event Withdrawn."""

    ABI = EventType(
        "Withdrawn",
        ("account", "to", "amount"),
        ("address", "address", "uint64"),
        (True, True, False),
    )
    account: Address
    to: Address
    amount: int


_NOTICE: Final = Function("NOTICE", (), (), ("uint256",))
_ACCOUNT: Final = Function(
    "account", ("who",), ("address",), ("(uint64,uint64,uint64,uint32,uint32)",)
)
_BOND: Final = Function("bond", ("operator", "amount"), ("address", "uint64"), ())
_BUDGET: Final = Function(
    "budget", ("requester", "scheduler"), ("address", "address"), ("(uint64,uint48)",)
)
_BUDGET_PAYS_UNTIL: Final = Function(
    "budgetPaysUntil", ("requester", "scheduler"), ("address", "address"), ("uint256",)
)
_CLOSE: Final = Function("close", ("scheduler",), ("address",), ())
_COLLECT: Final = Function("collect", ("from_", "amount"), ("address", "uint64"), ())
_DEPOSIT: Final = Function("deposit", ("to", "amount"), ("address", "uint64"), ())
_DEPOSIT_WITH_PERMIT: Final = Function(
    "depositWithPermit",
    ("to", "amount", "deadline", "v", "r", "s"),
    ("address", "uint64", "uint256", "uint8", "bytes32", "bytes32"),
    (),
)
_DISTRIBUTE: Final = Function(
    "distribute", ("shares", "unlocked"), ("uint256[]", "uint64"), ("uint64[]",)
)
_ESCROW: Final = Function("escrow", ("module",), ("address",), ("uint64",))
_FUND: Final = Function("fund", ("scheduler", "amount"), ("address", "uint64"), ())
_IS_MODULE: Final = Function("isModule", ("module",), ("address",), ("bool",))
_LOCK: Final = Function("lock", ("operator", "amount"), ("address", "uint64"), ())
_MARKET: Final = Function("market", (), (), ("address",))
_NONCE_USED: Final = Function(
    "nonceUsed", ("requester", "nonce"), ("address", "uint256"), ("bool",)
)
_PAY: Final = Function("pay", ("to", "amount"), ("address", "uint64"), ())
_POST: Final = Function(
    "post",
    ("jobs", "operators", "records"),
    ("uint256", "uint256", "uint256[]"),
    ("uint256[]", "uint256[]"),
)
_PROVIDERS: Final = Function("providers", (), (), ("address",))
_RECLAIM: Final = Function("reclaim", ("scheduler",), ("address",), ())
_REFUND: Final = Function(
    "refund", ("requester", "scheduler", "amount"), ("address", "address", "uint64"), ()
)
_RELEASE: Final = Function("release", ("operator", "amount"), ("address", "uint64"), ())
_RESERVE: Final = Function(
    "reserve",
    ("requester", "scheduler", "nonce", "amount"),
    ("address", "address", "uint256", "uint64"),
    (),
)
_TOKEN: Final = Function("token", (), (), ("address",))
_TOTAL: Final = Function("total", (), (), ("uint64",))
_TREASURY: Final = Function("treasury", (), (), ("address",))
_WITHDRAW: Final = Function("withdraw", ("to", "amount"), ("address", "uint64"), ())
REENTRANCY_GUARD_REENTRANT_CALL: Final = ErrorType("ReentrancyGuardReentrantCall", (), ())
SAFE_CAST_OVERFLOWED_UINT_DOWNCAST: Final = ErrorType(
    "SafeCastOverflowedUintDowncast", ("bits", "value"), ("uint8", "uint256")
)
SAFE_ERC20_FAILED_OPERATION: Final = ErrorType("SafeERC20FailedOperation", ("token",), ("address",))
VAULT_BUDGET_NOT_OPEN: Final = ErrorType(
    "Vault_BudgetNotOpen", ("requester", "scheduler"), ("address", "address")
)
VAULT_BUDGET_STILL_OPEN: Final = ErrorType(
    "Vault_BudgetStillOpen",
    ("requester", "scheduler", "closesAt"),
    ("address", "address", "uint48"),
)
VAULT_BUDGET_TOO_SMALL: Final = ErrorType(
    "Vault_BudgetTooSmall",
    ("requester", "scheduler", "amount", "needed"),
    ("address", "address", "uint64", "uint64"),
)
VAULT_FULL: Final = ErrorType("Vault_Full", ("total",), ("uint256",))
VAULT_INSUFFICIENT_FREE: Final = ErrorType(
    "Vault_InsufficientFree", ("account", "free", "amount"), ("address", "uint64", "uint64")
)
VAULT_NONCE_SPENT: Final = ErrorType(
    "Vault_NonceSpent", ("requester", "nonce"), ("address", "uint256")
)
VAULT_NOT_MARKET: Final = ErrorType("Vault_NotMarket", ("caller",), ("address",))
VAULT_NOT_MODULE: Final = ErrorType("Vault_NotModule", ("caller",), ("address",))
VAULT_NOT_PROVIDERS: Final = ErrorType("Vault_NotProviders", ("caller",), ("address",))
VAULT_STAKE_LOCKED: Final = ErrorType(
    "Vault_StakeLocked", ("operator", "available", "needed"), ("address", "uint64", "uint64")
)
VAULT_TOO_FEW_DECIMALS: Final = ErrorType("Vault_TooFewDecimals", ("decimals",), ("uint8",))

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _NOTICE.selector: _NOTICE,
    _ACCOUNT.selector: _ACCOUNT,
    _BOND.selector: _BOND,
    _BUDGET.selector: _BUDGET,
    _BUDGET_PAYS_UNTIL.selector: _BUDGET_PAYS_UNTIL,
    _CLOSE.selector: _CLOSE,
    _COLLECT.selector: _COLLECT,
    _DEPOSIT.selector: _DEPOSIT,
    _DEPOSIT_WITH_PERMIT.selector: _DEPOSIT_WITH_PERMIT,
    _DISTRIBUTE.selector: _DISTRIBUTE,
    _ESCROW.selector: _ESCROW,
    _FUND.selector: _FUND,
    _IS_MODULE.selector: _IS_MODULE,
    _LOCK.selector: _LOCK,
    _MARKET.selector: _MARKET,
    _NONCE_USED.selector: _NONCE_USED,
    _PAY.selector: _PAY,
    _POST.selector: _POST,
    _PROVIDERS.selector: _PROVIDERS,
    _RECLAIM.selector: _RECLAIM,
    _REFUND.selector: _REFUND,
    _RELEASE.selector: _RELEASE,
    _RESERVE.selector: _RESERVE,
    _TOKEN.selector: _TOKEN,
    _TOTAL.selector: _TOTAL,
    _TREASURY.selector: _TREASURY,
    _WITHDRAW.selector: _WITHDRAW,
}


Event = (
    BudgetClosed
    | BudgetFunded
    | BudgetReclaimed
    | Deposited
    | OperatorSettled
    | StakeBonded
    | StakeReleased
    | Withdrawn
)
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    BudgetClosed.ABI.hash: BudgetClosed,
    BudgetFunded.ABI.hash: BudgetFunded,
    BudgetReclaimed.ABI.hash: BudgetReclaimed,
    Deposited.ABI.hash: Deposited,
    OperatorSettled.ABI.hash: OperatorSettled,
    StakeBonded.ABI.hash: StakeBonded,
    StakeReleased.ABI.hash: StakeReleased,
    Withdrawn.ABI.hash: Withdrawn,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    REENTRANCY_GUARD_REENTRANT_CALL.selector: REENTRANCY_GUARD_REENTRANT_CALL,
    SAFE_CAST_OVERFLOWED_UINT_DOWNCAST.selector: SAFE_CAST_OVERFLOWED_UINT_DOWNCAST,
    SAFE_ERC20_FAILED_OPERATION.selector: SAFE_ERC20_FAILED_OPERATION,
    VAULT_BUDGET_NOT_OPEN.selector: VAULT_BUDGET_NOT_OPEN,
    VAULT_BUDGET_STILL_OPEN.selector: VAULT_BUDGET_STILL_OPEN,
    VAULT_BUDGET_TOO_SMALL.selector: VAULT_BUDGET_TOO_SMALL,
    VAULT_FULL.selector: VAULT_FULL,
    VAULT_INSUFFICIENT_FREE.selector: VAULT_INSUFFICIENT_FREE,
    VAULT_NONCE_SPENT.selector: VAULT_NONCE_SPENT,
    VAULT_NOT_MARKET.selector: VAULT_NOT_MARKET,
    VAULT_NOT_MODULE.selector: VAULT_NOT_MODULE,
    VAULT_NOT_PROVIDERS.selector: VAULT_NOT_PROVIDERS,
    VAULT_STAKE_LOCKED.selector: VAULT_STAKE_LOCKED,
    VAULT_TOO_FEW_DECIMALS.selector: VAULT_TOO_FEW_DECIMALS,
}


class Vault(BoundContract):
    """The contract Vault at its address."""

    errors = ERRORS

    async def notice(self, *, block: str = "latest") -> int:
        """`NOTICE()`."""
        values = await self._read(_NOTICE, (), block)
        return int(values[0])

    async def account(self, who: Address, *, block: str = "latest") -> Account:
        """`account(address)`."""
        values = await self._read(_ACCOUNT, (who,), block)
        return Account(
            int(values[0][0]),
            int(values[0][1]),
            int(values[0][2]),
            int(values[0][3]),
            int(values[0][4]),
        )

    def bond(self, operator: Address, amount: int) -> Call:
        """`bond(address, uint64)`."""
        return self._call(_BOND, (operator, amount))

    async def budget(
        self, requester: Address, scheduler: Address, *, block: str = "latest"
    ) -> Budget:
        """`budget(address, address)`."""
        values = await self._read(_BUDGET, (requester, scheduler), block)
        return Budget(int(values[0][0]), int(values[0][1]))

    async def budget_pays_until(
        self, requester: Address, scheduler: Address, *, block: str = "latest"
    ) -> int:
        """`budgetPaysUntil(address, address)`."""
        values = await self._read(_BUDGET_PAYS_UNTIL, (requester, scheduler), block)
        return int(values[0])

    def close(self, scheduler: Address) -> Call:
        """`close(address)`."""
        return self._call(_CLOSE, (scheduler,))

    def collect(self, from_: Address, amount: int) -> Call:
        """`collect(address, uint64)`."""
        return self._call(_COLLECT, (from_, amount))

    def deposit(self, to: Address, amount: int) -> Call:
        """`deposit(address, uint64)`."""
        return self._call(_DEPOSIT, (to, amount))

    def deposit_with_permit(
        self, to: Address, amount: int, deadline: int, v: int, r: bytes, s: bytes
    ) -> Call:
        """`depositWithPermit(address, uint64, uint256, uint8, bytes32, bytes32)`."""
        return self._call(_DEPOSIT_WITH_PERMIT, (to, amount, deadline, v, r, s))

    def distribute(self, shares: Sequence[int], unlocked: int) -> Call:
        """`distribute(uint256[], uint64)`."""
        return self._call(_DISTRIBUTE, (shares, unlocked))

    async def escrow(self, module: Address, *, block: str = "latest") -> int:
        """`escrow(address)`."""
        values = await self._read(_ESCROW, (module,), block)
        return int(values[0])

    def fund(self, scheduler: Address, amount: int) -> Call:
        """`fund(address, uint64)`."""
        return self._call(_FUND, (scheduler, amount))

    async def is_module(self, module: Address, *, block: str = "latest") -> bool:
        """`isModule(address)`."""
        values = await self._read(_IS_MODULE, (module,), block)
        return bool(values[0])

    def lock(self, operator: Address, amount: int) -> Call:
        """`lock(address, uint64)`."""
        return self._call(_LOCK, (operator, amount))

    async def market(self, *, block: str = "latest") -> Address:
        """`market()`."""
        values = await self._read(_MARKET, (), block)
        return Address(values[0])

    async def nonce_used(self, requester: Address, nonce: int, *, block: str = "latest") -> bool:
        """`nonceUsed(address, uint256)`."""
        values = await self._read(_NONCE_USED, (requester, nonce), block)
        return bool(values[0])

    def pay(self, to: Address, amount: int) -> Call:
        """`pay(address, uint64)`."""
        return self._call(_PAY, (to, amount))

    def post(self, jobs: int, operators: int, records: Sequence[int]) -> Call:
        """`post(uint256, uint256, uint256[])`."""
        return self._call(_POST, (jobs, operators, records))

    async def providers(self, *, block: str = "latest") -> Address:
        """`providers()`."""
        values = await self._read(_PROVIDERS, (), block)
        return Address(values[0])

    def reclaim(self, scheduler: Address) -> Call:
        """`reclaim(address)`."""
        return self._call(_RECLAIM, (scheduler,))

    def refund(self, requester: Address, scheduler: Address, amount: int) -> Call:
        """`refund(address, address, uint64)`."""
        return self._call(_REFUND, (requester, scheduler, amount))

    def release(self, operator: Address, amount: int) -> Call:
        """`release(address, uint64)`."""
        return self._call(_RELEASE, (operator, amount))

    def reserve(self, requester: Address, scheduler: Address, nonce: int, amount: int) -> Call:
        """`reserve(address, address, uint256, uint64)`."""
        return self._call(_RESERVE, (requester, scheduler, nonce, amount))

    async def token(self, *, block: str = "latest") -> Address:
        """`token()`."""
        values = await self._read(_TOKEN, (), block)
        return Address(values[0])

    async def total(self, *, block: str = "latest") -> int:
        """`total()`."""
        values = await self._read(_TOTAL, (), block)
        return int(values[0])

    async def treasury(self, *, block: str = "latest") -> Address:
        """`treasury()`."""
        values = await self._read(_TREASURY, (), block)
        return Address(values[0])

    def withdraw(self, to: Address, amount: int) -> Call:
        """`withdraw(address, uint64)`."""
        return self._call(_WITHDRAW, (to, amount))
