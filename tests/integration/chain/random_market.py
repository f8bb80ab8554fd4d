"""Random things that people do to a market: on a real chain and in the model, side by side.

Everything is drawn from one seed.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from assay_node.chain.deployment import Deployment
from tests.integration.chain import payout_model as model
from tests.integration.chain.bare_chain import Anvil, Log, MarketEvents, encode_call
from tests.integration.chain.packed_form import pack
from tests.integration.chain.random_cases import RandomCases
from tests.integration.chain.random_receipts import USD, RandomReceipts, new_key
from tests.integration.chain.random_roads import RECEIPT, Journey, RandomRoads
from tests.integration.chain.twin_market import TwinMarket

OPERATORS: Final = 14
REQUESTERS: Final = 4
SCHEDULERS: Final = 2
CLASSES: Final = 2
BATCH_MAX: Final = 10
BUSY_MAX: Final = 10
"""Jobs that somebody is at, on the road or at the court: enough that they cross each other."""

ROADS_MAX: Final = 3
LONG_WAITS: Final = 0.02
"""How often somebody's wait makes others late: a panel takes some thirty steps."""

BUDGET_LOW: Final = 200 * USD
STAKE_LOW: Final = 400 * USD
SEED_BLOCKS: Final = 60  # how far back somebody thinks of keeping a seed
COINS: Final = 10**15
SETTLE: Final = f"settle({RECEIPT}[])"


