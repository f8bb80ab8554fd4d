"""Requests and answers between peers, with the libp2p protocol that carries each.

Every exchange is one request and one answer on the framed stream that two peers share. All are
idempotent: the same request twice has the effect of one, so whoever is unsure sends again.
"""

from dataclasses import dataclass
from typing import Final

from assay_node.protocol.assignment import SignedAssign
from assay_node.protocol.ids import Address, Cid, Digest
from assay_node.protocol.offer import SignedOffer
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.receipt import Receipt, commit_set

# Requester to scheduler
TERMS: Final = "/assay/terms/1"
SUBMIT: Final = "/assay/submit/1"
QUERY: Final = "/assay/query/1"
RESULT: Final = "/assay/result/1"
# Provider to scheduler
HELLO: Final = "/assay/hello/3"
HEARTBEAT: Final = "/assay/heartbeat/1"
PROGRESS: Final = "/assay/progress/1"
COMMIT: Final = "/assay/commit/1"
HAND_BACK: Final = "/assay/hand-back/1"
# Scheduler to provider
LEASE: Final = "/assay/lease/1"
COMMIT_SET: Final = "/assay/commit-set/1"
RELEASE: Final = "/assay/release/1"
OUTPUT: Final = "/assay/output/1"
# Scheduler to provider: the proof of hardware
PROOF_PREPARE: Final = "/assay/proof/prepare/1"
PROOF: Final = "/assay/proof/1"
PROOF_OPEN: Final = "/assay/proof/open/1"
PROOF_RESULT: Final = "/assay/proof/result/1"
# Gossip
OFFERS_TOPIC: Final = "/assay/offers/3"
PROOFS_TOPIC: Final = "/assay/proofs/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Heard, and stored where it had to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsRequest:
    """Asks a scheduler on which terms it works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A scheduler's terms. `scheduler` is the wallet an order must name; times are seconds."""

    scheduler: Address
    chain_id: int
    market: Address
    fee_microusd: int
    seconds_max: int
    input_bytes_max: int
    seed_blocks_ahead_max: int
    expiry_s_max: int
    settle_margin_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Hands in an order; the scheduler fetches spec and inputs from the sender while it waits."""

    signed_order: SignedOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The order is stored durably. `already` says that it had been before."""

    job: Digest
    already: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Asks for a public document: "jobs", "job", "explain", "commit_set" or "providers".

    `after_event` > 0 with `wait_s` > 0 holds the answer back until the job has a newer event.
    """

    kind: str
    job: Digest | None = None
    requester: Address | None = None
    after_event: int = 0
    wait_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON document, the same one the HTTP API serves."""

    json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRequest:
    """Asks where a job's result is and what proves it."""

    job: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The output, and what proves it. The requester checks both itself.

    Without a receipt it is the chain: the job, or the panel that ran it again, was settled on the
    on-chain road; its round says nothing then.
    """

    receipt: Receipt | None
    panel_job: Digest | None
    round_number: int
    output: Cid
    verdict: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """Asks a provider for the output that it has revealed on the chain for a job."""

    job: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The output of a provider's own run; the chain has the tag of the one that was agreed on."""

    output: Cid
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A provider introduces itself on a new connection, or after its offer changed."""

    offer: SignedOffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The scheduler lists the provider's leases it believes active, so both can reconcile."""

    scheduler: Address
    heartbeat_s: int
    active_jobs: tuple[Digest, ...]
    """Those that the provider has accepted, as far as its answer arrived."""
    offered_jobs: tuple[Digest, ...]
    """Those whose offers have no answer yet: they may be on their way, or lost with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A provider is alive and has this many slots free."""

    slots_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseOffer:
    """The scheduler leases one replica to a drawn provider, which its assignment names.

    The same job with a higher `round_number` asks the holder of a finished run to commit anew,
    because another replica was replaced after the commit set had been shown.
    """

    signed_order: SignedOrder
    ticket: int
    round_number: int
    assign: SignedAssign


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """The provider took the lease durably (at this rate), or says why not."""

    accepted: bool
    reason: str
    rate_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a lease is doing now, for people: "fetching", "preparing", "running", "storing"."""

    job: Digest
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A provider's commitment at its rate, with which anybody can take the job to the chain.

    `at_limit` says openly that the run ended at a resource limit.

    Which limit was hit can depend on the machine, so a replica that says so is not held against
    one that finished: it is replaced unless every replica ended so.
    """

    job: Digest
    round_number: int
    rate_microusd: int
    commitment: Digest
    at_limit: bool
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HandBack:
    """A provider gives a lease up before committing, and says why."""

    job: Digest
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitEntry:
    """One replica's place in the commit set; `signature` is its provider's, over its `Commit`."""

    operator: Address
    ticket: int
    rate_microusd: int
    commitment: Digest
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSet:
    """All k commitments of a round, by rising ticket. A provider reveals to one set per round.

    With the signatures of the providers and of the scheduler, whoever holds it can take the job to
    the on-chain road alone.
    """

    job: Digest
    round_number: int
    entries: tuple[CommitEntry, ...]
    signature: bytes

    @property
    def commits(self) -> Digest:
        """The hash of all commitments, which is what is signed."""
        return commit_set([entry.commitment for entry in self.entries])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reveal:
    """A provider opens its commitment. `verdict` and `detail` are for people; `tag` decides."""

    job: Digest
    round_number: int
    tag: Digest
    seconds: int
    salt: Digest
    rate_microusd: int
    output: Cid
    log: Cid | None
    verdict: str
    detail: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The scheduler frees a provider of a lease: the job ended, or the replica was replaced."""

    job: Digest
    reason: str
