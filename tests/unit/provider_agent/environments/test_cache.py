"""The cache of layers: a quota, nothing half-written, damage noticed, nothing dropped in use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay_node.protocol.environment import EnvironmentLayer
from assay_node.protocol.errors import LocalError
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.packing import PackedLayer
from tests.builders.layers import a_layer, sha256


def a_cache(folder: Path, quota_bytes: int = 100) -> LayerCache:
    return LayerCache(folder / "cache", quota_bytes=quota_bytes)


def add(cache: LayerCache, content: bytes) -> EnvironmentLayer:
    """Let a cache adopt an image that stands for a layer."""
    layer = a_layer(content)
    with cache.workplace(0) as folder:
        image = folder / "image"
        image.write_bytes(content)
        packed = PackedLayer(path=image, sha256=sha256(content), bytes=len(content))
        cache.adopt(layer, packed)
    return layer


def kept(cache: LayerCache) -> set[str]:
    return {layer.cid for layer in cache.layers()}


def test_what_is_adopted_is_taken(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    layer = add(cache, b"image")
    image = cache.take(layer.cid)
    assert image is not None
    assert image.read_bytes() == b"image"
    (known,) = cache.layers()
    assert (known.cid, known.bytes, known.tar_bytes) == (layer.cid, 5, layer.tar_bytes)
    cache.release(layer.cid)
    assert cache.take(a_layer(b"another").cid) is None
    assert not any((tmp_path / "cache" / "work").iterdir())


def test_another_daemon_reads_it_all_before_it_is_used(tmp_path: Path) -> None:
    layer = add(a_cache(tmp_path), b"image")
    cache = a_cache(tmp_path)
    assert cache.take(layer.cid) is not None
    cache.release(layer.cid)


@pytest.mark.parametrize("damage", [b"imagE", b"imag", b""])
def test_a_damaged_image_is_noticed_and_removed(tmp_path: Path, damage: bytes) -> None:
    layer = add(a_cache(tmp_path), b"image")
    image = tmp_path / "cache" / "layers" / layer.cid / "image"
    image.write_bytes(damage)
    cache = a_cache(tmp_path)
    assert cache.take(layer.cid) is None
    assert not kept(cache)
    add(cache, b"image")
    assert cache.take(layer.cid) is not None
    cache.release(layer.cid)


def test_a_change_after_the_first_use_is_noticed(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    layer = add(cache, b"image")
    image = cache.take(layer.cid)
    assert image is not None
    cache.release(layer.cid)
    image.write_bytes(b"imagE")
    os.utime(image, ns=(1, 1))
    assert cache.take(layer.cid) is None


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"sha256": 5}', "\x00"])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, record: str) -> None:
    layer = add(a_cache(tmp_path), b"image")
    (tmp_path / "cache" / "layers" / layer.cid / "record").write_text(record)
    cache = a_cache(tmp_path)
    assert cache.layers() == ()
    assert cache.take(layer.cid) is None
    add(cache, b"image")
    assert kept(cache) == {layer.cid}


def test_the_layer_unused_for_longest_makes_room(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    one, two, three = (add(cache, letter * 30) for letter in (b"1", b"2", b"3"))
    for layer, used in ((one, 300), (two, 100), (three, 200)):
        os.utime(tmp_path / "cache" / "layers" / layer.cid, (used, used))
    four = add(cache, b"4" * 30)
    assert kept(cache) == {one.cid, three.cid, four.cid}


def test_taking_counts_as_use(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    one, two = add(cache, b"1" * 40), add(cache, b"2" * 40)
    for layer, used in ((one, 100), (two, 200)):
        os.utime(tmp_path / "cache" / "layers" / layer.cid, (used, used))
    cache.take(one.cid)
    cache.release(one.cid)
    add(cache, b"3" * 40)
    assert one.cid in kept(cache)
    assert two.cid not in kept(cache)


def test_a_layer_in_use_is_never_dropped(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    one = add(cache, b"1" * 60)
    image = cache.take(one.cid)
    cache.take(one.cid)
    cache.release(one.cid)  # one of two jobs has ended
    with pytest.raises(LocalError, match="layers in use take 60 B of"):
        add(cache, b"2" * 60)
    assert image is not None
    assert image.exists()
    assert cache.drop_unused() == ()
    cache.release(one.cid)
    two = add(cache, b"2" * 60)
    assert kept(cache) == {two.cid}


def test_a_layer_larger_than_the_quota_drops_nothing_in_vain(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    layer = add(cache, b"image")
    with pytest.raises(LocalError, match="does not fit"):
        add(cache, b"x" * 101)
    assert kept(cache) == {layer.cid}
    assert not any((tmp_path / "cache" / "work").iterdir())


def test_pruning_respects_another_process(tmp_path: Path) -> None:
    daemon, command = a_cache(tmp_path), a_cache(tmp_path)
    held, free = add(daemon, b"held"), add(daemon, b"free")
    daemon.take(held.cid)
    assert [layer.cid for layer in command.drop_unused()] == [free.cid]
    daemon.release(held.cid)
    assert [layer.cid for layer in command.drop_unused([held.cid])] == [held.cid]
    assert daemon.take(held.cid) is None


def test_a_daemon_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    layer = add(a_cache(tmp_path), b"image")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from assay_provider.environments.cache import LayerCache\n"
        f"assert LayerCache(Path({str(tmp_path / 'cache')!r}), quota_bytes=9).take({layer.cid!r})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9
    assert [gone.cid for gone in a_cache(tmp_path).drop_unused()] == [layer.cid]


def test_what_was_unfinished_is_swept(tmp_path: Path) -> None:
    cache = a_cache(tmp_path)
    layer = add(cache, b"image")
    for name in ("tree", "finished"):
        half = tmp_path / "cache" / "work" / name / "deep"
        half.mkdir(parents=True)
        (half / "image").write_bytes(b"ima")
    again = a_cache(tmp_path)
    assert kept(again) == {layer.cid}
    assert again.sweep() == 2
    assert not any((tmp_path / "cache" / "work").iterdir())
    assert again.sweep() == 0


CRASH_POINTS = ("os.fsync", "pathlib.Path.rename", "json.dumps")


@pytest.mark.parametrize("call", CRASH_POINTS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_crash_leaves_a_layer_whole_or_not_there(tmp_path: Path, call: str, number: int) -> None:
    """Kill the process at each step of adopting; the next one finds all of it, or nothing."""
    module, _, name = call.rpartition(".")
    code = f"""
