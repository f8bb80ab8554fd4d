"""What a scheduler operator decides, as plain values."""

from dataclasses import dataclass, field

from assay_node.protocol.units import GIB
from assay_node.services.lifecycle import Timing
from assay_node.services.proof_schedule import ProofTerms
from assay_node.services.settlement_timing import SettlementTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A scheduler's terms and limits. Money in micro-USD, times in seconds, sizes in bytes."""

    fee_microusd: int
    seconds_max: int
    input_bytes_max: int
    seed_blocks_ahead_max: int
    expiry_s_max: int
    heartbeat_s: int
    fetch_timeout_s: float
    settlement: SettlementTerms
    resend_s: float
    keep_seed_after_blocks: int
    poll_interval_s: float
    reveal_timeout_s: float
    timing: Timing
    environment_bytes_max: int = 8 * GIB
    """Largest environment carried for a job, as tars."""
    environment_fetch_s: float = 1800.0
    proof: ProofTerms = field(default_factory=ProofTerms)
    confirmations: int = 1
    """Blocks after which what somebody else's transaction did counts."""
