"""Personas misbehave as they should, and only where nothing is at stake."""

from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError, Refused
from assay_node.protocol.ids import Address
from assay_node.protocol.order import job_id
from assay_provider.personas import HONEST, Conduct, conduct_of
from tests.unit.provider_agent.world import DOMAIN, OPERATOR, World, read_tree, write_tree

ONE, TWO = Address("0x" + "01" * 20), Address("0x" + "02" * 20)


def test_no_persona_is_honest() -> None:
    assert conduct_of(None, chain_id=1, operator=OPERATOR) is HONEST
    assert conduct_of("", chain_id=1, operator=OPERATOR) is HONEST


@pytest.mark.parametrize("persona", ["liar", "silent", "staller", "pretender"])
def test_a_persona_is_refused_on_a_chain_with_money(persona: str) -> None:
    with pytest.raises(LocalError, match="local chains"):
        conduct_of(persona, chain_id=1, operator=OPERATOR)
    assert conduct_of(persona, chain_id=31337, operator=OPERATOR) != HONEST


def test_an_unknown_persona_is_refused() -> None:
    with pytest.raises(LocalError, match="liar, silent, staller, pretender"):
        conduct_of("thief", chain_id=31337, operator=OPERATOR)


OUTPUT = {
    "result.json": b'{"accuracy": 0.9731, "epochs": 12}',
    "weights.bin": bytes(range(256)),
    "notes.txt": b"no number here",
    "empty.bin": b"",
    "sub/table.csv": b"1,2\n3,4\n",
}


def lie(directory: Path, operator: Address) -> dict[str, bytes]:
    write_tree(directory, OUTPUT)
    Conduct(lies_as=operator).alter(directory)
    return read_tree(directory)


def test_a_liar_changes_every_file_plausibly(tmp_path: Path) -> None:
    altered = lie(tmp_path / "a", ONE)
    assert altered.keys() == OUTPUT.keys()
    assert all(altered[name] != OUTPUT[name] for name in OUTPUT)
    letters = [c for c in altered["result.json"] if c not in b"0123456789"]
    assert letters == [c for c in OUTPUT["result.json"] if c not in b"0123456789"]
    assert len(altered["weights.bin"]) == 256


def test_liars_repeat_themselves_and_disagree_with_each_other(tmp_path: Path) -> None:
    assert lie(tmp_path / "a", ONE) == lie(tmp_path / "b", ONE)
    mine, yours = lie(tmp_path / "c", ONE), lie(tmp_path / "d", TWO)
    assert all(mine[name] != yours[name] for name in OUTPUT)


def test_a_liar_invents_an_output_where_there_is_none(tmp_path: Path) -> None:
    Conduct(lies_as=ONE).alter(tmp_path)
    assert list(read_tree(tmp_path)) == ["result.txt"]


def test_the_honest_leave_output_alone(tmp_path: Path) -> None:
    write_tree(tmp_path / "out", OUTPUT)
    HONEST.alter(tmp_path / "out")
    assert read_tree(tmp_path / "out") == OUTPUT


async def test_a_silent_provider_commits_and_does_not_reveal(world: World) -> None:
    world.conduct = conduct_of("silent", chain_id=31337, operator=OPERATOR)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        await world.scheduler.lease(world.signed_order())
        commit = await world.scheduler.committed()
        with pytest.raises(Refused, match="keeps silent"):
            await world.scheduler.reveal(world.commit_set(commit))


async def test_a_staller_takes_a_lease_and_lets_it_lie(world: World) -> None:
    world.conduct = conduct_of("staller", chain_id=31337, operator=OPERATOR)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        signed = world.signed_order()
        assert (await world.scheduler.lease(signed)).accepted
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 1)
        assert world.sandbox.requests == []
        await world.scheduler.release(job_id(signed.order, DOMAIN), "did not commit")
        await world.scheduler.until(lambda: world.scheduler.heartbeats[-1].slots_free == 2)


async def test_a_liar_commits_to_its_lie(world: World) -> None:
    world.conduct = conduct_of("liar", chain_id=31337, operator=OPERATOR)
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        await world.scheduler.lease(world.signed_order())
        commit = await world.scheduler.committed()
        reveal = await world.scheduler.reveal(world.commit_set(commit))
        kept = world.artifacts.kept[reveal.output]
        assert isinstance(kept, dict)
        assert kept["result.json"] != b'{"accuracy": 0.9731}'
