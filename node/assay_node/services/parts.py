"""What a scheduler is made of, whichever classes stand behind the ports."""

from dataclasses import dataclass

from assay_node.ports import (
    Artifacts,
    Clock,
    Network,
    OrderSigner,
    SchedulerStore,
    SettlementChain,
)
from assay_node.services.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerParts:
    """Open ports, the scheduler's wallet and its operator's decisions."""

    signer: OrderSigner
    network: Network
    artifacts: Artifacts
    chain: SettlementChain
    store: SchedulerStore
    clock: Clock
    policy: Policy
