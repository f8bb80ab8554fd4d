"""The scheduler's settlement on a real chain and a real database: each job is settled once.

The chain reorganises, the process dies, gas is dear; books and stored states follow.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from assay_node.chain.client import open_chain
from assay_node.chain.outbox import WEI_PER_GWEI
from assay_node.chain.rpc import JsonRpc, open_rpc
from assay_node.chain.wallet import WalletChain
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import deploy
from assay_node.keys import LocalKey, create_key
from assay_node.ports import (
    JobChange,
    JobRecord,
    LeaseChange,
    NewEvent,
    NewLease,
    OpenRoad,
    RoadCommit,
    RoadState,
    TransactionState,
)
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Digest
from assay_node.protocol.lease import JobEvent, JobState, LeaseEvent, LeaseState
from assay_node.protocol.messages import CommitSet
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import Receipt, commit_digest, commitment
from assay_node.services.lifecycle import Timing
from assay_node.services.policy import Policy
from assay_node.services.road_watch import RoadWatch
from assay_node.services.settlement import Settlement
from assay_node.services.settlement_timing import SettlementTerms
from assay_node.store.database import open_database
from assay_node.store.scheduler_jobs import SchedulerJobs
from tests.builders.jobs import a_commit, a_reveal
from tests.builders.messages import PEER, a_spec
from tests.fixtures.chain import (
    ChainLab,
    a_class,
    anvil_settings,
    mine_at_base_fee,
    quick,
    until,
)
from tests.fixtures.receipts import ANSWER, Operator

USD = 1_000_000
CONFIRMATIONS = 4
COST = 3 * 10 * 100 + 2_000
TERMS = SettlementTerms(
    batch_max=10, wait_s=0, gas_cheap=0, gas_dear=10**15, wait_dear_s=0, urgent_s=60
)
POLICY = Policy(
    fee_microusd=2_000, seconds_max=3600, input_bytes_max=1 << 20, seed_blocks_ahead_max=64,
    expiry_s_max=7200, heartbeat_s=60, fetch_timeout_s=5, settlement=TERMS, resend_s=0.05,
    keep_seed_after_blocks=8000, poll_interval_s=0.02, reveal_timeout_s=2,
    timing=Timing(lease_grace_s=1, offer_timeout_s=2, settle_margin_s=10),
)  # fmt: skip


class ChainClock:
    """Tells the newest block's time: the chain's own runs ahead of ours after many blocks."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A market with one scheduler wallet, and the database it settles from."""

    lab: ChainLab
    node: JsonRpc
    key: LocalKey
    wallet: WalletChain
    requester: LocalKey
    operators: Sequence[Operator]
    hardware_class: Digest
    seed_block: int
    url: str

    async def receipt(self) -> Receipt:
        return await self.lab.receipt(
            self.wallet, self.requester, self.operators, seed_block=self.seed_block,
            hardware_class=self.hardware_class, outputs=[ANSWER] * 3,
        )  # fmt: skip

    async def spent(self) -> int:
        return 100 * USD - await self.wallet.budget(self.requester.address, self.key.address)

    @contextlib.asynccontextmanager
    async def scheduler(self, terms: SettlementTerms = TERMS) -> AsyncIterator[SchedulerJobs]:
        """Run the settlement service, a process of its own as far as memory goes."""
        settings = quick(self.lab.settings, CONFIRMATIONS, replace_s=0.2)
        clock = ChainClock()
        async with open_database(self.url, role="scheduler") as database:
            store = SchedulerJobs(database)
            async with open_chain(settings, self.key, store=store) as chain:
                clock.time = (await chain.head()).timestamp
                road = RoadWatch(
                    chain=chain, store=store, clock=clock,
                    policy=replace(POLICY, settlement=terms, confirmations=CONFIRMATIONS),
                    sending=lambda: None, on_ended=_ignore,
                )  # fmt: skip
                service = Settlement(
                    chain=chain, store=store, clock=clock, policy=replace(POLICY, settlement=terms),
                    redraw=_never, taken=road.taken, on_settled=_ignore,
                )  # fmt: skip
                running = [asyncio.create_task(w) for w in (service.run(), _follow(road))]
                try:
                    yield store
                finally:
                    for task in running:
                        task.cancel()
                    await asyncio.gather(*running, return_exceptions=True)

    async def mine(self, count: int = 1) -> None:
        await self.node.call("anvil_mine", hex(count))


