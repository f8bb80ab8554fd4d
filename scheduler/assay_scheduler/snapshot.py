"""What `decide` sees of the world. Loaded by a service; everything in it is a plain value.

Money is in micro-USD, times are Unix seconds, tickets count from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.job_spec import JobSpec
from assay_node.protocol.lease import LEASE_ACTIVE, LeaseState
from assay_node.protocol.offer import Offer
from assay_node.protocol.order import Order
from assay_scheduler.hardware import NEVER_ASKED, HardwareView


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """One operator's supply: its newest verified offer, and what is left of it now.

    `connected` means a live connection and a recent heartbeat. `slots_free` and
    `stake_free_microusd` are net of every lease the scheduler knows about, and the stake of what is
    locked on chain, which no receipt can take; `wins` and `faults`
    come from the chain, `hardware` from this scheduler's own proofs.
    """

    operator: Address
    offer: Offer
    connected: bool
    last_heard: float
    slots_free: int
    stake_free_microusd: int
    wins: int
    faults: int
    hardware: HardwareView = NEVER_ASKED


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """One replica a job has or had; `software_digest` is the offer's when it was placed."""

    operator: Address
    ticket: int
    state: LeaseState
    software_digest: Digest

    @property
    def active(self) -> bool:
        """Whether the replica counts towards the job's k."""
        return self.state in LEASE_ACTIVE


def first_tickets(draw: Sequence[Address | None]) -> dict[Address, int]:
    """Return each drawn operator's lowest ticket, lowest first; `draw` is indexed by ticket."""
    tickets: dict[Address, int] = {}
    for ticket, operator in enumerate(draw):
        if operator is not None:
            tickets.setdefault(operator, ticket)
    return tickets


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job that wants replicas, and whose seed block is there.

    `draw` names the operator behind each ticket 0..max_ticket as at the seed block, None where the
    seat is vacant; an operator with several seats may appear more than once. `leases` holds every
    lease the job ever had: an operator in it is not used again.
    """

    job: Digest
    order: Order
    spec: JobSpec
    round_number: int
    admitted_at: float
    draw: tuple[Address | None, ...]
    leases: tuple[LeaseView, ...]

    @property
    def first_tickets(self) -> dict[Address, int]:
        """Each drawn operator's lowest ticket within the order's `max_ticket`, lowest first."""
        return first_tickets(self.draw[: self.order.max_ticket + 1])

    @property
    def replicas_active(self) -> int:
        """How many of the order's replicas are leased now."""
        return sum(lease.active for lease in self.leases)

    @property
    def replicas_wanted(self) -> int:
        """How many replicas are missing."""
        return max(0, self.order.replicas - self.replicas_active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All jobs that want replicas and all providers, in any order: the order carries no meaning.

    A job id and an operator each appear once; whoever loads the snapshot sees to that.
    """

    jobs: tuple[JobView, ...]
    providers: tuple[ProviderView, ...]

    def __post_init__(self) -> None:
        assert len({job.job for job in self.jobs}) == len(self.jobs), "a job appears twice"
        operators = {provider.operator for provider in self.providers}
        assert len(operators) == len(self.providers), "an operator appears twice"
