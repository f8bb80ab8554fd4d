"""The on-chain road by the protocol's text alone: what each step does to everybody's books.

Written from `docs/protocol/settlement.md`, the NatSpec of `IRoad` and RFD 7. A step that the
contract would revert raises `Refused` and has changed nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from eth_utils.crypto import keccak

from tests.integration.chain import payout_model as model
from tests.integration.chain.payout_model import Now, Order, Part, Replica, require

PANEL_MAX: Final = 17


class Commit(NamedTuple):
    """What an operator brings; without a signature its signing key is the sender."""

    operator: str
    rate: int
    ticket: int
    commitment: bytes
    signature: bytes | None


class Entry(NamedTuple):
    operator: str
    ticket: int
    rate: int
    commitment: bytes


class Opening(NamedTuple):
    index: int
    secs: int
    tag: bytes
    salt: bytes


@dataclass
class Trip:
    """A job that is on the road: who has a place, and who has opened what."""

    order: Order
    round_number: int
    entries: list[Entry]
    commit_until: int
    fixed_at: int | None = None
    """When the scheduler's own set was brought, if it was."""
    opened: dict[int, Opening] = field(default_factory=dict)

    @property
    def reveal_until(self) -> int:
        since = self.commit_until if self.fixed_at is None else self.fixed_at
        return since + model.ROAD_WINDOW_S

    @property
    def worst_cost(self) -> int:
        return worst_cost(self.order)

    def is_fixed(self, now: Now) -> bool:
        return self.fixed_at is not None or now.timestamp > self.commit_until


@dataclass(frozen=True)
class Verdict:
    """How a panel ended."""

    tag: bytes
    agreed: bool
    cost: int
    ended_at: int


