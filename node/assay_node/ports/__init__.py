"""The seams between the parts of a peer.

Services and daemons speak to these Protocols only; `assay_node.app` alone knows which class stands
behind each. Every implementation must pass the contract tests of its port.
"""

from assay_node.ports.artifacts import ArtifactLimits, Artifacts
from assay_node.ports.chain import (
    Account,
    ChainReader,
    Head,
    Paid,
    SchedulerBond,
    Settlement,
    SettlementChain,
    SkippedReceipt,
    Slashed,
    TransactionOutcome,
)
from assay_node.ports.clock import Clock
from assay_node.ports.keys import OrderSigner
from assay_node.ports.network import GossipMessage, Network, RequestHandler, Stream, StreamHandler
from assay_node.ports.road import (
    ROAD_ENDS,
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadChain,
    RoadCommit,
    RoadEntry,
    RoadJob,
    RoadOpening,
    RoadReader,
    RoadState,
    RoadStep,
)
from assay_node.ports.store import (
    JobChange,
    JobEventRecord,
    JobRecord,
    LeaseChange,
    LeaseRecord,
    NewEvent,
    NewLease,
    SchedulerStore,
)
from assay_node.ports.transactions import (
    TRANSACTION_ENDS,
    OutgoingTransaction,
    Place,
    SignedTransaction,
    TransactionState,
    TransactionStore,
)

__all__ = [
    "ROAD_ENDS",
    "TRANSACTION_ENDS",
    "Account",
    "ArtifactLimits",
    "Artifacts",
    "ChainReader",
    "Clock",
    "CommitOnRoad",
    "FinalizeRoad",
    "GossipMessage",
    "Head",
    "JobChange",
    "JobEventRecord",
    "JobRecord",
    "LeaseChange",
    "LeaseRecord",
    "Network",
    "NewEvent",
    "NewLease",
    "OpenRoad",
    "OrderSigner",
    "OutgoingTransaction",
    "OverrideRoad",
    "Paid",
    "Place",
    "RequestHandler",
    "RevealOnRoad",
    "RoadChain",
    "RoadCommit",
    "RoadEntry",
    "RoadJob",
    "RoadOpening",
    "RoadReader",
    "RoadState",
    "RoadStep",
    "SchedulerBond",
    "SchedulerStore",
    "Settlement",
    "SettlementChain",
    "SignedTransaction",
    "SkippedReceipt",
    "Slashed",
    "Stream",
    "StreamHandler",
    "TransactionOutcome",
    "TransactionState",
    "TransactionStore",
]
