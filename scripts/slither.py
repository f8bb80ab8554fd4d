#!/usr/bin/env python3
"""Run slither over contracts/src and compare what it finds with contracts/slither.toml.

Every finding needs an answer there, and every answer a finding: what is no longer found must go.
Slither passes over a function that it cannot translate ("Impossible to generate IR") with a line
in its log and a good exit code; here that is a fault.

    python scripts/slither.py          says what is unanswered, stale or untranslated
    python scripts/slither.py --all    shows every finding with its answer
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CONTRACTS: Final = ROOT / "contracts"
ANSWERS: Final = CONTRACTS / "slither.toml"
SLITHER: Final = ROOT / ".venv-proofs" / "bin" / "slither"
UNTRANSLATED: Final = re.compile(r"Impossible to generate IR.*")
SAID_CHARACTERS_MAX: Final = 4_000


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What slither found: by which detector, in which function or variable, in its words."""

    detector: str
    where: str
    text: str


def main() -> int:
    """Print what is wrong and return 1, or 0 with one line."""
    answers = tomllib.loads(ANSWERS.read_text())
    findings, log = _run(sorted(answers["excluded"]))
    reasons = _reasons(answers["answers"])
    if "--all" in sys.argv[1:]:
        for finding in findings:
            answer = reasons.get((finding.detector, finding.where), "NOT ANSWERED")
            print(f"{finding.text}\n    -> {answer}\n")
    faults = [
        *(f"slither could not read a function: {line}" for line in UNTRANSLATED.findall(log)),
        *_unanswered(findings, reasons),
        *_stale(findings, reasons),
    ]
    for fault in faults:
        print(fault)
    if not faults:
        print(f"slither: {len(findings)} findings, all answered in {ANSWERS.name}")
    return 1 if faults else 0


def _run(excluded: Iterable[str]) -> tuple[list[Finding], str]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "findings.json"
        done = subprocess.run(
            [
                *(str(SLITHER), ".", "--json", str(out), "--disable-color"),
                *("--filter-paths", "node_modules", "--exclude", ",".join(excluded)),
            ],
            cwd=CONTRACTS,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        log = done.stdout + done.stderr
        report = json.loads(out.read_text()) if out.is_file() else {"success": False}
    if not report["success"]:
        sys.exit(f"slither failed:\n{log[-SAID_CHARACTERS_MAX:]}")
    found = report["results"].get("detectors", ())
    return sorted({_finding(entry) for entry in found}), log


def _environment() -> Mapping[str, str]:
    # A build of its own: slither begins with `forge clean`.
    return {
        **os.environ,
        "PATH": f"{CONTRACTS}:{os.environ['PATH']}",
        "FOUNDRY_OUT": "cache/slither/out",
        "FOUNDRY_CACHE_PATH": "cache/slither/cache",
    }


def _finding(entry: Mapping[str, Any]) -> Finding:
    where = _where(entry["elements"][0]) if entry["elements"] else "everywhere"
    text = f"{entry['check']}: {entry['description'].strip()}"
    return Finding(detector=entry["check"], where=where, text=text)


def _where(element: Mapping[str, Any]) -> str:
    """Return "Contract.member" of the first thing that a finding names: lines move, names stay."""
    members = element.get("type_specific_fields", {})
    parent = members.get("parent")
    if parent is None:
        return str(element["name"])
    if element["type"] == "node":  # a statement: its function says enough
        return _where(parent)
    return f"{_where(parent)}.{element['name']}"


def _reasons(answers: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    return {
        (answer["detector"], where): answer["reason"]
        for answer in answers
        for where in answer["where"]
    }


def _unanswered(findings: Iterable[Finding], reasons: Mapping[tuple[str, str], str]) -> list[str]:
    return [
        f"not answered in {ANSWERS.name} ({finding.where}): {finding.text}"
        for finding in findings
        if not reasons.get((finding.detector, finding.where))
    ]


def _stale(findings: Iterable[Finding], reasons: Mapping[tuple[str, str], str]) -> list[str]:
    found = {(finding.detector, finding.where) for finding in findings}
    return [
        f"{ANSWERS.name} answers {detector} in {where}, which slither no longer finds"
        for detector, where in sorted(reasons.keys() - found)
    ]


if __name__ == "__main__":
    sys.exit(main())
