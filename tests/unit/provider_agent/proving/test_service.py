"""A daemon that is asked for proofs: by whom, how often, how much, and what it costs."""

import asyncio
import dataclasses
import json

import pytest

from assay_node.keys import create_key
from assay_node.proof_arithmetic.questions import questions
from assay_node.proof_arithmetic.verification import Secret, WrongProof, check_opening
from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.hardware_proof import (
    EPOCH_BLOCKS,
    ProofChallenge,
    ProofCommitment,
    ProofDevice,
    ProofFigure,
    ProofOpening,
    ProofPart,
    ProofPrepare,
    ProofQuestion,
    ProofReady,
    ProofResult,
    SignedProofResult,
    result_digest,
)
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import PROOF, PROOF_OPEN, PROOF_PREPARE, PROOF_RESULT, Ack
from assay_provider.personas import Conduct
from assay_provider.proving import service
from assay_provider.proving.record import read_record
from assay_provider.proving.terms import ProofTerms
from tests.fakes.network import FakeNetwork
from tests.unit.provider_agent.world import (
    DOMAIN,
    OPERATOR,
    SCHEDULER_WALLET,
    World,
    until,
)

ROUND, SEED = Digest(b"\x01" * 32), Digest(b"\x02" * 32)
BEACON = Digest(bytes(32))  # the fake chain's block 0
PART = ProofPart(device=None, size=256, works=3)
PREPARE = ProofPrepare(
    round=ROUND,
    epoch_block=0,
    beacon=BEACON,
    devices=(ProofDevice(device=None, size=256),),
)
CHALLENGE = ProofChallenge(round=ROUND, seed=SEED, parts=(PART,))


async def prepare(world: World, asked: ProofPrepare = PREPARE) -> ProofReady:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    return await world.scheduler.send(PROOF_PREPARE, asked, ProofReady)


async def commit(world: World, asked: ProofChallenge = CHALLENGE) -> ProofCommitment:
    return await world.scheduler.send(PROOF, asked, ProofCommitment)


async def open_rows(world: World, question: ProofQuestion) -> ProofOpening:
    return await world.scheduler.send(PROOF_OPEN, question, ProofOpening)


def signed_result(wallet=SCHEDULER_WALLET, **changes: object) -> SignedProofResult:
    figure = ProofFigure(device=None, size=256, works=3, claimed_mflops=0, proven_mflops=900)
    fields: dict[str, object] = {
        "verifier": SCHEDULER_WALLET.address,
        "operator": OPERATOR,
        "round": ROUND,
        "beacon": BEACON,
        "verdict": "proven",
        "detail": "its processor showed 0.9 GFLOPS",
        "figures": (figure,),
        "milliseconds": 1500,
        "rows": 256,
        "asked_at": 1_800_000_000,
        **changes,
    }
    body = codec.encode(ProofResult(**fields))  # type: ignore[arg-type]
    return SignedProofResult(body=body, signature=wallet.sign_digest(result_digest(DOMAIN, body)))


async def prove(world: World) -> None:
    """Ask for a proof as a scheduler does, and check it."""
    assert (await prepare(world)).ready
    committed = await commit(world)
    secret = Secret.draw(BEACON, PART.size)
    for part, question in questions(ROUND, (PART,)):
        opening = await open_rows(world, question)
        check_opening(opening, question, part, seed=SEED, root=committed.roots[0], secret=secret)


async def test_a_round_from_the_first_request_to_the_result(world, tmp_path):
    terms = ProofTerms(kept_in=tmp_path)
    async with world.daemon(proof=terms):
        await prove(world)
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 0)
        refused = await world.scheduler.lease(world.signed_order())
        assert not refused.accepted
        assert "busy" in refused.reason
        await world.scheduler.send(PROOF_RESULT, signed_result(), Ack)
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)
        assert not world.device_workers.alive
        record = read_record(tmp_path)
        assert record["rounds"] == 1
        assert record["busy_seconds"] > 0
        assert record["results"][0]["detail"] == "its processor showed 0.9 GFLOPS"
        with pytest.raises(Refused, match="no such round"):
            await commit(world)


async def test_a_pretender_is_found_out(world):
    world.conduct = Conduct(pretends=True)
    async with world.daemon():
        with pytest.raises(WrongProof, match="is not the one that was committed to"):
            await prove(world)


async def test_a_second_request_to_prepare_is_the_same_one(world):
    async with world.daemon():
        assert (await prepare(world)).ready
        assert (await prepare(world)).ready
        assert world.device_workers.started == 1
        other = dataclasses.replace(PREPARE, round=SEED)
        assert await prepare(world, other) == ProofReady(
            ready=False, reason="another proof is under way"
        )


async def test_whoever_waits_for_the_same_round_is_answered_when_it_is_loaded(world):
    async with world.daemon():
        world.device_workers.loading.clear()
        both = [asyncio.create_task(prepare(world)) for _ in range(2)]
        await until(lambda: world.device_workers.started == 1)
        with pytest.raises(Refused, match="still being loaded"):
            await commit(world)
        world.device_workers.loading.set()
        assert [ready.ready for ready in await asyncio.gather(*both)] == [True, True]


async def test_a_stranger_is_not_served(world):
    async with world.daemon(), FakeNetwork(world.hub) as stranger:
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        peer = await stranger.connect(world.network.addresses[0])
        for protocol, message, text in (
            (PROOF_PREPARE, PREPARE, "works for"),
            (PROOF, CHALLENGE, "no such round"),
            (PROOF_RESULT, signed_result(), "from the scheduler"),
        ):
            with pytest.raises(Refused, match=text):
                await stranger.request(peer, protocol, codec.encode(message), timeout_s=5)
        assert world.device_workers.started == 0


