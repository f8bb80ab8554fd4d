"""Files in memory: paths that stay inside, quotas to the byte, and an order that is everywhere."""

from pathlib import Path

import pytest

from assay_provider.runtime.wasm.errno import Errno, WasiError
from assay_provider.runtime.wasm.file_tree import (
    DEPTH_MAX,
    InputEntry,
    MemoryDirectory,
    MemoryFile,
    MemoryTree,
    Quota,
    files_below,
    resolve,
)


def _root(size: int = 100, entries: int = 10) -> MemoryDirectory:
    return MemoryTree(device=2, quota=Quota(bytes_left=size, entries_left=entries)).root()


def _file(directory: MemoryDirectory, name: str, size: int = 0) -> MemoryFile:
    made = directory.make_file(name, 0)
    made.write(0, b"x" * size, 0)
    return made


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        (b"", Errno.NOENT),
        (b"/a", Errno.NOTCAPABLE),
        (b"..", Errno.NOTCAPABLE),
        (b"d/../..", Errno.NOTCAPABLE),
        (b"d/../../x", Errno.NOTCAPABLE),
        (b"f/..", Errno.NOTDIR),
        (b"f/x", Errno.NOTDIR),
        (b"f/", Errno.NOTDIR),
        (b"none/x", Errno.NOENT),
        (b"none", Errno.NOENT),
        (b"\xff", Errno.ILSEQ),
        (b"a\0b", Errno.INVAL),
        (b"n" * 256, Errno.NAMETOOLONG),
        (b"d/" * 2049, Errno.NAMETOOLONG),
    ],
)
def test_paths_that_lead_nowhere_say_why(path: bytes, errno: Errno) -> None:
    root = _root()
    root.make_directory("d", 0)
    _file(root, "f")
    with pytest.raises(WasiError) as caught:
        resolve(root, path).node()
    assert caught.value.errno is errno


@pytest.mark.parametrize("path", [b"d", b"./d/", b"d/.", b"d/e/..", b"d/e/../../d", b"d//"])
def test_paths_may_turn_around_inside(path: bytes) -> None:
    root = _root()
    root.make_directory("d", 0)
    inner = root.child("d")
    assert isinstance(inner, MemoryDirectory)
    inner.make_directory("e", 0)
    assert resolve(root, path).node() is inner


def test_bytes_and_entries_are_counted_and_come_back() -> None:
    root = _root(size=10, entries=2)
    quota = root.tree.quota
    made = _file(root, "a", 10)
    assert not quota.full
    with pytest.raises(WasiError, match="NOSPC"):
        made.write(5, b"123456", 0)
    assert bytes(made.data) == b"x" * 10, "a write is done whole or not at all"
    made.resize(4, 0)
    made.write(6, b"yz", 0)
    assert bytes(made.data) == b"xxxx\0\0yz"
    root.make_directory("d", 0)
    with pytest.raises(WasiError, match="NOSPC"):
        root.make_file("b", 0)
    root.remove_directory("d", 0)
    root.remove_file("a", 0)
    assert (quota.bytes_left, quota.entries_left, quota.full) == (10, 2, True)


def test_an_open_file_outlives_its_name() -> None:
    root = _root(size=10)
    made = _file(root, "a", 8)
    made.opened += 1
    root.remove_file("a", 0)
    assert (made.read(0, 8), root.tree.quota.bytes_left) == (b"x" * 8, 2)
    made.close()
    assert root.tree.quota.bytes_left == 10


def test_moving_replaces_its_like_and_never_loops() -> None:
    root = _root()
    for name in ("d", "e"):
        root.make_directory(name, 0)
    d, e = root.child("d"), root.child("e")
    assert isinstance(d, MemoryDirectory)
    assert isinstance(e, MemoryDirectory)
    first = _file(root, "a", 3)
    _file(d, "b", 5)
    root.move("a", d, "b", 7)
    assert (d.child("b"), root.tree.quota.bytes_left) == (first, 97)
    for name, target, target_name, errno in (
        ("d", d, "x", "INVAL"),
        ("none", d, "x", "NOENT"),
        ("e", d, "b", "NOTDIR"),
    ):
        with pytest.raises(WasiError, match=errno):
            root.move(name, target, target_name, 0)
    with pytest.raises(WasiError, match="ISDIR"):
        d.move("b", root, "e", 0)
    with pytest.raises(WasiError, match="NOTEMPTY"):
        root.move("e", root, "d", 0)
    with pytest.raises(WasiError, match="XDEV"):
        root.move("d", _root(), "d", 0)
    root.move("d", e, "d", 0)
    assert [path for path, _ in files_below(root)] == ["e", "e/d", "e/d/b"]
    assert d.parent is e


def test_directories_cannot_go_on_for_ever() -> None:
    directory = _root(entries=200)
    for _ in range(DEPTH_MAX):
        directory.make_directory("d", 0)
        below = directory.child("d")
        assert isinstance(below, MemoryDirectory)
        directory = below
    with pytest.raises(WasiError, match="NAMETOOLONG"):
        directory.make_directory("d", 0)


def test_nothing_is_put_into_a_directory_that_is_gone() -> None:
    root = _root()
    root.make_directory("d", 0)
    gone = root.child("d")
    assert isinstance(gone, MemoryDirectory)
    root.remove_directory("d", 0)
    with pytest.raises(WasiError, match="NOENT"):
        gone.make_file("x", 0)
    _file(root, "a")
    with pytest.raises(WasiError, match="NOENT"):
        root.move("a", gone, "a", 0)


def test_input_has_the_same_order_and_numbers_wherever_it_lies(tmp_path: Path) -> None:
    seen = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        (folder / "d").mkdir(parents=True)
        for name in ("b", "B", "a", "d/é") if folder.name == "one" else ("d/é", "a", "B", "b"):
            (folder / name).write_bytes(b"12")
        top = InputEntry(path=str(folder), relative="", is_directory=True, size=0)
        below = top.child("d")
        assert isinstance(below, InputEntry)
        seen.append([(n, e.inode) for n, e in [*top.names(), *below.names()]])
    assert seen[0] == seen[1]
    assert [name for name, _ in seen[0]] == ["B", "a", "b", "d", "é"]
    assert len({number for _, number in seen[0]}) == 5


def test_of_input_only_files_and_directories_exist(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    top = InputEntry(path=str(tmp_path), relative="", is_directory=True, size=0)
    with pytest.raises(WasiError, match="NOENT"):
        top.child("link")
