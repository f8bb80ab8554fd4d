"""Damage, pins, quota, garbage and crashes of a store on a real disk."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.artifacts import (
    ArtifactSettings,
    DamagedBlock,
    EmbeddedArtifacts,
    Pin,
    importer,
    open_artifacts,
)
from assay_node.artifacts.blockstore import Block, Blockstore
from assay_node.artifacts.operation import Operation
from assay_node.ports import ArtifactLimits, Artifacts
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid
from tests.integration.artifacts.conftest import OpenPeer
from tests.integration.artifacts.trees import ROOMY, SAMPLE, block_files, noise, write_tree

CHUNK = 262_144


async def test_it_is_the_port(artifacts: EmbeddedArtifacts) -> None:
    port: Artifacts = artifacts
    assert port is artifacts


async def test_blocks_lie_under_the_next_to_last_characters_of_their_cid(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings
) -> None:
    cid = await artifacts.add_bytes(b"hello world\n", codec=cids.RAW)
    assert cid == "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
    assert (settings.root / "ei" / cid).read_bytes() == b"hello world\n"


async def test_add_bytes_takes_one_block_that_is_not_dag_pb(artifacts: EmbeddedArtifacts) -> None:
    await artifacts.add_bytes(bytes(1 << 20), codec=cids.RAW)
    with pytest.raises(LocalError, match="add them as a file"):
        await artifacts.add_bytes(bytes((1 << 20) + 1), codec=cids.RAW)
    with pytest.raises(LocalError, match="0x70 is not raw or dag-cbor"):
        await artifacts.add_bytes(b"", codec=cids.DAG_PB)


async def test_a_damaged_block_is_removed_reported_and_can_be_added_again(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings, caplog: pytest.LogCaptureFixture
) -> None:
    cid = await artifacts.add_bytes(b"content", codec=cids.RAW)
    (path,) = block_files(settings.root)
    for damage in (b"CONTENT", b"con", b""):
        path.write_bytes(damage)
        with pytest.raises(DamagedBlock, match=f"{cid} was damaged on disk and has been removed"):
            await artifacts.read_bytes(cid, bytes_max=99)
        assert "damaged block removed" in caplog.text
        assert not path.exists()
        assert not await artifacts.has(cid)
        assert await artifacts.add_bytes(b"content", codec=cids.RAW) == cid
        assert await artifacts.read_bytes(cid, bytes_max=99) == b"content"


async def test_has_notices_missing_blocks_and_damaged_nodes(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings, tmp_path: Path
) -> None:
    cid = await artifacts.add(write_tree(tmp_path / "in", SAMPLE), limits=ROOMY)
    assert await artifacts.has(cid)
    for path in block_files(settings.root):
        content = path.read_bytes()
        path.unlink()
        assert not await artifacts.has(cid)
        path.write_bytes(content[:-1] + b"?" if "bafy" in path.name else content[:-1])
        if content:
            assert not await artifacts.has(cid)
        path.write_bytes(content)
    assert await artifacts.has(cid)


async def test_garbage_is_what_no_pin_reaches(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings, tmp_path: Path
) -> None:
    kept = await artifacts.add(write_tree(tmp_path / "kept", SAMPLE), limits=ROOMY)
    spec = await artifacts.add_bytes(b"\xa0", codec=cids.DAG_CBOR)
    await artifacts.pin(kept, owner="job 1")
    await artifacts.pin(kept, owner="job 2")
    await artifacts.pin(spec, owner="job 1")
    kept_files = block_files(settings.root)
    loose = await artifacts.add(write_tree(tmp_path / "x", noise(2 * CHUNK, 9)), limits=ROOMY)

    collected = await artifacts.collect_garbage()
    assert collected.blocks == 3
    assert collected.bytes > 2 * CHUNK
    assert block_files(settings.root) == kept_files
    assert not await artifacts.has(loose)
    assert (await artifacts.usage()).used_bytes == sum(p.stat().st_size for p in kept_files)
    assert await artifacts.pins() == (
        Pin(owner="job 1", cid=kept, bytes=600_015),
        Pin(owner="job 1", cid=spec, bytes=1),
        Pin(owner="job 2", cid=kept, bytes=600_015),
    )

    await artifacts.unpin(owner="job 1")
    await artifacts.unpin(owner="nobody")
    await artifacts.collect_garbage()
    assert await artifacts.has(kept)
    assert not await artifacts.has(spec)
    await artifacts.unpin(owner="job 2")
    await artifacts.collect_garbage()
    assert not block_files(settings.root)
    assert (await artifacts.usage()).used_bytes == 0


async def test_only_whole_artifacts_are_pinned(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings, tmp_path: Path
) -> None:
    cid = await artifacts.add(write_tree(tmp_path / "in", noise(2 * CHUNK)), limits=ROOMY)
    block_files(settings.root)[0].unlink()
    with pytest.raises(LocalError, match="not in the artifact store"):
        await artifacts.pin(cid, owner="job")
    assert await artifacts.pins() == ()


async def test_a_new_artifact_has_a_grace(settings: ArtifactSettings, tmp_path: Path) -> None:
    async with open_artifacts(replace(settings, grace_s=1000), None) as artifacts:
        cid = await artifacts.add(write_tree(tmp_path / "in", SAMPLE), limits=ROOMY)
        await artifacts.collect_garbage()
        assert await artifacts.has(cid)
        async with open_artifacts(settings, None) as other:
            await other.collect_garbage()
        assert await artifacts.has(cid)
    async with open_artifacts(settings, None) as later:
        await later.collect_garbage()
        assert not await later.has(cid)


async def test_a_full_store_collects_garbage_and_then_says_what_to_do(
    settings: ArtifactSettings, tmp_path: Path
) -> None:
    small = replace(settings, quota_bytes=10 * CHUNK + 2000)
    async with open_artifacts(small, None) as artifacts:
        first = await artifacts.add(write_tree(tmp_path / "1", noise(8 * CHUNK, 1)), limits=ROOMY)
        second = await artifacts.add(write_tree(tmp_path / "2", noise(8 * CHUNK, 2)), limits=ROOMY)
        assert not await artifacts.has(first)
        await artifacts.pin(second, owner="job")
        with pytest.raises(LocalError, match="artifact store is full") as caught:
            await artifacts.add(tmp_path / "1", limits=ROOMY)
        for said in (f"quota is {small.quota_bytes} bytes", "raise quota_bytes", "unpin"):
            assert said in str(caught.value)
        assert await artifacts.has(second)
        await artifacts.collect_garbage()
        usage = await artifacts.usage()
        assert usage.pinned_bytes == 8 * CHUNK
        assert usage.used_bytes == sum(p.stat().st_size for p in block_files(small.root))
        await artifacts.add(write_tree(tmp_path / "3", noise(CHUNK, 3)), limits=ROOMY)


async def test_a_fetch_that_does_not_fit_blames_the_quota_not_the_source(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source = await open_peer("source")
    reader = await open_peer("reader", quota_bytes=50 * CHUNK)
    cid = await source.artifacts.add(write_tree(tmp_path / "f", noise(90 * CHUNK)), limits=ROOMY)
    with pytest.raises(LocalError, match="artifact store is full"):
        await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY)


async def test_running_imports_and_fetches_of_another_store_are_not_collected(
    settings: ArtifactSettings, artifacts: EmbeddedArtifacts, tmp_path: Path
) -> None:
    cid = await artifacts.add(write_tree(tmp_path / "in", noise(3 * CHUNK)), limits=ROOMY)
    async with open_artifacts(settings, None) as other:
        with Operation(artifacts._blocks) as fetch, Operation(artifacts._blocks) as adding:
            fetch.hold(cid)
            for i in range(100):
                data = b"import %d" % i
                adding.emit(cids.of_block(cids.RAW, data), data)
            adding._flush()
            assert (await other.collect_garbage()).blocks == 0
        assert (await other.collect_garbage()).blocks == 104


async def test_an_import_holds_blocks_that_were_garbage_already_here(
    settings: ArtifactSettings,
    artifacts: EmbeddedArtifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_tree(tmp_path / "in", noise(100 * CHUNK))
    cid = await artifacts.add(path, limits=ROOMY)
    read, count = importer._read_chunk, 0

    def collect_midway(fd: int) -> bytes:
        nonlocal count
        count += 1
        if count == 70:
            assert artifacts._blocks.collect_garbage().blocks == 101 - 64
        return read(fd)

    monkeypatch.setattr(importer, "_read_chunk", collect_midway)
    assert await artifacts.add(path, limits=ROOMY) == cid
    assert await artifacts.has(cid)


async def test_blocks_collected_just_before_they_are_held_are_written_again(
    settings: ArtifactSettings,
    artifacts: EmbeddedArtifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_tree(tmp_path / "in", noise(3 * CHUNK))
    cid = await artifacts.add(path, limits=ROOMY)
    async with open_artifacts(settings, None) as other:
        write, collected = Blockstore._write_partial, 0

        def collect_then_write(blocks: Blockstore, absent: Sequence[Block]) -> dict[Cid, Path]:
            nonlocal collected
            if not collected:
                collected = other._blocks.collect_garbage().blocks
            return write(blocks, absent)

        monkeypatch.setattr(Blockstore, "_write_partial", collect_then_write)
        assert await artifacts.add(path, limits=ROOMY) == cid
    assert collected == 4
    assert await artifacts.has(cid)
    files = block_files(settings.root)
    assert (await artifacts.usage()).used_bytes == sum(file.stat().st_size for file in files)


async def test_a_cancelled_import_stops_and_leaves_no_half_block(
    artifacts: EmbeddedArtifacts,
    settings: ArtifactSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_tree(tmp_path / "in", noise(100 * CHUNK))
    loop, read, count = asyncio.get_running_loop(), importer._read_chunk, 0
    adding: asyncio.Task[Cid]

    def cancel_midway(fd: int) -> bytes:
        nonlocal count
        count += 1
        if count == 70:
            asyncio.run_coroutine_threadsafe(cancel(), loop).result()
        return read(fd)

    async def cancel() -> None:
        adding.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(importer, "_read_chunk", cancel_midway)
    adding = asyncio.create_task(artifacts.add(path, limits=ROOMY))
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert count == 70
    assert len(block_files(settings.root)) == 64
    assert not list((settings.root / "partial").iterdir())
    assert (await artifacts.collect_garbage()).blocks == 64


IMPORT_AND_HANG = """
import asyncio, sys
from pathlib import Path
from assay_node.artifacts import ArtifactSettings, blockstore, open_artifacts
from assay_node.ports import ArtifactLimits