async def _never(_: JobRecord) -> bool:
    return False


async def _follow(road: RoadWatch) -> None:
    """What `RoadWatch.run` does, with less patience."""
    while True:
        with contextlib.suppress(ChainError):
            await road.look()
        await asyncio.sleep(0.02)


def _ignore(_: Sequence[JobRecord]) -> None:
    pass


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab() -> AsyncIterator[ChainLab]:
    async with AnvilProcess(anvil_settings()) as anvil, AsyncExitStack() as stack:
        yield ChainLab(url=anvil.url, deployment=await deploy(anvil.url), stack=stack)


@pytest.fixture
async def scene(lab: ChainLab, tmp_path: Path) -> AsyncIterator[Scene]:
    """A staked market; the chain stands still once it is there."""
    async with open_rpc(lab.url, timeout_s=10) as node:
        await node.call("anvil_setNextBlockBaseFeePerGas", hex(WEI_PER_GWEI))
        await node.call("anvil_mine", "0x1")
        await node.call("evm_setIntervalMining", 0)
        await node.call("evm_setAutomine", True)
        key, hardware_class = create_key(), a_class()
        wallet = await lab.wallet(key)
        requester = await lab.requester(wallet)
        operators = await lab.operators(hardware_class, 3)
        seed_block = (await wallet.head()).number + 1
        await node.call("anvil_mine", hex(3))
        yield Scene(
            lab=lab,
            node=node,
            key=key,
            wallet=wallet,
            requester=requester,
            operators=operators,
            hardware_class=hardware_class,
            seed_block=seed_block,
            url=f"sqlite:///{tmp_path}/scheduler.sqlite",
        )


async def stop_mining(scene: Scene) -> None:
    await scene.node.call("evm_setAutomine", False)


async def settling(store: SchedulerJobs, receipt: Receipt, scene: Scene) -> Digest:
    """Store a job whose replicas have all revealed: the settlement service's turn."""
    job = job_id(receipt.signed_order.order, scene.wallet.domain)
    event = NewEvent(kind="admitted", text="admitted", data={})
    await store.admit(job, receipt.signed_order, a_spec(), now=1.0, event=event)

    async def change(**fields: object) -> None:
        record = await store.job(job)
        assert record is not None
        assert await store.apply(
            JobChange(
                job=job,
                expected=record.state,
                generation=record.generation,
                **fields,  # type: ignore[arg-type]
            ),
            now=1.0,
        )

    leases = [
        NewLease(
            operator=replica.operator,
            peer_id=PEER,
            ticket=replica.ticket,
            rate_microusd=replica.rate_microusd,
            software_digest=Digest(b"\x05" * 32),
        )
        for replica in receipt.replicas
    ]
    await change(event=JobEvent.PLACED, new_leases=leases)
    for move, expected in (
        (LeaseEvent.ACCEPT, LeaseState.OFFERED),
        (LeaseEvent.COMMIT, LeaseState.ACCEPTED),
        (LeaseEvent.REVEAL, LeaseState.COMMITTED),
    ):
        if move is LeaseEvent.REVEAL:
            commits = CommitSet(job=job, round_number=0, entries=(), signature=bytes(65))
            await change(event=JobEvent.COMMITTED, commit_set=commits)
        for replica in receipt.replicas:
            reveal = replace(
                a_reveal(), job=job, tag=replica.tag, seconds=replica.seconds, salt=replica.salt,
                rate_microusd=replica.rate_microusd, signature=replica.signature,
            )  # fmt: skip
            moved = LeaseChange(
                operator=replica.operator,
                expected=expected,
                event=move,
                commit=a_commit() if move is LeaseEvent.COMMIT else None,
                reveal=reveal if move is LeaseEvent.REVEAL else None,
            )
            await change(lease_changes=[moved])
    await change(event=JobEvent.REVEALED, verdict="ok")
    return job