import os, pathlib, sys
sys.path[:0] = {[str(path) for path in sys.path]!r}
import json
from tests.unit.provider_agent.environments.test_cache import a_cache, add
cache = a_cache(pathlib.Path({str(tmp_path)!r}))
original, calls = {module}.{name}, []
def dying(*args, **kwargs):
    calls.append(1)
    if len(calls) == {number}:
        os.kill(os.getpid(), 9)
    return original(*args, **kwargs)
{module}.{name} = dying
add(cache, b"image")
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode in (-9, 0), ended.stderr.decode()
    cache = a_cache(tmp_path)
    cache.sweep()
    layer = a_layer(b"image")
    folder = tmp_path / "cache" / "layers" / layer.cid
    if folder.exists():
        assert json.loads((folder / "record").read_text())["sha256"] == sha256(b"image")
        assert cache.take(layer.cid) is not None
        cache.release(layer.cid)
    else:
        assert cache.take(layer.cid) is None
        add(cache, b"image")
    assert kept(cache) == {layer.cid}


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = a_cache(tmp_path)
    full = os.statvfs_result((4096, 4096, 10**6, 1000, 1000, 10, 10, 10, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _: full)
    with pytest.raises(LocalError, match="make room"), cache.workplace(1 << 20):
        raise AssertionError("no place is given")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LocalError, match="cannot be kept"):
        a_cache(tmp_path)
