"""Places one job: walks its tickets, takes the first operators that fit, explains all others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.job_spec import ENVIRONMENTS, Comparison, runtime_kind
from assay_scheduler.explanation import summarize
from assay_scheduler.feasibility import Obstacle, obstacles
from assay_scheduler.plan import LASTING, Decision, Placement, Reason, Verdict
from assay_scheduler.relaxation import relaxations, single_term
from assay_scheduler.snapshot import JobView, LeaseView, ProviderView


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The outcome for one job."""

    decision: Decision
    placements: tuple[Placement, ...]


def place(job: JobView, providers: Mapping[Address, ProviderView], now: float) -> Placed:
    """Decide one job against what is left of the providers; `providers` iterates by operator.

    1. Find every operator's obstacles: not drawn, used before, never heard from, infeasible.
    2. A `class` job keeps to one software digest; other digests become an obstacle. One that brings
       its environment by CID brings all of its software, so providers' own does not count.
    3. Take drawn operators without an obstacle by rising ticket, as many as are wanted. A job
       without an active replica gets all of them or none: half a job would hold slots and bonds
       that nobody is paid for. A replacement is taken as soon as any fits.
    4. Give every operator its verdict and the job its summary and relaxations.
    """
    tickets = job.first_tickets
    blocked = _obstacles(job, tickets, providers, now)
    _keep_to_software(job, tickets, blocked, providers)
    fits = [operator for operator in tickets if not blocked[operator]]
    impossible = _impossible(job, tickets, blocked, now)
    starts = job.replicas_active > 0 or len(fits) >= job.replicas_wanted
    chosen = fits[: job.replicas_wanted] if starts and not impossible else []
    _explain_unchosen(job, blocked, fits, chosen)
    verdicts = tuple([_verdict(o, reasons, tickets) for o, reasons in blocked.items()])
    decision = Decision(
        job=job.job,
        wanted=job.replicas_wanted,
        placed=len(chosen),
        verdicts=verdicts,
        summary=summarize(job, verdicts, now, impossible=impossible),
        relaxations=_relaxations(job, blocked, providers, job.replicas_wanted - len(fits)),
        impossible=impossible,
    )
    return Placed(
        decision=decision,
        placements=tuple(Placement(job=job.job, operator=o, ticket=tickets[o]) for o in chosen),
    )


_Blocked = dict[Address, tuple[Obstacle, ...]]
"""Every operator considered: drawn ones by ticket, then the others by operator."""


def _verdict(
    operator: Address, reasons: tuple[Obstacle, ...], tickets: Mapping[Address, int]
) -> Verdict:
    return Verdict(
        operator=operator, chosen=not reasons, ticket=tickets.get(operator), reasons=reasons
    )


def _obstacles(
    job: JobView,
    tickets: Mapping[Address, int],
    providers: Mapping[Address, ProviderView],
    now: float,
) -> _Blocked:
    used = {lease.operator: lease for lease in sorted(job.leases, key=_lease_order)}
    not_drawn = (Reason.NOT_DRAWN, f"none of tickets 0 to {job.order.max_ticket} drew it")
    blocked: _Blocked = {}
    for operator in (*tickets, *[o for o in providers if o not in tickets]):
        provider, lease = providers.get(operator), used.get(operator)
        if lease is not None:
            # Its other obstacles say nothing: an active replica itself fills the provider's slot.
            blocked[operator] = ((Reason.ALREADY_USED, _used_sentence(lease)),)
        elif provider is None:
            sentence = "drawn, but it has never been heard from"
            blocked[operator] = ((Reason.NEVER_HEARD, sentence),)
        elif operator in tickets:
            blocked[operator] = obstacles(job, provider, now)
        else:
            blocked[operator] = (not_drawn, *obstacles(job, provider, now))
    return blocked


def _lease_order(lease: LeaseView) -> tuple[bool, int, Address, str]:
    return (lease.active, lease.ticket, lease.operator, lease.state.value)


def _used_sentence(lease: LeaseView) -> str:
    if lease.active:
        return f"already has a replica of this job, at ticket {lease.ticket}"
    ended = lease.state.value.replace("_", " ")
    return f"had a replica of this job that was {ended}; an operator is used once per job"


def _shared_software(
    job: JobView, fits: Sequence[Address], providers: Mapping[Address, ProviderView]
) -> Digest | None:
    """Return the software digest a `class` job keeps to, None where there is nothing to keep to.

    The active replicas' digest if there are any. Otherwise the digest whose group is complete at
    the lowest ticket, or while none is, the one with most operators; last, the lower digest.
    """
    if job.spec.comparison != Comparison.CLASS or runtime_kind(job.spec.runtime) == ENVIRONMENTS:
        return None
    active = sorted((lease for lease in job.leases if lease.active), key=_lease_order)
    if active:
        return active[0].software_digest
    groups: dict[Digest, list[int]] = {}
    for position, operator in enumerate(fits):
        groups.setdefault(providers[operator].offer.software_digest, []).append(position)

    def rank(item: tuple[Digest, list[int]]) -> tuple[int, int, Digest]:
        digest, positions = item
        counted = positions[: job.replicas_wanted]
        return (-len(counted), counted[-1] if counted else 0, digest)

    return min(groups.items(), key=rank)[0] if groups else None


def _keep_to_software(
    job: JobView,
    tickets: Mapping[Address, int],
    blocked: _Blocked,
    providers: Mapping[Address, ProviderView],
) -> None:
    shared = _shared_software(job, [o for o in tickets if not blocked[o]], providers)
    if shared is None:
        return
    for operator, reasons in blocked.items():
        provider = providers.get(operator)
        if provider is None or (reasons and reasons[0][0] is Reason.ALREADY_USED):
            continue
        if provider.offer.software_digest != shared:
            sentence = (
                f"runs software {provider.offer.software_digest.hex()[:16]}; "
                f"all replicas of this job run {shared.hex()[:16]}"
            )
            blocked[operator] = (*reasons, (Reason.SOFTWARE_DIFFERS, sentence))


def _impossible(
    job: JobView, tickets: Mapping[Address, int], blocked: _Blocked, now: float
) -> bool:
    """Whether the order expired or too few operators are left, even if all that can change did."""
    if job.replicas_wanted > 0 and now >= job.order.expiry:
        return True
    left = [
        operator
        for operator in tickets
        if not any(reason in LASTING for reason, _ in blocked[operator])
    ]
    return len(left) < job.replicas_wanted


def _explain_unchosen(
    job: JobView, blocked: _Blocked, fits: Sequence[Address], chosen: Sequence[Address]
) -> None:
    if len(fits) >= job.replicas_wanted:
        reason = Reason.NOT_NEEDED
        sentence = f"fits, but the job's {job.order.replicas} replicas went to other operators"
    else:
        reason = Reason.WAITS_FOR_OTHERS
        sentence = (
            f"fits, but the job needs {job.replicas_wanted} operators at once "
            f"and only {len(fits)} of those drawn can take it now"
        )
    for operator in fits[len(chosen) :]:
        blocked[operator] = ((reason, sentence),)


def _relaxations(
    job: JobView, blocked: _Blocked, providers: Mapping[Address, ProviderView], missing: int
) -> tuple[str, ...]:
    if missing <= 0:
        return ()
    kept_away = [
        (term, providers[operator])
        for operator, reasons in blocked.items()
        if (term := single_term(reasons)) is not None
    ]
    return tuple(str(relaxation) for relaxation in relaxations(job, kept_away, missing))
