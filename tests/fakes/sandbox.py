"""A sandbox that runs nothing: each job's outcome is written down beforehand."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from assay_provider.runtime.sandbox import (
    Grade,
    RunRequest,
    RunResult,
    SelfTestItem,
    SelfTestReport,
    Verdict,
)


def a_result(verdict: Verdict = Verdict.OK, **changes: object) -> RunResult:
    """Return a plain result."""
    fields: dict[str, object] = {
        "verdict": verdict,
        "exit_code": 0 if verdict is Verdict.OK else 1,
        "detail": f"the run ended with {verdict.value}",
        "wall_seconds": 1.2,
        "cpu_seconds": 0.9,
        "memory_peak_bytes": 1 << 20,
        "log_tail": b"hello from the job\n",
    }
    return RunResult(**{**fields, **changes})  # type: ignore[arg-type]


class FakeSandbox:
    """Fulfils `assay_provider.runtime.sandbox.Sandbox`.

    `result` and `write_output` say what every run comes to. While `gate` is cleared runs wait, as
    long jobs do; a cancelled run is counted in `killed`. `said` is what a job tells of its
    progress. `fault` is raised instead of running.
    """

    def __init__(self) -> None:
        self.result = a_result()
        self.write_output: Callable[[Path], None] = _write_result
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.grades = {"t1": Grade.ENFORCED}
        self.requests: list[tuple[RunRequest, int]] = []
        self.inputs: list[dict[str, bytes]] = []
        self.killed = 0
        self.said: tuple[str, ...] = ()
        self._busy: set[int] = set()

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        assert slot not in self._busy, "one run per slot at a time"
        assert not any(request.output_directory.iterdir())
        self._busy.add(slot)
        self.requests.append((request, slot))
        self.inputs.append(_contents(request.input_directory))
        try:
            if self.fault is not None:
                raise self.fault
            for text in self.said:
                assert request.tell is not None, "somebody listens to a job"
                request.tell(text)
            await self.gate.wait()
        except asyncio.CancelledError:
            self.killed += 1
            raise
        finally:
            self._busy.discard(slot)
        if self.result.verdict is Verdict.OK:
            self.write_output(request.output_directory)
        return self.result

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        return tuple(a_report(tier, grade) for tier, grade in self.grades.items())


def a_report(tier: str, grade: Grade) -> SelfTestReport:
    """Return a report that says so, with a fault to match."""
    kept = grade is Grade.ENFORCED
    item = SelfTestItem(
        name="memory limit",
        enforced=kept,
        detail="" if kept else "a job took more than its limit",
        remedy="" if kept else "mount a memory cgroup",
    )
    return SelfTestReport(tier=tier, grade=grade, means="a fake", items=(item,))


def _write_result(directory: Path) -> None:
    (directory / "result.json").write_text('{"accuracy": 0.9731}')


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
