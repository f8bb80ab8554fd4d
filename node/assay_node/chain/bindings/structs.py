"""The contracts' structs as Python.

Written by contracts/generate_bindings.py from the ABIs; do not edit.
"""

from typing import NamedTuple

from assay_node.protocol.ids import Address, Digest


class Order(NamedTuple):
    """The struct Order."""

    requester: Address
    spec: Digest
    hardware_class: Digest
    scheduler: Address
    fee: int
    max_rate: int
    max_seconds: int
    bond: int
    replicas: int
    quorum: int
    max_ticket: int
    commit_window: int
    reveal_window: int
    seed_block: int
    expiry: int
    audit_bps: int
    escalate: bool
    nonce: int


class Matter(NamedTuple):
    """The struct Matter."""

    order: Order
    commitments: tuple[Digest, ...]
    shares: tuple[int, ...]
    entered_in: int


class Case(NamedTuple):
    """The struct Case."""

    context: bytes
    since: int
    state: int


class Panel(NamedTuple):
    """The struct Panel."""

    kind: int
    payer: Address
    seed_block: int
    expiry: int


class Opening(NamedTuple):
    """The struct Opening."""

    index_: int
    secs: int
    tag: Digest
    salt: Digest


class Referral(NamedTuple):
    """The struct Referral."""

    job: Digest
    commits: Digest
    requester: Address
    scheduler: Address
    fee: int
    bond: int
    audit_bps: int


class Fund(NamedTuple):
    """The struct Fund."""

    settled: int
    previous: int
    current: int
    epoch: int


class Entry(NamedTuple):
    """The struct Entry."""

    operator: Address
    ticket: int
    rate: int
    commitment: Digest


class Commit(NamedTuple):
    """The struct Commit."""

    operator: Address
    rate: int
    ticket: int
    v: int
    commitment: Digest
    r: Digest
    s: Digest


class Pledges(NamedTuple):
    """The struct Pledges."""

    previous: int
    current: int
    epoch: int


class Verdict(NamedTuple):
    """The struct Verdict."""

    tag: bytes
    cost: int
    ended_at: int
    agreed: bool


class Terms(NamedTuple):
    """The struct Terms."""

    requester: Address
    operator: Address
    spec: Digest
    hardware_class: Digest
    scheduler: Address
    rate: int
    fee_rate: int
    escrow: int
    notice: int
    start_by: int
    nonce: int


class Lease(NamedTuple):
    """The struct Lease."""

    requester: Address
    escrow: int
    notice: int
    status: int
    operator: Address
    paid_until: int
    stops_at: int
    scheduler: Address
    rate: int
    fee_rate: int


class Replica(NamedTuple):
    """The struct Replica."""

    operator: Address
    rate: int
    ticket: int
    secs: int
    tag: Digest
    salt: Digest
    sig: bytes


class Receipt(NamedTuple):
    """The struct Receipt."""

    order: Order
    requester_sig: bytes
    replicas: tuple[Replica, ...]


class Claim(NamedTuple):
    """The struct Claim."""

    ticket: int
    operator: Address
    signer: Address


class RoadJob(NamedTuple):
    """The struct RoadJob."""

    context: bytes
    deadline: int
    revealed: int
    state: int


class SchedulerBond(NamedTuple):
    """The struct SchedulerBond."""

    amount: int
    leaves_at: int
    caught: bool


class Assign(NamedTuple):
    """The struct Assign."""

    job: Digest
    round_: int
    sequence: int
    operators: tuple[Address, ...]
    tickets: tuple[int, ...]
    replaced: tuple[Address, ...]


class Account(NamedTuple):
    """The struct Account."""

    free: int
    bond: int
    locked: int
    wins: int
    faults: int


class Budget(NamedTuple):
    """The struct Budget."""

    amount: int
    closes_at: int
