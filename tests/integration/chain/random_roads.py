"""Jobs that random people take along the on-chain road, and the panels that sit there."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_keys.datatypes import PrivateKey

from tests.integration.chain import payout_model as model
from tests.integration.chain.random_receipts import RandomReceipts, sign
from tests.integration.chain.road_model import Commit, Opening, Trip
from tests.integration.chain.twin_market import TwinMarket

ORDER: Final = (
    "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,"
    "uint32,uint32,uint64,uint64,uint16,bool,uint256)"
)
REPLICA: Final = "(address,uint64,uint8,uint32,bytes32,bytes32,bytes)"
RECEIPT: Final = f"({ORDER},bytes,{REPLICA}[])"
COMMIT: Final = "(address,uint64,uint8,uint8,bytes32,bytes32,bytes32)"
ENTRY: Final = "(address,uint8,uint64,bytes32)"
OPENING: Final = "(uint8,uint32,bytes32,bytes32)"
OPEN: Final = f"open({ORDER},bytes,uint32,{COMMIT}[],bytes)"
JOIN: Final = f"commit({ORDER},uint32,{ENTRY}[],{COMMIT}[])"
REVEAL: Final = f"reveal(bytes32,uint32,{ENTRY}[],{OPENING}[])"
FINALIZE: Final = f"finalize({ORDER},uint32,{ENTRY}[],{OPENING}[])"
SETTLE: Final = f"settle({RECEIPT},uint32,{ENTRY}[])"
WORD: Final = bytes(32)


@dataclass(kw_only=True)
class Journey:
    """A job on the road as its parties know it."""

    order: model.Order
    job: bytes
    round_number: int
    votes: dict[str, model.Replica]
    """What everybody who may take part has to say."""
    silent: frozenset[str]
    """Who commits and will not reveal."""
    receipt: model.Receipt | None = None
    """All votes of the lowest tickets; a panel has none."""


class RandomRoads:
    """Takes jobs to the road and moves them on, well or badly."""

    def __init__(
        self,
        rolls: random.Random,
        twin: TwinMarket,
        receipts: RandomReceipts,
        *,
        senders: Sequence[str],
        schedulers: dict[str, PrivateKey],
        signers: dict[str, PrivateKey],
    ) -> None:
        self._random = rolls
        self._twin = twin
        self._receipts = receipts
        self._senders = senders
        self._schedulers = schedulers
        self._signers = signers

    # --- jobs ---------------------------------------------------------------------------------

    async def open(self) -> Journey | None:
        """Take a new job to the road; None if the contracts do not take it."""
        journey = self._new_job()
        fixed = self._random.random() < 0.5
        lowest = list(journey.votes.values())[: journey.order.replicas]
        if fixed and self._random.random() < 0.95:
            brought = lowest
        else:
            most = min(len(journey.votes), journey.order.replicas)
            brought = self._some(list(journey.votes.values()), self._random.randint(1, most))
        assert journey.receipt is not None
        set_signature = self._set_signature(journey, lowest) if fixed else b""
        commits, sender = self._commits(journey, brought)
        order, signature = journey.order, journey.receipt.signature
        done = await self._twin.both(
            lambda now: self._twin.road.open(
                order, signature, journey.round_number, commits, set_signature, now, sender=sender
            ),
            sender, self._twin.at.road, OPEN,
            order, signature, journey.round_number, list(map(_abi_commit, commits)), set_signature,
        )  # fmt: skip
        outcome = "fixed" if fixed else "open"
        self._twin.tally.outcomes[f"road, {outcome if done else 'refused'}"] += 1
        return journey if done else None

    def _new_job(self) -> Journey:
        now, pick = self._twin.now, self._random.choice
        order = self._receipts.order(now)
        if order.max_rate > 20_000 and self._random.random() < 0.9:
            order = order._replace(max_rate=1_500)
        round_number = pick((0, 0, 0, 1, 255, 256))
        votes = self._receipts.votes(
            order, now, spare=self._random.randint(0, 2), round_number=round_number
        )
        return Journey(
            order=order,
            job=self._twin.market.domain.job(order),
            round_number=round_number,
            votes={vote.operator: vote for vote in votes},
            silent=self._some_silent(votes),
            receipt=self._receipts.seal(order, votes[: order.replicas]),
        )

    def _some_silent(self, votes: Sequence[model.Replica]) -> frozenset[str]:
        chance = self._random.choice((0, 0, 0.1, 0.4, 1))
        return frozenset(v.operator for v in votes if self._random.random() < chance)

    def _set_signature(self, journey: Journey, lowest: Sequence[model.Replica]) -> bytes:
        if self._random.random() < 0.05:
            return self._random.randbytes(65)
        commits = model.commit_set(journey.job, lowest)
        digest = self._twin.market.domain.commit_set(journey.job, journey.round_number, commits)
        return sign(self._schedulers[journey.order.scheduler], digest)

    # --- steps --------------------------------------------------------------------------------

    async def move_on(self, journey: Journey) -> bool:
        """Do what somebody would do now; tell whether there was anything but to wait."""
        trip, roll = self._twin.road.trips[journey.job], self._random.random()
        if journey.receipt is not None and roll < 0.06:
            return await self._settle(journey, trip)
        if roll < 0.1:
            return await self._finalize_somehow(journey, trip)  # too early, most often
        if not trip.is_fixed(self._twin.now):
            return await self._commit(journey, trip)
        if await self._reveal(journey, trip):
            return True
        over = self._twin.now.timestamp > trip.reveal_until
        if over or len(trip.opened) == len(trip.entries):
            return await self._finalize_somehow(journey, trip)
        return False

    def waits_until(self, journey: Journey) -> int:
        trip = self._twin.road.trips[journey.job]
        return trip.reveal_until if trip.is_fixed(self._twin.now) else trip.commit_until

    async def finish(self, journey: Journey) -> None:
        """End a job whose time is up."""
        trip = self._twin.road.trips[journey.job]
        assert await self._finalize(journey, trip, sorted(trip.opened)), "anybody ends what is over"

    async def _commit(self, journey: Journey, trip: Trip) -> bool:
        there = {entry.operator for entry in trip.entries}
        missing = [vote for who, vote in journey.votes.items() if who not in there]
        if not missing or self._random.random() < 0.2:
            return False
        brought = self._some(missing, self._random.randint(1, min(3, len(missing))))
        commits, sender = self._commits(journey, brought)
        return await self._twin.both(
            lambda now: self._twin.road.commit(journey.order, commits, now, sender=sender),
            sender, self._twin.at.road, JOIN,
            journey.order, journey.round_number, trip.entries,
            list(map(_abi_commit, commits)),
        )  # fmt: skip

    async def _reveal(self, journey: Journey, trip: Trip) -> bool:
        speaking = [
            i for i, entry in enumerate(trip.entries)
            if i not in trip.opened and entry.operator not in journey.silent
        ]  # fmt: skip
        late = self._twin.now.timestamp > trip.reveal_until
        if not speaking or (late and self._random.random() < 0.8):
            return False
        if self._random.random() < 0.15:
            speaking = self._some(speaking, 1)
        openings = [self.opening(journey.votes, trip.entries[i].operator, i) for i in speaking]
        if self._random.random() < 0.04:
            openings[0] = openings[0]._replace(salt=WORD)
        return await self._twin.both(
            lambda now: self._twin.road.reveal(journey.job, openings, now),
            self._anybody(), self._twin.at.road, REVEAL,
            journey.job, journey.round_number, trip.entries, openings,
        )  # fmt: skip

    async def _finalize_somehow(self, journey: Journey, trip: Trip) -> bool:
        """With what was revealed; now and then with what was not, or without one that was."""
        shown = set(trip.opened)
        if self._random.random() < 0.1:
            shown |= {i for i in range(len(trip.entries)) if self._random.random() < 0.7}
        if shown and self._random.random() < 0.03:
            shown.pop()
        return await self._finalize(journey, trip, sorted(shown))

    async def _finalize(self, journey: Journey, trip: Trip, shown: Sequence[int]) -> bool:
        openings = [self.opening(journey.votes, trip.entries[i].operator, i) for i in shown]
        return await self._twin.both(
            lambda now: self._twin.road.finalize(journey.order, openings, now),
            self._anybody(), self._twin.at.road, FINALIZE,
            journey.order, journey.round_number, trip.entries, openings,
        )  # fmt: skip

    async def _settle(self, journey: Journey, trip: Trip) -> bool:
        """By a receipt, which somebody had all the time."""
        receipt = journey.receipt
        assert receipt is not None
        return await self._twin.both(
            lambda now: self._twin.road.settle(receipt, now),
            self._anybody(), self._twin.at.road, SETTLE,
            receipt, journey.round_number, trip.entries,
        )  # fmt: skip

    # --- what steps are made of ---------------------------------------------------------------

    def commits(
        self, journey: Journey, votes: Sequence[model.Replica]
    ) -> tuple[list[Commit], list[Any], str]:
        """Return signed commits, the same for the contract, and who brings them."""
        commits, sender = self._commits(journey, votes)
        return commits, list(map(_abi_commit, commits)), sender

    def opening(self, votes: dict[str, model.Replica], operator: str, index: int) -> Opening:
        vote = votes[operator]
        return Opening(index, vote.secs, vote.tag, vote.salt)

    def _commits(
        self, journey: Journey, votes: Sequence[model.Replica]
    ) -> tuple[list[Commit], str]:
        commits = [self._signed_commit(journey, vote) for vote in votes]
        if len(commits) == 1 and self._random.random() < 0.3:
            # Its own signing key brings it.
            key = self._signers[commits[0].operator]
            return [commits[0]._replace(signature=None)], key.public_key.to_address()
        if self._random.random() < 0.02:
            commits[0] = commits[0]._replace(signature=self._random.randbytes(64) + b"\x1b")
        if self._random.random() < 0.02:
            commits[0] = commits[0]._replace(ticket=(commits[0].ticket + 1) % 256)
        if self._random.random() < 0.02:
            commits[-1] = commits[-1]._replace(rate=journey.order.max_rate + 1)
        return commits, self._anybody()

    def _signed_commit(self, journey: Journey, vote: model.Replica) -> Commit:
        committed = model.commitment(journey.job, vote)
        digest = self._twin.market.domain.commit(
            journey.job, journey.round_number, vote.rate, committed
        )
        signature = sign(self._signers[vote.operator], digest)
        return Commit(vote.operator, vote.rate, vote.ticket, committed, signature)

    def _some(self, of: Sequence[Any], count: int) -> list[Any]:
        chosen = self._random.sample(range(len(of)), count)
        return [of[i] for i in sorted(chosen)]

    def _anybody(self) -> str:
        return self._random.choice(self._senders)


def _abi_commit(commit: Commit) -> tuple[object, ...]:
    said = commit.operator, commit.rate, commit.ticket
    if commit.signature is None:
        return *said, 0, commit.commitment, WORD, WORD
    r, s, v = commit.signature[:32], commit.signature[32:64], commit.signature[64]
    return *said, v, commit.commitment, r, s
