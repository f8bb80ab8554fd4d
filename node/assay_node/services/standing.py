"""Where a job stands on the chain, whatever its scheduler says of it or does not say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay_node.ports import (
    CallPanel,
    CaseState,
    CloseCase,
    CommitOnRoad,
    CourtReader,
    FinalizeRoad,
    Head,
    JoinPanel,
    KeepAuditSeed,
    MarketStep,
    OpenRoad,
    OverrideRoad,
    ReleaseCase,
    RevealOnRoad,
    RoadJob,
    RoadState,
    Settlement,
)
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.panels import panel_order
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import microusd_to_text
from assay_node.services.court import CasePlan, Docket, docket_of, plan_case
from assay_node.services.queries import settlement_document
from assay_node.services.road import Holdings, RoadPlan, at, plan

STEP_NAMES: Final[dict[type[MarketStep], str]] = {
    OpenRoad: "open",
    CommitOnRoad: "commit",
    RevealOnRoad: "reveal",
    FinalizeRoad: "finalize",
    OverrideRoad: "settle",
    CallPanel: "call_panel",
    JoinPanel: "join_panel",
    CloseCase: "close_case",
    ReleaseCase: "release_case",
    KeepAuditSeed: "keep_audit_seed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A job as the chain has it, and what can be done for it with what is held here."""

    job: Digest
    head: Head
    road: RoadJob
    settlement: Settlement | None
    plan: RoadPlan
    case: "CaseStanding | None" = None

    @property
    def step(self) -> MarketStep | None:
        """What can be done for the job now, on the road or at the court."""
        if self.plan.step is not None or self.case is None:
            return self.plan.step
        panel = self.case.panel
        return self.case.plan.step or (None if panel is None else panel.step)

    @property
    def known(self) -> bool:
        """Whether the chain has heard of the job at all."""
        return self.settlement is not None or self.road.state is not RoadState.ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStanding:
    """A decided job's case at the court. `panel` is what its panel's road waits for."""

    docket: Docket
    plan: CasePlan
    panel: RoadPlan | None


async def standing_of(
    chain: CourtReader, job: Digest, held: Holdings, *, digests: Sequence[Digest] = ()
) -> Standing:
    """Ask the chain about a job. Without its order, only jobs that are on the road are found.

    Args:
        chain: whom to ask.
        job: about which job.
        held: what is held here of it.
        digests: output digests that may be what a panel agreed on.

    Raises:
        ChainUnavailable: the endpoint does not answer.
    """
    first = None if held.signed_order is None else held.signed_order.order.seed_block
    road = await chain.road_of(job, from_block=first)
    signed = held.signed_order or road.signed_order
    settlement = None
    if signed is not None:
        settlement = await chain.settlement_of(job, from_block=signed.order.seed_block)
    docket = await docket_of(chain, job)
    if settlement is None and docket.entered is not None:
        settlement = await chain.settlement_of(job, from_block=docket.entered.entered_in)
    head, window_s = await chain.head(), await chain.road_window_s()
    if settlement is not None:
        found = RoadPlan(text="the job is settled")
    elif (
        road.state is RoadState.ABSENT
        and signed is not None
        and await chain.nonce_used(signed.order.requester, signed.order.nonce_number)
    ):
        found = RoadPlan(text="the order's nonce went to another order")
    else:
        found = plan(road, held, now=head.timestamp, window_s=window_s)
    return Standing(
        job=job,
        head=head,
        road=at(road, now=head.timestamp, window_s=window_s),
        settlement=settlement,
        plan=found,
        case=_case_of(chain, docket, head, window_s, digests),
    )


