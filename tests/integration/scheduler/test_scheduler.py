"""The whole scheduler on a real SQLite file, with scripted providers and a chain in memory."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import dag_cbor
import pytest

from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.keys import create_key
from assay_node.ports import (
    ArtifactLimits,
    JobRecord,
    OpenRoad,
    OverrideRoad,
    Paid,
    RoadCommit,
    RoadJob,
    RoadState,
    Settlement,
)
from assay_node.protocol import cid as cids
from assay_node.protocol import codec, environment, job_spec
from assay_node.protocol.assignment import contradict, signer_of_assign
from assay_node.protocol.environment import EnvironmentLayer, EnvironmentManifest
from assay_node.protocol.errors import AssayError
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.lease import JOB_ENDS, JobState, LeaseState
from assay_node.protocol.messages import HELLO, SUBMIT, CommitSet, Submit
from assay_node.protocol.offer import SignedOffer
from assay_node.protocol.order import SignedOrder, job_id
from assay_node.protocol.receipt import commit_digest, commit_set, commit_set_digest, tag
from assay_node.protocol.typed_data import Domain, recover
from assay_node.services.lifecycle import Timing, active_leases
from assay_node.services.parts import SchedulerParts
from assay_node.services.policy import Policy
from assay_node.services.road import commits_of
from assay_node.services.scheduler import Scheduler
from assay_node.services.settlement_timing import SettlementTerms
from assay_node.services.verification import verify_result
from assay_node.store.database import open_database
from assay_node.store.scheduler_jobs import SchedulerJobs
from tests.builders.jobs import operator
from tests.builders.messages import a_cid, a_spec, an_order
from tests.fakes.chain import FakeSettlementChain
from tests.fakes.network import FakeHub, FakeNetwork
from tests.integration.scheduler.scripted import ScriptedProvider

CLASS = hardware_class_digest("cpu-test")
POLICY = Policy(
    fee_microusd=1000,
    seconds_max=3600,
    input_bytes_max=1 << 30,
    seed_blocks_ahead_max=64,
    expiry_s_max=7200,
    heartbeat_s=60,
    fetch_timeout_s=5,
    settlement=SettlementTerms(
        batch_max=10, wait_s=0, gas_cheap=0, gas_dear=10**12, wait_dear_s=0, urgent_s=60
    ),
    resend_s=0.05,
    keep_seed_after_blocks=8000,
    poll_interval_s=0.01,
    reveal_timeout_s=2,
    timing=Timing(lease_grace_s=0.2, offer_timeout_s=2, settle_margin_s=10),
)


class Clock:
    def now(self) -> float:
        return time.time()


@dataclass
class World:
    hub: FakeHub
    chain: FakeSettlementChain
    store: SchedulerJobs
    providers: list[ScriptedProvider]
    requester: FakeNetwork
    scheduler: FakeNetwork
    wallet: object
    artifacts: object
    domain: Domain

    async def submit(self, **changes) -> Digest:
        inputs = self.artifacts["requester"]
        cid = await inputs.add_bytes(b"some input", codec=cids.RAW)
        _, block = job_spec.encode(a_spec(inputs=cid, **changes.pop("spec", {})))
        block = changes.pop("forge", lambda b: b)(block)
        spec_cid = await inputs.add_bytes(block, codec=cids.DAG_CBOR)
        order = an_order(
            requester=changes.pop("requester", self.wallet.address),
            scheduler=self.scheduler_wallet,
            hardware_class=CLASS,
            spec=cids.to_digest(spec_cid),
            seed_block=self.chain.block + 1,
            expiry=int(time.time()) + 600,
            **changes,
        )
        job = job_id(order, self.domain)
        signed = SignedOrder(order=order, signature=self.wallet.sign_digest(job))
        data = codec.encode(Submit(signed_order=signed))
        await self.requester.request(self.scheduler.peer_id, SUBMIT, data, timeout_s=5)
        self.chain.block += 2
        return job

    async def until(self, job: Digest, condition) -> JobRecord:
        async with asyncio.timeout(20):
            while True:
                record = await self.store.job(job)
                if condition(record):
                    return record
                await asyncio.sleep(0.01)

    async def commit_all(self, job: Digest, round_number: int = 0, count: int = 3) -> None:
        """Let every provider with an accepted lease of this round commit."""

        def accepted(record):
            return [
                lease
                for lease in record.leases
                if lease.state is LeaseState.ACCEPTED and lease.round_number == round_number
            ]

        record = await self.until(job, lambda r: len(accepted(r)) == count)
        for lease in accepted(record):
            provider = next(p for p in self.providers if p.operator == lease.operator)
            await provider.commit(provider.leases[-1])

    async def ended(self, job: Digest) -> JobRecord:
        return await self.until(job, lambda r: r.state in JOB_ENDS)


@contextlib.asynccontextmanager
async def open_world(
    tmp_path, count: int = 5, database: str = "one", policy: Policy = POLICY
) -> AsyncIterator[World]:
    hub = FakeHub()
    operators = [operator(n) for n in range(1, count + 1)]
    signers = {o: create_key() for o in operators}
    chain = FakeSettlementChain(operators, {o: key.address for o, key in signers.items()})
    chain.timestamp = int(time.time())
    wallet, scheduler_wallet = create_key(), create_key()
    chain.budgets[wallet.address] = 1 << 40
    domain = Domain(chain.chain_id, chain.market)
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        scheduler_net = await enter(FakeNetwork(hub))
        requester_net = await enter(FakeNetwork(hub))
        settings = {
            name: ArtifactSettings(root=tmp_path / name, quota_bytes=1 << 24)
            for name in ("scheduler", "requester")
        }
        artifacts = {
            "scheduler": await enter(open_artifacts(settings["scheduler"], scheduler_net)),
            "requester": await enter(open_artifacts(settings["requester"], requester_net)),
        }
        url = f"sqlite:///{tmp_path}/{database}.sqlite"
        opened = await enter(open_database(url, role="scheduler"))
        store = chain.store = SchedulerJobs(opened)
        scheduler = Scheduler(
            SchedulerParts(
                signer=scheduler_wallet,
                network=scheduler_net,
                artifacts=artifacts["scheduler"],
                chain=chain,
                store=store,
                clock=Clock(),
                policy=policy,
            )
        )
        running = asyncio.create_task(scheduler.run())
        stack.push_async_callback(_stopped, running)
        await scheduler_net.serving(HELLO)
        providers = []
        for o in operators:
            network = await enter(FakeNetwork(hub))
            provider = ScriptedProvider(network, domain, CLASS, o, signer=signers[o])
            await provider.join(scheduler_net.addresses[0])
            providers.append(provider)
        await requester_net.connect(scheduler_net.addresses[0])
        world = World(
            hub, chain, store, providers, requester_net, scheduler_net, wallet, artifacts, domain
        )
        world.scheduler_wallet = scheduler_wallet.address
        world.queries = scheduler.queries
        world.results = scheduler.results
        world.proofs = scheduler.proofs
        yield world
        await _stopped(running)
        check_assigns(world)


async def _stopped(running: asyncio.Task[None]) -> None:
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def check_assigns(world: World) -> None:
    """Whatever happened: every lease came with its assignment, and no two cost the bond."""
    heard = [(p.operator, offer) for p in world.providers for offer in p.leases]
    for who, offer in heard:
        assign = offer.assign.assign
        assert signer_of_assign(offer.assign, world.domain) == world.scheduler_wallet
        assert assign.job == job_id(offer.signed_order.order, world.domain)
        assert assign.round_number == offer.round_number
        assert (who, offer.ticket) in zip(assign.operators, assign.tickets, strict=True)
        assert len(assign.operators) <= offer.signed_order.order.replicas
    assigns = {offer.assign.assign for _, offer in heard}
    for one, other in itertools.combinations(assigns, 2):
        assert not contradict(one, other)


@pytest.fixture
async def world(tmp_path):
    async with open_world(tmp_path) as opened:
        yield opened


async def test_three_agree_and_are_paid(world):
    job = await world.submit()
    await world.commit_all(job)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert {p.operator: p.amount_microusd for p in record.settlement.paid} == {
        operator(n): 300 for n in (1, 2, 3)
    }
    assert record.output == a_cid(1)
    await _until(lambda: all(world.providers[n].released == ["settled"] for n in range(3)))


async def test_a_liar_is_slashed(world):
    world.providers[1].output = a_cid(9)
    job = await world.submit()
    await world.commit_all(job)
    record = await world.ended(job)
    assert [s.operator for s in record.settlement.slashed] == [operator(2)]
    assert len(record.settlement.paid) == 2


async def test_who_refuses_is_passed_over_with_its_reason(world):
    world.providers[0].refuses = "not today"
    job = await world.submit()
    await world.commit_all(job)
    record = await world.ended(job)
    refused = record.leases[0]
    assert (refused.state, refused.reason) == (LeaseState.REFUSED, "not today")
    assert [lease.ticket for lease in record.leases] == [0, 1, 2, 3]


async def test_who_cannot_ask_its_chain_for_a_moment_keeps_its_place(world):
    world.providers[0].chain_away = 3
    job = await world.submit()
    await world.commit_all(job)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert [lease.ticket for lease in record.leases] == [0, 1, 2]
    assert len(world.providers[0].leases) == 4


async def test_who_cannot_ask_its_chain_for_long_is_replaced(world):
    world.providers[0].chain_away = 10**6
    job = await world.submit()
    await world.commit_all(job)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    lost = record.leases[0]
    assert lost.state is LeaseState.LOST
    assert "no answer" in lost.reason
    assert "chain" in lost.reason


def reorganise(chain, *drawn: int) -> None:
    """Replace the seed block: from now on these operators are drawn, in this order."""
    chain.operators = [operator(n) for n in drawn]


async def test_a_seed_block_replaced_during_the_run_moves_replicas_to_their_new_tickets(world):
    job = await world.submit()
    await world.until(job, lambda r: [o.state for o in r.leases] == [LeaseState.ACCEPTED] * 3)
    reorganise(world.chain, 4, 3, 2, 1, 5)
    await world.commit_all(job)
    await world.commit_all(job, round_number=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED, record.reason
    held = {lease.operator: lease.ticket for lease in record.leases}
    assert held == {operator(1): 3, operator(2): 2, operator(3): 1}
    assert len(record.settlement.paid) == 3


async def test_who_the_replaced_seed_block_does_not_draw_is_lost(world):
    job = await world.submit()
    await world.until(job, lambda r: [o.state for o in r.leases] == [LeaseState.ACCEPTED] * 3)
    reorganise(world.chain, 4, 3, 2)
    await world.commit_all(job)
    await world.commit_all(job, round_number=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED, record.reason
    assert {p.operator for p in record.settlement.paid} == {operator(n) for n in (2, 3, 4)}
    (lost,) = [lease for lease in record.leases if lease.operator == operator(1)]
    assert lost.state is LeaseState.LOST
    assert "replaced block" in lost.reason
    async with asyncio.timeout(5):
        while not world.providers[0].released:  # noqa: ASYNC110 - the provider's own list
            await asyncio.sleep(0.01)


async def test_a_receipt_refused_because_the_seed_block_was_replaced_is_made_anew(world):
    job = await world.submit()

    def once() -> None:
        world.chain.before_send = None
        reorganise(world.chain, 3, 1, 5, 2)

    world.chain.before_send = once
    await world.commit_all(job)
    await world.commit_all(job, round_number=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED, record.reason
    assert record.round_number == 1
    assert len(world.chain.settled) == 1


async def test_a_provider_that_sees_the_replaced_seed_block_first_keeps_its_place(world):
    def judge() -> str:
        reorganise(world.chain, 2, 3, 1)
        return "" if world.providers[0].leases[-1].ticket == 2 else "not drawn at this ticket"

    world.providers[0].judges = judge
    job = await world.submit()
    await world.commit_all(job, round_number=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED, record.reason
    assert [lease.operator for lease in record.leases] == [operator(n) for n in (2, 3, 1)]


async def test_an_acceptance_of_an_earlier_round_does_not_count_for_the_next(world):
    """Provider 2 takes round 0 while, unknown to it, the job is drawn anew into round 1."""
    redrawn = asyncio.Event()

    def refuse() -> str:
        reorganise(world.chain, 2, 3, 1)
        return "" if world.providers[0].leases[-1].round_number else "not drawn at this ticket"

    async def when_redrawn() -> None:
        if len(world.providers[1].leases) == 1:
            await redrawn.wait()

    world.providers[0].judges = refuse
    world.providers[1].before_answer = when_redrawn
    job = await world.submit()
    await world.until(job, lambda r: r.round_number == 1)
    redrawn.set()
    await world.commit_all(job, round_number=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    asked = {(p.operator, offer.round_number) for p in world.providers for offer in p.leases}
    assert {(lease.operator, 1) for lease in active_leases(record)} <= asked


async def test_who_withholds_its_reveal_is_replaced_and_the_others_commit_anew(world):
    world.providers[2].silent = True
    job = await world.submit(reveal_window_s=1)
    await world.commit_all(job)
    await world.commit_all(job, round_number=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert record.round_number == 1
    silent = record.leases[2]
    assert silent.state is LeaseState.LOST
    assert "did not reveal" in silent.reason
    assert {p.operator for p in record.settlement.paid} == {operator(n) for n in (1, 2, 4)}
    assert record.settlement.slashed == ()


async def test_who_ends_at_a_limit_is_replaced_while_others_finish(world):
    world.providers[0].at_limit = True
    job = await world.submit()
    await world.commit_all(job)
    await world.commit_all(job, count=1)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert record.leases[0].state is LeaseState.REPLACED
    assert record.settlement.slashed == ()


async def test_when_all_end_at_a_limit_that_is_the_outcome(world):
    for provider in world.providers:
        provider.at_limit = True
    job = await world.submit()
    await world.commit_all(job)
    assert (await world.ended(job)).state is JobState.SETTLED


async def test_a_forged_commitment_is_refused_and_the_lease_waits(world):
    world.providers[0].forges = True
    job = await world.submit()
    await world.commit_all(job)
    (why,) = world.providers[0].commit_refusals
    assert "not signed" in why
    world.providers[0].forges = False
    await world.providers[0].commit(world.providers[0].leases[-1])
    assert (await world.ended(job)).state is JobState.SETTLED


async def test_a_commitment_at_another_rate_is_refused(world):
    world.providers[0].commit_rate += 1
    job = await world.submit()
    await world.commit_all(job)
    (why,) = world.providers[0].commit_refusals
    assert "another rate than the lease" in why
    world.providers[0].commit_rate -= 1
    await world.providers[0].commit(world.providers[0].leases[-1])
    assert (await world.ended(job)).state is JobState.SETTLED


async def test_the_commit_set_takes_a_job_to_the_chain(world):
    job = await world.submit()
    await world.commit_all(job)
    assert (await world.ended(job)).state is JobState.SETTLED
    (shown,) = {codec.encode(one) for p in world.providers for one in p.sets if one.job == job}
    committed = codec.decode(CommitSet, shown)
    domain = world.providers[0].domain
    commits = commit_set([entry.commitment for entry in committed.entries])
    digest = commit_set_digest(domain, job=job, round_number=0, commits=commits)
    assert recover(digest, committed.signature) == (await world.store.job(job)).order.scheduler
    signers = {p.operator: p.signer.address for p in world.providers}
    for entry in committed.entries:
        digest = commit_digest(
            domain,
            job=job,
            round_number=0,
            rate_microusd=entry.rate_microusd,
            commitment=entry.commitment,
        )
        assert recover(digest, entry.signature) == signers[entry.operator]


async def test_an_answer_cannot_be_changed_after_committing(world):
    job = await world.submit()
    record = await world.until(
        job, lambda r: sum(lease.state is LeaseState.ACCEPTED for lease in r.leases) == 3
    )
    provider = next(p for p in world.providers if p.operator == record.leases[0].operator)
    await provider.commit(provider.leases[-1])
    await provider.commit(provider.leases[-1])  # the same again is heard as once
    assert provider.commit_refusals == []
    provider.output = a_cid(5)
    await provider.commit(provider.leases[-1])
    assert "another answer" in provider.commit_refusals[0]


async def test_who_goes_away_before_committing_is_replaced(world):
    job = await world.submit()
    await world.until(
        job, lambda r: sum(lease.state is LeaseState.ACCEPTED for lease in r.leases) == 3
    )
    world.hub.sever(world.providers[0].network, world.scheduler)
    await world.until(job, lambda r: any(lease.state is LeaseState.LOST for lease in r.leases))
    await world.commit_all(job)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert operator(1) not in {p.operator for p in record.settlement.paid}


async def test_with_too_few_operators_the_job_fails_with_the_reason(tmp_path):
    async with open_world(tmp_path, count=2) as world:
        job = await world.submit()
        record = await world.ended(job)
        assert record.state is JobState.FAILED
        assert "operators" in record.reason


async def test_a_chain_that_goes_away_delays_and_loses_nothing(world):
    job = await world.submit()
    await world.until(
        job, lambda r: sum(lease.state is LeaseState.ACCEPTED for lease in r.leases) == 3
    )
    world.chain.away = True
    await world.commit_all(job)
    await world.until(job, lambda r: r.state is JobState.SETTLING)
    await asyncio.sleep(0.1)
    world.chain.away = False
    assert (await world.ended(job)).state is JobState.SETTLED


async def test_jobs_that_end_together_share_a_transaction(world):
    jobs = [await world.submit(nonce=bytes([n]) * 32) for n in range(3)]
    world.chain.away = False
    for job in jobs:
        await world.until(
            job, lambda r: sum(lease.state is LeaseState.ACCEPTED for lease in r.leases) == 3
        )
    world.chain.away = True  # receipts pile up while the chain is away
    for provider in world.providers:
        for lease in provider.leases:
            await provider.commit(lease)
    for job in jobs:
        await world.until(job, lambda r: r.state is JobState.SETTLING)
    world.chain.away = False
    records = [await world.ended(job) for job in jobs]
    assert len({record.transaction for record in records}) == 1


async def test_a_receipt_settled_by_somebody_else_is_found(world):
    job = await world.submit()
    record = await world.until(
        job, lambda r: sum(lease.state is LeaseState.ACCEPTED for lease in r.leases) == 3
    )
    world.chain.away = True
    await world.commit_all(job)
    record = await world.until(job, lambda r: r.state is JobState.SETTLING)
    from assay_node.services.settlement import receipt_of

    theirs = Digest(b"\x77" * 32)
    world.chain.settled[job] = world.chain._settle(job, theirs, receipt_of(record))
    world.chain.away = False
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert record.settlement.transaction == theirs


async def test_a_restart_goes_on_from_the_database(tmp_path):
    async with open_world(tmp_path) as world:
        job = await world.submit()
        before = await world.until(
            job, lambda r: sum(lease.state is LeaseState.ACCEPTED for lease in r.leases) == 3
        )
    async with open_database(f"sqlite:///{tmp_path}/one.sqlite", role="scheduler") as database:
        after = await SchedulerJobs(database).job(job)
    assert after == before


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"expires_at": int(time.time()) - 1, "issued_at": int(time.time()) - 100}, "in force"),
        ({"operator": operator(99)}, "chain does not name"),
        ({"generation": 0}, "newer offer"),
    ],
)
async def test_a_bad_offer_is_refused(world, changes, text):
    with pytest.raises(AssayError, match=text):
        await world.providers[0].hello(**changes)


async def test_an_offer_in_anothers_name_is_refused(world):
    first, second = world.providers[:2]
    with pytest.raises(AssayError, match="another peer"):
        await first.hello(peer_id=second.network.peer_id)


async def test_answers_are_hidden_until_all_have_revealed(world):
    world.providers[2].silent = True
    job = await world.submit(reveal_window_s=5)
    await world.commit_all(job)
    await world.until(
        job, lambda r: sum(lease.state is LeaseState.REVEALED for lease in r.leases) == 2
    )
    document = await world.queries.job(job)
    assert all(r["output"] is None for r in document["replica_records"])
    assert "to reveal" in (await world.queries.explain(job))["why"]
    with pytest.raises(AssayError, match="no result yet"):
        await world.results.of(job)


async def test_a_restarted_scheduler_remembers_its_providers_and_waits_for_them(world):
    from assay_node.services.membership import Membership

    stranger = SignedOffer(body=b"for another market", signature=b"\x00" * 65)
    await world.store.save_offer(operator(77), stranger, now=1.0)
    membership = Membership(
        network=world.scheduler,
        chain=world.chain,
        store=world.store,
        clock=Clock(),
        domain=world.domain,
        heartbeat_s=60,
    )
    await membership.restore()
    away = membership.away_s([operator(1), operator(77)])
    assert away[operator(1)] < POLICY.timing.lease_grace_s
    assert away[operator(77)] == float("inf")


async def test_a_spec_that_compares_exactly_without_a_reason_is_refused_with_the_ways_out(world):
    def forge(block):
        return dag_cbor.encode({**dag_cbor.decode(block), "comparison": "exact"})

    with pytest.raises(AssayError, match="is malformed") as error:
        await world.submit(forge=forge)
    for way in ('exact = "E21"', 'exact = "as-is"', 'comparison = "class"'):
        assert way in str(error.value)
    await world.submit(spec={"comparison": "exact", "exact": "as-is"})


ENVIRONMENT_LAYER = b"a layer's tar" * 1000


async def an_environment(world, *, stored: bool = True, **changes):
    """Put an environment of one layer into the requester's store."""
    store = world.artifacts["requester"]
    layer_cid = cids.of_block(cids.RAW, ENVIRONMENT_LAYER)
    if stored:
        await store.add_bytes(ENVIRONMENT_LAYER, codec=cids.RAW)
    fields = {"tar_bytes": len(ENVIRONMENT_LAYER), "unpacked_bytes": 10, "files": 1, **changes}
    layer = EnvironmentLayer(cid=layer_cid, **fields)
    manifest = EnvironmentManifest(
        name="test", architecture="x86_64", layers=(layer,), variables={}
    )
    cid, block = environment.encode(manifest)
    await store.add_bytes(block, codec=cids.DAG_CBOR)
    return cid, layer_cid


