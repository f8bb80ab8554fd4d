"""What can be done now for a job at the court: a pure function of what is known of it.

Whoever holds nothing can still call the panels that an order and the chain's draw ask for, and
carry out a verdict that needs no proof. Only who knows the output that the panel agreed on can have
it compared. The contract checks all of it again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assay_node.ports.court import (
    CalledPanel,
    CallPanel,
    Case,
    CaseState,
    CloseCase,
    CourtReader,
    CourtStep,
    CourtTerms,
    Decided,
    EnteredJob,
    Matter,
    ReleaseCase,
    ShareKind,
    Verdict,
)
from assay_node.ports.road import RoadJob, RoadOpening, RoadState
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.panels import Panel, PanelKind, is_shown
from assay_node.protocol.units import microusd_to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Docket:
    """All that is known of one job at the court, as of one moment."""

    job: Digest
    case: Case
    terms: CourtTerms
    entered: EnteredJob | None = None
    decided: Decided | None = None
    drawn: bool | None = None
    """Whether the audit block drew it; None where nobody can know, or its order has no audits."""
    fund_microusd: int = 0
    called: CalledPanel | None = None
    verdict: Verdict | None = None
    panel_road: RoadJob | None = None

    @property
    def matter(self) -> Matter | None:
        """The job as the court's steps are given it."""
        if self.decided is not None:
            return self.decided.matter
        return None if self.called is None else self.called.matter


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePlan:
    """The step that can be taken now, or why there is none; `until` is in Unix seconds."""

    text: str
    step: CourtStep | None = None
    until: int | None = None


async def docket_of(
    chain: CourtReader,
    job: Digest,
    *,
    entered: EnteredJob | None = None,
    called: CalledPanel | None = None,
) -> Docket:
    """Ask the chain about a job at the court.

    Args:
        chain: whom to ask.
        job: whose case.
        entered: how it came there, where that is known already.
        called: the panel, where that is known already.

    Raises:
        ChainError: the chain cannot be asked.
    """
    case, terms = await chain.case_of(job), await chain.court_terms()
    if case.state is CaseState.ABSENT:
        return Docket(job=job, case=case, terms=terms)
    entered = entered or await chain.entered_of(job)
    decided = None if entered is None else await chain.decided(entered)
    drawn, fund = None, 0
    if case.state is CaseState.ENTERED and decided is not None:
        order = decided.matter.order
        if order.audit_bps:
            drawn = await chain.audit_drawn(
                job, entered_in=decided.matter.entered_in, audit_bps=order.audit_bps
            )
            fund = (await chain.audit_fund(order.scheduler)).microusd
    verdict = panel_road = None
    if case.state is CaseState.CALLED:
        if called is None and entered is not None:
            last = (await chain.head()).number
            calls = await chain.panels_called(entered.entered_in, last, job=job)
            called = next(reversed(calls), None)
        if called is not None:
            verdict = await chain.verdict_of(called.panel_job)
            panel_road = await chain.road_of(called.panel_job, from_block=called.called_in)
    return Docket(
        job=job,
        case=case,
        terms=terms,
        entered=entered,
        decided=decided,
        drawn=drawn,
        fund_microusd=fund,
        called=called,
        verdict=verdict,
        panel_road=panel_road,
    )


def plan_case(docket: Docket, *, now: int, digests: Iterable[Digest] = ()) -> CasePlan:
    """Return what can be done for a job at the court at the chain's time `now`.

    An appeal is nobody's duty and never proposed: see `appeal`.

    Args:
        docket: what is known.
        now: Unix seconds.
        digests: the output digests that somebody here knows.
    """
    if docket.case.state is CaseState.ABSENT:
        return CasePlan(text="the court has no case of this job, or it is over")
    if docket.matter is None:
        return CasePlan(text="what the job was decided by is not to be had from the chain's blocks")
    match docket.case.state:
        case CaseState.ENTERED | CaseState.SPLIT:
            return _call_or_release(docket, docket.matter, now)
        case CaseState.CALLED:
            return _close(docket, docket.matter, now, tuple(digests))


