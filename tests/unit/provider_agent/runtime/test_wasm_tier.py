"""T0 from outside: what it asks of T1 around it, and what it makes of the runner's report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.protocol.units import MIB
from assay_provider.runtime.memory_budget import memory_reserved_bytes
from assay_provider.runtime.sandbox import RunLimits, RunRequest, SandboxUnavailable, Verdict
from assay_provider.runtime.wasm.task import Report
from assay_provider.runtime.wasm_tier import RUNTIME_BYTES, WasmSandbox
from tests.fakes.sandbox import FakeSandbox, a_result

LIMITS = RunLimits(
    memory_bytes=16 * MIB,
    cpus=0.5,
    pids_max=1,
    scratch_bytes=2 * MIB,
    output_bytes=1 * MIB,
    output_files_max=3,
    wall_seconds=5,
    log_bytes=100,
)


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return RunRequest(
        command=("/input/m.wasm", "a b", "é"),
        environment={"B": "2", "A": "x=y"},
        input_directory=tmp_path / "input",
        output_directory=tmp_path / "output",
        limits=LIMITS,
        runtime="wasm",
        tier="t0",
    )


def _reporting(report: object) -> FakeSandbox:
    sandbox = FakeSandbox()

    def write(folder: Path) -> None:
        (folder / "files" / "d").mkdir(parents=True)
        (folder / "files" / "d" / "x").write_text("made")
        (folder / "report.json").write_text(json.dumps(report))

    sandbox.write_output = write
    return sandbox


def _report(**changes: object) -> dict[str, object]:
    report = Report(exit_code=0)
    return {name: getattr(report, name) for name in Report.__slots__} | changes


async def test_the_runner_gets_the_modules_words_and_t1_the_room_for_both(
    request_: RunRequest,
) -> None:
    around = _reporting(_report())
    result = await WasmSandbox(around=around).run(request_, 4)

    assert (result.verdict, result.exit_code) == (Verdict.OK, 0)
    assert [p.name for p in request_.output_directory.rglob("*")] == ["d", "x"]
    ((inner, slot),) = around.requests
    assert (slot, inner.tier, inner.runtime) == (4, "t0", "host-python")
    assert inner.command[-6:] == ("3", "/input/m.wasm", "a b", "é", "B=2", "A=x=y")
    assert dict(inner.environment) == {"PYTHONPATH": "/opt/wasm"}, "the job's stay the module's"
    needed = memory_reserved_bytes(request_.limits) + RUNTIME_BYTES
    assert memory_reserved_bytes(inner.limits) >= needed
    assert not inner.output_directory.exists(), "nothing is left beside the output"


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (_report(exit_code=3), Verdict.ERROR),
        (_report(exit_code=None, timed_out=True), Verdict.TIMEOUT),
        (_report(exit_code=134, memory_refused=1, scratch_full=True), Verdict.OUT_OF_MEMORY),
        (_report(exit_code=1, scratch_full=True), Verdict.DISK_FULL),
        (_report(exit_code=1, output_full=True), Verdict.OUTPUT_TOO_LARGE),
        (_report(output_too_large=True), Verdict.OUTPUT_TOO_LARGE),
        (_report(refused="\x1b[2J too deep"), Verdict.ERROR),
        (_report(scratch_full=True, output_full=True), Verdict.OK),
    ],
)
async def test_the_verdict_is_by_what_was_counted(
    request_: RunRequest, report: dict[str, object], verdict: Verdict
) -> None:
    result = await WasmSandbox(around=_reporting(report)).run(request_, 0)

    assert result.verdict is verdict
    assert result.detail.isprintable()
    assert any(request_.output_directory.iterdir()) is (verdict is Verdict.OK)


@pytest.mark.parametrize(
    "report",
    [
        [],
        {},
        {"exit_code": 0, "more": 1},
        _report(exit_code="0"),
        _report(exit_code=None),
        _report(exit_code=True),
        _report(memory_refused=1.5),
        _report(refused=None),
    ],
)
async def test_a_report_that_is_none_says_nothing_about_the_job(
    request_: RunRequest, report: object
) -> None:
    with pytest.raises(SandboxUnavailable, match="no good report"):
        await WasmSandbox(around=_reporting(report)).run(request_, 0)


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.DISK_FULL, Verdict.OUTPUT_TOO_LARGE])
async def test_a_runner_that_fails_is_the_machines_fault(
    request_: RunRequest, verdict: Verdict
) -> None:
    around = FakeSandbox()
    around.result = a_result(verdict, log_tail=b"panicked\x1b[2J")
    with pytest.raises(SandboxUnavailable, match=r"panicked\\x1b\[2J"):
        await WasmSandbox(around=around).run(request_, 0)


@pytest.mark.parametrize(
    "verdict", [Verdict.TIMEOUT, Verdict.OUT_OF_MEMORY, Verdict.KILLED_BY_OWNER]
)
async def test_what_t1_ends_is_ended(request_: RunRequest, verdict: Verdict) -> None:
    around = FakeSandbox()
    around.result = a_result(verdict)
    assert (await WasmSandbox(around=around).run(request_, 0)).verdict is verdict


@pytest.mark.parametrize(
    "change",
    [
        {"runtime": "host-python"},
        {"command": ()},
        {"command": ("a\0b",)},
        {"environment": {"A=B": ""}},
    ],
)
async def test_what_is_no_module_is_refused(
    request_: RunRequest, change: dict[str, object]
) -> None:
    changed: Callable[..., RunRequest] = replace
    with pytest.raises(LocalError):
        await WasmSandbox(around=FakeSandbox()).run(changed(request_, **change), 0)