real_write, count = blockstore._write_all, 0

def write_half(fd, data):
    global count
    count += 1
    if count == 100:
        real_write(fd, data[: len(data) // 2])
        print("half", flush=True)
        sys.stdin.read()
    real_write(fd, data)

blockstore._write_all = write_half

async def main():
    settings = ArtifactSettings(root=Path(sys.argv[1]), quota_bytes=1 << 30)
    async with open_artifacts(settings, None) as artifacts:
        await artifacts.add(Path(sys.argv[2]), limits=ArtifactLimits(bytes_max=1 << 30))

asyncio.run(main())
"""


async def test_a_killed_import_leaves_whole_blocks_and_no_holds(
    settings: ArtifactSettings, tmp_path: Path
) -> None:
    path = write_tree(tmp_path / "in", noise(200 * CHUNK))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IMPORT_AND_HANG, settings.root, path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"half\n"
        partial = list((settings.root / "partial").iterdir())
        assert min(left.stat().st_size for left in partial) == CHUNK // 2
        async with open_artifacts(settings, None) as artifacts:
            assert (await artifacts.collect_garbage()).blocks == 0  # it lives and holds them
            assert sorted((settings.root / "partial").iterdir()) == sorted(partial)
    finally:
        child.kill()
        await child.communicate()
    for block in block_files(settings.root):
        assert cids.matches(Cid(block.name), block.read_bytes())
    async with open_artifacts(settings, None) as artifacts:
        assert not list((settings.root / "partial").iterdir())
        assert len(list((settings.root / "sessions").iterdir())) == 1
        assert (await artifacts.collect_garbage()).blocks == 64
        cid = await artifacts.add(path, limits=ROOMY)
        assert await artifacts.has(cid)


ADD_REPEATEDLY = """
import asyncio, sys
from pathlib import Path
from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.ports import ArtifactLimits

async def main():
    root, path, owner = sys.argv[1:]
    settings = ArtifactSettings(root=Path(root), quota_bytes=1 << 30, grace_s=1000)
    for _ in range(8):
        async with open_artifacts(settings, None) as artifacts:
            cid = await artifacts.add(Path(path), limits=ArtifactLimits(bytes_max=1 << 30))
            await artifacts.collect_garbage()
            await artifacts.pin(cid, owner=owner)
            assert await artifacts.has(cid), "collected while it was pinned"
            await artifacts.unpin(owner=owner)
    async with open_artifacts(settings, None) as artifacts:
        print(await artifacts.add(Path(path), limits=ArtifactLimits(bytes_max=1 << 30)))
        await artifacts.pin(cid, owner=owner)

asyncio.run(main())
"""


async def test_processes_that_share_a_store_do_not_disturb_each_other(
    settings: ArtifactSettings, tmp_path: Path
) -> None:
    shared = noise(20 * CHUNK)
    children = []
    for i in range(3):
        tree = {"shared": shared, "own": noise(CHUNK, seed=i + 1)}
        path = write_tree(tmp_path / f"in{i}", tree)
        children.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ADD_REPEATEDLY, settings.root, path, f"owner {i}"),
                stdout=asyncio.subprocess.PIPE,
            )
        )
    outputs = [await child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    async with open_artifacts(settings, None) as artifacts:
        await artifacts.collect_garbage()
        for stdout, _ in outputs:
            assert await artifacts.has(Cid(stdout.decode().strip()))
        files = block_files(settings.root)
        assert len(files) == 20 + 1 + 3 + 3
        used = (await artifacts.usage()).used_bytes
        assert used == sum(path.stat().st_size for path in files)


async def test_a_lost_catalog_is_counted_anew(settings: ArtifactSettings, tmp_path: Path) -> None:
    async with open_artifacts(settings, None) as artifacts:
        await artifacts.add(write_tree(tmp_path / "in", SAMPLE), limits=ROOMY)
        used = (await artifacts.usage()).used_bytes
    (settings.root / "catalog.sqlite3").unlink()
    async with open_artifacts(settings, None) as artifacts:
        assert (await artifacts.usage()).used_bytes == used > 600_000


async def test_unusable_stores_are_refused_with_a_reason(
    settings: ArtifactSettings, tmp_path: Path
) -> None:
    async with open_artifacts(settings, None):
        pass
    with closing(sqlite3.connect(settings.root / "catalog.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(LocalError, match="catalog version 9"):
        async with open_artifacts(settings, None):
            pass
    (settings.root / "catalog.sqlite3").write_bytes(b"not a database" * 100)
    with pytest.raises(LocalError, match="catalog failed: file is not a database"):
        async with open_artifacts(settings, None):
            pass
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="disk: "):
        async with open_artifacts(replace(settings, root=tmp_path / "file"), None):
            pass


async def test_memory_stays_flat_while_a_large_file_is_added(
    artifacts: EmbeddedArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 300 * CHUNK)
    largest = 0
    flush = Operation._flush

    def watch(operation: Operation) -> None:
        nonlocal largest
        largest = max(largest, sum(len(block.data) for block in operation._batch))
        flush(operation)

    monkeypatch.setattr(Operation, "_flush", watch)
    await artifacts.add(path, limits=ArtifactLimits(bytes_max=300 * CHUNK))
    assert 0 < largest <= 17 << 20
