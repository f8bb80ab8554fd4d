import os
from pathlib import Path

import pytest

from assay_provider.runtime.output import (
    DEPTH_MAX,
    OutputLimits,
    OutputRefused,
    OutputTooLarge,
    collect,
)

LIMITS = OutputLimits(bytes_max=1000, files_max=40)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    (tmp_path / "destination").mkdir()
    return tmp_path / "destination"


def _collect(source: Path, destination: Path, limits: OutputLimits = LIMITS) -> None:
    collect(str(source), str(destination), limits)


def test_a_tree_is_copied_whole(source: Path, destination: Path) -> None:
    (source / "a/b").mkdir(parents=True)
    (source / "a/one").write_bytes(b"1" * 900)
    (source / "empty").touch()

    _collect(source, destination)

    assert sorted(str(p.relative_to(destination)) for p in destination.rglob("*")) == [
        *("a", "a/b", "a/one", "empty")
    ]
    assert (destination / "a/one").read_bytes() == b"1" * 900


def test_limits_are_exact(source: Path, destination: Path) -> None:
    (source / "x").write_bytes(bytes(600))
    (source / "y").write_bytes(bytes(400))

    _collect(source, destination, OutputLimits(bytes_max=1000, files_max=2))
    for limits in (
        OutputLimits(bytes_max=999, files_max=2),
        OutputLimits(bytes_max=1000, files_max=1),
    ):
        with pytest.raises(OutputTooLarge):
            _collect(source, destination, limits)


def test_hard_links_and_holes_count_in_full(source: Path, destination: Path) -> None:
    (source / "x").write_bytes(bytes(600))
    os.link(source / "x", source / "y")
    with pytest.raises(OutputTooLarge):
        _collect(source, destination)

    (source / "y").unlink()
    os.truncate(source / "x", 1 << 40)
    with pytest.raises(OutputTooLarge):
        _collect(source, destination)


def test_links_are_refused_wherever_they_point(source: Path, destination: Path) -> None:
    for target in ("/etc/passwd", "x", "missing"):
        (source / "x").touch()
        (source / "link").symlink_to(target)
        with pytest.raises(OutputRefused, match="'link' in /output is a symbolic link"):
            _collect(source, destination)
        (source / "link").unlink()


def test_the_first_reason_by_name_is_given(source: Path, destination: Path) -> None:
    for name in ("m", "z", "b"):
        os.mkfifo(source / name)

    with pytest.raises(OutputRefused, match="'b'"):
        _collect(source, destination)


def test_names_are_shown_escaped_and_cut(source: Path, destination: Path) -> None:
    (source / ("\x1b[2J\n" + "x" * 200)).symlink_to("/")

    with pytest.raises(OutputRefused) as caught:
        _collect(source, destination)

    text = str(caught.value)
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) < 250


def test_depth_is_bounded(source: Path, destination: Path) -> None:
    deepest = source.joinpath(*["d"] * DEPTH_MAX)
    deepest.mkdir(parents=True)
    _collect(source, destination)

    (deepest / "d").mkdir()
    with pytest.raises(OutputRefused, match="deep"):
        _collect(source, destination)


def test_nothing_is_written_when_something_is_refused(source: Path, destination: Path) -> None:
    (source / "a").write_text("fine")
    (source / "b").symlink_to("a")

    with pytest.raises(OutputRefused):
        _collect(source, destination)

    assert list(destination.iterdir()) == []


def test_a_destination_in_use_is_an_error_of_the_provider(source: Path, destination: Path) -> None:
    (source / "a").write_text("new")
    (destination / "a").write_text("old")

    with pytest.raises(FileExistsError):
        _collect(source, destination)

    assert (destination / "a").read_text() == "old"