async def state_of(store: SchedulerJobs, job: Digest) -> JobState:
    record = await store.job(job)
    assert record is not None
    return record.state


async def transaction_is(store: SchedulerJobs, state: TransactionState) -> bool:
    opened = await store.open_transactions()
    return [one.state for one in opened] == [state]


async def test_a_reorg_after_settling_settles_again_exactly_once(scene: Scene) -> None:
    receipt = await scene.receipt()
    await stop_mining(scene)
    async with scene.scheduler() as store:
        job = await settling(store, receipt, scene)
        await until(store.open_transactions)
        await until(lambda: _mined_after_a_block(scene, store))
        assert await scene.spent() == COST
        assert await state_of(store, job) is JobState.SETTLING
        await scene.node.call("anvil_reorg", CONFIRMATIONS - 1, [])
        assert await scene.spent() == 0
        await until(lambda: transaction_is(store, TransactionState.PENDING))
        await until(lambda: _settled(scene, store, job))
        events = [event.kind for event in await store.events(job)]
    assert await scene.spent() == COST
    assert events.count("settled") == 1


async def test_a_process_that_dies_at_any_moment_settles_exactly_once(scene: Scene) -> None:
    receipt = await scene.receipt()
    await stop_mining(scene)
    async with scene.scheduler() as store:
        job = await settling(store, receipt, scene)
        await until(store.open_transactions)
    await scene.mine()  # mined while nobody looks
    async with scene.scheduler() as store:
        await until(lambda: transaction_is(store, TransactionState.MINED))
    await scene.node.call("anvil_reorg", 1, [])  # and taken back while nobody looks
    async with scene.scheduler() as store:
        await until(lambda: transaction_is(store, TransactionState.PENDING))
        await until(lambda: _settled(scene, store, job))
    assert await scene.spent() == COST


async def test_a_settlement_that_blocks_pass_over_is_replaced_and_settles_once(
    scene: Scene,
) -> None:
    receipt = await scene.receipt()
    await stop_mining(scene)
    async with scene.scheduler() as store:
        job = await settling(store, receipt, scene)
        await until(store.open_transactions)
        await until(lambda: _replaced_while_dear(scene, store))
        await until(lambda: _settled(scene, store, job))
        record = await store.job(job)
    assert await scene.spent() == COST
    assert record is not None
    assert record.settlement is not None
    assert record.settlement.transaction != record.transaction  # a dearer form was mined


async def test_dear_gas_makes_receipts_wait_and_cheap_gas_sends_them_together(
    scene: Scene,
) -> None:
    receipts = [await scene.receipt() for _ in range(3)]
    await stop_mining(scene)
    await mine_at_base_fee(scene.node, 80 * WEI_PER_GWEI)
    terms = replace(TERMS, gas_dear=50 * WEI_PER_GWEI, wait_dear_s=10**9)
    async with scene.scheduler(terms) as store:
        jobs = [await settling(store, receipt, scene) for receipt in receipts]
        await asyncio.sleep(0.3)  # several looks, none of which settles
        assert not await store.open_transactions()
        await mine_at_base_fee(scene.node, WEI_PER_GWEI)
        await until(store.open_transactions)
        for job in jobs:
            await until(lambda job=job: _settled(scene, store, job))
        records = [await store.job(job) for job in jobs]
    assert len({record.transaction for record in records if record is not None}) == 1
    assert await scene.spent() == 3 * COST


