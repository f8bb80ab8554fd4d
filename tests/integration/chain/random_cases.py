"""Panels that random people call, sit on and close, or let pass."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.integration.chain import court_model
from tests.integration.chain import payout_model as model
from tests.integration.chain.court_model import Case, Closed
from tests.integration.chain.random_receipts import USD, RandomReceipts, output
from tests.integration.chain.random_roads import (
    COMMIT,
    ENTRY,
    OPENING,
    ORDER,
    Journey,
    RandomRoads,
)
from tests.integration.chain.road_model import Opening
from tests.integration.chain.twin_market import TwinMarket

MATTER: Final = f"({ORDER},bytes32[],uint256[],uint64)"
PANEL: Final = "(uint8,address,uint64,uint64)"
JOIN: Final = f"join({MATTER},{PANEL},{ENTRY}[],{COMMIT}[])"
CLOSE: Final = f"close({MATTER},{PANEL},{OPENING}[],bytes32)"
PANEL_ANSWERS: Final[tuple[tuple[int | None, ...], ...]] = (
    (0,), (1,), (2,), (None,), (0, 1, 1, 2), (1, 1, 1, 0),
)  # fmt: skip
"""Answer 0 is what most say in the first round, 1 what most others do; None can not be shown."""

KINDS: Final = {"won": 0, "effort": 1, "slashed": 2}
NOTHING: Final = b""
ZEROS: Final = bytes(32)


@dataclass(kw_only=True)
class Trial:
    """A case, and what its people have in mind."""

    job: bytes
    votes: dict[str, model.Replica]
    """Of the first round."""
    wanted: bool
    """Whether anybody wants a panel."""
    answers: tuple[int | None, ...]
    """What the panel's operators say, in turns."""
    come: float
    """The share of the drawn who take their place."""
    shown: bool
    """Whether somebody shows the panel's output when it has one."""
    journey: Journey | None = field(default=None)


