"""`assay dev`: a market that stays, used through the CLI, and gone without a trace."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def assay(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "assay_node", *arguments),
        env=environment or _clean(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("ASSAY_")}


def _processes_naming(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            text = path.read_bytes() + (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text:
            found.append(path.parent.name)
    return found


async def test_up_submit_logs_down_and_nothing_is_left(tmp_path, job):
    folder = tmp_path / "dev"
    where = ("--dir", str(folder))
    size = ("--providers", "3", "--liars", "0", "--chain-port", "0", "--api-port", "0")
    try:
        code, out, err = await assay("dev", "up", *where, *size, "--json")
        assert code == 0, err
        state = json.loads(out)
        speak = {
            **_clean(),
            "ASSAY_CONFIG": state["config"],
            "ASSAY_HOME": state["home"],
        }
        program = "from pathlib import Path; Path('/output/x').write_text('x')"
        code, out, err = await assay(
            "submit", str(job(program)), "--yes", "--wait", "--json", environment=speak
        )
        assert code == 0, err
        assert json.loads(out)["ended"][0]["state"] == "settled"
        code, out, _ = await assay("dev", "status", *where, "--json")
        assert sum(p["connected"] for p in json.loads(out)["providers"]) == 3
        code, out, _ = await assay("dev", "logs", "scheduler", *where)
        assert "is settled" in out
        code, _, err = await assay("dev", "logs", "nobody", *where)
        assert code == 1
        assert "no log of 'nobody'" in err
        assert _processes_naming(folder)
    finally:
        code, out, _ = await assay("dev", "down", *where)
    assert (code, out.strip()) == (0, "stopped")
    assert _processes_naming(folder) == []
    code, out, _ = await assay("dev", "down", *where)
    assert (code, out.strip()) == (0, "no market is running")
