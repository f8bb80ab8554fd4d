"""What people see of environments: in status, and before a provider is started."""

from pathlib import Path

from assay_node.cli.machine_checks import environments
from assay_node.cli.provider_view import environments_line
from assay_node.settings import Settings
from assay_provider.environments import availability
from assay_provider.environments.availability import CACHE_FOLDER, EnvironmentSupport
from assay_provider.environments.cache import LayerCache
from tests.unit.provider_agent.environments.test_cache import add


def test_before_the_first_start_nothing_is_known(tmp_path: Path) -> None:
    assert availability.read_status(tmp_path, quota_bytes=100) is None


def test_status_says_what_is_kept(tmp_path: Path) -> None:
    availability.write_status(tmp_path, EnvironmentSupport(served=True))
    add(LayerCache(tmp_path / CACHE_FOLDER, quota_bytes=100), b"image")
    found = availability.read_status(tmp_path, quota_bytes=1 << 20)
    assert found is not None
    assert environments_line(found) == (
        "environments: any by CID, 1 layer(s) kept in 5 B of 1 MiB; host-python for development"
    )


def test_status_says_why_none_are_served(tmp_path: Path) -> None:
    remark = "mksquashfs is not installed; install the package squashfs-tools"
    availability.write_status(tmp_path, EnvironmentSupport(served=False, remark=remark))
    found = availability.read_status(tmp_path, quota_bytes=100)
    assert found is not None
    shown = environments_line(found)
    assert shown == f"environments: host-python only, for development ({remark})"


async def test_the_doctor_looks_for_what_packs_layers(monkeypatch) -> None:
    (found,) = await environments(Settings())
    assert found.name == "environments"
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    (missing,) = await environments(Settings())
    assert (missing.ok, missing.required) == (False, False)
    assert "squashfs-tools" in missing.remedy
