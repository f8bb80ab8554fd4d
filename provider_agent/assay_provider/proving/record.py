"""What proving has cost, and what came of it, kept in a file for the owner to see."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.hardware_proof import ProofResult
from assay_node.protocol.ids import to_hex

RECORD_FILE: Final = "proofs.json"
RESULTS_KEPT: Final = 20
"""What an owner may want to look back on: some days of one scheduler's."""

Record = dict[str, Any]


def read_record(home: Path) -> Record:
    """Return what is kept in a provider's home; a file that cannot be read counts as empty."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads((home / RECORD_FILE).read_text(encoding="utf-8"))
        if isinstance(document, dict) and _is_record(document):
            return document
    return {"rounds": 0, "busy_seconds": 0.0, "results": []}


def add_round(home: Path, *, seconds: float) -> None:
    """Count a round that is over, and how long the slots were kept free for it."""
    record = read_record(home)
    record["rounds"] += 1
    record["busy_seconds"] = round(record["busy_seconds"] + seconds, 3)
    _write(home, record)


def add_result(home: Path, result: ProofResult) -> None:
    """Keep what a scheduler made of a round."""
    record = read_record(home)
    results = [kept for kept in record["results"] if kept["round"] != to_hex(result.round)]
    record["results"] = [result_document(result), *results][:RESULTS_KEPT]
    _write(home, record)


def result_document(result: ProofResult) -> Record:
    """Return a result as a JSON-serialisable document. Times are Unix seconds."""
    return {
        "round": to_hex(result.round),
        "verifier": result.verifier,
        "verdict": result.verdict,
        "detail": result.detail,
        "asked_at": result.asked_at,
        "seconds": result.milliseconds / 1000,
        "figures": [
            {
                "device": None if figure.device is None else to_hex(figure.device),
                "claimed_mflops": figure.claimed_mflops,
                "proven_mflops": figure.proven_mflops,
            }
            for figure in result.figures
        ],
    }


def _is_record(document: Mapping[str, Any]) -> bool:
    return (
        isinstance(document.get("rounds"), int)
        and isinstance(document.get("busy_seconds"), int | float)
        and isinstance(document.get("results"), list)
    )


def _write(home: Path, record: Record) -> None:
    path = home / RECORD_FILE
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    unfinished.rename(path)
