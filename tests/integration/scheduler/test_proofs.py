"""The whole scheduler asks scripted providers for proofs, and gives work by what they show."""

import asyncio
import json
from dataclasses import replace

import pytest

from assay_node.keys import create_key
from assay_node.protocol import codec
from assay_node.protocol.benchmark import Benchmark, DeviceBenchmark
from assay_node.protocol.hardware_proof import (
    SignedProofResult,
    open_result,
    result_digest,
)
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import PROOFS_TOPIC
from assay_node.services import proof_schedule, proofs
from assay_node.services.proof_schedule import ProofTerms
from tests.builders.messages import a_proof_result
from tests.fakes.network import FakeNetwork
from tests.integration.scheduler.scripted_prover import ScriptedProver
from tests.integration.scheduler.test_scheduler import POLICY, World, open_world

WAIT_S = 120.0
"""Only ever reached by a failing test."""
TERMS = ProofTerms(interval_s=86_400.0, seconds=0.002)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nothing is waited for but what a test sets."""
    monkeypatch.setattr(proofs, "LOOK_S", 0.01)
    monkeypatch.setattr(proof_schedule, "RETRY_S", (0.0, 0.0))
    monkeypatch.setattr(proof_schedule, "BUSY_S", (0.0, 0.0))


def market(tmp_path, *, count: int = 1, **terms):
    policy = replace(POLICY, proof=replace(TERMS, **terms))
    return open_world(tmp_path, count=count, policy=policy)


def provers(world: World, **script) -> list[ScriptedProver]:
    return [ScriptedProver(provider.network, **script) for provider in world.providers]


def line(world: World, number: int = 0) -> dict:
    lines = {one["operator"]: one for one in world.queries.providers()["providers"]}
    return lines[world.providers[number].operator]


async def until(condition) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - the scheduler does not tell tests
            await asyncio.sleep(0.01)


async def until_state(world: World, state: str, number: int = 0) -> dict:
    await until(lambda: line(world, number)["hardware"]["state"] == state)
    return line(world, number)


def claiming(mflops: int) -> Benchmark:
    device = DeviceBenchmark(
        device=None,
        gemm_mflops={"float32": mflops},
        memory_bytes=0,
        memory_bytes_per_second=0,
        host_to_device_bytes_per_second=0,
        device_to_host_bytes_per_second=0,
    )
    return Benchmark(
        measured_at=1,
        devices=(device,),
        disk_read_bytes_per_second=0,
        disk_write_bytes_per_second=0,
        network_bytes_per_second=0,
    )


async def test_a_new_provider_is_asked_and_everybody_is_told(tmp_path):
    async with market(tmp_path) as world, FakeNetwork(world.hub) as other:
        heard = other.subscribe(PROOFS_TOPIC)
        await other.connect(world.scheduler.addresses[0])
        (prover,) = provers(world)
        shown = await until_state(world, "proven")
        await until(lambda: prover.results)
        result = open_result(prover.results[0], world.domain)
        assert (result.verdict, result.rows) == ("proven", 256)
        assert result.verifier == world.scheduler_wallet
        assert shown["hardware"]["text"] == result.detail
        (proof,) = shown["proofs"]
        assert proof["verdict"] == "proven"
        assert proof["figures"][0]["proven_mflops"] > 0
        message = await asyncio.wait_for(anext(heard), 20)
        assert codec.decode(SignedProofResult, message.data) == prover.results[0]
        assert len(prover.challenged) == 1


async def test_all_of_a_round_are_asked_before_one_has_answered(tmp_path):
    async with market(tmp_path, count=3) as world:
        asked = provers(world)
        for prover in asked:
            prover.hold.clear()
        await until(lambda: all(prover.challenged for prover in asked))
        assert len({prover.challenged[0].seed for prover in asked}) == 3
        assert len({prover.prepared[0].round for prover in asked}) == 3
        job = await world.submit(replicas=1, quorum=1)
        await world.until(job, lambda record: "being proven" in record.reason)
        for prover in asked:
            prover.hold.set()
        await world.until(job, lambda record: record.leases)


async def test_who_advertises_too_much_gets_no_work_after_the_third_time(tmp_path):
    async with market(tmp_path, seconds=0.00001) as world:
        await world.providers[0].hello(benchmark=claiming(4_000_000), generation=2)
        (prover,) = provers(world)
        shown = await until_state(world, "disproved")
        assert len(prover.challenged) == 3
        assert "of 4000.0 GFLOPS advertised, of which 90% would do" in shown["hardware"]["text"]
        job = await world.submit(replicas=1, quorum=1)
        await world.until(job, lambda record: "hardware disproved" in record.reason)
        decision = json.loads(await world.store.decision(job))
        (reason,) = decision["providers"][0]["reasons"]
        assert reason["code"] == "hardware_disproved"
        assert "GFLOPS advertised" in reason["text"]
        # an honest figure mends it: what was shown is enough for a tenth
        await world.providers[0].hello(benchmark=claiming(10), generation=3)
        await until_state(world, "proven")
        await world.until(job, lambda record: record.leases)


async def test_who_makes_rows_up_gets_no_work_at_once(tmp_path):
    async with market(tmp_path) as world:
        (prover,) = provers(world, pretends=True)
        shown = await until_state(world, "disproved")
        assert len(prover.challenged) == 1
        assert "is not the one that was committed to" in shown["hardware"]["text"]
        assert shown["proofs"][0]["figures"][0]["proven_mflops"] == 0


@pytest.mark.parametrize("step", ["challenge", "open"])
async def test_who_falls_silent_again_and_again_gets_no_work(tmp_path, step):
    async with market(tmp_path) as world:
        (prover,) = provers(world, silent_at=step)
        shown = await until_state(world, "disproved")
        assert len(prover.challenged) == 3
        assert shown["hardware"]["text"] == "was ready, and then: not? now"


async def test_a_commitment_without_roots_is_wrong(tmp_path):
    async with market(tmp_path) as world:
        provers(world, silent_at="roots")
        shown = await until_state(world, "disproved")
        assert shown["proofs"][0]["verdict"] == "wrong"


async def test_being_busy_is_no_failure_until_it_never_ends(tmp_path, monkeypatch):
    async with market(tmp_path) as world:
        (prover,) = provers(world, busy="jobs are running")
        shown = await until_state(world, "disproved")
        assert not prover.challenged
        assert shown["hardware"]["text"] == (
            "could not be asked 12 times in a row; at last: jobs are running"
        )
        prover.busy = ""
        # its next moment is a day away, as anybody's


async def test_a_provider_that_knows_no_proofs_is_like_a_busy_one(tmp_path):
    async with market(tmp_path) as world:
        shown = await until_state(world, "disproved")
        assert "at last:" in shown["hardware"]["text"]


async def test_work_for_proven_hardware_alone(tmp_path):
    async with market(tmp_path, required=True) as world:
        (prover,) = provers(world, busy="later")
        job = await world.submit(replicas=1, quorum=1)
        await world.until(job, lambda record: "hardware unproven" in record.reason)
        prover.busy = ""
        await until_state(world, "proven")
        await world.until(job, lambda record: record.leases)


async def test_nobody_is_asked_where_no_proofs_are_wanted(tmp_path):
    async with market(tmp_path, interval_s=0.0) as world:
        (prover,) = provers(world)
        job = await world.submit(replicas=1, quorum=1)
        await world.until(job, lambda record: record.leases)
        assert not prover.prepared
        assert line(world)["hardware"]["state"] == "unproven"


async def test_results_outlive_a_restart(tmp_path):
    async with market(tmp_path) as world:
        provers(world)
        before = (await until_state(world, "proven"))["proofs"]
        wallet = world.proofs._parts.signer
    async with market(tmp_path) as world:
        await world.proofs.restore()
        stored = await world.store.proofs()
        assert len(stored) == 1
        assert open_result(stored[0], world.domain).verifier == wallet.address
        # the fixture's second scheduler has another wallet, so this is what another one found
        found = world.proofs.documents(open_result(stored[0], world.domain).operator)
        assert found == before


async def test_what_others_found_is_shown_and_decides_nothing(tmp_path):
    async with market(tmp_path, interval_s=0.0) as world, FakeNetwork(world.hub) as other:
        await other.connect(world.scheduler.addresses[0])
        bonded, stranger = create_key(), create_key()
        world.chain.bonded = {bonded.address}
        operator = world.providers[0].operator

        async def tell(key, signer=None, **changes) -> None:
            result = a_proof_result(
                verifier=key.address, operator=operator, verdict="wrong", asked_at=1000
            )
            body = codec.encode(replace(result, **changes))
            signature = (signer or key).sign_digest(result_digest(world.domain, body))
            signed = SignedProofResult(body=body, signature=signature)
            await other.publish(PROOFS_TOPIC, codec.encode(signed))

        await tell(stranger)
        await tell(bonded, signer=stranger)
        await tell(bonded, operator=stranger.address)
        await tell(bonded, asked_at=1 << 40)
        await other.publish(PROOFS_TOPIC, b"no message")
        await tell(bonded, round=Digest(b"\x05" * 32))
        await tell(bonded, asked_at=999)
        await tell(bonded, asked_at=1001, verdict="slow", round=Digest(b"\x06" * 32))
        await until(lambda: line(world)["proofs"] and line(world)["proofs"][0]["asked_at"] == 1001)
        (shown,) = line(world)["proofs"]
        assert (shown["verifier"], shown["verdict"]) == (bonded.address, "slow")
        assert line(world)["hardware"]["state"] == "unproven"
        assert len(await world.store.proofs()) == 1
        job = await world.submit(replicas=1, quorum=1)
        await world.until(job, lambda record: record.leases)


async def test_a_failure_that_others_saw_hastens_the_next_proof(tmp_path, monkeypatch):
    monkeypatch.setattr(proofs, "HEARD_AGE_S_MIN", -10.0)
    async with market(tmp_path) as world, FakeNetwork(world.hub) as other:
        await other.connect(world.scheduler.addresses[0])
        (prover,) = provers(world)
        await until_state(world, "proven")
        bonded = create_key()
        world.chain.bonded = {bonded.address}
        operator = world.providers[0].operator
        result = a_proof_result(
            verifier=bonded.address, operator=operator, verdict="wrong", asked_at=1000
        )
        body = codec.encode(result)
        signature = bonded.sign_digest(result_digest(world.domain, body))
        signed = SignedProofResult(body=body, signature=signature)
        await other.publish(PROOFS_TOPIC, codec.encode(signed))
        await until(lambda: len(prover.challenged) == 2)
