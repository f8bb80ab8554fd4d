"""The disk's rates past the page cache, and what is no disk. Never how fast."""

import errno
import os
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark import disk
from assay_provider.inventory.benchmark.disk import file_system_of, measure_disk

SIZE = 64 << 20


class Ticking:
    """Each look at this clock is a second later."""

    def __init__(self) -> None:
        self.looks = 0.0

    def __call__(self) -> float:
        self.looks += 1.0
        return self.looks


@pytest.fixture(autouse=True)
def _not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_MEMORY_FILE_SYSTEMS", frozenset[str]())


def test_a_file_is_written_read_and_removed(tmp_path: Path) -> None:
    found = measure_disk(tmp_path, size=SIZE, clock=Ticking())
    # eight windows of one block of 8 MiB, each a second by this clock
    assert found.read_bytes_per_second == found.write_bytes_per_second == 8 << 20
    assert list(tmp_path.iterdir()) == []


def test_without_o_direct_the_cache_is_synced_and_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.open, []

    def refusing(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, mode)

    def fadvise(descriptor: int, offset: int, length: int, advice: int) -> None:
        calls.append(advice)

    monkeypatch.setattr(disk.os, "open", refusing)
    monkeypatch.setattr(disk.os, "posix_fadvise", fadvise)
    found = measure_disk(tmp_path, size=SIZE, clock=Ticking())
    assert "no O_DIRECT" in found.remark
    assert calls == [os.POSIX_FADV_DONTNEED]


def test_a_disk_that_gives_back_something_else_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(disk.os, "pwrite", lambda fd, data, offset: real(fd, data, offset // 2))
    with pytest.raises(LocalError, match="something else than was written"):
        measure_disk(tmp_path, size=SIZE, clock=Ticking())
    assert list(tmp_path.iterdir()) == []


def test_memory_is_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_MEMORY_FILE_SYSTEMS", frozenset({"tmpfs"}))
    monkeypatch.setattr(disk, "file_system_of", lambda _: "tmpfs")
    found = measure_disk(tmp_path, size=SIZE, clock=Ticking())
    assert found.read_bytes_per_second == 0
    assert "is in memory (tmpfs)" in found.remark


def test_a_full_disk_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1 << 20

    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: Usage)
    assert "too little room" in measure_disk(tmp_path, size=SIZE, clock=Ticking()).remark


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises((LocalError, OSError)):
        measure_disk(tmp_path / "absent", size=SIZE, clock=Ticking())


MOUNTS = (
    "/dev/vda / ext4 rw 0 0\n"
    "tmpfs /run tmpfs rw 0 0\n"
    "/dev/vdb /srv/with\\040space xfs rw 0 0\n"
    "overlay /srv overlay rw 0 0\n"
    "broken\n"
)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/eve", "ext4"),
        ("/run/user/0", "tmpfs"),
        ("/runner", "ext4"),
        ("/srv/with space/x", "xfs"),
        ("/srv/x", "overlay"),
    ],
)
def test_the_innermost_mount_counts(tmp_path: Path, place: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert file_system_of(Path(place), mounts) == kind


def test_an_unknown_file_system_is_none(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "absent") == ""
