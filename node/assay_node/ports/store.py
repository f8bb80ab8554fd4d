"""What a scheduler remembers, and the only ways to change it.

Every change names the state it starts from; it is refused (False) when somebody was quicker. Each
change writes its event rows in the same transaction, so the history explains every state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from assay_node.ports.chain import Settlement
from assay_node.ports.transactions import (
    OutgoingTransaction,
    TransactionState,
    TransactionStore,
)
from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.hardware_proof import ProofResult, SignedProofResult
from assay_node.protocol.ids import Address, Cid, Digest, PeerId
from assay_node.protocol.job_spec import JobSpec
from assay_node.protocol.lease import JobEvent, JobState, LeaseEvent, LeaseState
from assay_node.protocol.messages import Commit, CommitSet, Reveal
from assay_node.protocol.offer import SignedOffer
from assay_node.protocol.order import Order, SignedOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """One replica of a job, as stored. Times are Unix seconds."""

    job: Digest
    operator: Address
    peer_id: PeerId
    ticket: int
    round_number: int
    rate_microusd: int
    software_digest: Digest
    state: LeaseState
    stage: str
    reason: str
    offered_at: float
    updated_at: float
    commit: Commit | None
    reveal: Reveal | None
    release_due: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job with all its leases, as stored. Times are Unix seconds."""

    job: Digest
    signed_order: SignedOrder
    spec: JobSpec
    state: JobState
    generation: int
    round_number: int
    reason: str
    draw: tuple[Address | None, ...] | None
    admitted_at: float
    updated_at: float
    revealing_since: float | None
    transaction: Digest | None
    settlement: Settlement | None
    output: Cid | None
    verdict: str
    leases: tuple[LeaseRecord, ...]

    @property
    def order(self) -> Order:
        """The order itself."""
        return self.signed_order.order


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEventRecord:
    """One line of a job's history. `data` is small and JSON-serialisable."""

    id: int
    job: Digest
    at: float
    kind: str
    text: str
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A history line to be written with a change."""

    kind: str
    text: str
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLease:
    """A replica to be offered."""

    operator: Address
    peer_id: PeerId
    ticket: int
    rate_microusd: int
    software_digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseChange:
    """One guarded move of one lease, with what it brings."""

    operator: Address
    expected: LeaseState
    event: LeaseEvent
    reason: str = ""
    ticket: int | None = None
    commit: Commit | None = None
    reveal: Reveal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """Everything that changes together in one job, in one transaction.

    `expected` and `generation` guard the job, each `LeaseChange.expected` its lease. Unless all of
    them hold nothing is written. `event` None leaves the job's state as it is.
    """

    job: Digest
    expected: JobState
    generation: int
    event: JobEvent | None = None
    reason: str | None = None
    round_number: int | None = None
    commit_set: CommitSet | None = None
    output: Cid | None = None
    verdict: str | None = None
    draw: tuple[Address | None, ...] | None = None
    new_leases: Sequence[NewLease] = ()
    lease_changes: Sequence[LeaseChange] = ()
    events: Sequence[NewEvent] = ()


class SchedulerStore(TransactionStore, Protocol):
    """Jobs, leases, history and outgoing transactions of one scheduler."""

    async def admit(
        self, job: Digest, signed_order: SignedOrder, spec: JobSpec, *, now: float, event: NewEvent
    ) -> bool:
        """Store a new job durably; False when it is there already."""
        ...

    async def job(self, job: Digest) -> JobRecord | None:
        """Return one job."""
        ...

    async def unfinished_jobs(self) -> Sequence[JobRecord]:
        """Return every job that has not ended, oldest first."""
        ...

    async def jobs(self, *, requester: Address | None, limit: int) -> Sequence[JobRecord]:
        """Return jobs, newest first."""
        ...

    async def apply(self, change: JobChange, *, now: float) -> bool:
        """Make a change; False, and nothing written, when it no longer applies."""
        ...

    async def set_stage(self, job: Digest, operator: Address, stage: str, *, now: float) -> bool:
        """Note what an accepted lease is doing."""
        ...

    async def commit_set(self, job: Digest, round_number: int) -> CommitSet | None:
        """Return the commit set that was fixed for a round."""
        ...

    async def newest_assign(self, job: Digest) -> SignedAssign | None:
        """Return the newest assignment of a job."""
        ...

    async def add_assign(self, signed: SignedAssign, *, generation: int) -> bool:
        """Keep an assignment; False when its number is taken or its job is not as it was seen."""
        ...

    async def events(self, job: Digest, *, after: int = 0) -> Sequence[JobEventRecord]:
        """Return a job's history in order."""
        ...

    async def note(self, job: Digest, event: NewEvent, *, now: float) -> None:
        """Add a line to a job's history; the job stays as it is."""
        ...

    async def save_decision(self, job: Digest, document: str) -> None:
        """Keep the newest matching decision, as JSON, for `explain`."""
        ...

    async def decision(self, job: Digest) -> str | None:
        """Return the newest matching decision."""
        ...

    async def releases_due(self) -> Sequence[LeaseRecord]:
        """Return leases whose providers have yet to be told that they are free."""
        ...

    async def released(self, job: Digest, operator: Address) -> None:
        """Note that the provider has been told."""
        ...

    async def save_offer(self, operator: Address, offer: SignedOffer, *, now: float) -> None:
        """Keep an operator's newest offer."""
        ...

    async def offers(self) -> Sequence[tuple[SignedOffer, float]]:
        """Return all offers with the time each was heard."""
        ...

    async def add_proof(self, result: ProofResult, signed: SignedProofResult, *, kept: int) -> bool:
        """Keep a proof's result, the newest `kept` of this verifier about this operator.

        False when that verifier's result of that round is there already: the first one stands.
        """
        ...

    async def proofs(self) -> Sequence[SignedProofResult]:
        """Return all results of proofs that are kept, the newest first."""
        ...

    async def finish_transaction(
        self,
        outgoing: OutgoingTransaction,
        state: TransactionState,
        *,
        settlements: Sequence[Settlement],
        failures: Mapping[Digest, str],
        now: float,
    ) -> None:
        """Apply a final transaction: settled jobs, failed jobs with reasons; the rest unbound."""
        ...

    async def settled_elsewhere(self, settlement: Settlement, *, now: float) -> None:
        """End a job by what the chain did without a transaction of this scheduler."""
        ...

    async def counts(self) -> Mapping[JobState, int]:
        """Return how many jobs are in each state."""
        ...
