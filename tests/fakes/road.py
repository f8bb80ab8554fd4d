"""The on-chain road as a small model: its states, deadlines and places, without money."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from assay_node.chain.refusals import ContractRefusal
from assay_node.ports import (
    ROAD_ENDS,
    CommitOnRoad,
    FinalizeRoad,
    MarketStep,
    OpenRoad,
    OverrideRoad,
    RevealOnRoad,
    RoadCommit,
    RoadEntry,
    RoadJob,
    RoadOpening,
    RoadState,
    RoadStep,
    Settlement,
)
from assay_node.protocol.ids import Digest
from assay_node.protocol.order import Order, job_id
from assay_node.protocol.receipt import commitment, tally
from assay_node.protocol.typed_data import Domain

WINDOW_S = 7_200


class FakeRoad:
    """`ports.RoadChain` but for what it reads elsewhere; steps are mined at once."""

    def __init__(self, domain: Domain, now: Callable[[], int]) -> None:
        self._domain = domain
        self._now = now
        self.on_road: dict[Digest, RoadJob] = {}
        self.opened_at: list[tuple[int, Digest]] = []
        self.spent: set[int] = set()
        self.steps: list[MarketStep] = []
        self.settlements: dict[Digest, Settlement] = {}
        self.refuse: Callable[[MarketStep], str | None] = lambda step: None
        self.looks = 0

    async def road_window_s(self) -> int:
        return WINDOW_S

    async def taken_to_road(self, from_block: int, to_block: int) -> Sequence[Digest]:
        self.looks += 1
        return [job for block, job in self.opened_at if from_block <= block <= to_block]

    async def road_of(self, job: Digest, *, from_block: int | None = None) -> RoadJob:
        absent = RoadJob(job=job, state=RoadState.ABSENT, deadline=0, round_number=0)
        return self.on_road.get(job, absent)

    async def settlement_of(
        self, job_id: Digest, *, from_block: int | None = None
    ) -> Settlement | None:
        return self.settlements.get(job_id)

    async def start_step(self, job: Digest, step: MarketStep) -> bool:
        if isinstance(step, RoadStep):
            self.take(step)
        else:
            self.take_at_court(step)
        return True

    def take_at_court(self, step: MarketStep) -> None:
        raise AssertionError("a road by itself has no court")

    async def pursue_steps(self) -> None:
        pass

    def newest_block(self) -> int:
        return 10

    def take(self, step: RoadStep) -> None:
        """Take a step as anybody, or refuse it as the contract does."""
        self.check(step)
        match step:
            case OpenRoad():
                self._open(step)
            case CommitOnRoad():
                self._commit(step)
            case RevealOnRoad():
                self._reveal(step)
            case FinalizeRoad():
                self._finalize(step)
            case OverrideRoad():
                job = self._current(
                    job_id(step.receipt.signed_order.order, self._domain), step.entries
                )
                self._end(job, agreed=True)
        self.steps.append(step)

    def check(self, step: MarketStep) -> None:
        """Refuse a step if the test says so."""
        reason = self.refuse(step)
        if reason is not None:
            raise _refusal(reason)

    def _job_of(self, order: Order) -> Digest:
        return job_id(order, self._domain)

    def _open(self, step: OpenRoad) -> None:
        order = step.signed_order.order
        job = job_id(order, self._domain)
        if order.nonce_number in self.spent:
            raise _refusal("Vault_NonceSpent")
        if self._now() > order.expiry:
            raise _refusal("Road_OrderExpired")
        if not step.commits:
            raise _refusal("Road_NoCommit")
        is_fixed = bool(step.set_signature)
        if is_fixed and len(step.commits) != order.replicas:
            raise _refusal("Road_SetIncomplete")
        self.spent.add(order.nonce_number)
        self.opened_at.append((self.newest_block(), job))
        self.on_road[job] = RoadJob(
            job=job,
            state=RoadState.REVEALING if is_fixed else RoadState.COMMITTING,
            deadline=self._now() + WINDOW_S
            if is_fixed
            else max(order.expiry, self._now() + WINDOW_S),
            round_number=step.round_number,
            entries=_placed((), step.commits, order),
            signed_order=step.signed_order,
        )

    def _commit(self, step: CommitOnRoad) -> None:
        self._add(self._job_of(step.order), step.order, step.entries, step.commits)

    def _add(
        self,
        job: Digest,
        order: Order,
        entries: Sequence[RoadEntry],
        commits: Sequence[RoadCommit],
    ) -> None:
        road = self._current(job, entries)
        if road.state is not RoadState.COMMITTING:
            raise _refusal("Road_NotCommitting")
        self.on_road[road.job] = replace(road, entries=_placed(road.entries, commits, order))

    def _reveal(self, step: RevealOnRoad) -> None:
        road = self._current(step.job, step.entries)
        if road.state is not RoadState.REVEALING:
            raise _refusal("Road_NotRevealing")
        if self._now() > road.deadline:
            raise _refusal("Road_TooLate")
        self.on_road[road.job] = self._opened(road, step.openings)

    def _finalize(self, step: FinalizeRoad) -> None:
        order = step.order
        road = self._current(job_id(order, self._domain), step.entries)
        if road.state is not RoadState.REVEALING:
            raise _refusal("Road_TooEarly")
        if len(road.entries) < order.quorum:
            self._end(road, agreed=False)
            return
        new = tuple(o for o in step.openings if o not in road.openings)
        if new and self._now() > road.deadline:
            raise _refusal("Road_TooLate")
        road = self._opened(road, new)
        if road.openings != step.openings:
            raise _refusal("Road_OpeningMissing")
        if road.silent and self._now() <= road.deadline:
            raise _refusal("Road_TooEarly")
        votes = [(opening.tag, opening.seconds) for opening in step.openings]
        agreed = tally(votes, quorum=order.quorum, max_seconds=order.max_seconds).agreed
        self._end(road, agreed=agreed)

    def _opened(self, road: RoadJob, openings: Sequence[RoadOpening]) -> RoadJob:
        for opening in openings:
            entry = road.entries[opening.index]
            opened = commitment(
                road.job, entry.operator, opening.tag, opening.seconds, opening.salt
            )
            if opened != entry.commitment:
                raise _refusal("Road_OpeningWrong")
        by_index = {one.index: one for one in (*road.openings, *openings)}
        return replace(road, openings=tuple(by_index[i] for i in sorted(by_index)))

    def _current(self, job: Digest, entries: Sequence[RoadEntry]) -> RoadJob:
        road = self.on_road.get(job)
        if road is None or road.state in ROAD_ENDS:
            raise _refusal("Road_NotOpen")
        if road.entries != tuple(entries):
            raise _refusal("Road_ContextWrong")
        if road.state is RoadState.COMMITTING and self._now() > road.deadline:
            return replace(road, state=RoadState.REVEALING, deadline=road.deadline + WINDOW_S)
        return road

    def _end(self, road: RoadJob, *, agreed: bool) -> None:
        state = RoadState.SETTLED if agreed else RoadState.FAILED
        self.on_road[road.job] = replace(road, state=state)


def _placed(
    there: Sequence[RoadEntry], commits: Sequence[RoadCommit], order: Order
) -> tuple[RoadEntry, ...]:
    if {c.operator for c in commits} & {e.operator for e in there}:
        raise _refusal("Road_OperatorTwice")
    new = [
        RoadEntry(
            operator=commit.operator,
            ticket=commit.ticket,
            rate_microusd=commit.rate_microusd,
            commitment=commit.commitment,
        )
        for commit in commits
    ]
    kept = sorted((*there, *new), key=lambda entry: entry.ticket)[: order.replicas]
    if not any(entry in kept for entry in new):
        raise _refusal("Road_NoPlaceLeft")
    return tuple(kept)


def _refusal(name: str) -> ContractRefusal:
    return ContractRefusal(name, f"it was refused ({name})")