async def test_the_scheduler_holds_a_jobs_environment_for_its_providers(world):
    cid, layer_cid = await an_environment(world)
    job = await world.submit(spec={"runtime": cid})
    store = world.artifacts["scheduler"]
    assert await store.read_bytes(layer_cid, bytes_max=1 << 20) == ENVIRONMENT_LAYER
    pinned = {pin.cid for pin in await store.pins() if pin.owner == to_hex(job)}
    assert {cid, layer_cid} < pinned
    record = await world.until(job, lambda r: "5 runtime missing" in r.reason)
    assert record.leases == ()
    for provider in world.providers[1:4]:
        software = Digest(bytes((len(provider.operator), world.providers.index(provider))) * 16)
        runtimes = ("host-python", "environment")
        await provider.hello(runtimes=runtimes, generation=2, software_digest=software)
    await world.commit_all(job)
    assert (await world.ended(job)).state is JobState.SETTLED


async def test_an_environment_that_is_here_is_not_asked_for_again(world):
    cid, layer_cid = await an_environment(world)
    for part in (cid, layer_cid):
        await world.artifacts["scheduler"].fetch(
            part, [world.requester.peer_id], limits=ArtifactLimits(bytes_max=1 << 20)
        )
    await world.artifacts["requester"].collect_garbage()
    await world.submit(spec={"runtime": cid})