class RandomCases:
    """Moves every case on, by its own people's wishes."""

    def __init__(
        self,
        rolls: random.Random,
        twin: TwinMarket,
        receipts: RandomReceipts,
        roads: RandomRoads,
        *,
        senders: Sequence[str],
    ) -> None:
        self._random = rolls
        self._twin = twin
        self._receipts = receipts
        self._roads = roads
        self._senders = senders
        self.trials: dict[bytes, Trial] = {}

    def notice(self, votes: dict[str, model.Replica], job: bytes) -> None:
        """A job was decided; if it came to the court, somebody has a view of it."""
        if job not in self._twin.court.cases or job in self.trials:
            return
        pick = self._random.choices
        self.trials[job] = Trial(
            job=job,
            votes=votes,
            wanted=self._random.random() < 0.75,
            answers=pick(PANEL_ANSWERS, (8, 7, 1, 1, 1, 2))[0],
            come=pick((0, 0.4, 0.8, 1), (1, 1, 3, 12))[0],
            shown=self._random.random() < 0.75,
        )  # fmt: skip

    @property
    def busy(self) -> int:
        return sum(trial.wanted for trial in self.trials.values())

    def waits_until(self, trial: Trial) -> int:
        case = self._twin.court.cases[trial.job]
        if case.panel is None:
            return case.since + court_model.APPEAL_WINDOW_S
        if trial.journey is not None and trial.journey.job in self._twin.road.trips:
            return self._roads.waits_until(trial.journey)
        verdict = self._twin.court.verdicts.get(self._twin.court.panel_job(trial.job))
        if verdict is not None:
            return verdict.ended_at + court_model.PROOF_WINDOW_S
        return case.panel.expiry

    async def move_on(self, trial: Trial) -> bool:
        """Take one step of a case; tell whether there was anything but to wait."""
        case = self._twin.court.cases[trial.job]
        if case.panel is None:
            return await self._before_panel(trial, case)
        panel_job = self._twin.court.panel_job(trial.job)
        if panel_job in self._twin.court.verdicts:
            return await self._after_verdict(trial, case)
        if trial.journey is None:
            return await self._before_road(trial, case)
        trip = self._twin.road.trips[panel_job]
        if not trip.is_fixed(self._twin.now) and self._random.random() < 0.9:
            return await self._join(trial, case)
        if self._random.random() < 0.05:
            return await self._close(trial, case, NOTHING)  # too early
        return await self._roads.move_on(trial.journey)

    async def finish(self, trial: Trial) -> None:
        """Bring a case to its end, now that all its times are over."""
        case = self._twin.court.cases[trial.job]
        if case.panel is None:
            released = await self._case_call("release", trial, case, self._anybody())
            assert released, "anybody releases what nobody appealed against"
            return
        assert await self._close(trial, case, NOTHING), "anybody closes what is over"

    # --- before a panel -----------------------------------------------------------------------

    async def _before_panel(self, trial: Trial, case: Case) -> bool:
        over = self._twin.now.timestamp > case.since + court_model.APPEAL_WINDOW_S
        if (over and (not trial.wanted or self._random.random() < 0.7)) or self._rarely():
            return await self._release(trial, case)
        if not trial.wanted:
            return False
        if not case.settled.agreed:
            trial.wanted = await self._try("escalate", trial, case, self._anybody())
            return trial.wanted
        if case.order.audit_bps and (not case.held or self._random.random() < 0.6):
            return await self._audit(trial, case)
        return await self._appeal(trial, case)

    async def _appeal(self, trial: Trial, case: Case) -> bool:
        slashed = [part.operator for part in case.parts if part.kind == "slashed"]
        payer = self._random.choice([*slashed, self._anybody()])
        if self._random.random() < 0.8 and case.panel_cost < 5_000 * USD:
            await self._deposit(payer, case.panel_cost)
        trial.wanted = await self._try("appeal", trial, case, payer)
        return trial.wanted

    async def _audit(self, trial: Trial, case: Case) -> bool:
        if not self._rarely():
            await self._twin.anvil.mine_until(court_model.audit_block(case.entered_in))
        short = case.panel_cost - sum(a for _, a in self._twin.court.funds[case.order.scheduler])
        if 0 < short < 5_000 * USD and self._random.random() < 0.9:
            giver = self._anybody()
            await self._deposit(giver, short)
            await self._top_up(giver, case.order.scheduler, short)
        if self._random.random() < 0.2:
            await self._keep_seed(court_model.audit_block(case.entered_in))
        called = await self._try("audit", trial, case, self._anybody())
        trial.wanted = called or self._rarely() or bool(case.held)
        return called

    async def _release(self, trial: Trial, case: Case) -> bool:
        return await self._try("release", trial, case, self._anybody())

    async def _try(self, verb: str, trial: Trial, case: Case, sender: str) -> bool:
        """Take a step, now and then with a matter that is not as it was entered."""
        if self._random.random() >= 0.03:
            return await self._case_call(verb, trial, case, sender)
        return await self._twin.both(
            lambda _: model.require(False),
            sender, self._twin.at.court, f"{verb}({MATTER})", self._not_quite(self._matter(case)),
        )  # fmt: skip

    async def _case_call(self, verb: str, trial: Trial, case: Case, sender: str) -> bool:
        court, job = self._twin.court, trial.job
        changes: dict[str, Callable[[model.Now], None]] = {
            "appeal": lambda now: court.appeal(job, sender, now),
            "audit": lambda now: court.audit(job, now),
            "escalate": lambda now: court.escalate(job, now),
            "release": lambda now: court.release(job, now),
        }
        done = await self._twin.both(
            changes[verb], sender, self._twin.at.court, f"{verb}({MATTER})", self._matter(case)
        )
        self._forget_closed(trial)
        return done

    # --- a panel sits -------------------------------------------------------------------------

    async def _before_road(self, trial: Trial, case: Case) -> bool:
        assert case.panel is not None
        if self._twin.now.timestamp > case.panel.expiry or self._rarely():
            return await self._close(trial, case, NOTHING)
        if trial.come == 0:
            return False
        if not self._rarely():
            await self._twin.anvil.mine_until(case.panel.seed_block)
        return await self._join(trial, case)

    async def _join(self, trial: Trial, case: Case) -> bool:
        journey = trial.journey or self._panel_journey(trial, case)
        trip = self._twin.road.trips.get(journey.job)
        there = {entry.operator for entry in trip.entries} if trip else set()
        missing = [vote for who, vote in journey.votes.items() if who not in there]
        if not missing:
            return False
        votes = missing if self._random.random() < 0.7 else missing[:1]
        if self._random.random() < 0.04:
            votes = [*votes, self._own(case, journey)]
        commits, abi_commits, sender = self._roads.commits(journey, votes)
        done = await self._twin.both(
            lambda now: self._twin.court.join(trial.job, commits, now),
            sender, self._twin.at.court, JOIN, self._matter(case), case.panel,
            list(trip.entries) if trip else [], abi_commits,
        )  # fmt: skip
        if done:
            trial.journey = journey
        elif len(missing) > 1:
            # Somebody has no stake left to lock: whoever has, comes.
            self._drop_poor(journey, missing)
        else:
            journey.votes.pop(missing[0].operator)
        return done

    def _drop_poor(self, journey: Journey, votes: Sequence[model.Replica]) -> None:
        for vote in votes:
            account = self._twin.market.accounts[vote.operator]
            if account.stake - account.locked < journey.order.bond:
                journey.votes.pop(vote.operator)

    def _panel_journey(self, trial: Trial, case: Case) -> Journey:
        order = self._twin.court.panel_order(trial.job)
        own = [part.operator for part in case.parts]
        votes = self._receipts.votes(
            order, self._twin.now, without=own, answers=trial.answers, round_number=0
        )
        coming = [vote for vote in votes if self._random.random() < trial.come] or votes[:1]
        silent = self._random.choice((0, 0, 0, 0, 0.2))
        return Journey(
            order=order,
            job=self._twin.court.panel_job(trial.job),
            round_number=0,
            votes={vote.operator: vote for vote in coming},
            silent=frozenset(v.operator for v in coming if self._random.random() < silent),
        )

    def _own(self, case: Case, journey: Journey) -> model.Replica:
        """An operator of the job itself, drawn for its panel."""
        (vote, *_) = journey.votes.values()
        return vote._replace(operator=self._random.choice(case.parts).operator)

    # --- a case is closed ---------------------------------------------------------------------

    async def _after_verdict(self, trial: Trial, case: Case) -> bool:
        verdict = self._twin.court.verdicts[self._twin.court.panel_job(trial.job)]
        over = self._twin.now.timestamp > verdict.ended_at + court_model.PROOF_WINDOW_S
        truth = max(trial.answers, key=trial.answers.count)
        if trial.shown and truth is not None and not self._rarely():
            digest = output(truth)
        elif over or self._rarely() or not verdict.agreed:
            digest = NOTHING if self._random.random() < 0.9 else output(3)
        else:
            return False
        return await self._close(trial, case, digest)

    async def _close(self, trial: Trial, case: Case, digest: bytes) -> bool:
        openings = self._proofs(trial, case) if digest else []
        closed: list[Closed] = []
        done = await self._twin.both(
            lambda now: closed.append(self._twin.court.close(trial.job, openings, digest, now)),
            self._anybody(), self._twin.at.court, CLOSE,
            self._matter(case), case.panel, openings, digest or ZEROS,
        )  # fmt: skip
        for one in closed:
            self._count(one, shown=bool(digest))
        self._forget_closed(trial)
        return done

    def _count(self, closed: Closed, *, shown: bool) -> None:
        if closed.verdict is None:
            end = "nobody came"
        elif not closed.verdict.agreed:
            end = "no quorum"
        elif closed.kind == court_model.ESCALATION:
            end = "quorum"
        else:
            end = "shown" if shown else "silent"
            end += ", contradicted" if closed.contradicted else ", not contradicted"
            end += ", a slash came back" if closed.right and shown else ""
        kind = ("appeal", "audit", "escalation")[closed.kind]
        self._twin.tally.calls[f"closed {kind}: {end}"] += 1

    def _proofs(self, trial: Trial, case: Case) -> list[Opening]:
        """One winner's opening and those of all whose slash is held; now and then not quite."""
        asked, winner = [], False
        for i, part in enumerate(case.parts):
            if (part.kind == "won" and not winner) or (part.kind == "slashed" and part.amount):
                asked.append(i)
            winner = winner or part.kind == "won"
        openings = [self._roads.opening(trial.votes, case.parts[i].operator, i) for i in asked]
        if openings and self._rarely():
            spoilt = self._random.randrange(len(openings))
            openings[spoilt] = openings[spoilt]._replace(tag=ZEROS)
        if openings and self._rarely():
            openings.pop(self._random.randrange(len(openings)))
        return openings

    def _forget_closed(self, trial: Trial) -> None:
        if trial.job not in self._twin.court.cases:
            del self.trials[trial.job]

    def _matter(self, case: Case) -> tuple[Any, ...]:
        shares = [_share(part) for part in case.parts]
        return case.order, case.settled.commitments, shares, case.entered_in

    def _not_quite(self, matter: tuple[Any, ...]) -> tuple[Any, ...]:
        order, commitments, shares, entered_in = matter
        return self._random.choice(
            (
                (order, commitments, [*shares[:-1], shares[-1] + (1 << 160)], entered_in),
                (order, commitments, [*shares[:-1], shares[-1] ^ (1 << 224)], entered_in),
                (order, [ZEROS, *commitments[1:]], shares, entered_in),
                (order, commitments, shares, entered_in + 1),
                (order._replace(fee=order.fee ^ 1), commitments, shares, entered_in),
            )
        )

    # --- funds, pledges, seeds ----------------------------------------------------------------

    def moves(self, operator: str, scheduler: str) -> list[Callable[[], Awaitable[object]]]:
        amount = self._random.randint(0, 300 * USD)
        entered = [case.entered_in for case in self._twin.court.cases.values()]
        block = court_model.audit_block(self._random.choice(entered)) if entered else 128
        return [
            lambda: self._top_up(self._anybody(), scheduler, amount),
            lambda: self.withdraw(scheduler),
            lambda: self.unlock(operator),
            lambda: self._keep_seed(block),
        ]

    async def withdraw(self, scheduler: str) -> bool:
        return await self._twin.both(
            lambda now: self._twin.court.withdraw(scheduler, now),
            self._anybody(), self._twin.at.court, "withdraw(address)", scheduler,
        )  # fmt: skip

    async def unlock(self, operator: str) -> bool:
        return await self._twin.both(
            lambda now: self._twin.court.unlock(operator, now),
            self._anybody(), self._twin.at.court, "unlock(address)", operator,
        )  # fmt: skip

    async def _top_up(self, sender: str, scheduler: str, amount: int) -> bool:
        return await self._twin.both(
            lambda now: self._twin.court.top_up(sender, scheduler, amount, now),
            sender, self._twin.at.court, "topUp(address,uint64)", scheduler, amount,
        )  # fmt: skip

    async def _keep_seed(self, block: int) -> bool:
        return await self._twin.both(
            lambda now: self._twin.court.keep_seed(block, now),
            self._anybody(), self._twin.at.court, "keepSeed(uint256)", block,
        )  # fmt: skip

    async def _deposit(self, who: str, amount: int) -> bool:
        return await self._twin.both(
            lambda _: self._twin.market.deposit(who, amount),
            who, self._twin.at.vault, "deposit(address,uint64)", who, amount,
        )  # fmt: skip

    def _anybody(self) -> str:
        return self._random.choice(self._senders)

    def _rarely(self) -> bool:
        return self._random.random() < 0.05


def _share(part: model.Part) -> int:
    return int(part.operator, 16) | part.amount << 160 | KINDS[part.kind] << 224
