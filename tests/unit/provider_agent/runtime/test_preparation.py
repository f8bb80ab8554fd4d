from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.runtime.preparation import SandboxSettings, find_parts
from assay_provider.runtime.sandbox import SandboxUnavailable


@pytest.mark.parametrize("instance", ["", "a/b", "..", "a b", "ä b", "-"])
def test_instances_that_would_leave_their_folder_are_refused(instance: str) -> None:
    with pytest.raises(LocalError):
        SandboxSettings(instance=instance)


def test_uids_of_people_are_refused() -> None:
    with pytest.raises(LocalError, match="uid_first"):
        SandboxSettings(instance="a", uid_first=1000)


def test_a_staging_point_others_may_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (shared, tmp_path / "link"):
        settings = SandboxSettings(
            instance="a", staging_point=path, bubblewrap=Path("/usr/bin/bwrap")
        )
        with pytest.raises(SandboxUnavailable, match="staging_point"):
            find_parts(settings)


def test_a_missing_bubblewrap_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(SandboxUnavailable, match="install the package bubblewrap"):
        find_parts(SandboxSettings(instance="a"))