async def test_what_is_wrong_with_an_environment_is_said(world):
    huge, _ = await an_environment(world, tar_bytes=9 << 30)
    with pytest.raises(AssayError, match="has 9 GiB; this scheduler carries 8 GiB"):
        await world.submit(spec={"runtime": huge})
    larger, _ = await an_environment(world, tar_bytes=len(ENVIRONMENT_LAYER) - 1)
    with pytest.raises(AssayError, match="holds more than the 12999 bytes allowed"):
        await world.submit(spec={"runtime": larger})
    none = await world.artifacts["requester"].add_bytes(b"\xa0", codec=cids.DAG_CBOR)
    with pytest.raises(AssayError, match="spec or environment is malformed"):
        await world.submit(spec={"runtime": none})
    with pytest.raises(AssayError, match="could not be fetched"):
        await world.submit(spec={"runtime": cids.of_block(cids.DAG_CBOR, b"nobody's")})
    assert await world.artifacts["scheduler"].pins() == ()


async def test_a_layer_that_the_requester_lacks_is_said(world):
    cid, _ = await an_environment(world, stored=False)
    with pytest.raises(AssayError, match="environment could not be fetched"):
        await world.submit(spec={"runtime": cid})


async def test_a_job_under_a_mode_waits_for_machines_that_passed_its_self_test(world):
    job = await world.submit(spec={"comparison": "exact", "exact": "E21"})
    record = await world.until(job, lambda r: "5 exact mode missing" in r.reason)
    assert record.leases == ()
    for provider in world.providers[1:4]:
        await provider.hello(exact_modes=("E14", "E21"), generation=2)
    await world.commit_all(job)
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert {lease.operator for lease in record.leases} == {
        provider.operator for provider in world.providers[1:4]
    }


