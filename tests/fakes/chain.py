"""An in-memory `ports.SettlementChain`: settles at once, by the same tally as the contract."""

from collections.abc import Callable, Sequence

from assay_node.ports import (
    Account,
    CourtStep,
    Head,
    MarketStep,
    OutgoingTransaction,
    OverrideRoad,
    Paid,
    SchedulerBond,
    Settlement,
    SignedTransaction,
    SkippedReceipt,
    Slashed,
    TransactionOutcome,
    TransactionState,
    TransactionStore,
)
from assay_node.protocol.errors import ChainUnavailable
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import EFFORT_BPS, Receipt, tally
from assay_node.protocol.typed_data import Domain
from tests.fakes.court import FakeCourt

MARKET = Address("0x" + "ee" * 20)


class FakeSettlementChain(FakeCourt):
    """One chain, one market, no blocks to wait for."""

    def __init__(self, operators: Sequence[Address], signers: dict[Address, Address]) -> None:
        super().__init__(Domain(31337, MARKET), lambda: self.timestamp)
        self.chain_id = 31337
        self.market = MARKET
        self.block = 100
        self.timestamp = 0
        self.away = False
        self.before_send: Callable[[], None] | None = None
        self.operators = operators
        self.signers = signers
        self.budgets: dict[Address, int] = {}
        self.bonded: set[Address] = set()
        """Schedulers with something at stake."""
        self.settled: dict[Digest, Settlement] = {}
        self.sent: list[Digest] = []
        self.store: TransactionStore
        self.price = 0
        self.holds_back = False
        """Nothing is mined while this is set."""
        self._receipts: dict[Digest, tuple[Receipt, ...]] = {}
        self._overrides: dict[Digest, OverrideRoad] = {}
        self._outcomes: dict[Digest, TransactionOutcome] = {}
        self._nonce = 0

    async def head(self) -> Head:
        self._answer()
        return Head(number=self.block, timestamp=self.timestamp)

    async def block_hash(self, number: int) -> Digest | None:
        return Digest(number.to_bytes(32)) if number <= self.block else None

    async def account(self, address: Address) -> Account:
        self._answer()
        return Account(free_microusd=0, stake_microusd=500_000_000, wins=0, faults=0)

    async def budget(self, requester: Address, scheduler: Address) -> int:
        return self.budgets.get(requester, 0)

    async def signer_of(self, operator: Address) -> Address | None:
        return self.signers.get(operator)

    async def scheduler_bond(self, scheduler: Address) -> SchedulerBond:
        return SchedulerBond(
            amount_microusd=100_000_000 if scheduler in self.bonded else 0,
            slashable_until=self.timestamp,
            leaves_at=None,
            caught=False,
        )

    async def nonce_used(self, requester: Address, nonce: int) -> bool:
        return False

    async def settlement_of(
        self, job_id: Digest, *, from_block: int | None = None
    ) -> Settlement | None:
        return self.settled.get(job_id)

    async def draw(
        self, hardware_class: Digest, seed_block: int, job_id: Digest, *, max_ticket: int
    ) -> tuple[Address | None, ...]:
        self._answer()
        count = len(self.operators)
        return tuple(self.operators[t % count] for t in range(max_ticket + 1))

    def receipts_fitting(self, receipts: Sequence[Receipt]) -> int:
        return len(receipts)

    async def settle(self, receipts: Sequence[Receipt], jobs: Sequence[Digest]) -> bool:
        self._answer()
        outgoing = self._outgoing("settle", jobs)
        self._receipts[outgoing.id] = tuple(receipts)
        return await self._keep(outgoing)

    async def keep_seed(self, hardware_class: Digest, seed_block: int) -> None:
        self._answer()
        await self._keep(self._outgoing("keep_seed", ()))

    async def start_case_step(self, job: Digest, step: CourtStep) -> bool:
        self._answer()
        self.take_at_court(step)
        return True

    async def start_step(self, job: Digest, step: MarketStep) -> bool:
        self._answer()
        assert isinstance(step, OverrideRoad)
        outgoing = self._outgoing("market_step", (job,))
        self._overrides[outgoing.id] = step
        return await self._keep(outgoing)

    def newest_block(self) -> int:
        return self.block

    async def gas_price(self) -> int:
        self._answer()
        return self.price

    async def pursue(self) -> Sequence[TransactionOutcome]:
        self._answer()
        found = []
        for outgoing in await self.store.open_transactions():
            if outgoing.id not in self._outcomes:
                if self.holds_back:
                    continue
                self._mine(outgoing)
            found.append(self._outcomes[outgoing.id])
        return found

    def _outgoing(self, kind: str, jobs: Sequence[Digest]) -> OutgoingTransaction:
        self._nonce += 1
        hash_ = Digest(self._nonce.to_bytes(32))
        return OutgoingTransaction(
            id=hash_,
            chain_id=self.chain_id,
            sender=MARKET,
            nonce=self._nonce,
            kind=kind,
            jobs=tuple(jobs),
            signed=(SignedTransaction(hash=hash_, raw=kind.encode()),),
            state=TransactionState.PENDING,
            place=None,
            created_at=0.0,
        )

    async def _keep(self, outgoing: OutgoingTransaction) -> bool:
        kept = await self.store.save_transaction(outgoing)
        if kept and not self.holds_back:
            self._mine(outgoing)
        return kept

    def _mine(self, outgoing: OutgoingTransaction) -> None:
        self.sent.append(outgoing.id)
        if self.before_send is not None:
            self.before_send()
        settlements, skipped = [], []
        for receipt in self._receipts.get(outgoing.id, ()):
            job = job_id(receipt.signed_order.order, Domain(self.chain_id, self.market))
            if job in self.settled or job in self.on_road:
                skipped.append(SkippedReceipt(job_id=job, reason="the nonce is spent"))
                continue
            if any(not self._is_drawn(r.operator, r.ticket) for r in receipt.replicas):
                skipped.append(SkippedReceipt(job_id=job, reason="an operator was not drawn"))
                continue
            self.settled[job] = self._settle(job, outgoing.id, receipt)
            settlements.append(self.settled[job])
        override = self._overrides.get(outgoing.id)
        if override is not None:
            self.take(override)
            (job,) = outgoing.jobs
            self.settled[job] = self._settle(job, outgoing.id, override.receipt)
            settlements.append(self.settled[job])
        self._outcomes[outgoing.id] = TransactionOutcome(
            outgoing=outgoing,
            state=TransactionState.SUCCEEDED,
            block_number=self.block,
            gas_used=100_000,
            settlements=tuple(settlements),
            skipped=tuple(skipped),
        )

    def _is_drawn(self, operator: Address, ticket: int) -> bool:
        return self.operators[ticket % len(self.operators)] == operator

    def _answer(self) -> None:
        if self.away:
            raise ChainUnavailable("the chain is away")

    def _settle(self, job: Digest, transaction: Digest, receipt: Receipt) -> Settlement:
        order, replicas = receipt.signed_order.order, receipt.replicas
        votes = [(r.tag, r.seconds) for r in replicas]
        result = tally(votes, quorum=order.quorum, max_seconds=order.max_seconds)
        paid, slashed = [], []
        for number, r in enumerate(replicas):
            if not result.agreed:
                effort = r.rate_microusd * min(r.seconds, order.max_seconds) * EFFORT_BPS // 10_000
                paid.append(Paid(operator=r.operator, amount_microusd=effort))
            elif number in result.winners:
                amount = r.rate_microusd * result.seconds
                paid.append(Paid(operator=r.operator, amount_microusd=amount))
            else:
                loss = Slashed(
                    operator=r.operator, amount_microusd=order.bond_microusd, reason="minority"
                )
                slashed.append(loss)
        fee = order.fee_microusd if result.agreed else 0
        return Settlement(
            job_id=job,
            transaction=transaction,
            block_number=self.block,
            agreed=result.agreed,
            winning_tag=replicas[result.winners[0]].tag if result.agreed else None,
            seconds=result.seconds,
            paid=tuple(paid),
            slashed=tuple(slashed),
            fee_microusd=fee,
            cost_microusd=fee + sum(p.amount_microusd for p in paid),
            gas_used=100_000,
            receipts_in_batch=1,
        )
