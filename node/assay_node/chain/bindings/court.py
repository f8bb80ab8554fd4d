"""Court as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bindings.structs import (
    Case,
    Commit,
    Entry,
    Fund,
    Matter,
    Opening,
    Order,
    Panel,
    Pledges,
    Referral,
    Verdict,
)
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


class PledgesOfResult(NamedTuple):
    """What `pledgesOf` returns."""

    pledges: Pledges
    expired: int


@dataclass(frozen=True, slots=True)
class AuditSeedKept(DecodedEvent):
    """The event AuditSeedKept."""

    ABI = EventType("AuditSeedKept", ("seed_block", "seed"), ("uint256", "bytes32"), (True, False))
    seed_block: int
    seed: Digest


@dataclass(frozen=True, slots=True)
class CaseClosed(DecodedEvent):
    """The event CaseClosed."""

    ABI = EventType(
        "CaseClosed",
        ("job", "final", "refund", "returned"),
        ("bytes32", "uint64", "uint64", "uint64"),
        (True, False, False, False),
    )
    job: Digest
    final: int
    refund: int
    returned: int


@dataclass(frozen=True, slots=True)
class FundRaised(DecodedEvent):
    """The event FundRaised."""

    ABI = EventType(
        "FundRaised",
        ("scheduler", "from_", "amount"),
        ("address", "address", "uint64"),
        (True, True, False),
    )
    scheduler: Address
    from_: Address
    amount: int


@dataclass(frozen=True, slots=True)
class FundWithdrawn(DecodedEvent):
    """The event FundWithdrawn."""

    ABI = EventType("FundWithdrawn", ("scheduler", "amount"), ("address", "uint64"), (True, False))
    scheduler: Address
    amount: int


@dataclass(frozen=True, slots=True)
class JobEntered(DecodedEvent):
    """The event JobEntered."""

    ABI = EventType(
        "JobEntered",
        ("job", "commits", "shares"),
        ("bytes32", "bytes32", "uint256[]"),
        (True, False, False),
    )
    job: Digest
    commits: Digest
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PanelCalled(DecodedEvent):
    """The event PanelCalled."""

    ABI = EventType(
        "PanelCalled",
        ("job", "panel_job", "kind", "payer", "seed_block", "expiry"),
        ("bytes32", "bytes32", "uint8", "address", "uint64", "uint64"),
        (True, True, False, False, False, False),
    )
    job: Digest
    panel_job: Digest
    kind: int
    payer: Address
    seed_block: int
    expiry: int


@dataclass(frozen=True, slots=True)
class PayWithheld(DecodedEvent):
    """The event PayWithheld."""

    ABI = EventType(
        "PayWithheld",
        ("job", "operator", "amount"),
        ("bytes32", "address", "uint64"),
        (True, True, False),
    )
    job: Digest
    operator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class SlashReturned(DecodedEvent):
    """The event SlashReturned."""

    ABI = EventType(
        "SlashReturned",
        ("job", "operator", "amount"),
        ("bytes32", "address", "uint64"),
        (True, True, False),
    )
    job: Digest
    operator: Address
    amount: int


@dataclass(frozen=True, slots=True)
class WinnerSlashed(DecodedEvent):
    """The event WinnerSlashed."""

    ABI = EventType(
        "WinnerSlashed",
        ("job", "operator", "amount"),
        ("bytes32", "address", "uint64"),
        (True, True, False),
    )
    job: Digest
    operator: Address
    amount: int


_APPEAL_WINDOW: Final = Function("APPEAL_WINDOW", (), (), ("uint256",))
_PANEL_ROUND: Final = Function("PANEL_ROUND", (), (), ("uint32",))
_PROOF_WINDOW: Final = Function("PROOF_WINDOW", (), (), ("uint256",))
_APPEAL: Final = Function(
    "appeal",
    ("matter",),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes32[],uint256[],uint64)",
    ),
    (),
)
_AUDIT: Final = Function(
    "audit",
    ("matter",),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes32[],uint256[],uint64)",
    ),
    (),
)
_AUDIT_BLOCK: Final = Function("auditBlock", ("entered_in",), ("uint64",), ("uint256",))
_CASE_OF: Final = Function("caseOf", ("job",), ("bytes32",), ("(bytes25,uint40,uint8)",))
_CLOSE: Final = Function(
    "close",
    ("matter", "panel", "openings", "digest"),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes32[],uint256[],uint64)",
        "(uint8,address,uint64,uint64)",
        "(uint8,uint32,bytes32,bytes32)[]",
        "bytes32",
    ),
    (),
)
_CONCLUDE: Final = Function(
    "conclude", ("panel_job", "tag", "agreed", "cost"), ("bytes32", "bytes32", "bool", "uint64"), ()
)
_ENTER: Final = Function(
    "enter",
    ("referral", "told"),
    ("(bytes32,bytes32,address,address,uint64,uint64,uint16)", "uint256[]"),
    (),
)
_ESCALATE: Final = Function(
    "escalate",
    ("matter",),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes32[],uint256[],uint64)",
    ),
    (),
)
_FUND_OF: Final = Function(
    "fundOf", ("scheduler",), ("address",), ("(uint64,uint64,uint64,uint40)",)
)
_IS_DRAWN: Final = Function(
    "isDrawn", ("job", "entered_in", "audit_bps"), ("bytes32", "uint64", "uint16"), ("bool",)
)
_JOIN: Final = Function(
    "join",
    ("matter", "panel", "entries", "commits"),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes32[],uint256[],uint64)",
        "(uint8,address,uint64,uint64)",
        "(address,uint8,uint64,bytes32)[]",
        "(address,uint64,uint8,uint8,bytes32,bytes32,bytes32)[]",
    ),
    (),
)
_KEEP_SEED: Final = Function("keepSeed", ("seed_block",), ("uint256",), ())
_MARKET: Final = Function("market", (), (), ("address",))
_PANEL_COST: Final = Function(
    "panelCost",
    ("order",),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
    ),
    ("uint256",),
)
_PANEL_ORDER: Final = Function(
    "panelOrder",
    ("order", "panel"),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
        "(uint8,address,uint64,uint64)",
    ),
    (
        "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256)",
    ),
)
_PLEDGES_OF: Final = Function(
    "pledgesOf", ("operator",), ("address",), ("(uint64,uint64,uint40)", "uint64")
)
_PROVIDERS: Final = Function("providers", (), (), ("address",))
_RELEASE: Final = Function(
    "release",
    ("matter",),
    (
        "((address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,uint32,uint32,uint64,uint64,uint16,bool,uint256),bytes32[],uint256[],uint64)",
    ),
    (),
)
_ROAD: Final = Function("road", (), (), ("address",))
_TOP_UP: Final = Function("topUp", ("scheduler", "amount"), ("address", "uint64"), ())
_UNLOCK: Final = Function("unlock", ("operator",), ("address",), ())
_VAULT: Final = Function("vault", (), (), ("address",))
_VERDICT_OF: Final = Function(
    "verdictOf", ("panel_job",), ("bytes32",), ("(bytes18,uint64,uint40,bool)",)
)
_WITHDRAW: Final = Function("withdraw", ("scheduler",), ("address",), ())
COURT_CONTEXT_WRONG: Final = ErrorType("Court_ContextWrong", ("job",), ("bytes32",))
COURT_COST_TOO_HIGH: Final = ErrorType("Court_CostTooHigh", ("cost",), ("uint256",))
COURT_DIGEST_WRONG: Final = ErrorType("Court_DigestWrong", ("digest",), ("bytes32",))
COURT_FEE_TOO_SMALL: Final = ErrorType(
    "Court_FeeTooSmall", ("fee", "needed"), ("uint64", "uint256")
)
COURT_FUND_TOO_SMALL: Final = ErrorType(
    "Court_FundTooSmall", ("scheduler", "amount", "needed"), ("address", "uint256", "uint256")
)
COURT_NOT_DRAWN: Final = ErrorType("Court_NotDrawn", ("job",), ("bytes32",))
COURT_NOT_FRESH: Final = ErrorType("Court_NotFresh", ("operator",), ("address",))
COURT_NOT_JUDGE: Final = ErrorType("Court_NotJudge", ("caller",), ("address",))
COURT_NOT_OPEN: Final = ErrorType("Court_NotOpen", ("job",), ("bytes32",))
COURT_NOTHING_HELD: Final = ErrorType("Court_NothingHeld", ("job",), ("bytes32",))
COURT_OPENING_WRONG: Final = ErrorType("Court_OpeningWrong", ("index",), ("uint256",))
COURT_PANEL_OPEN: Final = ErrorType("Court_PanelOpen", ("panelJob",), ("bytes32",))
COURT_SEED_UNKNOWN: Final = ErrorType("Court_SeedUnknown", ("seedBlock",), ("uint256",))
COURT_TOO_EARLY: Final = ErrorType("Court_TooEarly", ("until",), ("uint256",))
COURT_TOO_LATE: Final = ErrorType("Court_TooLate", ("until",), ("uint256",))
COURT_WIRED_TO_OTHER: Final = ErrorType("Court_WiredToOther", (), ())
SAFE_CAST_OVERFLOWED_UINT_DOWNCAST: Final = ErrorType(
    "SafeCastOverflowedUintDowncast", ("bits", "value"), ("uint8", "uint256")
)

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _APPEAL_WINDOW.selector: _APPEAL_WINDOW,
    _PANEL_ROUND.selector: _PANEL_ROUND,
    _PROOF_WINDOW.selector: _PROOF_WINDOW,
    _APPEAL.selector: _APPEAL,
    _AUDIT.selector: _AUDIT,
    _AUDIT_BLOCK.selector: _AUDIT_BLOCK,
    _CASE_OF.selector: _CASE_OF,
    _CLOSE.selector: _CLOSE,
    _CONCLUDE.selector: _CONCLUDE,
    _ENTER.selector: _ENTER,
    _ESCALATE.selector: _ESCALATE,
    _FUND_OF.selector: _FUND_OF,
    _IS_DRAWN.selector: _IS_DRAWN,
    _JOIN.selector: _JOIN,
    _KEEP_SEED.selector: _KEEP_SEED,
    _MARKET.selector: _MARKET,
    _PANEL_COST.selector: _PANEL_COST,
    _PANEL_ORDER.selector: _PANEL_ORDER,
    _PLEDGES_OF.selector: _PLEDGES_OF,
    _PROVIDERS.selector: _PROVIDERS,
    _RELEASE.selector: _RELEASE,
    _ROAD.selector: _ROAD,
    _TOP_UP.selector: _TOP_UP,
    _UNLOCK.selector: _UNLOCK,
    _VAULT.selector: _VAULT,
    _VERDICT_OF.selector: _VERDICT_OF,
    _WITHDRAW.selector: _WITHDRAW,
}


Event = (
    AuditSeedKept
    | CaseClosed
    | FundRaised
    | FundWithdrawn
    | JobEntered
    | PanelCalled
    | PayWithheld
    | SlashReturned
    | WinnerSlashed
)
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    AuditSeedKept.ABI.hash: AuditSeedKept,
    CaseClosed.ABI.hash: CaseClosed,
    FundRaised.ABI.hash: FundRaised,
    FundWithdrawn.ABI.hash: FundWithdrawn,
    JobEntered.ABI.hash: JobEntered,
    PanelCalled.ABI.hash: PanelCalled,
    PayWithheld.ABI.hash: PayWithheld,
    SlashReturned.ABI.hash: SlashReturned,
    WinnerSlashed.ABI.hash: WinnerSlashed,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    COURT_CONTEXT_WRONG.selector: COURT_CONTEXT_WRONG,
    COURT_COST_TOO_HIGH.selector: COURT_COST_TOO_HIGH,
    COURT_DIGEST_WRONG.selector: COURT_DIGEST_WRONG,
    COURT_FEE_TOO_SMALL.selector: COURT_FEE_TOO_SMALL,
    COURT_FUND_TOO_SMALL.selector: COURT_FUND_TOO_SMALL,
    COURT_NOT_DRAWN.selector: COURT_NOT_DRAWN,
    COURT_NOT_FRESH.selector: COURT_NOT_FRESH,
    COURT_NOT_JUDGE.selector: COURT_NOT_JUDGE,
    COURT_NOT_OPEN.selector: COURT_NOT_OPEN,
    COURT_NOTHING_HELD.selector: COURT_NOTHING_HELD,
    COURT_OPENING_WRONG.selector: COURT_OPENING_WRONG,
    COURT_PANEL_OPEN.selector: COURT_PANEL_OPEN,
    COURT_SEED_UNKNOWN.selector: COURT_SEED_UNKNOWN,
    COURT_TOO_EARLY.selector: COURT_TOO_EARLY,
    COURT_TOO_LATE.selector: COURT_TOO_LATE,
    COURT_WIRED_TO_OTHER.selector: COURT_WIRED_TO_OTHER,
    SAFE_CAST_OVERFLOWED_UINT_DOWNCAST.selector: SAFE_CAST_OVERFLOWED_UINT_DOWNCAST,
}


class Court(BoundContract):
    """The contract Court at its address."""

    errors = ERRORS

    async def appeal_window(self, *, block: str = "latest") -> int:
        """`APPEAL_WINDOW()`."""
        values = await self._read(_APPEAL_WINDOW, (), block)
        return int(values[0])

    async def panel_round(self, *, block: str = "latest") -> int:
        """`PANEL_ROUND()`."""
        values = await self._read(_PANEL_ROUND, (), block)
        return int(values[0])

    async def proof_window(self, *, block: str = "latest") -> int:
        """`PROOF_WINDOW()`."""
        values = await self._read(_PROOF_WINDOW, (), block)
        return int(values[0])

    def appeal(self, matter: Matter) -> Call:
        """`appeal(Matter)`."""
        return self._call(_APPEAL, (matter,))

    def audit(self, matter: Matter) -> Call:
        """`audit(Matter)`."""
        return self._call(_AUDIT, (matter,))

    async def audit_block(self, entered_in: int, *, block: str = "latest") -> int:
        """`auditBlock(uint64)`."""
        values = await self._read(_AUDIT_BLOCK, (entered_in,), block)
        return int(values[0])

    async def case_of(self, job: bytes, *, block: str = "latest") -> Case:
        """`caseOf(bytes32)`."""
        values = await self._read(_CASE_OF, (job,), block)
        return Case(bytes(values[0][0]), int(values[0][1]), int(values[0][2]))

    def close(
        self, matter: Matter, panel: Panel, openings: Sequence[Opening], digest: bytes
    ) -> Call:
        """`close(Matter, Panel, Opening[], bytes32)`."""
        return self._call(_CLOSE, (matter, panel, openings, digest))

    def conclude(self, panel_job: bytes, tag: bytes, agreed: bool, cost: int) -> Call:
        """`conclude(bytes32, bytes32, bool, uint64)`."""
        return self._call(_CONCLUDE, (panel_job, tag, agreed, cost))

    def enter(self, referral: Referral, told: Sequence[int]) -> Call:
        """`enter(Referral, uint256[])`."""
        return self._call(_ENTER, (referral, told))

    def escalate(self, matter: Matter) -> Call:
        """`escalate(Matter)`."""
        return self._call(_ESCALATE, (matter,))

    async def fund_of(self, scheduler: Address, *, block: str = "latest") -> Fund:
        """`fundOf(address)`."""
        values = await self._read(_FUND_OF, (scheduler,), block)
        return Fund(int(values[0][0]), int(values[0][1]), int(values[0][2]), int(values[0][3]))

    async def is_drawn(
        self, job: bytes, entered_in: int, audit_bps: int, *, block: str = "latest"
    ) -> bool:
        """`isDrawn(bytes32, uint64, uint16)`."""
        values = await self._read(_IS_DRAWN, (job, entered_in, audit_bps), block)
        return bool(values[0])

    def join(
        self, matter: Matter, panel: Panel, entries: Sequence[Entry], commits: Sequence[Commit]
    ) -> Call:
        """`join(Matter, Panel, Entry[], Commit[])`."""
        return self._call(_JOIN, (matter, panel, entries, commits))

    def keep_seed(self, seed_block: int) -> Call:
        """`keepSeed(uint256)`."""
        return self._call(_KEEP_SEED, (seed_block,))

    async def market(self, *, block: str = "latest") -> Address:
        """`market()`."""
        values = await self._read(_MARKET, (), block)
        return Address(values[0])

    async def panel_cost(self, order: Order, *, block: str = "latest") -> int:
        """`panelCost(Order)`."""
        values = await self._read(_PANEL_COST, (order,), block)
        return int(values[0])

    async def panel_order(self, order: Order, panel: Panel, *, block: str = "latest") -> Order:
        """`panelOrder(Order, Panel)`."""
        values = await self._read(_PANEL_ORDER, (order, panel), block)
        return Order(
            Address(values[0][0]),
            Digest(values[0][1]),
            Digest(values[0][2]),
            Address(values[0][3]),
            int(values[0][4]),
            int(values[0][5]),
            int(values[0][6]),
            int(values[0][7]),
            int(values[0][8]),
            int(values[0][9]),
            int(values[0][10]),
            int(values[0][11]),
            int(values[0][12]),
            int(values[0][13]),
            int(values[0][14]),
            int(values[0][15]),
            bool(values[0][16]),
            int(values[0][17]),
        )

    async def pledges_of(self, operator: Address, *, block: str = "latest") -> PledgesOfResult:
        """`pledgesOf(address)`."""
        values = await self._read(_PLEDGES_OF, (operator,), block)
        return PledgesOfResult(
            Pledges(int(values[0][0]), int(values[0][1]), int(values[0][2])), int(values[1])
        )

    async def providers(self, *, block: str = "latest") -> Address:
        """`providers()`."""
        values = await self._read(_PROVIDERS, (), block)
        return Address(values[0])

    def release(self, matter: Matter) -> Call:
        """`release(Matter)`."""
        return self._call(_RELEASE, (matter,))

    async def road(self, *, block: str = "latest") -> Address:
        """`road()`."""
        values = await self._read(_ROAD, (), block)
        return Address(values[0])

    def top_up(self, scheduler: Address, amount: int) -> Call:
        """`topUp(address, uint64)`."""
        return self._call(_TOP_UP, (scheduler, amount))

    def unlock(self, operator: Address) -> Call:
        """`unlock(address)`."""
        return self._call(_UNLOCK, (operator,))

    async def vault(self, *, block: str = "latest") -> Address:
        """`vault()`."""
        values = await self._read(_VAULT, (), block)
        return Address(values[0])

    async def verdict_of(self, panel_job: bytes, *, block: str = "latest") -> Verdict:
        """`verdictOf(bytes32)`."""
        values = await self._read(_VERDICT_OF, (panel_job,), block)
        return Verdict(
            bytes(values[0][0]), int(values[0][1]), int(values[0][2]), bool(values[0][3])
        )

    def withdraw(self, scheduler: Address) -> Call:
        """`withdraw(address)`."""
        return self._call(_WITHDRAW, (scheduler,))