async def test_an_order_for_audits_pays_for_them(world):
    order = an_order(audit_bps=500)
    needed = POLICY.fee_microusd + order.audit_fee_microusd
    with pytest.raises(AssayError, match="for audits, 5 % of what one can cost"):
        await world.submit(audit_bps=500, fee_microusd=needed - 1)
    await world.submit(audit_bps=500, fee_microusd=needed)


async def test_an_order_with_a_panel_needs_the_budget_for_it(world):
    world.chain.budgets[world.wallet.address] = an_order(escalate=True).max_cost_microusd - 1
    with pytest.raises(AssayError, match="this order can cost"):
        await world.submit(escalate=True)
    await world.submit()


async def test_a_smart_wallet_orders_by_the_key_that_it_registered(world):
    wallet = Address("0x" + "5a" * 20)
    world.chain.budgets[wallet] = 1 << 40
    with pytest.raises(AssayError, match="not signed by its requester"):
        await world.submit(requester=wallet)
    world.chain.signers[wallet] = world.wallet.address
    job = await world.submit(requester=wallet)
    assert (await world.store.job(job)).signed_order.order.requester == wallet


async def test_two_orders_cannot_promise_the_same_budget(world):
    one = an_order().max_cost_microusd
    world.chain.budgets[world.wallet.address] = one + one // 2
    await world.submit()
    with pytest.raises(AssayError, match="promised"):
        await world.submit(nonce=b"\x44" * 32)


