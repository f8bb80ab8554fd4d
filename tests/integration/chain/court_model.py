"""The court by the protocol's text alone: who pays for a panel, and who gains and loses by it.

Written from `docs/protocol/panels.md`, the NatSpec of `ICourt` and RFD 10. A step that the contract
would revert raises `Refused` and has changed nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from eth_utils.crypto import keccak

from tests.integration.chain import payout_model as model
from tests.integration.chain.payout_model import Now, Order, Part, Replica, require
from tests.integration.chain.road_model import Commit, Opening, Road, Verdict

APPEAL_WINDOW_S: Final = 24 * 3600
PROOF_WINDOW_S: Final = 12 * 3600
PANEL_SEED_BLOCKS: Final = 8
AUDIT_SPAN_BLOCKS: Final = 64
AUDIT_DAY_S: Final = 24 * 3600
ROUNDS: Final = 256
VERDICT_TAG_BYTES: Final = 18
VOTE_TAG_BYTES: Final = 28
APPEAL, AUDIT, ESCALATION = range(3)


class Panel(NamedTuple):
    """As `PanelCalled` tells."""

    kind: int
    payer: str
    seed_block: int
    expiry: int


@dataclass
class Case:
    """A decided job at the court."""

    settled: model.Settled
    since: int
    entered_in: int
    panel: Panel | None = None

    @property
    def order(self) -> Order:
        return self.settled.order

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.settled.parts

    @property
    def held(self) -> int:
        return sum(part.amount for part in self.parts if part.kind == "slashed")

    @property
    def winners(self) -> list[Part]:
        return [part for part in self.parts if part.kind == "won"]

    @property
    def backed(self) -> list[str]:
        """The winners whose stake answers for their pay."""
        if self.order.audit_bps == 0:
            return []
        return [part.operator for part in self.winners if part.amount]

    @property
    def panel_cost(self) -> int:
        """The panel's worst."""
        return (2 * self.order.replicas + 1) * self.order.max_rate * self.order.max_seconds


@dataclass
class Pledge:
    """Stake that is locked from this day on for one job, until that can no longer be drawn."""

    day: int
    amount: int


@dataclass(frozen=True)
class Closed:
    """How a case ended: whose slash came back, and whether the winners were contradicted."""

    kind: int
    verdict: Verdict | None
    right: frozenset[str]
    contradicted: bool