class RandomMarket:
    """The same market twice, and the people who use it."""

    def __init__(self, anvil: Anvil, deployment: Deployment, *, seed: int) -> None:
        self._anvil = anvil
        self._at = deployment
        self._random = random.Random(seed)
        self._twin = TwinMarket(anvil, deployment)
        self.model = self._twin.market
        self.tally = self._twin.tally
        self._events = MarketEvents(deployment.market)
        keys = [new_key(self._random) for _ in range(OPERATORS + REQUESTERS + SCHEDULERS)]
        people = [key.public_key.to_address() for key in keys]
        self.operators = people[:OPERATORS]
        self.requesters = people[OPERATORS : OPERATORS + REQUESTERS]
        self.schedulers = people[OPERATORS + REQUESTERS :]
        signing = [*self.operators, self.requesters[0]]  # a requester may name a key too
        self._signers = {who: new_key(self._random) for who in signing}
        self._classes = [self._random.randbytes(32) for _ in range(CLASSES)]
        key_of = dict(zip(people, keys, strict=True))
        self._receipts = RandomReceipts(
            self._random,
            self.model,
            classes=self._classes,
            schedulers=self.schedulers,
            keys={requester: key_of[requester] for requester in self.requesters},
            signers=self._signers,
        )
        self._roads = RandomRoads(
            self._random,
            self._twin,
            self._receipts,
            senders=people,
            schedulers={scheduler: key_of[scheduler] for scheduler in self.schedulers},
            signers=self._signers,
        )
        self._cases = RandomCases(
            self._random, self._twin, self._receipts, self._roads, senders=people
        )
        self._journeys: list[Journey] = []

    @property
    def people(self) -> list[str]:
        return [*self.operators, *self.requesters, *self.schedulers, self._at.treasury]

    async def open(self) -> None:
        """Give everybody money, operators a key and seats, and requesters their budgets."""
        await self._anvil.take_over()
        self._twin.watch(
            self.people,
            [(r, s) for r in self.requesters for s in self.schedulers],
            self.schedulers,
        )
        for who in (*self.operators, *self.requesters, *self.schedulers):
            await self._anvil.rpc("anvil_setBalance", who, hex(10**21))
            await self._must(who, self._at.token, "mint(address,uint256)", who, COINS)
            await self._must(who, self._at.token, "approve(address,uint256)", self._at.vault, COINS)
            await self._deposit(who, 4_000 * USD)
        for who, key in self._signers.items():
            signer = key.public_key.to_address()
            await self._anvil.rpc("anvil_setBalance", signer, hex(10**21))
            await self._must(who, self._at.providers, "setSigner(address)", signer)
            self.model.signers[who] = signer
        for operator in self.operators:
            for hardware_class in self._classes:
                await self._stake(operator, hardware_class, self._random.choice((1, 1, 2)))
            await self._top_up(operator, self._random.randint(0, 2_000 * USD))
        for requester in self.requesters:
            for scheduler in self.schedulers:
                await self._fund(requester, scheduler, self._random.randint(100, 900) * USD)
        await self._twin.compare()

    async def step(self, jobs_left: int) -> None:
        """Everybody with an open matter may do something, some jobs come, and time passes."""
        for matter in self._random.sample(self._matters(), len(self._matters())):
            if self._random.random() < 0.95:
                await self._move_on(matter)
        if len(self._journeys) + self._cases.busy < BUSY_MAX:
            await self._take_jobs(jobs_left)
        if self._random.random() < 0.5:
            await self._random.choice(self._moves())()
            await self._twin.compare()
        if self._random.random() < LONG_WAITS:
            await self._random.choice(self._long_waits())()
            await self._twin.compare()
        await self._pass_time_to_deadline()

    async def drain(self) -> None:
        """Bring every open matter to its end: whatever the parties did, nothing stays behind."""
        await self._pass_time(2 * model.UNBONDING_S)
        for journey in list(self._journeys):
            await self._roads.finish(journey)
            self._end_journey(journey)
            await self._twin.compare()
        await self._drain_cases()
        await self._pass_time(3 * 24 * 3600)
        for operator in self.operators:
            await self._cases.unlock(operator)
        for scheduler in self.schedulers:
            await self._cases.withdraw(scheduler)
        await self._twin.compare()
        assert self._twin.road.escrow == self._twin.court.escrow == 0
        assert not any(account.locked for account in self.model.accounts.values())

    async def _drain_cases(self) -> None:
        for trial in list(self._cases.trials.values()):
            if trial.journey is not None and trial.journey.job in self._twin.road.trips:
                await self._roads.finish(trial.journey)
        await self._pass_time(24 * 3600)
        for trial in list(self._cases.trials.values()):
            await self._cases.finish(trial)
            await self._twin.compare()

    # --- open matters -------------------------------------------------------------------------

    def _matters(self) -> list[Journey | bytes]:
        return [*self._journeys, *self._cases.trials]

    async def _move_on(self, matter: Journey | bytes) -> None:
        if isinstance(matter, bytes):
            if matter in self._cases.trials:
                await self._cases.move_on(self._cases.trials[matter])
        else:
            await self._roads.move_on(matter)
            self._end_journey(matter)
        await self._twin.compare()

    def _end_journey(self, journey: Journey) -> None:
        if journey.job not in self._twin.road.trips:
            self._journeys.remove(journey)
            self._cases.notice(journey.votes, journey.job)

    async def _take_jobs(self, jobs_left: int) -> None:
        await self._refill()
        if self._random.random() < 0.5:
            await self._settle(min(jobs_left, self._random.randint(1, BATCH_MAX)))
            await self._twin.compare()
            return
        for _ in range(min(jobs_left, self._random.randint(1, ROADS_MAX))):
            if (journey := await self._roads.open()) is not None:
                self._journeys.append(journey)
            await self._twin.compare()

    async def _refill(self) -> None:
        """Most of those who run out of money or stake bring some, so that jobs go on."""
        for pair in self._twin_budgets():
            if self.model.budgets[pair].amount < BUDGET_LOW and self._random.random() < 0.5:
                await self._bring_and_fund(*pair, self._random.randint(0, 900 * USD))
        for operator in self.operators:
            books = self.model.accounts[operator]
            if books.stake - books.locked < STAKE_LOW and self._random.random() < 0.3:
                amount = self._random.randint(0, 1_500 * USD)
                await self._deposit(operator, amount)
                await self._top_up(operator, amount)

    def _twin_budgets(self) -> list[tuple[str, str]]:
        return [(r, s) for r in self.requesters for s in self.schedulers]

    async def _pass_time_to_deadline(self) -> None:
        """To the next moment at which something is over, or just before it, or just after."""
        now = self._twin.now.timestamp
        waits = [self._roads.waits_until(journey) for journey in self._journeys]
        waits += [self._cases.waits_until(trial) for trial in self._cases.trials.values()]
        ahead = sorted(wait for wait in waits if wait >= now)
        if ahead and self._random.random() < 0.6:
            await self._twin.pass_time(ahead[0] - now + self._random.choice((-1, 0, 1, 2, 60)))
        elif self._random.random() < 0.3:
            await self._pass_time(self._random.randint(1, 600))

    # --- what people do beside jobs -----------------------------------------------------------

    def _moves(self) -> list[Callable[[], Awaitable[object]]]:
        pick, usd = self._random.choice, self._usd
        operator, requester, scheduler = map(
            pick, (self.operators, self.requesters, self.schedulers)
        )
        kind, seats = pick(self._classes), self._random.randint(1, 2)
        return [
            lambda: self._deposit(pick(self.people[:-1]), usd(300)),
            lambda: self._withdraw(pick(self.people[:-1]), usd(300)),
            lambda: self._fund(requester, scheduler, usd(900)),
            lambda: self._bring_and_fund(requester, scheduler, usd(900)),
            lambda: self._bring_and_fund(requester, scheduler, usd(900)),
            lambda: self._bring_and_fund(requester, scheduler, usd(900)),
            lambda: self._bring_and_stake(operator, kind, seats),
            lambda: self._bring_and_stake(operator, kind, seats),
            lambda: self._vault_call(requester, "close", scheduler),
            lambda: self._vault_call(requester, "reclaim", scheduler),
            lambda: self._stake(operator, kind, seats),
            lambda: self._unstake(operator, kind, seats),
            lambda: self._evict(pick(self.people[:-1]), operator, kind, seats),
            lambda: self._top_up(operator, usd(400)),
            lambda: self._exit(operator),
            self._keep_seed,
            *self._cases.moves(operator, scheduler),
        ]

    def _usd(self, most: int) -> int:
        return self._random.randint(0, most * USD)

    def _long_waits(self) -> list[Callable[[], Awaitable[object]]]:
        """What takes so long that much of what is open is late afterwards."""
        operator, requester, scheduler = map(
            self._random.choice, (self.operators, self.requesters, self.schedulers)
        )
        return [
            lambda: self._take_back(requester, scheduler),
            lambda: self._leave(operator),
            self._pass_time,
        ]

    async def _deposit(self, who: str, amount: int) -> None:
        await self._both(
            lambda _: self.model.deposit(who, amount),
            who, self._at.vault, "deposit(address,uint64)", who, amount,
        )  # fmt: skip

    async def _withdraw(self, who: str, amount: int) -> None:
        await self._both(
            lambda _: self.model.withdraw(who, amount),
            who, self._at.vault, "withdraw(address,uint64)", who, amount,
        )  # fmt: skip

    async def _fund(self, who: str, scheduler: str, amount: int) -> None:
        await self._both(
            lambda _: self.model.fund(who, scheduler, amount),
            who, self._at.vault, "fund(address,uint64)", scheduler, amount,
        )  # fmt: skip

    async def _vault_call(self, who: str, verb: str, scheduler: str) -> None:
        change = {"close": self.model.close, "reclaim": self.model.reclaim}[verb]
        await self._both(
            lambda now: change(who, scheduler, now),
            who, self._at.vault, f"{verb}(address)", scheduler,
        )  # fmt: skip

    async def _stake(self, who: str, kind: bytes, seats: int) -> None:
        await self._both(
            lambda now: self.model.stake(who, kind, seats, now),
            who, self._at.providers, "stake(bytes32,uint256)", kind, seats,
        )  # fmt: skip

    async def _unstake(self, who: str, kind: bytes, seats: int) -> None:
        await self._both(
            lambda now: self.model.unstake(who, kind, seats, now),
            who, self._at.providers, "unstake(bytes32,uint256)", kind, seats,
        )  # fmt: skip

    async def _evict(self, sender: str, who: str, kind: bytes, seats: int) -> None:
        await self._both(
            lambda now: self.model.evict(who, kind, seats, now),
            sender, self._at.providers, "evict(address,bytes32,uint256)", who, kind, seats,
        )  # fmt: skip

    async def _top_up(self, who: str, amount: int) -> None:
        await self._both(
            lambda _: self.model.top_up(who, amount),
            who, self._at.providers, "topUp(uint64)", amount,
        )  # fmt: skip

    async def _exit(self, who: str) -> None:
        await self._both(lambda now: self.model.exit(who, now), who, self._at.providers, "exit()")

    async def _keep_seed(self) -> None:
        kind = self._random.choice(self._classes)
        block = self._twin.now.number - self._random.randint(0, SEED_BLOCKS)
        await self._both(
            lambda now: self.model.keep_seed(kind, block, now),
            self.schedulers[0], self._at.providers, "keepSeed(bytes32,uint256)", kind, block,
        )  # fmt: skip

    async def _bring_and_fund(self, who: str, scheduler: str, amount: int) -> None:
        await self._deposit(who, amount)
        await self._fund(who, scheduler, amount)

    async def _bring_and_stake(self, who: str, kind: bytes, seats: int) -> None:
        await self._deposit(who, seats * model.SEAT)
        await self._stake(who, kind, seats)

    async def _take_back(self, who: str, scheduler: str) -> None:
        """Close a budget, wait for about as long as its notice, reclaim it."""
        await self._vault_call(who, "close", scheduler)
        await self._pass_time(model.NOTICE_S + self._random.randint(-3, 3))
        await self._vault_call(who, "reclaim", scheduler)

    async def _leave(self, who: str) -> None:
        """Give up one class, wait for about as long as stake stays, exit."""
        for kind in self._classes:
            if seats := len(self.model.classes[kind].bought[who]):
                await self._unstake(who, kind, seats)
                break
        await self._pass_time(model.UNBONDING_S + self._random.randint(-3, 3))
        await self._exit(who)

    async def _pass_time(self, seconds: int | None = None) -> None:
        longest = self._random.choice((600, 13 * 3600, 25 * 3600))
        await self._twin.pass_time(seconds or self._random.randint(1, longest))

    async def _both(
        self,
        change: Callable[[model.Now], object],
        sender: str,
        to: str,
        signature: str,
        *args: Any,
    ) -> None:
        await self._twin.both(change, sender, to, signature, *args)

    async def _must(self, sender: str, to: str, signature: str, *args: Any) -> None:
        await self._twin.must(sender, to, signature, *args)

    # --- jobs ---------------------------------------------------------------------------------

    async def _settle(self, count: int) -> None:
        """Settle a batch, in one of its forms."""
        receipts = [self._receipts.one(self._twin.now) for _ in range(count)]
        form = self._random.choice(("ABI", "packed", "signed once"))
        once = self._receipts.sign_once(receipts) if form == "signed once" else None
        if form == "ABI":
            call = encode_call(SETTLE, receipts)
        else:
            packed = pack(receipts, once or model.SignedOnce())
            call = encode_call("settlePacked(bytes)", packed)
        sender = self._random.choice(self.people[:-1])  # nothing depends on who sends
        mined = await self._anvil.send(sender, self._at.market, call)
        assert mined.succeeded, "a batch never reverts"
        self.tally.calls[f"batch, {form}"] += 1
        expected = self.model.settle(receipts, mined.now, once)
        self._compare_logs(self._events.read(mined.logs), receipts, expected)
        for receipt, outcome in zip(receipts, expected, strict=True):
            if isinstance(outcome, model.Settled):
                self._receipts.settled.append(receipt)
                votes = {replica.operator: replica for replica in receipt.replicas}
                self._cases.notice(votes, outcome.job)

    def _compare_logs(
        self,
        logs: list[Log],
        receipts: list[model.Receipt],
        expected: Sequence[model.Settled | model.Skipped],
    ) -> None:
        """Each receipt's events tell what the model says: skipped and why, or who got what."""
        for receipt, outcome in zip(receipts, expected, strict=True):
            if isinstance(outcome, model.Skipped):
                reasons = [
                    log.values[0].partition("_")[2]
                    for log in logs
                    if log.name == "ReceiptSkipped" and log.job == outcome.job
                ]
                assert reasons, ("not skipped", sorted(outcome.reasons))
                assert set(reasons) & outcome.reasons, (reasons, sorted(outcome.reasons))
                self.tally.outcomes[f"skipped: {reasons[0]}"] += 1
                continue
            mine = [log for log in logs if log.job == outcome.job and log.name != "ReceiptSkipped"]
            end = "JobSettled" if outcome.agreed else "JobWithoutQuorum"
            closing = [log.values for log in mine if log.name == end]
            moves = {
                part.operator: -part.amount if part.kind == "slashed" else part.amount
                for part in outcome.parts
            }
            assert closing == [(moves, outcome.fee, outcome.cost)], (closing, outcome)
            self._count(receipt, outcome)

    def _count(self, receipt: model.Receipt, outcome: model.Settled) -> None:
        slashes = [part.amount for part in outcome.parts if part.kind == "slashed"]
        agreed = f"quorum, {len(slashes)} slashed"
        self.tally.outcomes[agreed if outcome.agreed else "no quorum"] += 1
        if any(amount < receipt.order.bond for amount in slashes):
            self.tally.calls["(a slash that ended at the stake)"] += 1
