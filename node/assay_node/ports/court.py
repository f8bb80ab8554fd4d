"""The Court as a port: decided jobs that concern it, the panels called for them, and its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from assay_node.ports.chain import SettlementChain
from assay_node.ports.road import (
    RoadChain,
    RoadCommit,
    RoadEntry,
    RoadOpening,
    RoadReader,
    RoadStep,
)
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import Order
from assay_node.protocol.panels import Panel, PanelKind


class ShareKind(StrEnum):
    """Why a share of a job's money went where it went; in the contract's order."""

    WON = "won"
    EFFORT = "effort"
    SLASHED = "slashed"
    FEE = "fee"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseShare:
    """What one replica's operator was paid or lost. What was slashed is held; 0 of it is final."""

    operator: Address
    amount_microusd: int
    kind: ShareKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredJob:
    """A decided job that concerns the court, as it was told. `commits` hashes the commitments."""

    job: Digest
    commits: Digest
    shares: tuple[CaseShare, ...]
    entered_in: int
    """The block."""
    transaction: Digest

    @property
    def agreed(self) -> bool:
        """Whether a quorum formed."""
        return any(share.kind is ShareKind.WON for share in self.shares)

    def held_of(self, operator: Address) -> int:
        """Return what was slashed of an operator and is not final, in micro-USD."""
        return sum(
            share.amount_microusd
            for share in self.shares
            if share.operator == operator and share.kind is ShareKind.SLASHED
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """A decided job as every step at the court is given it: commitments by rising ticket."""

    order: Order
    commitments: tuple[Digest, ...]
    shares: tuple[CaseShare, ...]
    entered_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a job was decided by: all of it public. `openings` are those that were shown."""

    matter: Matter
    openings: tuple[RoadOpening, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledPanel:
    """A panel and the job that it was called for.

    `matter` is None where a contract and not a wallet called it: its call data is not to be had
    from the chain's blocks.
    """

    job: Digest
    panel_job: Digest
    panel: Panel
    called_in: int
    """The block."""
    matter: Matter | None


class CaseState(StrEnum):
    """Where a job stands at the court; in the contract's order."""

    ABSENT = "absent"
    """Never there, or over."""
    ENTERED = "entered"
    """A quorum formed; it may be appealed or audited."""
    SPLIT = "split"
    """No quorum formed; it may be escalated."""
    CALLED = "called"
    """A panel was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job's case. `since` is when it entered its state, in Unix seconds."""

    state: CaseState
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a panel ended on the road. `tag` is the first 18 bytes of its quorum's."""

    tag: bytes
    cost_microusd: int
    ended_at: int
    agreed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CourtTerms:
    """The contract's windows, in seconds."""

    appeal_window_s: int
    proof_window_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFund:
    """What can pay for the audits of a scheduler's jobs, and what of it may leave."""

    microusd: int
    settled_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPanel:
    """Have fresh operators run a job again."""

    kind: PanelKind
    matter: Matter


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinPanel:
    """Commit to a panel; `entries` are those that have a place already."""

    matter: Matter
    panel: Panel
    entries: tuple[RoadEntry, ...]
    commits: tuple[RoadCommit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCase:
    """Carry out a verdict. Openings and digest are given where the digest decides."""

    matter: Matter
    panel: Panel
    openings: tuple[RoadOpening, ...] = ()
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCase:
    """End a case for which no panel was called in time."""

    matter: Matter


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAuditSeed:
    """Keep the hash of a block that draws audits past the chain's own memory."""

    seed_block: int


CourtStep = CallPanel | JoinPanel | CloseCase | ReleaseCase | KeepAuditSeed
MarketStep = RoadStep | CourtStep


class CourtReader(RoadReader, Protocol):
    """What anybody may read of the court."""

    @property
    def court(self) -> Address:
        """The contract, which is the requester of every panel's order."""
        ...

    async def court_terms(self) -> CourtTerms:
        """Return the contract's windows."""
        ...

    async def entered(
        self, from_block: int, to_block: int, *, job: Digest | None = None
    ) -> Sequence[EnteredJob]:
        """Return the jobs that came to the court in these blocks, both included, or one of them."""
        ...

    async def entered_of(self, job: Digest) -> EnteredJob | None:
        """Return when a job last came to the court, however long ago; None if it never did."""
        ...

    async def panels_called(
        self, from_block: int, to_block: int, *, job: Digest | None = None
    ) -> Sequence[CalledPanel]:
        """Return the panels called in these blocks, both included, or those for one job."""
        ...

    async def decided(self, entered: EnteredJob) -> Decided | None:
        """Return what a job was decided by, None where no wallet's call data has it."""
        ...

    async def case_of(self, job: Digest) -> Case:
        """Return where a job stands at the court."""
        ...

    async def verdict_of(self, panel_job: Digest) -> Verdict | None:
        """Return how a panel ended; None before it has, and after its case was closed."""
        ...

    async def audit_drawn(self, job: Digest, *, entered_in: int, audit_bps: int) -> bool | None:
        """Tell whether a job was drawn for an audit; None while, or after, nobody can know."""
        ...

    async def audit_fund(self, scheduler: Address) -> AuditFund:
        """Return what can pay for the audits of a scheduler's jobs."""
        ...


class CourtChain(CourtReader, RoadChain, Protocol):
    """What moves jobs on the road and cases at the court. One instance owns one wallet's nonces."""

    @property
    def address(self) -> Address:
        """The wallet, whose free money pays for the appeals that it makes."""
        ...

    async def start_step(self, job: Digest, step: MarketStep) -> bool:
        """Keep and send a step; False where another one of this wallet is on its way for the job.

        Raises `ContractRefusal` where it would be refused now: nothing is sent then.
        """
        ...


class SchedulerChain(SettlementChain, CourtReader, RoadChain, Protocol):
    """What a scheduler writes: receipts, the road's end where it holds the receipt, panels."""

    async def start_case_step(self, job: Digest, step: CourtStep) -> bool:
        """Keep and send a step for a job that has ended; False where one is on its way for it.

        Raises `ContractRefusal` where it would be refused now: nothing is sent then.
        """
        ...