def _case_of(
    chain: CourtReader,
    docket: Docket,
    head: Head,
    window_s: int,
    digests: Sequence[Digest],
) -> CaseStanding | None:
    if docket.case.state is CaseState.ABSENT:
        return None
    road, called, panel = docket.panel_road, docket.called, None
    if road is not None and called is not None and called.matter is not None:
        domain = Domain(chain.chain_id, chain.market)
        order = panel_order(called.matter.order, called.panel, court=chain.court, domain=domain)
        if road.state is not RoadState.ABSENT:
            holdings = Holdings(signed_order=SignedOrder(order=order, signature=b""))
            panel = plan(road, holdings, now=head.timestamp, window_s=window_s)
    case = plan_case(docket, now=head.timestamp, digests=digests)
    return CaseStanding(docket=docket, plan=case, panel=panel)


def standing_document(standing: Standing) -> dict[str, Any]:
    """Return a standing as people's scripts read it. Money in micro-USD, times in Unix seconds."""
    road, found = standing.road, standing.plan
    opened = {opening.index for opening in road.openings}
    settlement = standing.settlement
    return {
        "job": to_hex(standing.job),
        "state": road.state.value,
        "round": road.round_number,
        "deadline": road.deadline or None,
        "replicas": [
            {
                "operator": entry.operator,
                "ticket": entry.ticket,
                "rate_microusd": entry.rate_microusd,
                "revealed": index in opened,
            }
            for index, entry in enumerate(road.entries)
        ],
        "text": found.text,
        "step": None if standing.step is None else STEP_NAMES[type(standing.step)],
        "waits_for": list(found.waits_for),
        "until": found.until,
        "settlement": None if settlement is None else settlement_document(settlement),
        "case": None if standing.case is None else _case_document(standing.case),
    }


def _case_document(case: CaseStanding) -> dict[str, Any]:
    called, road = case.docket.called, case.docket.panel_road
    entries = () if road is None else road.entries
    return {
        "state": case.docket.case.state.value,
        "text": case.plan.text,
        "until": case.plan.until,
        "drawn": case.docket.drawn,
        "panel": None
        if called is None
        else {
            "job": to_hex(called.panel_job),
            "kind": called.panel.kind.value,
            "payer": called.panel.payer,
            "expiry": called.panel.expiry,
            "committed": [entry.operator for entry in entries],
            "text": None if case.panel is None else case.panel.text,
        },
    }


def standing_lines(standing: Standing) -> list[str]:
    """Return a standing in words."""
    road, found = standing.road, standing.plan
    lines = [f"on the on-chain road: {road.state.value}"]
    opened = {opening.index for opening in road.openings}
    for index, entry in enumerate(road.entries):
        has = "has revealed" if index in opened else "has committed"
        lines.append(f"  {entry.operator} (ticket {entry.ticket}) {has}")
    settlement = standing.settlement
    if settlement is not None:
        verdict = "a quorum agreed" if settlement.agreed else "no quorum agreed"
        lines.append(f"  {verdict}; cost {microusd_to_text(settlement.cost_microusd)}")
        lines += [
            f"  {paid.operator} was paid {microusd_to_text(paid.amount_microusd)}"
            for paid in settlement.paid
        ]
        lines += [
            f"  {slashed.operator} was slashed {microusd_to_text(slashed.amount_microusd)} "
            f"({slashed.reason})"
            for slashed in settlement.slashed
        ]
        return lines + _case_lines(standing)
    lines.append(f"  now: {found.text}")
    if found.waits_for:
        lines.append(f"  it waits for {', '.join(found.waits_for)}")
    if found.until is not None:
        left = found.until - standing.head.timestamp
        lines.append(f"  time is left for {max(left, 0)} s, by the chain's clock")
    return lines


def _case_lines(standing: Standing) -> list[str]:
    case = standing.case
    if case is None:
        return []
    lines = [f"at the court: {case.docket.case.state.value}; {case.plan.text}"]
    if case.docket.called is not None:
        called = case.docket.called
        lines.append(f"  panel 0x{called.panel_job.hex()} ({called.panel.kind.value})")
    if case.panel is not None:
        lines.append(f"  {case.panel.text}")
    if case.plan.until is not None:
        left = case.plan.until - standing.head.timestamp
        lines.append(f"  time is left for {max(left, 0)} s, by the chain's clock")
    return lines
