"""The newest benchmark in a provider's home, and whether it may still be offered."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.private_files import replace_private
from assay_node.protocol.benchmark import Benchmark
from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.report import (
    MachineFacts,
    Measured,
    from_document,
    to_document,
)

BENCHMARK_FILE: Final = "benchmark.json"
RECORD_BYTES_MAX: Final = 1 << 20
OLD_S: Final = 30 * 86_400
"""Dust, drivers and neighbours change what a machine sustains within months, not days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What to offer of the record; `warnings` are sentences for the owner."""

    benchmark: Benchmark | None
    warnings: tuple[str, ...] = ()


def keep(home: Path, measured: Measured) -> Path:
    """Keep a run in place of the one before; return where.

    Raises:
        LocalError: the disk refuses.
    """
    path = home / BENCHMARK_FILE
    replace_private(path, json.dumps(to_document(measured), indent=1).encode() + b"\n")
    return path


def kept(home: Path) -> Measured | None:
    """Return the newest run, None before the first.

    Raises:
        LocalError: the file is not what `keep` wrote.
    """
    path = home / BENCHMARK_FILE
    try:
        with path.open("rb") as file:
            data = file.read(RECORD_BYTES_MAX + 1)
        if len(data) > RECORD_BYTES_MAX:
            raise LocalError("it is too long")
        document = json.loads(data)
        if not isinstance(document, dict):
            raise LocalError("it is no document")
        return from_document(document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LocalError) as error:
        raise LocalError(
            f"{path} cannot be used ({error}); measure again: assay provider benchmark"
        ) from None


def standing(home: Path, machine: MachineFacts, *, now: float) -> Standing:
    """Return what the record is worth on this machine at `now` (Unix seconds).

    A record of another machine is not offered, for it would be a false claim. An old one is, with a
    warning. Never raises: without a benchmark a provider sells all the same.
    """
    try:
        measured = kept(home)
    except LocalError as error:
        return Standing(benchmark=None, warnings=(str(error),))
    if measured is None:
        return Standing(benchmark=None)
    changed = measured.machine.differences(machine)
    if changed:
        warning = (
            f"the benchmark is of another machine and is not offered: {'; '.join(changed)}; "
            "measure again: assay provider benchmark"
        )
        return Standing(benchmark=None, warnings=(warning,))
    age_s = now - measured.benchmark.measured_at
    if age_s > OLD_S:
        warning = (
            f"the benchmark is {age_s / 86_400:.0f} days old; measure again: "
            "assay provider benchmark"
        )
        return Standing(benchmark=measured.benchmark, warnings=(warning,))
    return Standing(benchmark=measured.benchmark)
