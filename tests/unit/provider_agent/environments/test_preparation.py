"""Preparing an environment: once for all jobs, within limits, whatever peers and jobs do."""

import asyncio
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol import environment
from assay_node.protocol.environment import EnvironmentLayer, EnvironmentManifest
from assay_node.protocol.errors import LocalError, MalformedMessage, Refused, RemoteError
from assay_node.protocol.ids import Cid
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.packing import PackedLayer
from assay_provider.environments.preparation import (
    EnvironmentLimits,
    Environments,
    open_environments,
)
from tests.builders.layers import a_layer, sha256

LIMITS = EnvironmentLimits(unpacked_bytes_max=1000, prepare_s_max=60)


class FakePacker:
    """Packs a layer by copying it; counts, and waits while its gate is shut."""

    def __init__(self) -> None:
        self.packed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def pack(
        self, tar: Path, folder: Path, layer: EnvironmentLayer, *, seconds: int
    ) -> PackedLayer:
        self.packed.append(layer.cid)
        await self.gate.wait()
        return copied(tar, folder / "image")


def copied(tar: Path, image: Path) -> PackedLayer:
    content = tar.read_bytes()
    if content == b"malformed":
        raise MalformedMessage("no layer")
    image.write_bytes(content)
    return PackedLayer(path=image, sha256=sha256(content), bytes=len(content))


