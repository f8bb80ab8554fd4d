"""What is found in the files of a daemon that is gone, and what is made of it."""

import json
import logging
import os
from pathlib import Path

import pytest

from assay_provider.claims import UidRange
from assay_provider.runtime import leftovers
from assay_provider.runtime.leftovers import Leftover, Territory, find, sweep


def territory(home: Path) -> Territory:
    return Territory(uids=None, folders=(home / "environments",), work_directory=home / "work")


def test_nothing_is_left_by_nobody(tmp_path: Path) -> None:
    assert find(territory(tmp_path)) == ()
    assert sweep(territory(tmp_path)) == ()
    work = tmp_path / "work"
    assert work.is_dir()
    assert work.stat().st_mode & 0o777 == 0o700


def test_runs_that_were_under_way_are_found_and_removed(tmp_path: Path) -> None:
    run = tmp_path / "work" / "tmpabc"
    (run / "input").mkdir(parents=True)
    (run / "input" / "data").write_text("x")
    (run / "sealed").mkdir()
    (run / "sealed").chmod(0)
    expected = (Leftover(kind="run directory", what="tmpabc"),)
    assert find(territory(tmp_path)) == expected
    assert find(territory(tmp_path)) == expected, "looking changes nothing"
    assert sweep(territory(tmp_path)) == expected
    assert find(territory(tmp_path)) == ()


def test_a_work_directory_that_is_something_else_is_replaced_and_not_followed(
    tmp_path: Path,
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    work = tmp_path / "work"
    work.symlink_to(precious)
    leftovers.empty_directory(work)
    assert (precious / "file").exists()
    assert work.is_dir()
    assert not work.is_symlink()
    work.rmdir()
    work.write_text("a file")
    leftovers.empty_directory(work)
    assert work.is_dir()


def test_a_report_is_kept_and_read_back(tmp_path: Path) -> None:
    assert leftovers.read_report(tmp_path) is None
    found = [Leftover(kind="mount", what="/x", trouble="busy")]
    leftovers.write_report(tmp_path, found)
    report = leftovers.read_report(tmp_path)
    assert report is not None
    assert report["found"] == [{"kind": "mount", "what": "/x", "trouble": "busy"}]
    assert list(tmp_path.iterdir()) == [tmp_path / leftovers.REPORT_FILE]
    for damage in ("", "[]", "{"):
        (tmp_path / leftovers.REPORT_FILE).write_text(damage)
        assert leftovers.read_report(tmp_path) is None


def test_what_was_found_is_told_by_kind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    leftovers.tell([Leftover(kind="process", what=f"{n} (sh)") for n in range(30)])
    leftovers.tell([Leftover(kind="mount", what="/x", trouble="device busy")])
    leftovers.tell([])
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert texts[0].startswith("removed what a killed daemon left: 30 process (0 (sh), 1 (sh)")
    assert texts[2] == "mount /x could not be removed: device busy"


def test_ids_of_accounts_and_of_their_containers_are_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        leftovers, "_subordinate_ids", lambda: iter([("anna", 100_000, 65_536), ("odd", 5, 0)])
    )
    assert leftovers.strangers_ids(UidRange(first=os.getuid(), last=os.getuid())) is not None
    assert "containers of anna" in str(
        leftovers.strangers_ids(UidRange(first=165_535, last=170_000))
    )
    assert leftovers.strangers_ids(UidRange(first=165_536, last=170_000)) is None


def test_the_subordinate_ids_of_this_machine_can_be_read() -> None:
    assert all(count >= 0 for _, _, count in leftovers._subordinate_ids())


def test_places_with_spaces_are_read_from_the_mount_table() -> None:
    assert leftovers._unescaped("/a\\040b\\011c\\134d") == "/a b\tc\\d"
    assert any(str(point) == "/" for _, point in leftovers._mount_table())


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    leftovers.write_report(tmp_path, ())
    assert set(json.loads((tmp_path / leftovers.REPORT_FILE).read_text())) == {"at", "found"}
