"""One sentence about a job, for the person who waits for it."""

from collections.abc import Sequence

from assay_scheduler.plan import Reason, Verdict
from assay_scheduler.snapshot import JobView


def summarize(job: JobView, verdicts: Sequence[Verdict], now: float, *, impossible: bool) -> str:
    """Return how many replicas are placed and, if some are missing, what they wait for."""
    drawn = [verdict for verdict in verdicts if verdict.ticket is not None]
    chosen = sum(verdict.chosen for verdict in drawn)
    missing = job.replicas_wanted - chosen
    placed = f"{job.order.replicas - missing} of {job.order.replicas} replicas placed"
    if missing == 0:
        return placed
    if impossible:
        return f"{placed}, and the rest never can be: {_why_never(job, drawn, now)}"
    return f"{placed}; waiting for {missing} more: {_why_not_now(drawn)}{_not_drawn(verdicts)}"


def _why_never(job: JobView, drawn: Sequence[Verdict], now: float) -> str:
    if now >= job.order.expiry:
        return "the order has expired"
    used = sum(_first(verdict) is Reason.ALREADY_USED for verdict in drawn)
    return (
        f"it takes {job.replicas_wanted} more operators, but tickets 0 to {job.order.max_ticket} "
        f"drew {len(drawn)}, of which {used} were used already; "
        "order again with a higher max_ticket"
    )


def _why_not_now(drawn: Sequence[Verdict]) -> str:
    """Count drawn operators by their first, longest-lasting reason, the most frequent first."""
    counts: dict[Reason, int] = {}
    for verdict in drawn:
        first = _first(verdict)
        if first is not None and first is not Reason.ALREADY_USED:
            counts[first] = counts.get(first, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].value))
    return f"of {len(drawn)} operators drawn, " + ", ".join(
        f"{count} {reason.value.replace('_', ' ')}" for reason, count in ordered
    )


def _not_drawn(verdicts: Sequence[Verdict]) -> str:
    fit = sum([reason for reason, _ in v.reasons] == [Reason.NOT_DRAWN] for v in verdicts)
    return f"; {fit} others would fit but were not drawn" if fit else ""


def _first(verdict: Verdict) -> Reason | None:
    return verdict.reasons[0][0] if verdict.reasons else None
