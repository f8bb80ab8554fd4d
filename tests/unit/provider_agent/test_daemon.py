"""A lease's life through the whole daemon, among fakes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError, Refused
from assay_node.protocol.ids import Cid, Digest
from assay_node.protocol.messages import OFFERS_TOPIC, HandBack
from assay_node.protocol.offer import SignedOffer, open_offer
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import (
    commit_digest,
    commit_set,
    commitment,
    reveal_digest,
    tag,
)
from assay_node.protocol.typed_data import recover
from assay_provider.environments.preparation import Fetch
from assay_provider.inventory.exact import ExactSupport
from assay_provider.runtime.exact import ExactRun, ExactSetup
from assay_provider.runtime.sandbox import EnvironmentRoot, Grade, SandboxUnavailable, Verdict
from tests.fakes.sandbox import a_result
from tests.unit.provider_agent.world import (
    DOMAIN,
    NOW,
    OPERATOR,
    SIGNER,
    World,
    refusing,
    until,
)


async def introduced(world: World) -> None:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)


async def test_a_lease_from_offer_to_settlement(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        answer = await world.scheduler.lease(signed)
        assert (answer.accepted, answer.rate_microusd) == (True, 400)

        commit = await world.scheduler.committed()
        assert not commit.at_limit
        digest = commit_digest(
            DOMAIN,
            job=job,
            round_number=0,
            rate_microusd=commit.rate_microusd,
            commitment=commit.commitment,
        )
        assert commit.rate_microusd == 400
        assert recover(digest, commit.signature) == SIGNER.address

        await world.until_state(job, "committed")
        committed = world.commit_set(commit)
        reveal = await world.scheduler.reveal(committed)
        assert reveal.output in world.artifacts.kept
        assert world.artifacts.kept[reveal.output] == {"result.json": b'{"accuracy": 0.9731}'}
        assert reveal.tag == tag(job, 0, cids.to_digest(reveal.output))
        assert (
            commitment(job, OPERATOR, reveal.tag, reveal.seconds, reveal.salt) == commit.commitment
        )
        digest = reveal_digest(
            DOMAIN,
            job=job,
            commits=commit_set([entry.commitment for entry in committed.entries]),
            tag=reveal.tag,
            rate_microusd=400,
            seconds=2,
        )
        assert recover(digest, reveal.signature) == SIGNER.address
        assert (reveal.rate_microusd, reveal.seconds, reveal.verdict) == (400, 2, "ok")
        assert reveal.log is not None
        assert world.artifacts.kept[reveal.log] == b"hello from the job\n"
        assert await world.scheduler.reveal(committed) == reveal

        assert set(world.artifacts.pins) == {job.hex(), f"{job.hex()}/inputs"}
        await world.scheduler.release(job)
        await world.scheduler.release(job)
        assert set(world.artifacts.pins) == {job.hex()}
        lease = await world.stored(job)
        assert (lease.state, lease.closed_reason) == ("closed", "settled")
        assert lease.keep_until == NOW + 86_400
    assert [p.stage for p in world.scheduler.progress] == ["fetching", "running", "storing"]
    ((request, slot),) = world.sandbox.requests
    assert (slot, request.limits.wall_seconds, request.limits.cpus) == (0, 60, 1.0)
    assert world.sandbox.inputs == [{"main.py": b"print('hi')"}]
    assert list((world.directory / "work").iterdir()) == []
    events = [e.event for e in await _events(world, job)]
    assert events == [
        "accept", "start", "stage", "stage", "stage", "execute", "commit", "reveal", "close",
    ]  # fmt: skip


async def _events(world: World, job: Digest) -> tuple:  # type: ignore[type-arg]
    async with world.daemon():
        return await world.store.events(job)


async def test_the_offer_is_signed_said_and_gossiped(world: World) -> None:
    heard = world.scheduler.network.subscribe(OFFERS_TOPIC)
    async with world.daemon():
        await introduced(world)
        first = open_offer(world.scheduler.hellos[0].offer, DOMAIN)
        assert (first.operator, first.signer, first.generation) == (OPERATOR, SIGNER.address, 1)
        assert first.expires_at - first.issued_at == 120
        world.clock.time += 61  # past half its life
    async with world.daemon(offer_lifetime_s=10):
        await world.scheduler.until(lambda: len(world.scheduler.hellos) == 2)
        world.clock.time += 6
        await world.scheduler.until(lambda: len(world.scheduler.hellos) == 3)
        second, third = (open_offer(h.offer, DOMAIN) for h in world.scheduler.hellos[1:])
        assert (second.generation, third.generation) == (2, 3)
        assert third.issued_at == second.issued_at + 6
        message = await anext(heard)
        assert open_offer(codec.decode(SignedOffer, message.data), DOMAIN) == third


@pytest.mark.parametrize(
    ("verdict", "record"),
    [
        (Verdict.ERROR, {"verdict": "error", "exit_code": 3}),
        (Verdict.TIMEOUT, {"verdict": "timeout", "limits": {"wall_seconds": 60}}),
        (Verdict.OUT_OF_MEMORY, {"verdict": "out_of_memory", "limits": {"memory_bytes": 2**30}}),
        (Verdict.DISK_FULL, {"verdict": "disk_full", "limits": {"scratch_bytes": 2**28}}),
        (
            Verdict.OUTPUT_TOO_LARGE,
            {
                "verdict": "output_too_large",
                "limits": {"output_bytes": 2**26, "output_files_max": 1000},
            },
        ),
    ],
)
async def test_a_failed_run_commits_to_its_failure(
    world: World, verdict: Verdict, record: object
) -> None:
    world.sandbox.result = a_result(verdict, exit_code=3, wall_seconds=61.7)
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        commit = await world.scheduler.committed()
        assert commit.at_limit == (verdict is not Verdict.ERROR)
        reveal = await world.scheduler.reveal(world.commit_set(commit))
        kept = world.artifacts.kept[reveal.output]
        assert isinstance(kept, dict)
        assert list(kept) == ["failure.json"]
        assert json.loads(kept["failure.json"]) == record
        assert (reveal.verdict, reveal.seconds) == (verdict.value, 60)


async def handed_back(world: World, **spec_changes: object) -> HandBack:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order(world.spec(**spec_changes))
        assert (await world.scheduler.lease(signed)).accepted
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        (message,) = world.scheduler.hand_backs
        assert message.job == job_id(signed.order, DOMAIN)
        lease = await world.until_state(message.job, "closed")
        assert lease.closed_reason == message.reason
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)
        assert world.artifacts.pins == {}
        assert world.scheduler.commits == []
        return message


async def test_a_run_stopped_by_the_owner_is_handed_back(world: World) -> None:
    world.sandbox.result = a_result(Verdict.KILLED_BY_OWNER)
    assert "stopped on the provider's machine" in (await handed_back(world)).reason


async def test_a_sandbox_that_fails_hands_the_lease_back(world: World) -> None:
    world.sandbox.fault = SandboxUnavailable("the launcher died; restart the provider")
    assert "the launcher died" in (await handed_back(world)).reason


async def test_an_unforeseen_fault_of_one_lease_ends_that_lease_only(world: World) -> None:
    world.sandbox.fault = ZeroDivisionError("a bug")
    assert (await handed_back(world)).reason == "internal error of the provider"


async def test_a_spec_that_does_not_fit_is_handed_back(world: World) -> None:
    environment = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert "no runtime" in (await handed_back(world, runtime=environment)).reason


async def test_what_a_job_says_of_its_progress_reaches_its_scheduler(world: World) -> None:
    world.sandbox.said = ("epoch 1 of 2", "epoch 2 of 2")
    async with world.daemon():
        await introduced(world)
        await world.scheduler.lease(world.signed_order())
        await world.scheduler.committed()
    stages = [told.stage for told in world.scheduler.progress]
    said = ["running: epoch 1 of 2", "running: epoch 2 of 2"]
    assert stages == ["fetching", "running", *said, "storing"]


async def test_a_job_runs_at_the_first_tier_it_accepts_that_is_offered(world: World) -> None:
    module = {"tier": "t0", "runtime": "wasm", "comparison": "exact", "exact": "as-is"}
    assert "isolates at t1" in (await handed_back(world, tier="t2")).reason
    world.sandbox.grades = {"t0": Grade.ENFORCED, "t1": Grade.FAILED, "t2": Grade.ENFORCED}
    async with world.daemon(tiers=("t0", "t2")):
        await introduced(world)
        offer = open_offer(world.scheduler.hellos[-1].offer, DOMAIN)
        assert (offer.tiers, offer.runtimes) == (("t0", "t2"), ("host-python", "wasm"))
        for job in (world.spec(), world.spec(**module)):
            assert (await world.scheduler.lease(world.signed_order(job))).accepted
        await world.scheduler.committed(2)
    assert {request.tier for request, _ in world.sandbox.requests} == {"t2", "t0"}


class FakeEnvironments:
    """Fetches what it is asked for, and knows which environments are in use."""

    def __init__(self) -> None:
        self.held: list[Cid] = []
        self.fault: Exception | None = None

    @asynccontextmanager
    async def root(self, cid: Cid, fetch: Fetch) -> AsyncIterator[EnvironmentRoot]:
        await fetch(cid, ArtifactLimits(bytes_max=1000))
        if self.fault is not None:
            raise self.fault
        self.held.append(cid)
        yield EnvironmentRoot(digest=cid, layers=(), variables={})
        self.held.remove(cid)


async def with_environments(world: World) -> tuple[FakeEnvironments, Cid]:
    """Let the provider serve environments, and the scheduler have one."""
    world.environments = FakeEnvironments()
    world.supply = replace(world.supply, runtimes=("host-python", "environment"))
    cid = await world.scheduler.artifacts.add_bytes(b"a manifest", codec=cids.DAG_CBOR)
    return world.environments, cid


async def test_a_job_runs_in_the_environment_that_it_brings(world: World) -> None:
    environments, cid = await with_environments(world)
    world.sandbox.gate.clear()
    async with world.daemon():
        await introduced(world)
        assert (await world.scheduler.lease(world.signed_order(world.spec(runtime=cid)))).accepted
        async with asyncio.timeout(20):
            while not world.sandbox.requests:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0)
        assert environments.held == [cid], "kept while the job runs"
        world.sandbox.gate.set()
        await world.scheduler.committed(1)
    ((request, _),) = world.sandbox.requests
    assert request.root == EnvironmentRoot(digest=cid, layers=(), variables={})
    assert request.runtime == cid
    assert environments.held == []
    assert [p.stage for p in world.scheduler.progress] == [
        "fetching",
        "preparing",
        "running",
        "storing",
    ]


async def test_a_job_without_one_runs_in_the_hosts_python(world: World) -> None:
    await with_environments(world)
    async with world.daemon():
        await introduced(world)
        assert (await world.scheduler.lease(world.signed_order())).accepted
        await world.scheduler.committed(1)
    ((request, _),) = world.sandbox.requests
    assert (request.root, request.runtime) == (None, "host-python")


@pytest.mark.parametrize(
    "fault", [Refused("the environment is for pdp11"), LocalError("no room for a layer")]
)
async def test_an_environment_that_cannot_be_had_is_no_verdict(
    world: World, fault: Exception
) -> None:
    environments, cid = await with_environments(world)
    environments.fault = fault
    assert str(fault) in (await handed_back(world, runtime=cid)).reason
    assert world.sandbox.requests == []


async def test_an_environment_that_takes_too_long_hands_the_lease_back(world: World) -> None:
    environments, cid = await with_environments(world)
    environments.fault = TimeoutError()
    reason = (await handed_back(world, runtime=cid)).reason
    assert "environment were not there within 30 s" in reason


async def test_a_job_under_a_mode_runs_where_the_self_test_passed(world: World) -> None:
    spec = {"exact": "E14", "comparison": "exact"}
    refused = "in mode E14, and this provider does not: torch is not installed"
    world.supply = replace(world.supply, exact=ExactSupport(remark="torch is not installed"))
    assert refused in (await handed_back(world, **spec)).reason
    assert world.sandbox.requests == []
    setup = ExactSetup(engine="int8", threads=2, instruction_set="avx2")
    world.supply = replace(world.supply, exact=ExactSupport(modes=("E14",), setup=setup))
    async with world.daemon():
        await introduced(world)
        for job in (world.spec(**spec), world.spec(exact="as-is", comparison="exact")):
            assert (await world.scheduler.lease(world.signed_order(job))).accepted
        await world.scheduler.committed(2)
    runs = {request.exact for request, _ in world.sandbox.requests}
    assert runs == {ExactRun(mode="E14", setup=setup), None}
    commands = {request.command for request, _ in world.sandbox.requests}
    assert commands == {("python", "/input/main.py")}  # the sandbox rewrites it


async def test_an_offer_names_the_modes_that_passed(world: World) -> None:
    async with world.daemon(exact=ExactSupport(modes=("E21", "FMA"))):
        await introduced(world)
        offer = open_offer(world.scheduler.hellos[-1].offer, DOMAIN)
        assert offer.exact_modes == ("E21", "FMA")


async def test_inputs_that_nobody_has_hand_the_lease_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay_provider.execution.FETCH_PAUSE_S", 0)
    missing = cids.from_digest(cids.DAG_PB, Digest(b"\x77" * 32))
    assert "nobody has" in (await handed_back(world, inputs=missing)).reason


async def test_a_release_kills_the_run_and_frees_its_slot(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.lease(signed)
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 1)
        await world.until_state(job, "running")
        await world.scheduler.release(job, "the job failed")
        assert (await world.stored(job)).closed_reason == "the job failed"
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)
        assert world.artifacts.pins == {}
        answer = await world.scheduler.lease(signed)
        assert (answer.accepted, answer.reason) == (False, "this lease is over: the job failed")


async def test_an_unknown_job_is_released_without_a_word(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        await world.scheduler.release(Digest(b"\x01" * 32))


async def test_an_overdue_lease_is_closed_and_its_slot_freed(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.lease(signed)
        await world.until_state(job, "running")
        world.clock.time = signed.order.expiry + 1
        lease = await world.until_state(job, "closed")
        assert lease.closed_reason == "the order expired"
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)


async def test_a_kept_output_is_let_go_in_time(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.lease(signed)
        await world.scheduler.committed()
        await world.until_state(job, "committed")
        await world.scheduler.release(job, "settled")
        assert job.hex() in world.artifacts.pins
        world.clock.time += 86_401
        await until(lambda: job.hex() not in world.artifacts.pins)


async def test_a_commit_is_repeated_until_it_is_heard(world: World) -> None:
    world.scheduler.commit_answer = refusing("the lease is not waiting", times=2)
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        await world.scheduler.committed(3)
        await world.until_state(job_id(signed.order, DOMAIN), "committed")
        assert len({commit.commitment for commit in world.scheduler.commits}) == 1


async def test_a_commit_refused_for_good_closes_the_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay_provider.scheduler_links.BACKOFF_S_MAX", 0.01)
    world.scheduler.commit_answer = refusing("the job has ended", times=99)
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        lease = await world.until_state(job_id(signed.order, DOMAIN), "closed")
        assert "the job has ended" in (lease.closed_reason or "")
        assert world.scheduler.hand_backs == []


async def test_a_commit_outlives_a_lost_connection(world: World) -> None:
    async with world.daemon():
        await introduced(world)

        def lose(commit: object) -> None:
            if len(world.scheduler.commits) == 1:
                world.hub.sever(world.network, world.scheduler.network)

        world.scheduler.commit_answer = lose
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        await world.scheduler.committed(2)
        await world.until_state(job_id(signed.order, DOMAIN), "committed")
        first, second = world.scheduler.commits
        assert first == second


async def test_a_commit_set_counts_as_the_acknowledgement(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        world.scheduler.commit_answer = refusing("busy", times=1)
        await world.scheduler.lease(signed)
        commit = await world.scheduler.committed()
        assert (await world.stored(job)).state == "executed"
        await world.scheduler.reveal(world.commit_set(commit))
        assert (await world.stored(job)).state == "revealed"


async def test_a_later_round_gets_a_fresh_commitment(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.lease(signed)
        first = await world.scheduler.committed()
        revealed = await world.scheduler.reveal(world.commit_set(first))
        assert (await world.scheduler.lease(signed, round_number=1)).accepted
        second = await world.scheduler.committed(2)
        assert (second.round_number, len(world.sandbox.requests)) == (1, 1)
        again = await world.scheduler.reveal(world.commit_set(second))
        assert again.output == revealed.output
        assert again.salt != revealed.salt
        assert again.tag == tag(job, 1, cids.to_digest(again.output))
        with pytest.raises(Refused, match="round 0"):
            await world.scheduler.reveal(world.commit_set(first))
        for over in (0, 2**32, 2**64 - 1):
            assert not (await world.scheduler.lease(signed, round_number=over)).accepted
        assert (await world.stored(job)).round_number == 1


async def test_a_later_round_while_running_changes_the_round_only(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.lease(signed)
        await world.until_state(job, "running")
        assert (await world.scheduler.lease(signed, round_number=2)).accepted
        world.sandbox.gate.set()
        commit = await world.scheduler.committed()
        assert (commit.round_number, len(world.sandbox.requests)) == (2, 1)


async def test_a_ticket_may_change_with_a_later_round_if_the_chain_draws_it(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        assert (await world.scheduler.lease(signed, ticket=1)).accepted
        await world.scheduler.committed()
        same_round = await world.scheduler.lease(signed, ticket=3)
        assert "in this round the lease stands at ticket 1" in same_round.reason
        not_ours = await world.scheduler.lease(signed, ticket=2, round_number=1)
        assert "not drawn at ticket 2" in not_ours.reason
        assert (await world.stored(job)).round_number == 0
        assert (await world.scheduler.lease(signed, ticket=3, round_number=1)).accepted
        commit = await world.scheduler.committed(2)
        assert commit.round_number == 1
        stored = await world.stored(job)
        assert (stored.ticket, len(world.sandbox.requests)) == (3, 1)


async def test_leaving_hands_back_what_was_not_executed(world: World) -> None:
    async with world.daemon() as daemon:
        await introduced(world)
        done = world.signed_order()
        await world.scheduler.lease(done)
        await world.until_state(job_id(done.order, DOMAIN), "committed")
        world.sandbox.gate.clear()
        running = world.signed_order()
        await world.scheduler.lease(running)
        await world.until_state(job_id(running.order, DOMAIN), "running")
        await daemon.leave()
        (message,) = world.scheduler.hand_backs
        assert message.job == job_id(running.order, DOMAIN)
        assert message.reason == "provider is shutting down"
        assert (await world.stored(job_id(done.order, DOMAIN))).state == "committed"


async def test_a_hand_back_is_owed_until_the_scheduler_is_back(world: World) -> None:
    async with world.daemon() as daemon:
        await introduced(world)
        world.sandbox.gate.clear()
        signed = world.signed_order()
        job = job_id(signed.order, DOMAIN)
        await world.scheduler.lease(signed)
        await world.until_state(job, "running")
        world.scheduler.welcome_gate.clear()
        world.hub.sever(world.network, world.scheduler.network)
        await world.scheduler.until(lambda: len(world.scheduler.hellos) == 2)
        await daemon.leave()
        assert (await world.stored(job)).hand_back_owed
        assert world.scheduler.hand_backs == []
    world.scheduler.welcome_gate.set()
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.hand_backs)
        assert world.scheduler.hand_backs[0].job == job
        await world.until_lease(job, lambda lease: not lease.hand_back_owed)


async def test_no_slot_no_lease(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon(slots=1):
        await introduced(world)
        assert (await world.scheduler.lease(world.signed_order())).accepted
        answer = await world.scheduler.lease(world.signed_order())
        assert (answer.accepted, answer.reason) == (False, "every slot of this provider is busy")


async def test_offers_at_once_never_share_a_slot(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        await introduced(world)
        orders = [world.signed_order() for _ in range(6)]
        answers = await asyncio.gather(*(world.scheduler.lease(order) for order in orders))
        assert sum(answer.accepted for answer in answers) == 2
        slots = sorted(lease.slot or 0 for lease in await world.store.unfinished())
        assert slots == [0, 1]


async def test_the_same_offer_twice_at_once_is_one_lease(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        signed = world.signed_order()
        answers = await asyncio.gather(*(world.scheduler.lease(signed) for _ in range(5)))
        assert len(set(answers)) == 1
        assert answers[0].accepted
        await world.scheduler.committed()
        assert len(world.sandbox.requests) == 1


async def test_an_offer_may_overtake_the_welcome(world: World) -> None:
    world.scheduler.welcome_gate.clear()
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.hellos)
        leasing = asyncio.create_task(world.scheduler.lease(world.signed_order()))
        await asyncio.sleep(0)
        world.scheduler.welcome_gate.set()
        assert (await leasing).accepted


async def test_a_sandbox_below_the_advertised_tier_serves_nothing(world: World) -> None:
    world.sandbox.grades["t1"] = Grade.WEAK
    with pytest.raises(LocalError, match="mount a memory cgroup"):
        async with world.daemon():
            pass
    async with world.daemon(allow_weak_isolation=True):
        await introduced(world)
    world.sandbox.grades["t1"] = Grade.FAILED
    with pytest.raises(LocalError, match="serves none"):
        async with world.daemon(allow_weak_isolation=True):
            pass


async def test_every_commitment_has_a_salt_of_its_own(world: World) -> None:
    async with world.daemon():
        await introduced(world)
        salts = set()
        for count in (1, 2):
            await world.scheduler.lease(world.signed_order())
            commit = await world.scheduler.committed(count)
            salts.add((await world.scheduler.reveal(world.commit_set(commit))).salt)
        assert len(salts) == 2
        assert Digest(bytes(32)) not in salts


async def test_a_malformed_scheduler_address_ends_the_daemon_with_one_error(world: World) -> None:
    with pytest.raises(LocalError, match=r"check provider\.schedulers"):
        async with world.daemon(schedulers=("/ip4/127.0.0.1",)) as daemon:
            await asyncio.wait({daemon.task})


async def test_one_stake_answers_for_as_many_open_leases_as_it_covers(world: World) -> None:
    """Leases that wait for their settlement hold no slot, and their bonds all the same."""
    async with world.daemon():
        await introduced(world)
        for count in range(5):  # $10 each, of $50
            answer = await world.scheduler.lease(world.signed_order(bond_microusd=10_000_000))
            assert answer.accepted, answer.reason
            commit = await world.scheduler.committed(count + 1)
            await world.until_state(commit.job, "committed")
        sixth = await world.scheduler.lease(world.signed_order(bond_microusd=1))
        assert not sixth.accepted
        assert "more than the stake that nothing else holds ($0.00)" in sixth.reason
        await world.scheduler.release(commit.job, "settled")
        again = await world.scheduler.lease(world.signed_order(bond_microusd=1))
        assert again.accepted
