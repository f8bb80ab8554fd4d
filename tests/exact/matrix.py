"""Run the corpus in every setting and write the table, or the expected digests.

    python -m tests.exact.matrix            runs all of it, writes docs/exact-torch-matrix.md
    python -m tests.exact.matrix --update   writes tests/exact/digests.json from one setting

A digest that changes is a change of the specification: raise `exact_torch.SPEC_VERSION` with it.
"""

import argparse
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.exact.settings import (
    CONTROLS,
    EXPECTED_SETTING,
    MODES,
    NATIVE,
    SETTINGS,
    VARIABLES,
    Setting,
)

ROOT = Path(__file__).parents[2]
DIGESTS = Path(__file__).parent / "digests.json"
TABLE = ROOT / "docs" / "exact-torch-matrix.md"
OLDER_PYTHON_VARIABLE = "EXACT_TORCH_OLDER_PYTHON"
OLDER_PYTHON = ROOT / ".venv-older-torch" / "bin" / "python"
TIMEOUT_S = 900
"""For one setting: fifty times what the slowest engine takes alone."""

Document = dict[str, Any]


class SettingFailed(Exception):
    """The process of a setting ended with an error of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.exact.matrix")
    parser.add_argument("--update", action="store_true", help="write the expected digests")
    if parser.parse_args().update:
        update()
    else:
        sys.exit(whole())


def older_python() -> Path | None:
    """Return the interpreter that has the older torch, if there is one."""
    named = os.environ.get(OLDER_PYTHON_VARIABLE)
    if named:
        return Path(named)
    return OLDER_PYTHON if OLDER_PYTHON.exists() else None


def expected() -> Document:
    """Return the committed digests: `spec_version` and, by mode and program, `digests`."""
    document: Document = json.loads(DIGESTS.read_text())
    return document


@functools.cache
def run(setting: Setting, mode: str) -> Document:
    """Run the corpus in a process of its own, and return what the runner printed.

    Raises:
        SettingFailed: the process did not print a document.
    """
    python = str(older_python()) if setting.older_torch else sys.executable
    done = subprocess.run(
        [python, *_arguments(setting, mode)],
        cwd=ROOT,
        env=environment(setting),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise SettingFailed(f"{replay(setting, mode)}\n{done.stderr[-2000:]}")
    document: Document = json.loads(done.stdout.splitlines()[-1])
    return document


def environment(setting: Setting) -> dict[str, str]:
    """Return this process's environment with exactly the setting's variables of the matrix."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    path = [str(ROOT / "exact"), *filter(None, [kept.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": str(setting.threads),
        "MKL_NUM_THREADS": str(setting.threads),
        **setting.variables,
    }


def replay(setting: Setting, mode: str) -> str:
    """Return the command that repeats one run by hand."""
    python = f"${OLDER_PYTHON_VARIABLE}" if setting.older_torch else "python"
    words = ["PYTHONPATH=exact", f"OMP_NUM_THREADS={setting.threads}"]
    words += [f"{name}={value}" for name, value in sorted(setting.variables.items())]
    return " ".join([*words, python, *_arguments(setting, mode)])


def differing(document: Document, wanted: dict[str, str]) -> list[str]:
    """Return a line for each program whose digest is not the expected one.

    A program whose data is missing here is no difference.
    """
    lines = []
    for name, digest in wanted.items():
        found = document["programs"].get(name, {"error": "it did not run"})
        if "missing" in found:
            continue
        if "error" in found:
            lines.append(f"{name}: {found['error']}")
        elif found["digest"] != digest:
            lines.append(f"{name}: {found['digest'][:16]}, not {digest[:16]}")
    return lines


def disagreeing(documents: Iterable[Document]) -> list[str]:
    """Return the programs for which these runs gave more than one digest."""
    seen: dict[str, set[str]] = {}
    for document in documents:
        for name, result in document["programs"].items():
            if "missing" not in result:
                seen.setdefault(name, set()).add(result.get("digest", "error"))
    return [name for name, digests in seen.items() if len(digests) > 1]


def update() -> None:
    """Write the expected digests of every mode, as one setting gives them."""
    import exact_torch

    digests = {}
    for mode in MODES:
        document = run(EXPECTED_SETTING, mode)
        results = document["programs"]
        failed = {n: r["error"] for n, r in results.items() if "error" in r}
        missing = {n: r["missing"] for n, r in results.items() if "missing" in r}
        if missing:
            sys.exit(f"digests need every program; install what is missing: {missing}")
        for name, error in failed.items():
            _say(f"{mode} {name}: {error}")
        if failed:
            sys.exit(f"{len(failed)} programs failed under {mode}; nothing was written")
        digests[mode] = {name: result["digest"] for name, result in sorted(results.items())}
        _say(f"{mode}: {len(digests[mode])} digests")
    version = exact_torch.SPEC_VERSION
    DIGESTS.write_text(json.dumps({"spec_version": version, "digests": digests}, indent=1) + "\n")


