"""The unit before systemd itself, and the sandbox in the confinement that it asks for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SELF_TEST = """
import asyncio, os
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.preparation import SandboxSettings

async def main():
    settings = SandboxSettings(instance=f"unit-{os.getpid()}", uid_first=360_000, slots_max=1)
    async with open_sandbox(settings) as sandbox:
        found = await sandbox.self_test()
        for report in found if isinstance(found, tuple) else (found,):
            print(report.tier, *(item.name for item in report.failures), sep=",")

asyncio.run(main())
"""


def printed_unit(tmp_path: Path, *words: str) -> str:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    arguments = ("provider", "install-unit", "--print", "--password-file", str(password), *words)
    done = subprocess.run(
        [sys.executable, "-m", "assay_node", *arguments],
        env={**os.environ, "ASSAY_HOME": str(tmp_path / "my home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze to ask"
)
@pytest.mark.parametrize("words", [(), ("--user",)])
def test_systemd_finds_nothing_wrong(tmp_path: Path, words: tuple[str, ...]) -> None:
    unit = tmp_path / "assay-provider.service"
    unit.write_text(printed_unit(tmp_path, *words))
    done = subprocess.run(
        ["systemd-analyze", *words, "--man=no", "verify", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # it does look: a misspelt line is found
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=mixd"))
    done = subprocess.run(
        ["systemd-analyze", *words, "--man=no", "verify", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "mixd" in done.stderr


def test_without_a_password_file_no_unit_is_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "assay_node", "provider", "install-unit", "--print"],
        env={**os.environ, "ASSAY_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "--password-file" in done.stderr


def confined(unit: str, *command: str) -> list[str]:
    """Return a command with the privileges and mounts that a unit would leave it."""
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    dropped = lines["CapabilityBoundingSet"].removeprefix("~").split()
    assert (lines["ProtectSystem"], lines["NoNewPrivileges"]) == ("full", "yes")
    without = ",".join(f"-{name.removeprefix('CAP_').lower()}" for name in dropped)
    read_only = " && ".join(
        f"mount --bind {place} {place} && mount -o remount,bind,ro {place}"
        for place in ("/usr", "/etc", "/root")
    )
    shell = f'{read_only} && exec "$@"'
    return [
        *("setpriv", "--no-new-privs", "--bounding-set", without, "--inh-caps", without),
        *("unshare", "--mount", "--propagation", "slave", "sh", "-c", shell, "sh", *command),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be confined like this")
@pytest.mark.skipif(
    shutil.which("setpriv") is None or shutil.which("bwrap") is None,
    reason="setpriv or bubblewrap is not installed",
)
def test_the_sandbox_works_as_well_in_the_units_confinement(tmp_path: Path) -> None:
    unit = printed_unit(tmp_path)
    free, shut = (
        subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        for command in (
            [sys.executable, "-c", SELF_TEST],
            confined(unit, sys.executable, "-c", SELF_TEST),
        )
    )
    assert free.returncode == 0, free.stderr
    assert (shut.returncode, shut.stdout) == (0, free.stdout), shut.stderr
