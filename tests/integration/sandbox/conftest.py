"""A real sandbox, shared by the tests of a module: opening one takes a fifth of a second."""

import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.units import MIB
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import RunLimits, RunRequest, RunResult
from assay_provider.runtime.tiers import MissingTier, containers
from tests.integration.sandbox import promises

LIMITS = RunLimits(
    memory_bytes=256 * MIB,
    cpus=1.0,
    pids_max=64,
    scratch_bytes=16 * MIB,
    output_bytes=4 * MIB,
    output_files_max=16,
    wall_seconds=60,
    log_bytes=16 << 10,
)

RunShell = Callable[..., Awaitable[RunResult]]

PROCESSES_SHOWN = {"t1": 3, "t2": 1}
"""Processes that carry a job's command line: at t1 bwrap's monitor and reaper do, too."""


_REPORTS: list[pytest.TestReport] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--promises", action="store_true", help="print which promises each tier of here keeps"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what became of each test: its call, or the set-up that kept it from being called."""
    if report.when == "call" or report.outcome != "passed":
        _REPORTS.append(report)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.getoption("--promises", default=False):
        terminalreporter.write_line(promises.table(_REPORTS))


@pytest.fixture(scope="session", autouse=True)
def _needs_bubblewrap() -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed: no sandbox can be tried here")


@pytest.fixture(scope="session")
def sandbox_settings() -> SandboxSettings:
    """Settings no other test process on this machine shares."""
    return SandboxSettings(
        instance=f"test-{os.getpid()}", uid_first=1_000_000 + os.getpid() % 100_000 * 100
    )


@pytest.fixture(scope="module")
def sandbox(sandbox_settings: SandboxSettings) -> Iterator[BubblewrapSandbox]:
    opened = BubblewrapSandbox(sandbox_settings)
    yield opened
    opened.close()


@pytest.fixture(params=["t1", "t2"])
def tier(request: pytest.FixtureRequest, sandbox: BubblewrapSandbox) -> str:
    """Each tier that runs native programs here."""
    chosen: str = request.param
    if chosen == "t2":
        missing = containers(sandbox)
        if isinstance(missing, MissingTier):
            pytest.skip(f"no t2 here: {missing.why}; {missing.remedy}")
    return chosen


@pytest.fixture
def make_request(tmp_path: Path, tier: str) -> Callable[..., RunRequest]:
    """Build a request around a command, with fresh directories and changed limits."""
    count = 0

    def build(*command: str, env: dict[str, str] | None = None, **limits: float) -> RunRequest:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        for name in ("input", "output"):
            (folder / name).mkdir(parents=True)
        (folder / "input" / "greeting").write_text("hello")
        return RunRequest(
            command=command,
            environment=env or {},
            input_directory=folder / "input",
            output_directory=folder / "output",
            limits=replace(LIMITS, **limits),
            runtime="host-python",
            tier=tier,
        )

    return build


@pytest.fixture
def shell(sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]) -> RunShell:
    """Run a shell script in slot 0."""

    async def run(script: str, **options: float) -> RunResult:
        return await sandbox.run(make_request("/bin/sh", "-c", script, **options), 0)

    return run


@pytest.fixture
def python(sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]) -> RunShell:
    """Run Python code in slot 0."""

    async def run(code: str, **options: float) -> RunResult:
        return await sandbox.run(make_request("python", "-c", code, **options), 0)

    return run


@pytest.fixture
def has_cgroups(sandbox: BubblewrapSandbox) -> None:
    if sandbox.parts.detection.driver is None:
        pytest.skip(f"no writable cgroup here: {sandbox.parts.detection.reasons}")


needs_root = pytest.mark.skipif(
    os.getuid() != 0, reason="only root can give a slot a host uid of its own"
)