def whole() -> int:
    """Run every setting, write the table, and return how many rows are wrong."""
    wanted = expected()["digests"]
    rows, wrong = [], 0
    for setting in SETTINGS:
        for mode in setting.modes:
            if setting.older_torch and older_python() is None:
                rows.append(_row(setting, mode, "not run: no older torch here", "", "", ""))
                continue
            document = run(setting, mode)
            if "refused" in document:
                said = document["refused"].split(". A job")[0]
                rows.append(_row(setting, mode, f"refused: {said}", "", "", document["torch"]))
                wrong += not setting.may_refuse
                continue
            different = differing(document, wanted[mode])
            wrong += bool(different)
            for line in different:
                _say(f"  {line}")
            agree = len(wanted[mode]) - len(different)
            rows.append(
                _row(
                    setting,
                    mode,
                    f"{agree} of {len(wanted[mode])}",
                    _joint(document),
                    f"{document['seconds']} s",
                    document["torch"],
                )
            )
            _say(rows[-1])
    controls = [
        (setting, run(setting, NATIVE))
        for setting in CONTROLS
        if not setting.older_torch or older_python()
    ]
    TABLE.write_text(_page(rows, controls))
    _say(f"wrote {TABLE.relative_to(ROOT)}; {wrong} rows are wrong")
    return wrong


def _arguments(setting: Setting, mode: str) -> list[str]:
    return ["-m", "tests.exact.runner", "--mode", mode, "--threads", str(setting.threads)]


def _row(setting: Setting, mode: str, verdict: str, digest: str, took: str, torch: str) -> str:
    return (
        f"| {setting.name} | {setting.threads} | {torch} | {mode} | {verdict} | {digest} | {took} |"
    )


def _joint(document: Document) -> str:
    """Return the first characters of a digest over the digests of all programs."""
    lines = [f"{n}={r.get('digest')}" for n, r in sorted(document["programs"].items())]
    return f"`{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}`"


def _page(rows: list[str], controls: list[tuple[Setting, Document]]) -> str:
    here = [document for setting, document in controls if not setting.older_torch]
    split = disagreeing(here)
    split_with_older = disagreeing(document for _, document in controls)
    programs = list(here[0]["programs"])
    counts = Counter(_native_digests(name, here) for name in programs)
    wanted = expected()
    control_rows = [
        f"| {setting.name} | {setting.threads} | {document['torch']} | {_joint(document)} |"
        for setting, document in controls
    ]
    lines = [
        "# The matrix of settings",
        "",
        "<!-- Written by `make matrix`; do not edit. -->",
        "",
        f"{len(programs)} unmodified PyTorch programs (`tests/exact/programs/`), each run in",
        "every setting below, each setting a process of its own. A row agrees when each program",
        "gave the digest of `tests/exact/digests.json`; the joint digest is over all of them.",
        f"Specification version {wanted['spec_version']}; this run was on {_cpu()}.",
        "",
        "| setting | threads | torch | mode | programs that agree | joint digest | took |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        "## The control: plain PyTorch",
        "",
        f"The same programs without exact_torch: {len(split)} of {len(programs)} gave more than",
        f"one digest over the {len(here)} settings of the newer torch,",
        f"{len(split_with_older)} with those of the older torch counted too.",
        "How many digests a program had, and for how many programs: "
        + ", ".join(f"{digests}: {count}" for digests, count in sorted(counts.items()))
        + ".",
        "",
        "| setting | threads | torch | joint digest |",
        "|---|---|---|---|",
        *control_rows,
        "",
        "Programs whose digest was the same in all of these: "
        + ", ".join(f"`{name}`" for name in programs if name not in split_with_older)
        + ".",
        "",
        "## The digests",
        "",
        "| program | E21 | E14 | FMA | digests of plain PyTorch |",
        "|---|---|---|---|---|",
        *(_digest_row(name, wanted["digests"], here) for name in programs),
    ]
    return "\n".join(lines) + "\n"


def _digest_row(name: str, wanted: Document, here: list[Document]) -> str:
    cells = [f"`{wanted[mode][name][:12]}`" if name in wanted[mode] else "" for mode in MODES]
    return f"| `{name}` | {' | '.join(cells)} | {_native_digests(name, here)} |"


def _native_digests(name: str, documents: list[Document]) -> int:
    """Return how many digests plain PyTorch gave for a program."""
    found = (document["programs"][name].get("digest") for document in documents)
    return len({digest for digest in found if digest is not None})


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return f"{model or platform.processor()} ({os.cpu_count()} cores)"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
