"""Steps on the road and at the court as calls."""

from typing import assert_never

from assay_node.chain import court, road
from assay_node.chain.bound_contract import Call
from assay_node.chain.contracts import Contracts
from assay_node.ports.court import (
    CallPanel,
    CloseCase,
    JoinPanel,
    KeepAuditSeed,
    MarketStep,
    ReleaseCase,
)
from assay_node.ports.road import (
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
)


def step_call(contracts: Contracts, step: MarketStep) -> Call:
    """Return a step as a call."""
    match step:
        case OpenRoad() | CommitOnRoad() | RevealOnRoad() | FinalizeRoad() | OverrideRoad():
            return road.road_call(contracts.road, step)
        case CallPanel() | JoinPanel() | CloseCase() | ReleaseCase() | KeepAuditSeed():
            return court.court_call(contracts.court, step)
        case _:
            assert_never(step)


def describe(step: MarketStep) -> str:
    """Return what a step does, in words."""
    match step:
        case OpenRoad() | CommitOnRoad() | RevealOnRoad() | FinalizeRoad() | OverrideRoad():
            return road.describe(step)
        case CallPanel() | JoinPanel() | CloseCase() | ReleaseCase() | KeepAuditSeed():
            return court.describe(step)
        case _:
            assert_never(step)