async def _until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - looks at another object
            await asyncio.sleep(0.01)


def on_the_road(record, commits: CommitSet, *, fixed: bool = True) -> OpenRoad:
    """The step with which anybody who holds the commit set takes a job to the road."""
    return OpenRoad(
        signed_order=record.signed_order,
        round_number=record.round_number,
        commits=commits_of(commits) if fixed else commits_of(commits)[:1],
        set_signature=commits.signature if fixed else b"",
    )


async def test_a_job_taken_to_the_road_ends_there_by_the_receipt_if_that_is_complete(world):
    world.chain.holds_back = True  # the settlement is on its way when the road is opened
    job = await world.submit()
    await world.commit_all(job)
    record = await world.until(job, lambda r: r.state is JobState.SETTLING and r.transaction)
    commits = await world.store.commit_set(job, 0)
    world.chain.take(on_the_road(record, commits))
    world.chain.block += 1
    world.chain.holds_back = False
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    assert len(record.settlement.paid) == 3
    assert isinstance(world.chain.steps[-1], OverrideRoad)
    events = [event.kind for event in await world.store.events(job)]
    assert events.count("on_road") == events.count("settled") == 1
    await _until(lambda: all(world.providers[n].released for n in range(3)))


async def test_a_job_taken_to_the_road_early_needs_its_scheduler_no_more(world):
    job = await world.submit()
    record = await world.until(job, lambda r: r.state is JobState.RUNNING)
    world.chain.take(
        OpenRoad(
            signed_order=record.signed_order,
            round_number=0,
            commits=(
                RoadCommit(
                    operator=operator(1), ticket=0, rate_microusd=100,
                    commitment=Digest(bytes(32)), signature=bytes(65),
                ),
            ),
        )
    )  # fmt: skip
    world.chain.block += 1
    record = await world.until(job, lambda r: r.state is JobState.ON_ROAD)
    assert "on-chain road" in (await world.queries.explain(job))["why"]
    world.chain.settled[job] = Settlement(
        job_id=job, transaction=Digest(b"\x07" * 32), block_number=world.chain.block,
        agreed=False, winning_tag=None, seconds=0, paid=(), slashed=(), fee_microusd=0,
        cost_microusd=0, gas_used=1, receipts_in_batch=1,
    )  # fmt: skip
    world.chain.block += 1
    record = await world.ended(job)
    assert record.state is JobState.NO_QUORUM
    assert {lease.state for lease in record.leases} == {LeaseState.CLOSED}
    with pytest.raises(AssayError):
        await world.results.of(job)