def appeal(docket: Docket, *, now: int) -> CasePlan:
    """Return the step that appeals against the slashes of a job, or why there is none."""
    matter, until = docket.matter, docket.case.since + docket.terms.appeal_window_s
    if docket.case.state is not CaseState.ENTERED or docket.entered is None:
        return CasePlan(text="the job has no verdict that could be appealed against")
    if matter is None:
        return CasePlan(text="what the job was decided by is not to be had from the chain's blocks")
    if now > until:
        return CasePlan(text="the time to appeal is over")
    if not any(
        share.kind is ShareKind.SLASHED and share.amount_microusd for share in matter.shares
    ):
        return CasePlan(text="nothing that was slashed is held: there is nothing to appeal against")
    cost = microusd_to_text(matter.order.panel_cost_microusd)
    return CasePlan(
        text=f"an appeal sets {cost} aside, for a panel of {2 * matter.order.replicas + 1}",
        step=CallPanel(kind=PanelKind.APPEAL, matter=matter),
        until=until,
    )


def openings_needed(
    matter: Matter, openings: Sequence[RoadOpening]
) -> tuple[RoadOpening, ...] | None:
    """Return what a verdict is compared with: one winner's, and all whose slash is held.

    None where one of these is not among `openings`.
    """
    by_index = {opening.index: opening for opening in openings}
    needed, has_winner = [], False
    for index, share in enumerate(matter.shares):
        won = share.kind is ShareKind.WON
        if (won and not has_winner) or (not won and share.amount_microusd):
            needed.append(index)
        has_winner = has_winner or won
    if any(index not in by_index for index in needed):
        return None
    return tuple(by_index[index] for index in needed)


def barred(matter: Matter) -> frozenset[Address]:
    """Return who had a part in the job itself, and may not sit on its panel."""
    return frozenset(share.operator for share in matter.shares)


def _call_or_release(docket: Docket, matter: Matter, now: int) -> CasePlan:
    order, until = matter.order, docket.case.since + docket.terms.appeal_window_s
    if now > until:
        return CasePlan(
            text="no panel was called in time; what is held becomes the treasury's",
            step=ReleaseCase(matter=matter),
        )
    if docket.case.state is CaseState.SPLIT:
        return CasePlan(
            text="no quorum formed; the order asks for a panel, from the requester's budget",
            step=CallPanel(kind=PanelKind.ESCALATION, matter=matter),
            until=until,
        )
    if not order.audit_bps or docket.drawn is False:
        return CasePlan(text="whoever was slashed may appeal", until=until)
    if docket.drawn is None:
        return CasePlan(text="the block that draws audits is yet to come", until=until)
    if order.fee_microusd < order.audit_fee_microusd:
        return CasePlan(text="drawn for an audit, but its fee does not pay for one", until=until)
    missing = order.panel_cost_microusd - docket.fund_microusd
    if missing > 0:
        text = f"drawn for an audit; the scheduler's fund lacks {microusd_to_text(missing)}"
        return CasePlan(text=text, until=until)
    return CasePlan(
        text="drawn for an audit, which the scheduler's fund pays for",
        step=CallPanel(kind=PanelKind.AUDIT, matter=matter),
        until=until,
    )


def _close(docket: Docket, matter: Matter, now: int, digests: tuple[Digest, ...]) -> CasePlan:
    if docket.called is None or docket.panel_road is None:
        return CasePlan(text="the panel's call is not to be had from the chain's blocks")
    panel, verdict = docket.called.panel, docket.verdict
    if verdict is None:
        return _await_panel(panel, matter, docket.panel_road, now)
    without = CloseCase(matter=matter, panel=panel)
    if panel.kind is PanelKind.ESCALATION:
        return CasePlan(text="the panel is over; what it did not cost goes back", step=without)
    if not verdict.agreed:
        return CasePlan(text="the panel did not agree: slashes come back", step=without)
    shown = next((d for d in digests if is_shown(docket.called.panel_job, d, verdict.tag)), None)
    if shown is not None and docket.decided is not None:
        openings = openings_needed(matter, docket.decided.openings)
        if openings is not None:
            step = CloseCase(matter=matter, panel=panel, openings=openings, digest=shown)
            return CasePlan(text="the panel's output tells who was right", step=step)
    until = verdict.ended_at + docket.terms.proof_window_s
    if now > until:
        return CasePlan(text="nobody showed the panel's output in time", step=without)
    return CasePlan(text="somebody has to show the output that the panel agreed on", until=until)


def _await_panel(panel: Panel, matter: Matter, road: RoadJob, now: int) -> CasePlan:
    if road.state is RoadState.ABSENT:
        if now > panel.expiry:
            step = CloseCase(matter=matter, panel=panel)
            return CasePlan(text="nobody came to the panel", step=step)
        return CasePlan(text="fresh operators run the job again", until=panel.expiry)
    return CasePlan(
        text=f"the panel is on the on-chain road ({len(road.entries)} of "
        f"{2 * matter.order.replicas + 1} have committed)",
        until=road.deadline or None,
    )
