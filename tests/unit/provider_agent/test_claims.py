"""One daemon a home, one a range of user ids; what a dead one held is free."""

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.claims import UidRange, hold_home, hold_uids, home_is_held

Hold = Callable[[int, int], None]


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "uids"
    folder.parent.mkdir()
    return folder


def test_a_home_has_one_daemon(tmp_path: Path) -> None:
    assert not home_is_held(tmp_path)
    with hold_home(tmp_path):
        assert home_is_held(tmp_path)
        here = rf"process {os.getpid()}, home '{tmp_path}'.*set provider\.home"
        with pytest.raises(LocalError, match=here), hold_home(tmp_path):
            pass
        assert home_is_held(tmp_path), "the refused one took nothing away"
    assert not home_is_held(tmp_path)
    with hold_home(tmp_path):
        pass


@pytest.mark.parametrize(
    ("first", "last", "free"),
    [
        (300_000, 300_003, False),
        (300_003, 300_010, False),
        (299_990, 300_000, False),
        (300_001, 300_001, False),
        (299_000, 301_000, False),
        (300_004, 300_004, True),
        (299_998, 299_999, True),
    ],
)
def test_ranges_of_user_ids_do_not_overlap(
    registry: Path, tmp_path: Path, first: int, last: int, free: bool
) -> None:
    with hold_uids(UidRange(first=300_000, last=300_003), tmp_path / "one", registry):
        wanted = UidRange(first=first, last=last)
        if free:
            with hold_uids(wanted, tmp_path / "two", registry):
                assert len([p for p in registry.iterdir() if "-" in p.name]) == 2
            return
        told = rf"{first} to {last} are not free: .*one'\) has 300000 to 300003; set provider\.uid"
        with pytest.raises(LocalError, match=told), ExitStack() as stack:
            stack.enter_context(hold_uids(wanted, tmp_path / "two", registry))
    with hold_uids(UidRange(first=first, last=last), tmp_path / "two", registry):
        pass


def test_what_a_killed_daemon_held_is_free(registry: Path, tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with hold_uids(UidRange(first=70_000, last=70_009), tmp_path, registry):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert (registry / "70000-70009").exists()
    with hold_uids(UidRange(first=70_005, last=70_005), tmp_path, registry):
        assert not (registry / "70000-70009").exists()


def test_a_holder_whose_words_are_lost_is_respected_all_the_same(
    registry: Path, tmp_path: Path
) -> None:
    registry.mkdir()
    path = registry / "5-9"
    for words in ("", "no json", json.dumps({"pid": "x"})):
        path.write_text(words)
        with path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with (
                pytest.raises(LocalError, match="a provider has 5 to 9"),
                hold_uids(UidRange(first=9, last=10), tmp_path, registry),
            ):
                pass


def test_a_registry_that_others_may_write_is_refused(registry: Path, tmp_path: Path) -> None:
    registry.mkdir()
    registry.chmod(0o777)
    with (
        pytest.raises(LocalError, match="only this user may write"),
        hold_uids(UidRange(first=1, last=2), tmp_path, registry),
    ):
        pass
