"""What `decide` returns: where replicas go, and for everybody else why not.

A plan leaves its executor no choices. It is made of values that compare equal when they mean the
same, so two machines can check each other's plans with `==`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from assay_node.protocol.ids import Address, Digest


class Reason(StrEnum):
    """Why a provider does not get a replica; machine-readable, next to a sentence for people."""

    NOT_DRAWN = "not_drawn"
    ALREADY_USED = "already_used"
    NEVER_HEARD = "never_heard"
    ORDER_EXPIRED = "order_expired"
    WRONG_CLASS = "wrong_class"
    TIER_TOO_LOW = "tier_too_low"
    RUNTIME_MISSING = "runtime_missing"
    EXACT_MODE_MISSING = "exact_mode_missing"
    MEMORY_TOO_SMALL = "memory_too_small"
    CPUS_TOO_FEW = "cpus_too_few"
    SCRATCH_TOO_SMALL = "scratch_too_small"
    OUTPUT_TOO_SMALL = "output_too_small"
    INPUT_TOO_SMALL = "input_too_small"
    GPUS_TOO_FEW = "gpus_too_few"
    GPU_MEMORY_TOO_SMALL = "gpu_memory_too_small"
    HARDWARE_DISPROVED = "hardware_disproved"
    HARDWARE_UNPROVEN = "hardware_unproven"
    SECONDS_TOO_LONG = "seconds_too_long"
    PRICE_ABOVE_CAP = "price_above_cap"
    BOND_TOO_HIGH = "bond_too_high"
    STAKE_TOO_LOW = "stake_too_low"
    OFFER_EXPIRED = "offer_expired"
    OFFLINE = "offline"
    NO_FREE_SLOT = "no_free_slot"
    BEING_PROVEN = "being_proven"
    SOFTWARE_DIFFERS = "software_differs"
    WAITS_FOR_OTHERS = "waits_for_others"
    """It fits, but too few others do, and a job starts with all its replicas or not at all."""
    NOT_NEEDED = "not_needed"
    """It fits, and other operators were enough."""


LASTING: Final = frozenset({Reason.NOT_DRAWN, Reason.ALREADY_USED, Reason.ORDER_EXPIRED})
"""Reasons that no change of offer, price, connection or load can cure for this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One replica of a job goes to an operator, at the ticket under which it was drawn."""

    job: Digest
    operator: Address
    ticket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided about one operator for one job.

    `ticket` is its lowest within the order's reach, None when it was not drawn. `reasons` is empty
    exactly when it was chosen; each pairs the machine-readable reason with a sentence for a person.
    """

    operator: Address
    chosen: bool
    ticket: int | None
    reasons: tuple[tuple[Reason, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about one job.

    `wanted` counts the replicas missing before this plan, `placed` those the plan places.
    `verdicts` covers every known provider and every drawn operator, by ticket, then those not drawn
    by operator. `relaxations` says which terms of a new order would let how many more providers
    fit, the smallest step first. `impossible` means that nothing can complete the job any more:
    fail it, with `summary` as the reason.
    """

    job: Digest
    wanted: int
    placed: int
    verdicts: tuple[Verdict, ...]
    summary: str
    relaxations: tuple[str, ...]
    impossible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All placements and one decision for each job, both in the order in which jobs were served."""

    placements: tuple[Placement, ...]
    decisions: tuple[Decision, ...]
