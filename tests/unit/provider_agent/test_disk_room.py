"""Whether there is room for another job, told in words."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from assay_provider import disk_room
from assay_provider.disk_room import DiskRoom, wait_for_room


def status(**changes: int) -> SimpleNamespace:
    fields = {"f_bavail": 1000, "f_frsize": 4096, "f_files": 50, "f_favail": 5}
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize(
    ("seen", "shortage"),
    [
        (status(), None),
        (status(f_bavail=9), "this provider has 36 KiB of disk left and takes no new jobs"),
        (status(f_favail=0), "no room for more files"),
        (status(f_favail=0, f_files=0), None),  # file systems without such a limit say 0 of 0
    ],
)
def test_a_shortage_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: SimpleNamespace, shortage: str | None
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: seen)
    told = DiskRoom(folders=(tmp_path / "later" / "still",), free_bytes_min=40_000).shortage()
    if shortage is None:
        assert told is None
    else:
        assert shortage in (told or "")


def test_the_fullest_of_several_disks_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.setattr(os, "statvfs", lambda path: status(f_bavail=9 if path == two else 900))
    assert DiskRoom(folders=(one, two), free_bytes_min=40_000).shortage() is not None
    assert DiskRoom(folders=(one,), free_bytes_min=40_000).shortage() is None
    assert DiskRoom(folders=(one, two)).free_bytes() == 9 * 4096
    assert DiskRoom().free_bytes() is None


async def test_a_start_waits_until_there_is_room_or_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk_room, "WAIT_S", 0.001)
    looks = iter([0, 0, 0, 1 << 30])
    monkeypatch.setattr(os, "statvfs", lambda _: status(f_bavail=next(looks), f_frsize=1))
    assert await wait_for_room(DiskRoom(folders=(tmp_path,)), asyncio.Event())
    assert sum("waiting until" in record.getMessage() for record in caplog.records) == 1
    monkeypatch.setattr(os, "statvfs", lambda _: status(f_bavail=0))
    stop = asyncio.Event()
    stop.set()
    assert not await wait_for_room(DiskRoom(folders=(tmp_path,)), stop)