class Road:
    """Every job that was ever taken to the road."""

    def __init__(self, market: model.Market, court: str) -> None:
        self._market = market
        self._court = court
        self.trips: dict[bytes, Trip] = {}
        self.ended: set[bytes] = set()
        self.concluded: Callable[[bytes, Verdict], None] = lambda job, verdict: None
        """Told how each panel ended, in the same transaction: the court listens."""

    @property
    def escrow(self) -> int:
        return sum(trip.worst_cost for trip in self.trips.values())

    @property
    def bonds(self) -> dict[str, int]:
        """What of whose stake is locked by open jobs."""
        locked: dict[str, int] = {}
        for trip in self.trips.values():
            for entry in trip.entries:
                locked[entry.operator] = locked.get(entry.operator, 0) + trip.order.bond
        return locked

    # --- steps

    def open(
        self,
        order: Order,
        signature: bytes,
        round_number: int,
        commits: Sequence[Commit],
        set_signature: bytes,
        now: Now,
        *,
        sender: str,
        by_court: bool = False,
    ) -> None:
        job = self._market.domain.job(order)
        self._check_order(order, now)
        if order.requester == self._court:
            require(by_court)
        else:
            signer = model.signer_of(job, signature)
            require(self._market.speaks_for(signer, order.requester))
        require(0 < len(commits) <= order.replicas)
        least = now.timestamp + model.ROAD_WINDOW_S
        trip = Trip(order, round_number, [], max(order.expiry, least))
        displaced = self._join(trip, job, commits, now, sender)
        assert not displaced
        if set_signature:
            self._check_set(trip, job, set_signature)
            trip.fixed_at = now.timestamp
        budget = self._market.budgets[order.requester, order.scheduler]
        require((order.requester, order.nonce) not in self._market.spent)
        require(budget.amount >= trip.worst_cost)
        self._lock(order, commits)
        self._market.spent.add((order.requester, order.nonce))
        budget.amount -= trip.worst_cost
        self.trips[job] = trip

    def commit(
        self,
        order: Order,
        commits: Sequence[Commit],
        now: Now,
        *,
        sender: str,
        by_court: bool = False,
    ) -> None:
        require(by_court or order.requester != self._court)
        job = self._market.domain.job(order)
        trip = self._trip(job)
        require(trip.fixed_at is None and now.timestamp <= trip.commit_until)
        require(len(commits) > 0)
        grown = Trip(order, trip.round_number, list(trip.entries), trip.commit_until)
        displaced = self._join(grown, job, commits, now, sender)
        self._lock(order, commits)
        for entry in displaced:
            self._market.accounts[entry.operator].locked -= order.bond
        trip.entries = grown.entries

    def reveal(self, job: bytes, openings: Sequence[Opening], now: Now) -> None:
        trip = self._trip(job)
        require(trip.is_fixed(now) and now.timestamp <= trip.reveal_until)
        for opening in openings:
            self._check_opening(job, trip, opening)
        trip.opened |= {opening.index: opening for opening in openings}

    def finalize(self, order: Order, openings: Sequence[Opening], now: Now) -> model.Settled:
        job = self._market.domain.job(order)
        trip = self._trip(job)
        require(trip.is_fixed(now))
        parts: tuple[Part, ...] = ()
        spoken: set[str] = set()
        tag = b""
        if len(trip.entries) >= order.quorum:
            self._check_openings(job, trip, openings, now)
            parts, tag = _parts_of(trip, openings)
            spoken = {trip.entries[opening.index].operator for opening in openings}
        self._unlock(trip)
        commitments = tuple(entry.commitment for entry in trip.entries)
        settled = self._end(job, trip, parts, commitments)
        if order.requester == self._court:
            verdict = Verdict(tag, settled.agreed, settled.cost, now.timestamp)
            self.concluded(job, verdict)
        elif parts:
            # What the silent lost is the treasury's for good.
            told = tuple(
                part._replace(amount=0)
                if part.kind == "slashed" and part.operator not in spoken
                else part
                for part in settled.parts
            )
            self._market.decided(model.Settled(job, order, commitments, told, settled.agreed), now)
        return settled

    def settle(self, receipt: model.Receipt, now: Now) -> model.Settled:
        """A complete receipt with a quorum ends what is still open, at any time."""
        job = self._market.domain.job(receipt.order)
        trip = self._trip(job)
        require(not self._market.faults(receipt, job, now))
        due = model.decide(job, receipt)
        require(due.agreed)
        self._unlock(trip)
        settled = self._end(job, trip, due.parts, due.commitments)
        self._market.decided(settled, now)
        return settled

    # --- parts of steps

    def _trip(self, job: bytes) -> Trip:
        require(job in self.trips)
        return self.trips[job]

    def _check_order(self, order: Order, now: Now) -> None:
        most = PANEL_MAX if order.requester == self._court else model.REPLICAS_MAX
        require(0 < order.replicas <= most)
        require(order.replicas < 2 * order.quorum <= 2 * order.replicas)
        require(order.audit_bps <= model.BPS)
        require(not model.late(order, now))
        require(worst_cost(order) <= model.AMOUNT_MAX)

    def _join(
        self, trip: Trip, job: bytes, commits: Sequence[Commit], now: Now, sender: str
    ) -> list[Entry]:
        """Give each a place, the lowest tickets only; return who lost theirs."""
        order, displaced = trip.order, []
        for one in commits:
            require(one.rate <= order.max_rate and one.ticket <= order.max_ticket)
            require(one.operator not in [entry.operator for entry in trip.entries])
            trip.entries.append(Entry(one.operator, one.ticket, one.rate, one.commitment))
            trip.entries.sort(key=lambda entry: entry.ticket)
            if len(trip.entries) > order.replicas:
                last = trip.entries.pop()
                require(last.operator != one.operator)
                displaced.append(last)
            require(self._market.drawn(order, job, one.ticket, now) == one.operator)
            signer = sender
            if one.signature is not None:
                digest = self._market.domain.commit(
                    job, trip.round_number, one.rate, one.commitment
                )
                signer = model.signer_of(digest, one.signature) or ""
            require(self._market.signers.get(one.operator) == signer)
        return displaced

    def _check_set(self, trip: Trip, job: bytes, signature: bytes) -> None:
        require(len(trip.entries) == trip.order.replicas)
        commits = keccak(b"".join(entry.commitment for entry in trip.entries))
        digest = self._market.domain.commit_set(job, trip.round_number, commits)
        require(model.signer_of(digest, signature) == trip.order.scheduler)

    def _lock(self, order: Order, commits: Sequence[Commit]) -> None:
        """All of them or nobody: a bond that others hold is promised to nobody else."""
        accounts = [self._market.accounts[one.operator] for one in commits]
        for account in accounts:
            require(account.stake - account.locked >= order.bond)
        for account in accounts:
            account.locked += order.bond

    def _unlock(self, trip: Trip) -> None:
        for entry in trip.entries:
            self._market.accounts[entry.operator].locked -= trip.order.bond

    def _check_opening(self, job: bytes, trip: Trip, opening: Opening) -> None:
        require(opening.index < len(trip.entries))
        entry = trip.entries[opening.index]
        said = Replica(entry.operator, 0, 0, opening.secs, opening.tag, opening.salt, b"")
        require(model.commitment(job, said) == entry.commitment)

    def _check_openings(
        self, job: bytes, trip: Trip, openings: Sequence[Opening], now: Now
    ) -> None:
        """All that were revealed, by rising index, and others only in time."""
        shown = [opening.index for opening in openings]
        require(shown == sorted(set(shown)))
        for opening in openings:
            self._check_opening(job, trip, opening)
        require(set(shown) >= set(trip.opened))
        in_time = now.timestamp <= trip.reveal_until
        require(in_time or set(shown) == set(trip.opened))
        require(len(shown) == len(trip.entries) or not in_time)

    def _end(
        self, job: bytes, trip: Trip, parts: tuple[Part, ...], commitments: tuple[bytes, ...]
    ) -> model.Settled:
        order = trip.order
        agreed = any(part.kind == "won" for part in parts)
        settled = self._market.carry_out(model.Settled(job, order, commitments, parts, agreed))
        budget = self._market.budgets[order.requester, order.scheduler]
        budget.amount += trip.worst_cost - settled.cost
        del self.trips[job]
        self.ended.add(job)
        return settled


def worst_cost(order: Order) -> int:
    return order.max_rate * order.max_seconds * order.replicas + order.fee


def _parts_of(trip: Trip, openings: Sequence[Opening]) -> tuple[tuple[Part, ...], bytes]:
    """Return what each entry's operator gets or loses, and the winners' tag."""
    order, by_index = trip.order, {opening.index: opening for opening in openings}
    winners, secs = model.verdict([(one.tag, one.secs) for one in openings], order)
    parts, tags = [], []
    for i, entry in enumerate(trip.entries):
        opened = by_index.get(i)
        if opened is None or (winners and opened.tag[:28] not in winners):
            parts.append(Part(entry.operator, "slashed", order.bond))
        elif winners:
            parts.append(Part(entry.operator, "won", entry.rate * secs))
            tags.append(opened.tag)
        else:
            earned = model.effort(order, entry.rate, opened.secs)
            parts.append(Part(entry.operator, "effort", earned))
    return tuple(parts), tags[0] if tags else b""