async def test_the_result_of_a_job_that_the_chain_settled_is_asked_of_those_who_were_paid(world):
    job = await world.submit()
    await world.until(job, lambda r: r.state is JobState.RUNNING)
    world.chain.opened_at.append((world.chain.block, job))
    open_ = RoadJob(job=job, state=RoadState.REVEALING, deadline=0, round_number=0)
    world.chain.on_road[job] = open_
    world.chain.block += 1
    await world.until(job, lambda r: r.state is JobState.ON_ROAD)
    good, liar = world.providers[:2]
    liar.output = a_cid(77)
    good.silent = True
    said = tag(job, 3, cids.to_digest(good.output))
    world.chain.settled[job] = Settlement(
        job_id=job, transaction=Digest(b"\x07" * 32), block_number=world.chain.block,
        agreed=True, winning_tag=Digest(said[:28] + bytes(4)), seconds=1,
        paid=tuple(Paid(operator=one.operator, amount_microusd=1) for one in (liar, good)),
        slashed=(), fee_microusd=0, cost_microusd=2, gas_used=1, receipts_in_batch=1,
    )  # fmt: skip
    world.chain.block += 1
    record = await world.ended(job)
    assert record.state is JobState.SETTLED
    with pytest.raises(AssayError, match="none of those who were paid"):
        await world.results.of(job)
    good.silent = False
    result = await world.results.of(job)
    assert (result.receipt, result.output) == (None, good.output)
    assert result.sources == tuple(good.network.addresses)
    assert await verify_result(result, job, world.chain, world.domain) == good.output


