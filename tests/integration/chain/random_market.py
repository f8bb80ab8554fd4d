"""Random things that people do to a market: on a real chain and in the model, side by side.

Everything is drawn from one seed.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import decode

from assay_node.chain.deployment import Deployment
from tests.integration.chain import payout_model as model
from tests.integration.chain.bare_chain import Anvil, Log, MarketEvents, encode_call
from tests.integration.chain.random_receipts import USD, RandomReceipts, new_key

OPERATORS: Final = 12
REQUESTERS: Final = 4
SCHEDULERS: Final = 2
CLASSES: Final = 2
BATCH_MAX: Final = 10
SEED_BLOCKS: Final = 60  # how far back somebody thinks of keeping a seed
BOOKS: Final = "(uint64,uint64,uint64,uint32,uint32)"
ORDER: Final = (
    "(address,bytes32,bytes32,address,uint64,uint64,uint32,uint64,uint8,uint8,uint8,"
    "uint32,uint32,uint64,uint64,uint16,bool,uint256)"
)
REPLICA: Final = "(address,uint64,uint8,uint32,bytes32,bytes32,bytes)"
SETTLE: Final = f"settle(({ORDER},bytes,{REPLICA}[])[])"


@dataclass
class Tally:
    """What a run was made of, so that a reader sees that it was not all of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def jobs(self) -> int:
        return sum(self.outcomes.values())