async def test_a_nonce_taken_elsewhere_puts_its_jobs_into_another_transaction(
    scene: Scene,
) -> None:
    receipt = await scene.receipt()
    await stop_mining(scene)
    async with scene.scheduler() as store:
        job = await settling(store, receipt, scene)
        (ours,) = await until(store.open_transactions)
    await scene.node.call("anvil_dropTransaction", "0x" + ours.id.hex())
    await scene.wallet._outbox.submit(  # a wallet that knows nothing of the database
        scene.wallet._contracts.vault.fund(scene.key.address, 0), action="it", kind="it",
        gas_bound=200_000,
    )  # fmt: skip
    await scene.mine()
    async with scene.scheduler() as store:
        await until(lambda: _settled(scene, store, job))
        record = await store.job(job)
    assert record is not None
    assert record.transaction != ours.id
    assert await scene.spent() == COST


async def _mined_after_a_block(scene: Scene, store: SchedulerJobs) -> bool:
    if await transaction_is(store, TransactionState.MINED):
        return True
    if await scene.spent() == 0:
        await scene.mine()
    return False


async def _settled(scene: Scene, store: SchedulerJobs, job: Digest) -> bool:
    if await state_of(store, job) is JobState.SETTLED:
        return True
    await scene.mine()
    return False


async def _replaced_while_dear(scene: Scene, store: SchedulerJobs) -> bool:
    (outgoing,) = await store.open_transactions()
    if len(outgoing.signed) > 1:
        return True
    await mine_at_base_fee(scene.node, 60 * WEI_PER_GWEI)
    return False


def taken_to_road(scene: Scene, receipt: Receipt) -> OpenRoad:
    """The step with which somebody takes the job to the road, with the first operator's commit."""
    job, first = job_id(receipt.signed_order.order, scene.wallet.domain), receipt.replicas[0]
    value = commitment(job, first.operator, first.tag, first.seconds, first.salt)
    digest = commit_digest(
        scene.wallet.domain, job=job, round_number=0, rate_microusd=first.rate_microusd,
        commitment=value,
    )  # fmt: skip
    signer = next(one.signer for one in scene.operators if one.address == first.operator)
    commit = RoadCommit(
        operator=first.operator,
        ticket=first.ticket,
        rate_microusd=first.rate_microusd,
        commitment=value,
        signature=signer.sign_digest(digest),
    )
    return OpenRoad(signed_order=receipt.signed_order, round_number=0, commits=(commit,))


@pytest.mark.parametrize("first", ["road", "receipt"])
async def test_a_job_that_is_on_the_road_is_ended_by_its_receipt_and_paid_once(
    scene: Scene, first: str
) -> None:
    """Somebody opens it before the receipt is sent, or while that waits to be mined."""
    receipt = await scene.receipt()
    helper = await scene.lab.wallet()
    if first == "road":
        await helper.take_step(taken_to_road(scene, receipt))
        # Before the service runs, which would take part as soon as there is a job.
        async with open_database(scene.url, role="scheduler") as database:
            job = await settling(SchedulerJobs(database), receipt, scene)
    async with scene.scheduler() as store:
        if first == "receipt":
            await stop_mining(scene)
            job = await settling(store, receipt, scene)
            await until(store.open_transactions)
            await scene.node.call("anvil_dropAllTransactions")
            await scene.node.call("evm_setAutomine", True)
            await helper.take_step(taken_to_road(scene, receipt))
        async with asyncio.timeout(30):
            while await state_of(store, job) is not JobState.SETTLED:
                await scene.mine()
                await asyncio.sleep(0.05)
        record = await store.job(job)
        assert record is not None
        assert record.settlement is not None
        assert len(record.settlement.paid) == 3
        kinds = [event.kind for event in await store.events(job)]
        assert kinds.count("on_road") == kinds.count("settled") == 1
    assert await scene.spent() == record.settlement.cost_microusd
    assert (await scene.wallet.road_of(job)).state is RoadState.SETTLED
