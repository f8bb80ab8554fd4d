"""Where a job stands on the chain, whatever its scheduler says of it or does not say."""

from dataclasses import dataclass
from typing import Any, Final

from assay_node.ports import Head, RoadJob, RoadReader, RoadState, RoadStep, Settlement
from assay_node.ports.road import (
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
)
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.units import microusd_to_text
from assay_node.services.queries import settlement_document
from assay_node.services.road import Holdings, RoadPlan, at, plan

STEP_NAMES: Final[dict[type[RoadStep], str]] = {
    OpenRoad: "open",
    CommitOnRoad: "commit",
    RevealOnRoad: "reveal",
    FinalizeRoad: "finalize",
    OverrideRoad: "settle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A job as the chain has it, and what can be done for it with what is held here."""

    job: Digest
    head: Head
    road: RoadJob
    settlement: Settlement | None
    plan: RoadPlan

    @property
    def known(self) -> bool:
        """Whether the chain has heard of the job at all."""
        return self.settlement is not None or self.road.state is not RoadState.ABSENT


async def standing_of(chain: RoadReader, job: Digest, held: Holdings) -> Standing:
    """Ask the chain about a job. Without its order, only jobs that are on the road are found.

    Raises:
        ChainUnavailable: the endpoint does not answer.
    """
    first = None if held.signed_order is None else held.signed_order.order.seed_block
    road = await chain.road_of(job, from_block=first)
    signed = held.signed_order or road.signed_order
    settlement = None
    if signed is not None:
        settlement = await chain.settlement_of(job, from_block=signed.order.seed_block)
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
    )


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
        "step": None if found.step is None else STEP_NAMES[type(found.step)],
        "waits_for": list(found.waits_for),
        "until": found.until,
        "settlement": None if settlement is None else settlement_document(settlement),
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
        return lines
    lines.append(f"  now: {found.text}")
    if found.waits_for:
        lines.append(f"  it waits for {', '.join(found.waits_for)}")
    if found.until is not None:
        left = found.until - standing.head.timestamp
        lines.append(f"  time is left for {max(left, 0)} s, by the chain's clock")
    return lines
