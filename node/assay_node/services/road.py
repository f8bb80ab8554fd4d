"""What can be done now for a job on the on-chain road: a pure function.

It takes where the job stands there, what somebody holds, and the chain's time.

Whoever holds nothing can still end a job whose time is up; whoever holds the commit set can take a
job there; only an operator's own answer can be committed or opened by it. The contract checks all
of it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from assay_node.ports.road import (
    ROAD_ENDS,
    CommitOnRoad,
    FinalizeRoad,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadCommit,
    RoadJob,
    RoadOpening,
    RoadState,
    RoadStep,
)
from assay_node.protocol.ids import ZERO_ADDRESS, Address, Digest
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.receipt import Receipt, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An operator's own output in the road's round: its signed commit, and what opens it."""

    commit: RoadCommit
    seconds: int
    tag: Digest
    salt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What somebody can bring to a job's road beside what the chain has."""

    signed_order: SignedOrder | None = None
    commit_set: CommitSet | None = None
    answer: Answer | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadPlan:
    """The step that can be taken now, or why there is none, in words.

    `waits_for` can act until `until` (Unix seconds); afterwards anybody can move the job on.
    """

    step: RoadStep | None = None
    text: str
    waits_for: tuple[Address, ...] = ()
    until: int | None = None


def at(road: RoadJob, *, now: int, window_s: int) -> RoadJob:
    """Return a job as the contract sees it at a time: a passed deadline fixes its commits."""
    if road.state is RoadState.COMMITTING and now > road.deadline:
        return replace(road, state=RoadState.REVEALING, deadline=road.deadline + window_s)
    return road


def plan(road: RoadJob, holdings: Holdings, *, now: int, window_s: int) -> RoadPlan:
    """Return what can be done for a job at the chain's time `now`."""
    road = at(road, now=now, window_s=window_s)
    signed = holdings.signed_order or road.signed_order
    if road.state in ROAD_ENDS:
        return RoadPlan(text="the job is over")
    if signed is None:
        return RoadPlan(text="the job's order is needed, and nobody here has it")
    if road.state is RoadState.ABSENT:
        return _open(signed, holdings, now)
    if holdings.receipt is not None and _has_quorum(holdings.receipt):
        override = OverrideRoad(
            receipt=holdings.receipt, round_number=road.round_number, entries=road.entries
        )
        return RoadPlan(step=override, text="the complete receipt ends the job")
    if road.state is RoadState.COMMITTING:
        return _commit(road, signed, holdings)
    return _reveal_or_end(road, signed, holdings, now)


def opening_alone(step: OpenRoad, own: RoadCommit) -> OpenRoad:
    """Return the first step with one's own commit only, for when the set is refused.

    Another's stake may be locked elsewhere, its key replaced, its signature not its own: nobody but
    the chain has checked it. The rest can still commit, each by itself.
    """
    return replace(step, commits=(own,), set_signature=b"")


def commits_of(committed: CommitSet) -> tuple[RoadCommit, ...]:
    """Return a set's commits as the road takes them."""
    return tuple(
        RoadCommit(
            operator=entry.operator,
            ticket=entry.ticket,
            rate_microusd=entry.rate_microusd,
            commitment=entry.commitment,
            signature=entry.signature,
        )
        for entry in committed.entries
    )


def _open(signed: SignedOrder, holdings: Holdings, now: int) -> RoadPlan:
    expiry = signed.order.expiry
    if now > expiry:
        return RoadPlan(text="the order expired before the job was taken to the road")
    committed = holdings.commit_set
    if committed is None:
        return RoadPlan(text="nobody here holds a commit set to take the job there", until=expiry)
    step = OpenRoad(
        signed_order=signed,
        round_number=committed.round_number,
        commits=commits_of(committed),
        set_signature=committed.signature,
    )
    return RoadPlan(step=step, text="the commit set takes the job to the road", until=expiry)


def _commit(road: RoadJob, signed: SignedOrder, holdings: Holdings) -> RoadPlan:
    order = signed.order
    if order.scheduler == ZERO_ADDRESS:
        text = f"fresh operators join the panel at the court ({len(road.entries)} have)"
        return RoadPlan(text=text, until=road.deadline)
    commits = with_a_place(road, order.replicas, _own_commits(road, holdings))
    if commits:
        step = CommitOnRoad(
            order=order, round_number=road.round_number, entries=road.entries, commits=commits
        )
        return RoadPlan(step=step, text="a commit has a place", until=road.deadline)
    places = "all places are taken" if len(road.entries) == order.replicas else "places are left"
    text = f"drawn operators may still commit ({places}; lower tickets come first)"
    return RoadPlan(text=text, until=road.deadline)


def _own_commits(road: RoadJob, holdings: Holdings) -> tuple[RoadCommit, ...]:
    if holdings.answer is not None:
        return (holdings.answer.commit,)
    committed = holdings.commit_set
    if committed is None or committed.round_number != road.round_number:
        return ()
    return commits_of(committed)


def with_a_place(
    road: RoadJob, replicas: int, commits: Sequence[RoadCommit]
) -> tuple[RoadCommit, ...]:
    """Return the commits that are not there yet and whose tickets are low enough."""
    there = {entry.operator for entry in road.entries}
    taken = [entry.ticket for entry in road.entries]
    new = sorted((c for c in commits if c.operator not in there), key=lambda c: c.ticket)
    lowest = sorted([*taken, *(c.ticket for c in new)])[:replicas]
    return tuple(c for c in new if c.ticket in lowest)


def _reveal_or_end(road: RoadJob, signed: SignedOrder, holdings: Holdings, now: int) -> RoadPlan:
    order, in_time = signed.order, now <= road.deadline
    if len(road.entries) < order.quorum:
        return RoadPlan(
            step=_finalize(road, signed, ()),
            text="too few operators committed for a quorum; ending the job lets their bonds go",
        )
    own = _own_opening(road, holdings.answer) if in_time else None
    openings = road.openings
    if own is not None:
        openings = tuple(sorted((*openings, own), key=lambda opening: opening.index))
    if len(openings) == len(road.entries):
        return RoadPlan(step=_finalize(road, signed, openings), text="everything is revealed")
    if not in_time:
        text = "the time to reveal is over"
        return RoadPlan(step=_finalize(road, signed, openings), text=text)
    if own is not None:
        step = RevealOnRoad(
            job=road.job, round_number=road.round_number, entries=road.entries, openings=(own,)
        )
        return RoadPlan(step=step, text="the own answer is not revealed yet", until=road.deadline)
    text = "operators have yet to reveal"
    return RoadPlan(text=text, waits_for=road.silent, until=road.deadline)


def _own_opening(road: RoadJob, answer: Answer | None) -> RoadOpening | None:
    if answer is None or answer.commit.operator not in road.silent:
        return None
    for index, entry in enumerate(road.entries):
        if entry.commitment == answer.commit.commitment:
            return RoadOpening(
                index=index, seconds=answer.seconds, tag=answer.tag, salt=answer.salt
            )
    return None


def _finalize(
    road: RoadJob, signed: SignedOrder, openings: tuple[RoadOpening, ...]
) -> FinalizeRoad:
    return FinalizeRoad(
        order=signed.order,
        round_number=road.round_number,
        entries=road.entries,
        openings=openings,
    )


def _has_quorum(receipt: Receipt) -> bool:
    order = receipt.signed_order.order
    votes = [(replica.tag, replica.seconds) for replica in receipt.replicas]
    return tally(votes, quorum=order.quorum, max_seconds=order.max_seconds).agreed