class Court:
    """Every case, every fund for audits, and all stake that is pledged."""

    def __init__(self, address: str, market: model.Market, road: Road) -> None:
        self.address = address
        self._market = market
        self._road = road
        market.decided = self.enter
        road.concluded = self._conclude
        self.cases: dict[bytes, Case] = {}
        self.joined: set[bytes] = set()
        """Cases whose panel is, or was, on the road."""
        self.verdicts: dict[bytes, Verdict] = {}
        self.funds: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """By scheduler what came in on which day, the oldest first."""
        self.pledges: defaultdict[str, dict[bytes, Pledge]] = defaultdict(dict)
        self.seeds: dict[int, bytes] = {}

    @property
    def escrow(self) -> int:
        held = sum(case.held for case in self.cases.values())
        waiting = sum(
            case.panel_cost for job, case in self.cases.items()
            if case.panel and job not in self.joined
        )  # fmt: skip
        return held + waiting + sum(amount for fund in self.funds.values() for _, amount in fund)

    @property
    def left_of_panels(self) -> int:
        """What ended panels did not cost, and their cases have yet to give back."""
        ended = ((case, self.verdicts.get(self.panel_job(job))) for job, case in self.cases.items())
        return sum(case.panel_cost - verdict.cost for case, verdict in ended if verdict)

    @property
    def locks(self) -> dict[str, int]:
        """Whose stake is pledged, or held by a called case."""
        locked: defaultdict[str, int] = defaultdict(int)
        for operator, pledges in self.pledges.items():
            locked[operator] += sum(pledge.amount for pledge in pledges.values())
        for case in self.cases.values():
            if case.panel is not None and case.panel.kind != ESCALATION:
                for operator in case.backed:
                    locked[operator] += case.order.bond
        return locked

    # --- jobs come in

    def enter(self, settled: model.Settled, now: Now) -> None:
        order = settled.order
        if settled.agreed and order.audit_bps:
            settled = self._secure(settled, now)
        case = Case(settled, now.timestamp, now.number)
        concerned = case.held or order.audit_bps if settled.agreed else order.escalate
        if concerned:
            self.cases[settled.job] = case
            self._market.take(self._market.treasury, case.held)

    def _secure(self, settled: model.Settled, now: Now) -> model.Settled:
        """Have each paid winner's stake answer for its pay; who has too little is not paid."""
        order, told = settled.order, []
        for part in settled.parts:
            if part.kind == "won" and part.amount and not self._pledge(part, settled, now):
                self._market.take(part.operator, part.amount)
                self._market.budgets[order.requester, order.scheduler].amount += part.amount
                told.append(part._replace(amount=0))
            else:
                told.append(part)
        if order.fee:
            self._market.take(order.scheduler, order.fee)
            self._raise(order.scheduler, order.fee, now)
        return model.Settled(settled.job, order, settled.commitments, tuple(told), agreed=True)

    def _conclude(self, panel_job: bytes, verdict: Verdict) -> None:
        self.verdicts[panel_job] = verdict

    # --- panels are called

    def appeal(self, job: bytes, payer: str, now: Now) -> None:
        case = self._callable(job, now, agreed=True)
        require(case.held > 0 and case.panel_cost <= model.AMOUNT_MAX)
        self._market.take(payer, case.panel_cost)
        self._call(job, case, Panel(APPEAL, payer, *_seed_and_expiry(now)), now)

    def audit(self, job: bytes, now: Now) -> None:
        case = self._callable(job, now, agreed=True)
        require(case.panel_cost <= model.AMOUNT_MAX)
        require(self.is_drawn(job, case, now))
        require(case.order.fee >= case.panel_cost * case.order.audit_bps // model.BPS)
        fund = self.funds[case.order.scheduler]
        require(sum(amount for _, amount in fund) >= case.panel_cost)
        self._spend(fund, case.panel_cost)
        self._call(job, case, Panel(AUDIT, model.NOBODY, *_seed_and_expiry(now)), now)

    def escalate(self, job: bytes, now: Now) -> None:
        case = self._callable(job, now, agreed=False)
        order, nonce = case.order, int.from_bytes(job, "big")
        budget = self._market.budgets[order.requester, order.scheduler]
        require(budget.amount >= case.panel_cost)
        require((order.requester, nonce) not in self._market.spent)
        budget.amount -= case.panel_cost
        self._market.spent.add((order.requester, nonce))
        self._call(job, case, Panel(ESCALATION, model.NOBODY, *_seed_and_expiry(now)), now)

    def _callable(self, job: bytes, now: Now, *, agreed: bool) -> Case:
        require(job in self.cases)
        case = self.cases[job]
        require(case.panel is None and case.settled.agreed == agreed)
        require(now.timestamp <= case.since + APPEAL_WINDOW_S)
        return case

    def _call(self, job: bytes, case: Case, panel: Panel, now: Now) -> None:
        case.panel = panel
        for operator in case.backed:  # from now on the case itself holds that stake
            del self.pledges[operator][job]
            self._let_go(operator, now)

    def is_drawn(self, job: bytes, case: Case, now: Now) -> bool:
        block = audit_block(case.entered_in)
        seed = self.seeds.get(block) or now.hash_of(block)
        require(seed is not None)
        assert seed is not None
        return int.from_bytes(keccak(seed + job), "big") % model.BPS < case.order.audit_bps

    # --- panels sit

    def panel_order(self, job: bytes) -> Order:
        case = self.cases[job]
        assert case.panel is not None
        k = case.order.replicas
        return case.order._replace(
            requester=self.address, scheduler=model.NOBODY, fee=0, replicas=2 * k + 1,
            quorum=k + 1, max_ticket=255, audit_bps=0, escalate=False,
            nonce=int.from_bytes(job, "big"), seed_block=case.panel.seed_block,
            expiry=case.panel.expiry,
        )  # fmt: skip

    def panel_job(self, job: bytes) -> bytes:
        if self.cases[job].panel is None:
            return b""
        return self._market.domain.job(self.panel_order(job))

    def join(self, job: bytes, commits: Sequence[Commit], now: Now) -> None:
        """Brings signed commits; the first take the panel to the road."""
        case, sender = self._called(job), self.address
        part_of = {part.operator for part in case.parts}
        require(not any(one.operator in part_of for one in commits))
        order = self.panel_order(job)
        if job in self.joined:
            self._road.commit(order, commits, now, sender=sender, by_court=True)
            return
        purse = self._market.budgets[self.address, model.NOBODY]
        purse.amount += case.panel_cost
        try:
            self._road.open(order, b"", 0, commits, b"", now, sender=sender, by_court=True)
        except model.Refused:
            purse.amount -= case.panel_cost
            raise
        self._market.keep_seed(order.hardware_class, order.seed_block, now)
        self.joined.add(job)

    def _called(self, job: bytes) -> Case:
        require(job in self.cases and self.cases[job].panel is not None)
        return self.cases[job]

    # --- cases are closed

    def close(self, job: bytes, openings: Sequence[Opening], digest: bytes, now: Now) -> Closed:
        """`digest` is the panel's output, or empty where nobody shows it."""
        case, panel_job = self._called(job), self.panel_job(job)
        assert case.panel is not None
        verdict = self.verdicts.get(panel_job)
        if verdict is None:
            require(panel_job not in self._road.trips and now.timestamp > case.panel.expiry)
        right, contradicted = self._findings(job, case, verdict, openings, digest, now)
        cost = verdict.cost if verdict else 0
        left = case.panel_cost - cost
        if verdict:
            self._market.budgets[self.address, model.NOBODY].amount -= left
            self._market.spent.add((self.address, int.from_bytes(panel_job, "big")))
            del self.verdicts[panel_job]
        del self.cases[job]
        self.joined.discard(job)
        if case.panel.kind == ESCALATION:
            budget = self._market.budgets[case.order.requester, case.order.scheduler]
            budget.amount += left
            return Closed(case.panel.kind, verdict, frozenset(), contradicted=False)
        self._give_back_or_keep(case, right)
        taken = self._judge_winners(case, contradicted=contradicted)
        for_panel = min(taken, cost)
        for_requester = min(taken - for_panel, _cost_of(case))
        self._market.take(self._market.treasury, for_panel + for_requester)
        order = case.order
        self._market.budgets[order.requester, order.scheduler].amount += for_requester
        if case.panel.kind == AUDIT:
            self._raise(order.scheduler, left + for_panel, now)
        else:
            self._market.accounts[case.panel.payer].free += left + for_panel
        return Closed(case.panel.kind, verdict, right, contradicted)

    def _findings(
        self,
        job: bytes,
        case: Case,
        verdict: Verdict | None,
        openings: Sequence[Opening],
        digest: bytes,
        now: Now,
    ) -> tuple[frozenset[str], bool]:
        """Return whose slash comes back, and whether the winners were contradicted."""
        slashed = frozenset(part.operator for part in case.parts if part.kind == "slashed")
        assert case.panel is not None
        if case.panel.kind == ESCALATION or verdict is None or not verdict.agreed:
            return slashed, False
        if not digest:
            require(now.timestamp > verdict.ended_at + PROOF_WINDOW_S)
            return frozenset(), case.order.audit_bps > 0
        shown = model.tag(self.panel_job(job), 0, digest)
        require(shown[:VERDICT_TAG_BYTES] == verdict.tag[:VERDICT_TAG_BYTES])
        return self._compare(job, case, openings, digest)

    def _compare(
        self, job: bytes, case: Case, openings: Sequence[Opening], digest: bytes
    ) -> tuple[frozenset[str], bool]:
        first_winner = next(i for i, part in enumerate(case.parts) if part.kind == "won")
        asked = [
            i for i, part in enumerate(case.parts)
            if i == first_winner or (part.kind == "slashed" and part.amount)
        ]  # fmt: skip
        require([opening.index for opening in openings[: len(asked)]] == asked)
        right = set()
        for opening in openings[: len(asked)]:
            operator = case.parts[opening.index].operator
            said = Replica(operator, 0, 0, opening.secs, opening.tag, opening.salt, b"")
            require(model.commitment(job, said) == case.settled.commitments[opening.index])
            if _says(opening.tag, job, digest):
                right.add(operator)
        contradicted = case.parts[first_winner].operator not in right
        return frozenset(right), contradicted

    def _give_back_or_keep(self, case: Case, right: frozenset[str]) -> None:
        for part in case.parts:
            if part.kind != "slashed" or not part.amount:
                continue
            if part.operator in right:
                account = self._market.accounts[part.operator]
                account.free += part.amount
                account.faults = max(0, account.faults - 1)
            else:
                self._market.accounts[self._market.treasury].free += part.amount

    def _judge_winners(self, case: Case, *, contradicted: bool) -> int:
        for operator in case.backed:
            self._market.accounts[operator].locked -= case.order.bond
        if not contradicted:
            return 0
        return sum(self._market.slash(part.operator, case.order.bond) for part in case.winners)

    def release(self, job: bytes, now: Now) -> None:
        require(job in self.cases and self.cases[job].panel is None)
        case = self.cases[job]
        require(now.timestamp > case.since + APPEAL_WINDOW_S)
        self._market.accounts[self._market.treasury].free += case.held
        del self.cases[job]

    # --- audits

    def keep_seed(self, block: int, now: Now) -> None:
        if block not in self.seeds:
            seed = now.hash_of(block)
            require(seed is not None)
            assert seed is not None
            self.seeds[block] = seed

    def top_up(self, sender: str, scheduler: str, amount: int, now: Now) -> None:
        self._market.take(sender, amount)
        self._raise(scheduler, amount, now)

    def withdraw(self, scheduler: str, now: Now) -> None:
        """Pays out what has been there for more than a full day."""
        old = self.fund_by_age(scheduler, now)[0]
        self._spend(self.funds[scheduler], old)
        self._market.accounts[scheduler].free += old

    def unlock(self, operator: str, now: Now) -> None:
        self._let_go(operator, now)

    def fund_by_age(self, scheduler: str, now: Now) -> tuple[int, int, int]:
        """Return what came in before yesterday, yesterday and today."""
        today, fund = day_of(now), self.funds[scheduler]
        before = sum(amount for day, amount in fund if day < today - 1)
        yesterday = sum(amount for day, amount in fund if day == today - 1)
        return before, yesterday, sum(amount for day, amount in fund if day == today)

    def pledged_by_age(self, operator: str, now: Now) -> tuple[int, int, int]:
        """Return what was pledged yesterday, today, and what is only waiting to be let go."""
        today, pledges = day_of(now), self.pledges[operator].values()
        yesterday = sum(one.amount for one in pledges if one.day == today - 1)
        fresh = sum(one.amount for one in pledges if one.day == today)
        return yesterday, fresh, sum(one.amount for one in pledges if one.day < today - 1)

    def _pledge(self, part: Part, settled: model.Settled, now: Now) -> bool:
        account, bond = self._market.accounts[part.operator], settled.order.bond
        expired = self.pledged_by_age(part.operator, now)[2]
        if account.stake - account.locked + expired < bond:
            return False
        self._let_go(part.operator, now)
        self.pledges[part.operator][settled.job] = Pledge(day_of(now), bond)
        account.locked += bond
        return True

    def _let_go(self, operator: str, now: Now) -> None:
        self._market.accounts[operator].locked -= self.pledged_by_age(operator, now)[2]
        self.pledges[operator] = {
            job: pledge
            for job, pledge in self.pledges[operator].items()
            if pledge.day >= day_of(now) - 1
        }

    def _raise(self, scheduler: str, amount: int, now: Now) -> None:
        self.funds[scheduler].append((day_of(now), amount))

    def _spend(self, fund: list[tuple[int, int]], amount: int) -> None:
        """The oldest goes first."""
        while amount:
            day, there = fund.pop(0)
            if there > amount:
                fund.insert(0, (day, there - amount))
            amount -= min(there, amount)


def audit_block(entered_in: int) -> int:
    return (entered_in // AUDIT_SPAN_BLOCKS + 2) * AUDIT_SPAN_BLOCKS


def day_of(now: Now) -> int:
    return now.timestamp // AUDIT_DAY_S


def _seed_and_expiry(now: Now) -> tuple[int, int]:
    return now.number + PANEL_SEED_BLOCKS, now.timestamp + model.HORIZON_S


def _says(tag: bytes, job: bytes, digest: bytes) -> bool:
    """Whether a tag is of this output, in whichever round it was made."""
    meant = tag[:VOTE_TAG_BYTES]
    rounds = range(ROUNDS)
    return any(model.tag(job, number, digest)[:VOTE_TAG_BYTES] == meant for number in rounds)


def _cost_of(case: Case) -> int:
    return case.order.fee + sum(part.amount for part in case.winners)
