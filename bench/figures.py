"""The form every figure has, and where it is kept."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value beside its reference. `spread` is the 5th and 95th percentile."""

    figure: str
    value: float
    unit: str
    spread: tuple[float, float]
    reference: str
    reference_value: float
    ratio: float
    goal: str
    holds: bool

    def line(self) -> str:
        """Return the figure as one line of JSON."""
        return json.dumps(asdict(self))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def save(figures: Sequence[Figure]) -> None:
    """Merge figures into results.json, beside the machine they were measured on."""
    kept = json.loads(RESULTS.read_text())["figures"] if RESULTS.exists() else []
    names = {figure.figure for figure in figures}
    merged = [f for f in kept if f["figure"] not in names] + [asdict(f) for f in figures]
    document = {"machine": machine(), "figures": sorted(merged, key=lambda f: str(f["figure"]))}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}
