"""Files and directories into a store and out again, on a real disk."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from assay_node.artifacts import (
    ArtifactSettings,
    EmbeddedArtifacts,
    EntryKind,
    cid_of_path,
    exporter,
    importer,
    open_artifacts,
    unixfs,
)
from assay_node.artifacts.blockstore import Block
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Cid
from tests.integration.artifacts.trees import (
    ROOMY,
    SAMPLE,
    Tree,
    block_files,
    noise,
    read_tree,
    write_tree,
)

aleph_cid = pytest.importorskip("aleph_cid", reason="aleph-cid is not installed")

CHUNK = 262_144


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".assay-*"))


def everything_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if "store" not in path.parts)


def independent_file_cid(data: bytes) -> str:
    hasher = aleph_cid.CidHasher.for_ipfs_v1_raw_leaves()
    hasher.update(data)
    return str(hasher.finalize())


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 174 * CHUNK, 174 * CHUNK + 1]
)
async def test_file_cids_agree_with_an_independent_implementation(
    artifacts: EmbeddedArtifacts, tmp_path: Path, size: int
) -> None:
    data = noise(size)
    path = write_tree(tmp_path / "file", data)
    cid = await artifacts.add(path, limits=ROOMY)

    assert cid == independent_file_cid(data) == await cid_of_path(path, limits=ROOMY)
    await artifacts.export(cid, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    size_here = await artifacts.stat(cid)
    assert (size_here.bytes, size_here.files) == (size, 1)


@pytest.mark.parametrize(
    "tree",
    [  # without empty directories, which that implementation passes over
        {"b": b"2", "a": b"1", "B": b"0", "a.b": b"", "aé": b"3", "a-": b"4"},
        {"same": b"x" * 300_000, "twin": b"x" * 300_000, "sub": {"again": b"x" * 300_000}},
        {f"{i:04}": b"%d" % i for i in range(1000)},
        {key: value for key, value in SAMPLE.items() if key != "empty"},
    ],
)
async def test_directory_cids_agree_with_an_independent_implementation(
    artifacts: EmbeddedArtifacts, tmp_path: Path, tree: Tree
) -> None:
    path = write_tree(tmp_path / "tree", tree)
    assert await artifacts.add(path, limits=ROOMY) == aleph_cid.hash_folder(path)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10).filter(
    lambda name: unixfs.name_fault(name) is None
)
trees = st.recursive(
    st.binary(max_size=20), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=8
)


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=trees)
def test_add_then_export_gives_the_same_tree(
    tmp_path_factory: pytest.TempPathFactory, tree: "bytes | Tree"
) -> None:
    folder = tmp_path_factory.mktemp("law")

    async def there_and_back() -> None:
        settings = ArtifactSettings(root=folder / "store", quota_bytes=1 << 20)
        async with open_artifacts(settings, None) as artifacts:
            source = write_tree(folder / "in", tree)
            cid = await artifacts.add(source, limits=ROOMY)
            await artifacts.export(cid, folder / "out")
            assert read_tree(folder / "out") == tree
            assert await cid_of_path(folder / "out", limits=ROOMY) == cid

    asyncio.run(there_and_back())


async def test_permissions_are_no_part_of_the_cid_and_come_out_as_defaults(
    artifacts: EmbeddedArtifacts, tmp_path: Path
) -> None:
    plain = write_tree(tmp_path / "plain", {"run": b"#!/bin/sh", "d": {}})
    private = write_tree(tmp_path / "private", {"run": b"#!/bin/sh", "d": {}})
    (private / "run").chmod(0o700)
    (private / "d").chmod(0o700)
    cid = await artifacts.add(plain, limits=ROOMY)
    assert await artifacts.add(private, limits=ROOMY) == cid

    before = os.umask(0o077)
    try:
        await artifacts.export(cid, tmp_path / "out")
    finally:
        os.umask(before)
    for path, mode in [("out", 0o755), ("out/run", 0o644), ("out/d", 0o755)]:
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == mode


def _symlink(folder: Path) -> None:
    (folder / "bad").symlink_to("/etc/passwd")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "bad")


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(folder / "bad"))


def _bad_name(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff\n")).write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_symlink, "bad' is a symlink"),
        (_fifo, "bad' is a named pipe"),
        (_socket, "bad' is a socket"),
        (_bad_name, r"udcff.n' in .* is not valid UTF-8"),
    ],
)
async def test_what_is_not_a_file_or_directory_is_refused(
    artifacts: EmbeddedArtifacts, tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    folder = write_tree(tmp_path / "tree", {"sub": {}})
    make(folder / "sub")
    with pytest.raises(LocalError, match=reason):
        await artifacts.add(folder, limits=ROOMY)
    if make is not _bad_name:
        with pytest.raises(LocalError, match="artifacts hold only files and directories"):
            await artifacts.add(folder / "sub" / "bad", limits=ROOMY)


async def test_devices_and_absent_paths_are_refused(
    artifacts: EmbeddedArtifacts, tmp_path: Path
) -> None:
    with pytest.raises(LocalError, match="is a device"):
        await artifacts.add(Path("/dev/null"), limits=ROOMY)
    with pytest.raises(LocalError, match="No such file"):
        await artifacts.add(tmp_path / "absent", limits=ROOMY)


async def test_limits_stop_an_import_with_a_reason(
    artifacts: EmbeddedArtifacts, tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "tree", {"a": b"12345", "b": {"c": b"12345"}})
    await artifacts.add(tree, limits=ArtifactLimits(bytes_max=10, files_max=3, depth_max=2))
    for limits, reason in [
        (ArtifactLimits(bytes_max=9), "more than the 9 bytes allowed, at .*/b/c"),
        (ArtifactLimits(bytes_max=99, files_max=2), "more than the 2 files and folders"),
        (ArtifactLimits(bytes_max=99, depth_max=1), "/b' is nested deeper than 1"),
    ]:
        with pytest.raises(LocalError, match=reason):
            await artifacts.add(tree, limits=limits)


async def test_a_directory_that_kubo_would_shard_is_refused(
    artifacts: EmbeddedArtifacts, tmp_path: Path
) -> None:
    # 36 bytes of CID and 28 of name: 4096 entries make exactly 256 KiB
    folder = write_tree(tmp_path / "tree", {f"{i:028}": b"" for i in range(4095)})
    assert await artifacts.add(folder, limits=ROOMY) == aleph_cid.hash_folder(folder)
    (folder / f"{4095:028}").touch()
    with pytest.raises(LocalError, match="too many entries for one directory"):
        await artifacts.add(folder, limits=ROOMY)


def _append_and_hide_it(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"line\nmore\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _overwrite(path: Path) -> None:
    path.write_bytes(b"LINE\n")
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize("change", [_append_and_hide_it, _overwrite])
async def test_a_file_that_changes_while_it_is_read_is_refused(
    artifacts: EmbeddedArtifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
) -> None:
    path = write_tree(tmp_path / "log", b"line\n")
    read = importer._read_chunk

    def change_then_read(fd: int) -> bytes:
        change(path)
        return read(fd)

    monkeypatch.setattr(importer, "_read_chunk", change_then_read)
    with pytest.raises(LocalError, match="changed while it was being read"):
        await artifacts.add(path, limits=ROOMY)


async def test_a_directory_swapped_for_a_symlink_is_not_followed(
    artifacts: EmbeddedArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = write_tree(tmp_path / "secret", {"key": b"secret"})
    tree = write_tree(tmp_path / "tree", {"sub": {}})
    really_open = os.open

    def swap_then_open(path: str, flags: int, *args: int, **options: int | None) -> int:
        if path == "sub":
            (tree / "sub").rmdir()
            (tree / "sub").symlink_to(secret)
        return really_open(path, flags, *args, **options)

    monkeypatch.setattr(importer.os, "open", swap_then_open)
    with pytest.raises(LocalError, match="disk: "):
        await artifacts.add(tree, limits=ROOMY)


async def test_export_wants_a_new_path_in_a_directory_that_exists(
    artifacts: EmbeddedArtifacts, tmp_path: Path
) -> None:
    cid = await artifacts.add(write_tree(tmp_path / "in", SAMPLE), limits=ROOMY)
    file = await artifacts.add(write_tree(tmp_path / "f", b"data"), limits=ROOMY)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in ["empty", "in", "f", "dangling"]:
        for source in (cid, file):
            with pytest.raises(LocalError, match="already exists"):
                await artifacts.export(source, tmp_path / taken)
    with pytest.raises(LocalError, match="is not a directory: make it first"):
        await artifacts.export(cid, tmp_path / "no" / "out")
    assert not leftovers(tmp_path)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("tree", [SAMPLE, b"one file"])
async def test_export_never_replaces_what_appears_meanwhile(
    artifacts: EmbeddedArtifacts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tree: "bytes | Tree",
) -> None:
    cid = await artifacts.add(write_tree(tmp_path / "in", tree), limits=ROOMY)
    write = exporter._write

    def write_and_race(*args: object) -> None:
        write(*args)  # type: ignore[arg-type]
        (tmp_path / "out").write_bytes(b"mine")

    monkeypatch.setattr(exporter, "_write", write_and_race)
    with pytest.raises(LocalError, match="already exists"):
        await artifacts.export(cid, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert not leftovers(tmp_path)


async def test_an_export_that_fails_leaves_nothing(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings, tmp_path: Path
) -> None:
    data = noise(3 * CHUNK)
    cid = await artifacts.add(write_tree(tmp_path / "in", data), limits=ROOMY)
    last = cids.of_block(cids.RAW, data[2 * CHUNK :])
    (damaged,) = [path for path in block_files(settings.root) if path.name == last]
    damaged.write_bytes(bytes(CHUNK))
    with pytest.raises(LocalError, match="damaged on disk and has been removed"):
        await artifacts.export(cid, tmp_path / "out")
    assert not leftovers(tmp_path)
    assert not (tmp_path / "out").exists()


def plant(artifacts: EmbeddedArtifacts, block: bytes) -> Cid:
    """Put a DAG-PB block into the store that no import would make."""
    cid = cids.of_block(cids.DAG_PB, block)
    artifacts._blocks.put([Block(cid=cid, data=block)], hold=None)
    return cid


@pytest.mark.parametrize("name", ["../out", "..", "/tmp/out", "a/b", ""])
async def test_hostile_names_reach_nothing_outside(
    artifacts: EmbeddedArtifacts, tmp_path: Path, name: str
) -> None:
    chunk = await artifacts.add_bytes(b"x", codec=cids.RAW)
    entry = unixfs.DirectoryEntry(name=name, cid=chunk, tsize=1)
    evil = plant(artifacts, unixfs.encode(unixfs.Directory(entries=(entry,))))
    (tmp_path / "inner").mkdir()
    before = everything_below(tmp_path)
    for attempt in (
        artifacts.export(evil, tmp_path / "inner" / "out"),
        artifacts.ls(evil),
        artifacts.stat(evil),
        artifacts.pin(evil, owner="x"),
        artifacts.has(evil),
    ):
        with pytest.raises(MalformedMessage):
            await attempt
    assert everything_below(tmp_path) == before


async def test_ls_names_kinds_and_bytes(artifacts: EmbeddedArtifacts, tmp_path: Path) -> None:
    cid = await artifacts.add(write_tree(tmp_path / "in", SAMPLE), limits=ROOMY)
    entries = await artifacts.ls(cid)
    assert [(entry.name, entry.kind, entry.bytes) for entry in entries] == [
        (".hidden", EntryKind.FILE, 1),
        ("B", EntryKind.FILE, 0),
        ("a.txt", EntryKind.FILE, 12),
        ("b", EntryKind.DIRECTORY, 600_002),
        ("empty", EntryKind.DIRECTORY, 0),
    ]
    (big,) = [entry for entry in await artifacts.ls(entries[3].cid) if entry.name == "big"]
    assert (big.kind, big.bytes) == (EntryKind.FILE, 600_000)
    with pytest.raises(LocalError, match="is a file"):
        await artifacts.ls(big.cid)
    assert (await artifacts.stat(cid)).files == 6
