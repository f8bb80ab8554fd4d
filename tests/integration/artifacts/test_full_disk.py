"""A store whose disk is full says so, changes nothing, and works again when there is room."""

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.artifacts.catalog import Catalog, Pin
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid
from tests.integration.artifacts.trees import ROOMY, noise, write_tree


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system to fill up")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast


async def pin_often(store: EmbeddedArtifacts, cid: Cid) -> None:
    """Pin more than what SQLite's log has room for yet."""
    for number in range(5_000):
        await store.pin(cid, owner=f"{number}-{'x' * 200}")


async def test_a_full_disk_fails_what_is_asked_and_breaks_nothing(
    settings: ArtifactSettings, disk: Path, tmp_path: Path
) -> None:
    small = write_tree(tmp_path / "small", {"a": b"kept"})
    large = write_tree(tmp_path / "large", {"b": noise(1 << 20)})
    async with open_artifacts(replace(settings, root=disk / "store"), None) as store:
        kept = await store.add(small, limits=ROOMY)
        await store.pin(kept, owner="before")
        used = (await store.usage()).used_bytes
        ballast = fill(disk)

        with pytest.raises((LocalError, OSError), match=r"full|No space left"):
            await store.add(large, limits=ROOMY)
        with pytest.raises(LocalError, match="catalog failed: database or disk is full"):
            await pin_often(store, kept)
        assert (await store.usage()).used_bytes == used
        assert not list((disk / "store" / "partial").iterdir())

        ballast.unlink()
        await store.unpin(owner="before")
        added = await store.add(large, limits=ROOMY)
        await store.pin(added, owner="after")
        assert await store.has(added)
        assert await store.has(kept)


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    """After an error of its disk SQLite may leave the transaction to whoever began it."""
    catalog = Catalog(tmp_path)
    deny = [sqlite3.SQLITE_DENY]

    def authorize(action: int, operation: str | None, *_: object) -> int:
        return deny[0] if (action, operation) == (sqlite3.SQLITE_TRANSACTION, "COMMIT") else 0

    catalog._connection.set_authorizer(authorize)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        catalog.pin(Pin(owner="x", cid=Cid("bafy"), bytes=1))
    deny[0] = sqlite3.SQLITE_OK
    assert catalog.pins() == ()
    catalog.pin(Pin(owner="y", cid=Cid("bafy"), bytes=1))
    assert [pin.owner for pin in catalog.pins()] == ["y"]
    catalog.close()
