"""One market twice: the contracts on a chain, and the model. Both are told the same."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import decode

from assay_node.chain.deployment import Deployment
from tests.integration.chain import payout_model as model
from tests.integration.chain.bare_chain import Anvil, Mined, encode_call
from tests.integration.chain.court_model import Court
from tests.integration.chain.road_model import Road

BOOKS: Final = "(uint64,uint64,uint64,uint32,uint32)"
BUDGET: Final = "(uint64,uint48)"


@dataclass
class Tally:
    """What a run was made of, so that a reader sees that it was not all of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def jobs(self) -> int:
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class Reading:
    """A view of the contracts, and what the model says of it."""

    name: str
    call: dict[str, str]
    types: str
    expected: Callable[[], object]


class TwinMarket:
    """Does each thing on both sides, and compares all books."""

    def __init__(self, anvil: Anvil, deployment: Deployment) -> None:
        self.anvil = anvil
        self.at = deployment
        self.tally = Tally()
        domain = model.Domain(deployment.chain_id, deployment.market)
        self.market = model.Market(domain, deployment.treasury)
        self.road = Road(self.market, deployment.court)
        self.court = Court(deployment.court, self.market, self.road)
        self._readings: list[Reading] = []

    @property
    def now(self) -> model.Now:
        """What the next transaction will see."""
        return self.anvil.next_block

    def watch(
        self, people: list[str], budgets: list[tuple[str, str]], schedulers: list[str]
    ) -> None:
        """From now on compare these parties' books."""
        purse = (self.at.court, model.NOBODY)
        self._readings = [
            *(self._account(who) for who in people),
            *(self._budget(pair) for pair in [*budgets, purse]),
            *(self._pledges(who) for who in people),
            *(self._fund(who) for who in schedulers),
            self._reads(
                "the road's escrow", self.at.vault, "escrow(address)", (self.at.road,),
                "(uint64)", lambda: (self.road.escrow,),
            ),
            self._reads(
                "the court's escrow", self.at.vault, "escrow(address)", (self.at.court,),
                "(uint64)", lambda: (self.court.escrow,),
            ),
            self._reads(
                "total", self.at.vault, "total()", (), "(uint64)", lambda: (self.total,)
            ),
            self._reads(
                "tokens held", self.at.token, "balanceOf(address)", (self.at.vault,),
                "(uint256)", lambda: (self.total,),
            ),
        ]  # fmt: skip

    @property
    def total(self) -> int:
        return self.market.total + self.road.escrow + self.court.escrow

    async def both(
        self,
        change: Callable[[model.Now], object],
        sender: str,
        to: str,
        signature: str,
        *args: Any,
    ) -> bool:
        """Do one thing on both sides; they must agree on whether it may be done. Tell if it was."""
        mined = await self.anvil.send(sender, to, encode_call(signature, *args))
        try:
            change(mined.now)
        except model.Refused:
            allowed = False
        else:
            allowed = True
        verb = f"{self._name_of(to)}.{signature.partition('(')[0]}"
        assert mined.succeeded == allowed, (verb, args, mined.now.number, mined.now.timestamp)
        self.tally.calls[f"{verb} {'done' if allowed else 'refused'}"] += 1
        return allowed

    async def must(self, sender: str, to: str, signature: str, *args: Any) -> Mined:
        mined = await self.anvil.send(sender, to, encode_call(signature, *args))
        assert mined.succeeded, (signature, args)
        return mined

    async def pass_time(self, seconds: int) -> None:
        await self.anvil.mine(later=max(1, seconds))
        self.tally.calls["time passes"] += 1

    async def compare(self) -> None:
        """Every account, budget, fund, pledge, escrow, total and token, to the unit."""
        answers = await self.anvil.batch(
            [("eth_call", [reading.call, "latest"]) for reading in self._readings]
        )
        wrong = {}
        for reading, answer in zip(self._readings, answers, strict=True):
            on_chain = decode([reading.types], bytes.fromhex(answer[2:]))[0]
            if on_chain != (expected := reading.expected()):
                wrong[reading.name] = {"chain": on_chain, "model": expected}
        assert not wrong, wrong
        self._check_model()

    def _check_model(self) -> None:
        """The model's own books agree: what is locked is locked by somebody."""
        bonds, pledged = self.road.bonds, self.court.locks
        for who, account in self.market.accounts.items():
            assert account.locked == bonds.get(who, 0) + pledged.get(who, 0), who
        purse = self.market.budgets[self.at.court, model.NOBODY]
        assert purse.amount == self.court.left_of_panels

    # --- what is compared

    def _account(self, who: str) -> Reading:
        def expected() -> tuple[int, ...]:
            books = self.market.accounts[who]
            return books.free, books.stake, books.locked, books.wins, books.faults

        return self._reads(
            f"account {who}", self.at.vault, "account(address)", (who,), BOOKS, expected
        )

    def _budget(self, pair: tuple[str, str]) -> Reading:
        def expected() -> tuple[int, int]:
            budget = self.market.budgets[pair]
            return budget.amount, budget.closes_at

        return self._reads(
            f"budget {pair}", self.at.vault, "budget(address,address)", pair, BUDGET, expected
        )

    def _pledges(self, who: str) -> Reading:
        """Of one operator: yesterday's, today's, the day, and what may be let go."""

        def expected() -> tuple[tuple[int, int, int], int]:
            now = self.anvil.head
            yesterday, today, over = self.court.pledged_by_age(who, now)
            return (yesterday, today, now.timestamp // 86_400), over

        return self._reads(
            f"pledges {who}", self.at.court, "pledgesOf(address)", (who,),
            "((uint64,uint64,uint40),uint64)", expected,
        )  # fmt: skip

    def _fund(self, who: str) -> Reading:
        def expected() -> tuple[int, ...]:
            now = self.anvil.head
            return *self.court.fund_by_age(who, now), now.timestamp // 86_400

        return self._reads(
            f"fund {who}", self.at.court, "fundOf(address)", (who,),
            "(uint64,uint64,uint64,uint40)", expected,
        )  # fmt: skip

    def _reads(
        self,
        name: str,
        to: str,
        signature: str,
        args: tuple[object, ...],
        types: str,
        expected: Callable[[], object],
    ) -> Reading:
        data = "0x" + encode_call(signature, *args).hex()
        return Reading(name, {"to": to, "data": data}, types, expected)

    def _name_of(self, address: str) -> str:
        names = ("token", "vault", "providers", "market", "road", "court")
        return next((name for name in names if getattr(self.at, name) == address), address)
