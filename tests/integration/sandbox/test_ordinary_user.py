"""The sandbox of a daemon that is not root: the same walls, with weaker limits, and it says so."""

import asyncio
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import assay_node
import assay_provider

NOBODY = 65_534
SYSTEM_PYTHON = Path("/usr/bin/python3")

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunLimits, RunRequest

async def main(folder):
    limits = RunLimits(memory_bytes=256 << 20, cpus=1, pids_max=16, scratch_bytes=1 << 20,
        output_bytes=1 << 20, output_files_max=4, wall_seconds=60, log_bytes=100)
    settings = SandboxSettings(instance="nobody", staging_point=folder / "staging")
    for name in ("input", "output"):
        (folder / name).mkdir()
    async with open_sandbox(settings) as sandbox:
        (report,) = await sandbox.self_test()
        result = await sandbox.run(RunRequest(
            command=("/bin/sh", "-c", "echo x > /output/x; chmod 0 /output/x; id -u"),
            environment={}, input_directory=folder / "input",
            output_directory=folder / "output", limits=limits, runtime="host-python"), 0)
    print(json.dumps({
        "grade": report.grade, "kept": [i.name for i in report.items if i.enforced],
        "verdict": result.verdict, "log": result.log_tail.decode(),
        "output": (folder / "output" / "x").read_text()}))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.fixture
def folder_of_nobody() -> Iterator[Path]:
    """A folder nobody owns; pytest's own lie below one that only root may enter."""
    folder = Path(tempfile.mkdtemp(prefix="assay-nobody-"))
    os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def _why_not() -> str:
    if os.getuid() != 0:
        return "only root can become another user"
    if not SYSTEM_PYTHON.exists():
        return "no system Python that nobody could start"
    if f"python3.{sys.version_info.minor}" not in str(SYSTEM_PYTHON.resolve()):
        return "the system Python is of another version than the packages"
    return ""


@pytest.mark.skipif(bool(_why_not()), reason=_why_not())
async def test_an_ordinary_users_jobs_are_isolated_and_weaker_limits_are_named(
    folder_of_nobody: Path,
) -> None:
    sources = [Path(str(package.__file__)).parents[1] for package in (assay_node, assay_provider)]
    paths = [sysconfig.get_path("purelib"), *map(str, sources)]
    process = await asyncio.create_subprocess_exec(
        *(str(SYSTEM_PYTHON), "-B", "-c", PROGRAM, str(folder_of_nobody)),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(paths)},
        cwd="/",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    if b"ModuleNotFoundError" in errors:
        pytest.skip("nobody may not enter the folder with the packages")
    assert process.returncode == 0, errors.decode()

    seen = json.loads(out)
    assert seen["grade"] in {"enforced", "weak"}
    assert (seen["verdict"], seen["log"], seen["output"]) == ("ok", "1000\n", "x\n")
    assert "own uid" not in seen["kept"]
    kept = {"start", "processes hidden", "no capabilities", "system-call filter", "no network"}
    kept |= {"read-only system", "wall-clock limit", "scratch limit", "output limit", "python"}
    assert kept <= set(seen["kept"])
