"""Unpacking writes what the layer says, below one directory, and nothing anywhere else."""

import io
import os
import stat
from pathlib import Path

import pytest

from assay_node.protocol.errors import MalformedMessage
from assay_provider.environments.layer_tar import LayerSize
from assay_provider.environments.unpacking import unpack
from tests.builders.layers import LIMITS, file, folder, layer_bytes, link, whiteout
from tests.unit.provider_agent.environments.test_layer_tar import EVERYTHING, HOSTILE


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def unpack_into(target: Path, data: bytes, limits: LayerSize = LIMITS) -> LayerSize:
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    before = open_descriptors()
    try:
        return unpack(io.BytesIO(data), descriptor, limits)
    finally:
        assert open_descriptors() == before, "a directory stays open"
        os.close(descriptor)


def test_a_layer_becomes_files(tmp_path: Path) -> None:
    size = unpack_into(tmp_path / "root", layer_bytes(*EVERYTHING))
    assert size == LayerSize(unpacked_bytes=610, files=len(EVERYTHING))
    root = tmp_path / "root"
    tool = root / "usr" / "bin" / "tool"
    assert tool.read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE(tool.stat().st_mode) == 0o755
    assert (root / "bin").readlink() == Path("usr/bin")
    gone = (root / "usr" / "gone").lstat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0, "a whiteout: the device that leads nowhere"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_layer_leaves_nothing_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("untouched")
    with pytest.raises(MalformedMessage):
        unpack_into(tmp_path / "root", HOSTILE[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]
    assert (tmp_path / "outside").read_text() == "untouched"
    for path in (tmp_path / "root").rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
        assert not mode & (stat.S_ISUID | stat.S_ISGID)


@pytest.mark.parametrize(
    "entries",
    [
        [whiteout("same"), file("same")],
        [file("-x"), whiteout("-x")],
        [whiteout("d"), folder("d"), file("d/x")],
    ],
    ids=["file", "file before", "folder"],
)
def test_a_name_is_there_or_hidden_not_both(tmp_path: Path, entries: list) -> None:
    with pytest.raises(MalformedMessage, match="there twice"):
        unpack_into(tmp_path / "root", layer_bytes(*entries))


def test_what_exists_is_never_written_through(tmp_path: Path) -> None:
    """Even if somebody got a link into the place first: names are created, never opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "root"
    target.mkdir()
    (target / "etc").symlink_to(outside)
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for data in (layer_bytes(folder("etc"), file("etc/x", b"1")), layer_bytes(file("etc"))):
            with pytest.raises(MalformedMessage, match="there twice"):
                unpack(io.BytesIO(data), descriptor, LIMITS)
    finally:
        os.close(descriptor)
    assert not any(outside.iterdir())


def test_a_link_is_made_as_it_is_written(tmp_path: Path) -> None:
    unpack_into(tmp_path / "root", layer_bytes(folder("a"), link("a/b", "../missing")))
    assert (tmp_path / "root" / "a" / "b").readlink() == Path("../missing")
