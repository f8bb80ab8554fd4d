"""The systemd unit: what it says, and what cannot be said in one."""

from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.owner.unit_file import MARK, UnitPlan, install_unit, unit_path, unit_text


@pytest.fixture
def plan(tmp_path: Path) -> UnitPlan:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    return UnitPlan(
        command=("/opt/assay/bin/python", "-m", "assay_node", "provider", "run"),
        password_file=password,
        writable=(Path("/srv/assay"), Path("/root/.cache/exact-torch")),
        environment={"ASSAY_HOME": "/srv/assay"},
    )


def test_a_crash_restarts_it_and_a_stop_leaves_it_time(plan: UnitPlan) -> None:
    lines = unit_text(plan).splitlines()
    assert lines[0] == MARK.strip()
    for line in (
        'ExecStart="/opt/assay/bin/python" "-m" "assay_node" "provider" "run"',
        "Restart=on-failure",
        "KillMode=mixed",
        "TimeoutStopSec=60",
        "Delegate=yes",
        "OOMPolicy=continue",
        'ReadWritePaths="-/srv/assay"',
        "WantedBy=multi-user.target",
        f'LoadCredential="password:{plan.password_file}"',
        'Environment="ASSAY_PASSWORD_FILE=%d/password"',
        "LimitCORE=0",
    ):
        assert line in lines
    assert "correct horse" not in unit_text(plan)


@pytest.mark.parametrize(
    "taken_away",
    [
        "ProtectControlGroups", "PrivateDevices", "ProtectClock", "ProtectKernelTunables",
        "ProtectKernelLogs", "ProtectProc", "ProtectHostname", "RestrictNamespaces",
        "SystemCallFilter", "MemoryDenyWriteExecute", "CAP_SYS_ADMIN", "CAP_MKNOD",
    ],
)  # fmt: skip
def test_nothing_is_taken_from_the_sandbox(plan: UnitPlan, taken_away: str) -> None:
    assert taken_away not in unit_text(plan)


def test_a_users_unit_has_what_a_users_manager_can_do(plan: UnitPlan) -> None:
    text = unit_text(replace(plan, for_user=True))
    assert "WantedBy=default.target" in text
    for root_only in ("User=", "ProtectSystem", "CapabilityBoundingSet", "network-online"):
        assert root_only not in text


def test_odd_paths_are_quoted_or_refused(plan: UnitPlan, tmp_path: Path) -> None:
    odd = replace(
        plan,
        command=("/opt/my python/100%/$x", '-"m"', "back\\slash"),
        environment={"ASSAY_HOME": "/srv/100% mine"},
        writable=(Path("/srv/100% mine"),),
    )
    text = unit_text(odd)
    assert r'ExecStart="/opt/my python/100%%/$$x" "-\"m\"" "back\\slash"' in text
    assert 'Environment="ASSAY_HOME=/srv/100%% mine"' in text
    assert 'ReadWritePaths="-/srv/100%% mine"' in text
    for bad in (
        replace(plan, command=("a\nExecStartPre=/bin/evil",)),
        replace(plan, environment={"ASSAY_HOME": "a\nb"}),
        replace(plan, writable=(Path('/srv/"x"'),)),
        replace(plan, writable=(Path("relative"),)),
    ):
        with pytest.raises(LocalError, match="cannot be"):
            unit_text(bad)


def test_a_password_that_others_can_read_is_refused(plan: UnitPlan) -> None:
    plan.password_file.chmod(0o644)
    with pytest.raises(LocalError, match="chmod 600"):
        unit_text(plan)


def test_a_unit_is_written_once_and_never_over_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "systemd" / "assay-provider.service"
    assert install_unit(path, MARK + "one")
    assert not install_unit(path, MARK + "one")
    assert install_unit(path, MARK + "two")
    assert path.read_text() == MARK + "two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    path.write_text("[Service]\n")
    with pytest.raises(LocalError, match="written by somebody else"):
        install_unit(path, MARK + "three")
    assert path.read_text() == "[Service]\n"
    with pytest.raises(LocalError, match="with --user, or use --print"):
        install_unit(Path("/proc/nowhere/x.service"), MARK)


def test_where_systemd_looks() -> None:
    assert unit_path(for_user=False, home=Path("/h")) == Path(
        "/etc/systemd/system/assay-provider.service"
    )
    assert unit_path(for_user=True, home=Path("/h")) == Path(
        "/h/.config/systemd/user/assay-provider.service"
    )