async def test_a_welcome_tells_offers_from_leases_that_were_accepted(world):
    """A provider that disowned an offer on its way to it would lose the replica."""
    slow, answered = world.providers[0], asyncio.Event()
    slow.before_answer = answered.wait
    job = await world.submit()
    await _until(lambda: slow.leases)
    welcome = await slow.hello(generation=2)
    assert (welcome.active_jobs, welcome.offered_jobs) == ((), (job,))
    answered.set()
    states = {LeaseState.ACCEPTED}
    await world.until(job, lambda r: {lease.state for lease in r.leases} == states)
    welcome = await slow.hello(generation=3)
    assert (welcome.active_jobs, welcome.offered_jobs) == ((job,), ())


async def test_a_reorg_that_takes_a_job_off_the_road_fails_it_after_its_expiry(world):
    job = await world.submit()
    record = await world.until(job, lambda r: r.state is JobState.RUNNING)
    world.chain.opened_at.append((world.chain.block, job))  # seen, and then gone
    world.chain.block += 1
    await world.until(job, lambda r: r.state is JobState.ON_ROAD)
    world.chain.timestamp = record.order.expiry + 1
    world.chain.block += 1
    record = await world.ended(job)
    assert record.state is JobState.FAILED
    assert "reorganisation" in record.reason
