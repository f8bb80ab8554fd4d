from dataclasses import replace

import pytest

from assay_provider.runtime.sandbox import RunLimits, Verdict
from assay_provider.runtime.verdict import Observation, decide

LIMITS = RunLimits(
    memory_bytes=1000,
    cpus=1.0,
    pids_max=2,
    scratch_bytes=300,
    output_bytes=400,
    output_files_max=5,
    wall_seconds=60,
    log_bytes=7,
)
CLEAN = Observation(
    exit_code=0, timed_out=False, oom_kills=0, scratch_full=False, output_full=False
)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.OK),
        ({"exit_code": 1}, Verdict.ERROR),
        ({"exit_code": 137}, Verdict.ERROR),
        ({"exit_code": None}, Verdict.KILLED_BY_OWNER),
        ({"exit_code": None, "timed_out": True}, Verdict.TIMEOUT),
        ({"oom_kills": 1}, Verdict.OUT_OF_MEMORY),
        ({"oom_kills": 1, "exit_code": 137}, Verdict.OUT_OF_MEMORY),
        ({"oom_kills": 1, "exit_code": None, "timed_out": True}, Verdict.OUT_OF_MEMORY),
        ({"scratch_full": True}, Verdict.OK),
        ({"output_full": True}, Verdict.OK),
        ({"scratch_full": True, "exit_code": 1}, Verdict.DISK_FULL),
        ({"output_full": True, "exit_code": 1}, Verdict.OUTPUT_TOO_LARGE),
        ({"scratch_full": True, "exit_code": None, "timed_out": True}, Verdict.TIMEOUT),
    ],
)
def test_the_cause_decides(change: dict[str, object], verdict: Verdict) -> None:
    assert decide(replace(CLEAN, **change), LIMITS).verdict is verdict


def test_reasons_name_the_limit() -> None:
    assert "1000 bytes" in decide(replace(CLEAN, oom_kills=2), LIMITS).detail
    assert "60 s" in decide(replace(CLEAN, exit_code=None, timed_out=True), LIMITS).detail
    assert "300 bytes" in decide(replace(CLEAN, exit_code=1, scratch_full=True), LIMITS).detail
    assert "400 bytes, 5" in decide(replace(CLEAN, exit_code=1, output_full=True), LIMITS).detail


def test_verdicts_are_wire_strings() -> None:
    assert [str(verdict) for verdict in Verdict] == [
        *("ok", "error", "timeout", "out_of_memory", "disk_full", "output_too_large"),
        "killed_by_owner",
    ]