async def test_another_peer_cannot_take_a_round_over(world):
    async with world.daemon(), FakeNetwork(world.hub) as stranger:
        assert (await prepare(world)).ready
        peer = await stranger.connect(world.network.addresses[0])
        with pytest.raises(Refused, match="no such round"):
            await stranger.request(peer, PROOF, codec.encode(CHALLENGE), timeout_s=5)
        await commit(world)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"beacon": Digest(b"\x09" * 32)}, "the chain gives block 0 another hash"),
        ({"epoch_block": 7}, "block 7 makes no matrices now; block 0 does"),
        ({"epoch_block": 2 * EPOCH_BLOCKS}, "makes no matrices now"),
        ({"devices": (ProofDevice(device=SEED, size=256),)}, "not offered here"),
    ],
)
async def test_what_is_not_the_chains_or_not_ours_is_refused(world, change, text):
    async with world.daemon():
        with pytest.raises(Refused, match=text):
            await prepare(world, dataclasses.replace(PREPARE, **change))
        assert world.device_workers.started == 0


async def test_the_neighbouring_epoch_is_taken(world):
    world.chain.block = EPOCH_BLOCKS + 100
    async with world.daemon():
        assert (await prepare(world)).ready


async def test_no_proof_while_a_job_runs(world):
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        world.sandbox.gate.clear()
        assert (await world.scheduler.lease(world.signed_order())).accepted
        assert await prepare(world) == ProofReady(ready=False, reason="jobs are running")


async def test_so_many_proofs_an_hour(world):
    async with world.daemon(proof=ProofTerms(rounds_per_hour=2)):
        for number in range(3):
            round_id = Digest(bytes((number + 10,)) * 32)
            ready = await prepare(world, dataclasses.replace(PREPARE, round=round_id))
            assert ready.ready == (number < 2)
            if ready.ready:
                await world.scheduler.send(PROOF_RESULT, signed_result(round=round_id), Ack)
        assert ready.reason == "one scheduler is given at most 2 proofs an hour"
        world.clock.time += 3600
        assert (await prepare(world)).ready


async def test_an_owner_who_proves_nothing(world):
    async with world.daemon(proof=ProofTerms(rounds_per_hour=0)):
        assert await prepare(world) == ProofReady(
            ready=False, reason="this provider proves its hardware to nobody"
        )


async def test_a_challenge_is_what_was_prepared_and_bounded(world):
    async with world.daemon(proof=ProofTerms(seconds_max=0.01)):
        assert (await prepare(world)).ready
        larger = ProofPart(device=None, size=512, works=3)
        with pytest.raises(Refused, match="not for what was prepared"):
            await commit(world, dataclasses.replace(CHALLENGE, parts=(larger,)))
        longer = dataclasses.replace(PART, works=2000)
        with pytest.raises(Refused, match="takes longer than"):
            await commit(world, dataclasses.replace(CHALLENGE, parts=(longer,)))
        question = ProofQuestion(round=ROUND, part=0, works=(0,), rows=(0,))
        with pytest.raises(Refused, match="nothing was committed to"):
            await open_rows(world, question)
        await commit(world)
        with pytest.raises(Refused, match="one challenge"):
            await commit(world)


async def test_rows_are_opened_up_to_a_limit(world):
    async with world.daemon():
        assert (await prepare(world)).ready
        await commit(world)
        question = ProofQuestion(round=ROUND, part=0, works=(1,) * 256, rows=(7,) * 256)
        for _ in range(service.ROWS_MAX // 256):
            await open_rows(world, question)
        with pytest.raises(Refused, match="at most 1024 rows"):
            await open_rows(world, question)


async def test_a_round_that_is_left_lying_ends(world, monkeypatch):
    monkeypatch.setattr(service, "IDLE_S", 0.0)
    async with world.daemon():
        assert (await prepare(world)).ready
        await until(lambda: not world.device_workers.alive)
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)


@pytest.mark.parametrize("step", ["load", "compute", "open"])
async def test_a_device_that_fails_frees_the_slots_or_says_so(world, step):
    world.device_workers.fails_at = step
    async with world.daemon():
        question = ProofQuestion(round=ROUND, part=0, works=(0,), rows=(0,))

        async def all_steps() -> None:
            await prepare(world)
            await commit(world)
            await open_rows(world, question)

        with pytest.raises(Refused, match="this provider could not"):
            await all_steps()
        if step != "open":
            assert not world.device_workers.alive
            assert (await world.scheduler.lease(world.signed_order())).accepted


async def test_the_end_of_the_daemon_ends_what_it_proves(world):
    async with world.daemon() as daemon:
        assert (await prepare(world)).ready
        await daemon.leave()
        assert not world.device_workers.alive


async def test_results_are_the_schedulers_own_and_about_us(world, tmp_path):
    async with world.daemon(proof=ProofTerms(kept_in=tmp_path)):
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        other = Digest(b"\x03" * 20)
        with pytest.raises(Refused, match="another operator"):
            await world.scheduler.send(
                PROOF_RESULT, signed_result(operator="0x" + other.hex()), Ack
            )
        stranger = create_key()
        with pytest.raises(Refused, match="from the scheduler that signed"):
            await world.scheduler.send(
                PROOF_RESULT, signed_result(stranger, verifier=stranger.address), Ack
            )
        assert read_record(tmp_path)["results"] == []


async def test_a_record_that_cannot_be_read_is_begun_anew(tmp_path):
    (tmp_path / "proofs.json").write_text("{")
    assert read_record(tmp_path)["rounds"] == 0
    (tmp_path / "proofs.json").write_text(json.dumps({"rounds": "many"}))
    assert read_record(tmp_path)["results"] == []
