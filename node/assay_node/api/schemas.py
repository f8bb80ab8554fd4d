"""Shapes of the HTTP API's answers. Money in micro-USD, times in Unix seconds, ids in hex."""

from typing import Any

from pydantic import BaseModel


class Health(BaseModel):
    """The scheduler works, and follows the chain."""

    status: str
    version: str
    block: int


class JobLine(BaseModel):
    """One job in a list."""

    job: str
    name: str
    requester: str
    state: str
    ended: bool
    reason: str
    replicas: int
    max_cost_microusd: int
    cost_microusd: int | None
    admitted_at: float
    updated_at: float


class JobList(BaseModel):
    """The newest jobs."""

    jobs: list[JobLine]


class ReplicaRecord(BaseModel):
    """One replica. Answers are shown once all replicas have revealed."""

    operator: str
    ticket: int
    state: str
    counts: bool
    stage: str
    reason: str
    rate_microusd: int
    seconds: int | None
    verdict: str | None
    detail: str | None
    output: str | None
    log: str | None


class EventLine(BaseModel):
    """One line of a job's history."""

    id: int
    at: float
    kind: str
    text: str
    data: dict[str, Any]


class AmountLine(BaseModel):
    """Money to one operator."""

    operator: str
    microusd: int


class SlashLine(BaseModel):
    """Money taken from one operator."""

    operator: str
    microusd: int
    reason: str


class SettlementDetail(BaseModel):
    """What the chain did with a job's receipt; `gas` is this job's share of its batch."""

    transaction: str
    block: int
    agreed: bool
    seconds: int
    paid: list[AmountLine]
    slashed: list[SlashLine]
    fee_microusd: int
    cost_microusd: int
    gas: int
    receipts_in_batch: int


class JobDetail(JobLine):
    """Everything about one job."""

    scheduler: str
    comparison: str
    exact: str | None
    quorum: int
    seed_block: int
    expiry: int
    max_rate_microusd: int
    max_seconds: int
    bond_microusd: int
    fee_microusd: int
    round: int
    spec: str
    output: str | None
    verdict: str | None
    replica_records: list[ReplicaRecord]
    settlement: SettlementDetail | None
    events: list[EventLine]


class HardwareStanding(BaseModel):
    """Where a provider's hardware stands by this scheduler's own proofs."""

    state: str
    text: str
    asked_at: int | None
    being_asked: bool


class ProofFigureLine(BaseModel):
    """One device's figures in millions of operations a second; null is the processor."""

    device: str | None
    claimed_mflops: int
    proven_mflops: int


class ProofLine(BaseModel):
    """The newest proof of one verifier about a provider."""

    verifier: str
    verdict: str
    detail: str
    asked_at: int
    seconds: float
    figures: list[ProofFigureLine]


class ProviderLine(BaseModel):
    """One provider."""

    operator: str
    peer_id: str
    connected: bool
    last_heard: float
    price_microusd_per_second: int
    slots: int
    slots_free: int
    stake_microusd: int
    wins: int
    faults: int
    tiers: list[str]
    runtimes: list[str]
    gpus: list[str]
    cpu_model: str
    hardware_class: str
    software_digest: str
    exact_modes: list[str]
    hardware: HardwareStanding
    proofs: list[ProofLine]


class ProviderList(BaseModel):
    """All providers heard from."""

    providers: list[ProviderLine]
