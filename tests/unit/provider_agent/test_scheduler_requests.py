"""What a provider signs over, and what it never signs."""

import asyncio
import dataclasses

import pytest

from assay_node.protocol import codec
from assay_node.protocol.errors import Refused, RemoteError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import (
    COMMIT_SET,
    RELEASE,
    Commit,
    CommitEntry,
    CommitSet,
    Release,
    Reveal,
)
from assay_node.protocol.order import job_id
from tests.fakes.network import FakeNetwork
from tests.unit.provider_agent.world import (
    DOMAIN,
    OPERATOR,
    OTHER_OPERATOR,
    SCHEDULER,
    World,
    an_entry,
)

OTHER = Digest(b"\x09" * 32)


async def committed(world: World) -> Commit:
    await world.scheduler.until(lambda: world.scheduler.heartbeats)
    await world.scheduler.lease(world.signed_order())
    return await world.scheduler.committed()


def entries(commit: Commit, *rows: tuple[str, int, Digest | None]) -> tuple[CommitEntry, ...]:
    operators = {"own": OPERATOR, "other": OTHER_OPERATOR}
    return tuple(
        an_entry(
            commit,
            operator=operators[who],
            ticket=ticket,
            commitment=commitment or commit.commitment,
        )
        for who, ticket, commitment in rows
    )


async def test_each_wrong_set_is_refused_and_nothing_is_signed(world: World) -> None:
    async with world.daemon():
        commit = await committed(world)
        good = world.commit_set(commit)
        wrong = {
            "round 7": dataclasses.replace(good, round_number=7),
            "1 entries, not 2": dataclasses.replace(good, entries=good.entries[1:]),
            "rise strictly": dataclasses.replace(good, entries=good.entries[::-1]),
            "twice": dataclasses.replace(
                good, entries=entries(commit, ("own", 1, None), ("own", 2, OTHER))
            ),
            "lacks this provider": dataclasses.replace(
                good,
                entries=(
                    good.entries[0],
                    an_entry(commit, operator=SCHEDULER),
                ),
            ),
            "at its ticket": dataclasses.replace(
                good, entries=entries(commit, ("other", 0, OTHER), ("own", 2, None))
            ),
            "changes this provider's commitment": dataclasses.replace(
                good, entries=entries(commit, ("other", 0, OTHER), ("own", 1, OTHER))
            ),
            "no lease for that job": dataclasses.replace(good, job=OTHER),
        }
        beyond = entries(commit, ("own", 1, None), ("other", 4, OTHER))
        wrong["at most 3"] = dataclasses.replace(good, entries=beyond)
        below = entries(commit, ("other", -1, OTHER), ("own", 1, None))
        wrong["from 0"] = dataclasses.replace(good, entries=below)
        short = entries(commit, ("other", 0, Digest(b"\x09" * 31)), ("own", 1, None))
        wrong["32 bytes"] = dataclasses.replace(good, entries=short)
        wrong["changes this provider's rate"] = world.commit_set(
            commit, entries=(good.entries[0], an_entry(commit, rate_microusd=401))
        )
        # another set, another round, no signature at all: the scheduler vouches for none of them
        other = world.commit_set(commit, entries=entries(commit, ("other", 0, OTHER)))
        unsigned = "not signed by the scheduler"
        for signature in (other.signature, world.commit_set(commit, round_number=1).signature, b""):
            forged = dataclasses.replace(good, signature=signature)
            with pytest.raises(Refused, match=unsigned):
                await world.scheduler.reveal(forged)
        for reason, bad in wrong.items():
            with pytest.raises(Refused, match=reason):
                await world.scheduler.reveal(bad)
        assert (await world.until_state(commit.job, "committed")).state == "committed"
        await world.scheduler.reveal(good)


async def test_never_two_sets_in_one_round(world: World) -> None:
    async with world.daemon():
        commit = await committed(world)
        one = world.commit_set(commit)
        two = world.commit_set(
            commit, entries=entries(commit, ("other", 0, Digest(b"\x0a" * 32)), ("own", 1, None))
        )
        first = await world.scheduler.reveal(one)
        with pytest.raises(Refused, match="one set a round"):
            await world.scheduler.reveal(two)
        assert await world.scheduler.reveal(one) == first
    async with world.daemon():  # and not after a crash either
        await world.scheduler.until(lambda: len(world.scheduler.hellos) == 2)
        with pytest.raises(Refused, match="one set a round"):
            await world.scheduler.reveal(two)
        assert await world.scheduler.reveal(one) == first


async def test_of_many_sets_at_once_one_is_signed(world: World) -> None:
    async with world.daemon():
        commit = await committed(world)
        sets = [
            world.commit_set(
                commit,
                entries=entries(commit, ("other", 0, Digest(bytes([n]) * 32)), ("own", 1, None)),
            )
            for n in range(8)
        ]
        answers = await asyncio.gather(
            *(world.scheduler.reveal(one) for one in sets), return_exceptions=True
        )
        assert sum(isinstance(answer, Reveal) for answer in answers) == 1
        assert all(isinstance(answer, Reveal | Refused) for answer in answers)


async def test_a_set_before_the_run_ended_is_refused(world: World) -> None:
    world.sandbox.gate.clear()
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        signed = world.signed_order()
        await world.scheduler.lease(signed)
        early = CommitSet(
            job=job_id(signed.order, DOMAIN), round_number=0, entries=(), signature=b""
        )
        with pytest.raises(Refused, match="has not committed yet"):
            await world.scheduler.reveal(early)


async def test_a_set_after_the_lease_is_over_is_refused(world: World) -> None:
    async with world.daemon():
        commit = await committed(world)
        await world.scheduler.release(commit.job, "replaced")
        with pytest.raises(Refused, match="over: replaced"):
            await world.scheduler.reveal(world.commit_set(commit))


async def test_strangers_get_no_reveal_and_release_nothing(world: World) -> None:
    async with world.daemon(), FakeNetwork(world.hub) as stranger:
        commit = await committed(world)
        provider = await stranger.connect(world.network.addresses[0])
        for protocol, message in (
            (COMMIT_SET, world.commit_set(commit)),
            (RELEASE, Release(job=commit.job, reason="settled")),
        ):
            with pytest.raises(Refused, match="another scheduler"):
                await stranger.request(provider, protocol, codec.encode(message), timeout_s=5)
        assert (await world.stored(commit.job)).closed_at is None


@pytest.mark.parametrize("payload", [b"", b"\xff", codec.encode(Release(job=OTHER, reason="x"))])
async def test_bytes_that_are_no_message_are_answered_with_an_error(
    world: World, payload: bytes
) -> None:
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        with pytest.raises(RemoteError):
            await world.scheduler.network.request(
                world.network.peer_id, COMMIT_SET, payload, timeout_s=5
            )


async def test_a_reason_cannot_forge_log_lines(world: World) -> None:
    async with world.daemon():
        commit = await committed(world)
        await world.scheduler.release(commit.job, "done\n\x1b[31mERROR all is lost")
        lease = await world.stored(commit.job)
        assert lease.closed_reason == "done??[31mERROR all is lost"
