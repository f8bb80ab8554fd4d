"""The nearest relaxations: what a new order would have to give up for more providers to fit.

Counted over the whole market, because a new order draws anew. Only providers that a single term
keeps away count, so each relaxation is true on its own.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from assay_node.protocol.errors import MalformedMessage
from assay_scheduler.feasibility import REQUIREMENTS, TERMS, Obstacle, Term
from assay_scheduler.plan import Reason
from assay_scheduler.snapshot import JobView, ProviderView

_TERM_OF = {row.reason: row.term for row in REQUIREMENTS if row.term is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """With `term` at `value` instead of `asked`, `more` providers would fit that do not now."""

    term: Term
    asked: int
    value: int
    more: int

    @property
    def step(self) -> tuple[bool, Fraction]:
        """How much is given up: the factor between the values, those from or to zero last."""
        low, high = sorted((self.asked, self.value))
        return (True, Fraction(high)) if low <= 0 else (False, Fraction(high, low))

    def __str__(self) -> str:
        return f"{self.more} more {self.term.phrase(self.value, self.asked)}"


def single_term(obstacles: Iterable[Obstacle]) -> Term | None:
    """Return the one term that keeps a provider away, None if there is none or more is amiss.

    Not being drawn does not count: a new order draws anew.
    """
    found: Term | None = None
    for reason, _ in obstacles:
        if reason is Reason.NOT_DRAWN:
            continue
        term = _TERM_OF.get(reason)
        if term is None or found not in (None, term):
            return None
        found = term
    return found


def relaxations(
    job: JobView, kept_away: Sequence[tuple[Term, ProviderView]], missing: int
) -> tuple[Relaxation, ...]:
    """Return the nearest relaxations, the smallest step first.

    For each term: the nearest value that wins anybody, and the nearest that wins `missing`
    providers (or as many as there are). Complexity: one sort of the providers kept away.
    """
    found = [
        relaxation
        for term in TERMS
        for relaxation in _steps(job, term, [p for t, p in kept_away if t is term], missing)
    ]
    return tuple(sorted(found, key=lambda relaxation: relaxation.step))  # stable: ties by table


def _steps(
    job: JobView, term: Term, providers: Sequence[ProviderView], missing: int
) -> list[Relaxation]:
    asked = term.asked(job)
    distances = sorted(abs(term.reach(provider) - asked) for provider in providers)
    if not distances:
        return []
    direction = 1 if term.reach(providers[0]) > asked else -1
    nearest, enough = distances[0], distances[min(missing, len(distances)) - 1]
    steps = [
        Relaxation(
            term=term,
            asked=asked,
            value=asked + direction * distance,
            more=bisect_right(distances, distance),
        )
        for distance in ([nearest] if nearest == enough else [nearest, enough])
    ]
    return [step for step in steps if _can_be_ordered(job, step)]


def _can_be_ordered(job: JobView, relaxation: Relaxation) -> bool:
    try:
        relaxation.term.softened(job, relaxation.value)
    except MalformedMessage:
        return False
    return True