class RandomMarket:
    """The same market twice, and the people who use it."""

    def __init__(self, anvil: Anvil, deployment: Deployment, *, seed: int) -> None:
        self._anvil = anvil
        self._at = deployment
        self._random = random.Random(seed)
        self.tally = Tally()
        self.model = model.Market(
            model.Domain(deployment.chain_id, deployment.market), deployment.treasury
        )
        self._events = MarketEvents(deployment.market)
        keys = [new_key(self._random) for _ in range(OPERATORS + REQUESTERS + SCHEDULERS)]
        people = [key.public_key.to_address() for key in keys]
        self.operators = people[:OPERATORS]
        self.requesters = people[OPERATORS : OPERATORS + REQUESTERS]
        self.schedulers = people[OPERATORS + REQUESTERS :]
        self._signers = {operator: new_key(self._random) for operator in self.operators}
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

    @property
    def people(self) -> list[str]:
        return [*self.operators, *self.requesters, *self.schedulers, self._at.treasury]

    async def open(self) -> None:
        """Give everybody money, operators a key and seats, and requesters their budgets."""
        await self._anvil.take_over()
        for who in (*self.operators, *self.requesters, *self.schedulers):
            await self._anvil.rpc("anvil_setBalance", who, hex(10**21))
            await self._deposit(who, 4_000 * USD)
        for operator in self.operators:
            signer = self._signers[operator].public_key.to_address()
            await self._must(operator, self._at.providers, "setSigner(address)", signer)
            self.model.signers[operator] = signer
            for hardware_class in self._classes:
                await self._stake(operator, hardware_class, self._random.choice((1, 1, 2)))
        for requester in self.requesters:
            for scheduler in self.schedulers:
                await self._fund(requester, scheduler, self._random.randint(100, 900) * USD)
        await self.compare()

    async def step(self, jobs_left: int) -> None:
        """Do one thing, most often settle a batch, and compare all books."""
        roll = self._random.random()
        if roll < 0.6:
            await self._settle(min(jobs_left, self._random.randint(1, BATCH_MAX)))
        else:
            await self._random.choice(self._moves())()
        await self.compare()

    # --- comparing ----------------------------------------------------------------------------

    async def compare(self) -> None:
        """Every account, budget, total and token, to the unit."""
        people, budgets = self.people, self._budget_keys()
        reads = [
            *(self._read(self._at.vault, "account(address)", who) for who in people),
            *(self._read(self._at.vault, "budget(address,address)", *pair) for pair in budgets),
            self._read(self._at.vault, "escrow(address)", self._at.court),
            self._read(self._at.vault, "total()"),
            self._read(self._at.token, "balanceOf(address)", self._at.vault),
        ]
        answers = [bytes.fromhex(word[2:]) for word in await self._anvil.batch(reads)]
        on_chain: dict[str, object] = {}
        for who, answer in zip(people, answers, strict=False):
            on_chain[f"account {who}"] = model.Account(*decode([BOOKS], answer)[0])
        for pair, answer in zip(budgets, answers[len(people) :], strict=False):
            on_chain[f"budget {pair}"] = model.Budget(*decode(["(uint64,uint48)"], answer)[0])
        held, total, tokens = (int.from_bytes(answer, "big") for answer in answers[-3:])
        expected: dict[str, object] = {
            **{f"account {who}": self.model.accounts[who] for who in people},
            **{f"budget {pair}": self.model.budgets[pair] for pair in budgets},
        }
        wrong = {
            name: {"chain": on_chain[name], "model": value}
            for name, value in expected.items()
            if on_chain[name] != value
        }
        assert not wrong, wrong
        assert held == self.model.held
        assert total == tokens == self.model.total, (total, tokens, self.model.total)

    def _budget_keys(self) -> list[tuple[str, str]]:
        return [(r, s) for r in self.requesters for s in self.schedulers]

    # --- what people do beside jobs -----------------------------------------------------------

    def _moves(self) -> list[Callable[[], Awaitable[None]]]:
        pick, usd = self._random.choice, lambda most: self._random.randint(0, most * USD)
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
            lambda: self._take_back(requester, scheduler),
            lambda: self._leave(operator),
            lambda: self._vault_call(requester, "close", scheduler),
            lambda: self._vault_call(requester, "reclaim", scheduler),
            lambda: self._stake(operator, kind, seats),
            lambda: self._unstake(operator, kind, seats),
            lambda: self._evict(pick(self.people[:-1]), operator, kind, seats),
            lambda: self._top_up(operator, usd(400)),
            lambda: self._exit(operator),
            self._keep_seed,
            self._pass_time,
        ]

    async def _deposit(self, who: str, amount: int) -> None:
        await self._must(who, self._at.token, "mint(address,uint256)", who, amount)
        await self._must(who, self._at.token, "approve(address,uint256)", self._at.vault, amount)
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
        kind, head = self._random.choice(self._classes), await self._head()
        block = head + 1 - self._random.randint(0, SEED_BLOCKS)
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
        seconds = seconds or self._random.randint(1, longest)
        await self._anvil.mine(later=seconds)
        self.tally.calls["time passes"] += 1

    async def _both(
        self, change: Callable[[model.Now], None], sender: str, to: str, signature: str, *args: Any
    ) -> None:
        """Do one thing on both sides; they must agree on whether it may be done."""
        mined = await self._anvil.send(sender, to, encode_call(signature, *args))
        try:
            change(mined.now)
        except model.Refused:
            allowed = False
        else:
            allowed = True
        verb = signature.partition("(")[0]
        assert mined.succeeded == allowed, (verb, args, mined.now.number)
        self.tally.calls[f"{verb} {'done' if allowed else 'refused'}"] += 1

    async def _must(self, sender: str, to: str, signature: str, *args: Any) -> None:
        mined = await self._anvil.send(sender, to, encode_call(signature, *args))
        assert mined.succeeded, (signature, args)

    # --- jobs ---------------------------------------------------------------------------------

    async def _settle(self, count: int) -> None:
        now = await self._anvil.next_block()
        receipts = [self._receipts.one(now) for _ in range(count)]
        sender = self._random.choice(self.people[:-1])  # nothing depends on who sends
        mined = await self._anvil.send(sender, self._at.market, encode_call(SETTLE, receipts))
        assert mined.succeeded, "a batch never reverts"
        expected = self.model.settle(receipts, mined.now)
        self._compare_logs(self._events.read(mined.logs), receipts, expected)
        self._receipts.settled += [
            receipt
            for receipt, outcome in zip(receipts, expected, strict=True)
            if isinstance(outcome, model.Settled)
        ]

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
            operators = [replica.operator for replica in receipt.replicas]
            moves = dict(zip(operators, outcome.moved, strict=True))
            assert closing == [(moves, outcome.fee, outcome.cost)], (closing, outcome)
            self._count(receipt, outcome)

    def _count(self, receipt: model.Receipt, outcome: model.Settled) -> None:
        lies = sum(move < 0 for move in outcome.moved)
        self.tally.outcomes["no quorum" if not outcome.agreed else f"quorum, {lies} slashed"] += 1
        if any(0 > move > -receipt.order.bond for move in outcome.moved):
            self.tally.calls["(a slash that ended at the stake)"] += 1

    # --- the chain ----------------------------------------------------------------------------

    async def _head(self) -> int:
        return int(await self._anvil.rpc("eth_blockNumber"), 16)

    def _read(self, to: str, signature: str, *args: Any) -> tuple[str, list[Any]]:
        data = "0x" + encode_call(signature, *args).hex()
        return "eth_call", [{"to": to, "data": data}, "latest"]