class Peers:
    """Everybody who has something; what is fetched is then local."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self.local: dict[Cid, bytes] = {}
        self.fetched: list[Cid] = []
        self.asked: list[int] = []
        self.away = False

    async def fetch(self, cid: Cid, limits) -> None:
        self.asked.append(limits.bytes_max)
        if cid in self.local:
            return
        await asyncio.sleep(0)
        if self.away or cid not in self.blocks:
            raise RemoteError("nobody has it")
        self.fetched.append(cid)
        self.local[cid] = self.blocks[cid]

    async def read_bytes(self, cid: Cid, *, bytes_max: int) -> bytes:
        return self.local[cid]

    async def export(self, cid: Cid, destination: Path) -> None:
        await asyncio.to_thread(destination.write_bytes, self.local[cid])

    def offer(self, *tars: bytes, **changes: object) -> Cid:
        layers = tuple(a_layer(tar) for tar in tars)
        for layer, tar in zip(layers, tars, strict=True):
            self.blocks[layer.cid] = tar
        manifest = EnvironmentManifest(
            name="test", architecture=platform.machine(), layers=layers, variables={"A": "1"}
        )
        cid, block = environment.encode(replace(manifest, **changes))  # type: ignore[arg-type]
        self.blocks[cid] = block
        return cid


class World:
    def __init__(self, tmp_path: Path, limits: EnvironmentLimits = LIMITS) -> None:
        self.peers = Peers()
        self.cache = LayerCache(tmp_path / "cache", quota_bytes=1000)
        self.packer = FakePacker()
        self.environments = Environments(
            artifacts=self.peers,  # type: ignore[arg-type]
            cache=self.cache,
            packer=self.packer,  # type: ignore[arg-type]
            limits=limits,
        )

    def root(self, cid: Cid):
        return self.environments.root(cid, self.peers.fetch)

    async def until_packing(self) -> None:
        async with asyncio.timeout(20):
            while not self.packer.packed:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_layers_are_fetched_packed_and_held(world: World) -> None:
    cid = world.peers.offer(b"lower", b"upper")
    async with world.root(cid) as root:
        assert root.digest == cid
        assert [image.read_bytes() for image in root.layers] == [b"lower", b"upper"]
        assert root.variables == {"A": "1"}
        assert world.cache.drop_unused() == ()
    assert len(world.cache.drop_unused()) == 2
    assert not world.environments._making


async def test_what_is_cached_is_not_fetched_again(world: World) -> None:
    cid = world.peers.offer(b"layer")
    for _ in range(3):
        async with world.root(cid):
            pass
    assert len(world.packer.packed) == 1
    assert len(world.peers.fetched) == 2  # the manifest and the layer


async def test_jobs_at_once_make_a_layer_once(world: World) -> None:
    one, two = world.peers.offer(b"shared", b"one"), world.peers.offer(b"shared", b"two")
    world.packer.gate.clear()

    async def use(cid: Cid) -> int:
        async with world.root(cid) as root:
            return len(root.layers)

    jobs = [asyncio.create_task(use(cid)) for cid in (one, one, two, two)]
    await world.until_packing()
    world.packer.gate.set()
    assert await asyncio.gather(*jobs) == [2, 2, 2, 2]
    assert len(world.packer.packed) == len(set(world.packer.packed)) == 3


async def test_a_job_that_gives_up_leaves_the_work_to_the_others(world: World) -> None:
    cid = world.peers.offer(b"layer")
    world.packer.gate.clear()
    jobs = [asyncio.create_task(world.root(cid).__aenter__()) for _ in range(2)]
    await world.until_packing()
    jobs[0].cancel()
    await asyncio.wait({jobs[0]})
    world.packer.gate.set()
    assert (await jobs[1]).digest == cid
    assert len(world.packer.packed) == 1
    world.cache.release(a_layer(b"layer").cid)


async def test_what_all_gave_up_on_is_ready_for_the_next(world: World) -> None:
    cid = world.peers.offer(b"layer")
    world.packer.gate.clear()
    job = asyncio.create_task(world.root(cid).__aenter__())
    await world.until_packing()
    job.cancel()
    await asyncio.wait({job})
    (making,) = world.environments._making.values()
    world.packer.gate.set()
    await making
    async with world.root(cid):
        assert len(world.packer.packed) == 1


async def test_one_schedulers_fault_is_not_anothers(world: World) -> None:
    """Jobs of two schedulers: the first one's has not got the layer, the other one's has."""
    cid = world.peers.offer(b"layer")
    without = Peers()
    without.local = world.peers.local
    without.blocks = {cid: world.peers.blocks[cid]}
    gate = asyncio.Event()

    async def slow(asked: Cid, limits) -> None:
        if asked != cid:
            await gate.wait()
        await without.fetch(asked, limits)

    first = asyncio.create_task(world.environments.root(cid, slow).__aenter__())
    async with asyncio.timeout(20):
        while not world.environments._making:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)
    others = [asyncio.create_task(world.root(cid).__aenter__()) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0.001)
    gate.set()
    with pytest.raises(RemoteError):
        await first
    assert [root.digest for root in await asyncio.gather(*others)] == [cid] * 3
    assert len(world.packer.packed) == 1, "one of the others makes it, for all of them"


async def test_a_malformed_layer_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    cid = world.peers.offer(b"good", b"malformed")
    with pytest.raises(MalformedMessage):
        async with world.root(cid):
            raise AssertionError("there is no root")
    assert not any((tmp_path / "cache" / "work").iterdir())
    assert [layer.bytes for layer in world.cache.drop_unused()] == [len(b"good")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "pdp11"}, "the environment is for pdp11"),
        (
            {"layers": (replace(a_layer(b"x" * 1001), unpacked_bytes=1001),)},
            "unpacks to 1001 B; this provider takes 1000 B",
        ),
    ],
)
async def test_what_this_provider_does_not_take(
    world: World, changes: dict[str, object], reason: str
) -> None:
    cid = world.peers.offer(b"layer", **changes)
    with pytest.raises(Refused, match=reason):
        async with world.root(cid):
            raise AssertionError("there is no root")
    assert world.peers.fetched == [cid], "no layer is fetched for nothing"


async def test_a_manifest_that_is_none(world: World) -> None:
    cid = world.peers.offer(b"layer")
    world.peers.blocks[cid] = b"\xa0"
    with pytest.raises(MalformedMessage):
        async with world.root(cid):
            raise AssertionError("there is no root")


async def test_a_layer_is_fetched_within_its_own_size(world: World) -> None:
    cid = world.peers.offer(b"12345")
    async with world.root(cid):
        assert world.peers.asked == [environment.MANIFEST_BYTES_MAX, 5, 5]


async def test_what_takes_too_long_is_given_up(tmp_path: Path) -> None:
    world = World(tmp_path, replace(LIMITS, prepare_s_max=0))
    cid = world.peers.offer(b"layer")
    with pytest.raises(LocalError, match=r"provider\.environments\.prepare_s_max"):
        async with world.root(cid):
            raise AssertionError("there is no root")


async def test_a_quota_that_is_too_small_is_a_sentence(world: World) -> None:
    cid = world.peers.offer(b"a" * 600, b"b" * 600)
    with pytest.raises(LocalError, match="does not fit"):
        async with world.root(cid):
            raise AssertionError("there is no root")
    assert len(world.cache.drop_unused()) == 1, "the first layer is let go"


async def test_closing_ends_what_is_being_made(world: World, tmp_path: Path) -> None:
    cid = world.peers.offer(b"layer")
    world.packer.gate.clear()
    async with open_environments(
        world.peers,  # type: ignore[arg-type]
        world.cache,
        world.packer,  # type: ignore[arg-type]
        LIMITS,
    ) as environments:
        job = asyncio.create_task(environments.root(cid, world.peers.fetch).__aenter__())
        await world.until_packing()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not any((tmp_path / "cache" / "work").iterdir())
