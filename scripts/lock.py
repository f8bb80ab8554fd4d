#!/usr/bin/env python3
"""Write requirements.lock: what this virtual environment has of everything the project needs.

Run it (`make lock`) after a dependency was added to pyproject.toml or requirements-dev.txt and
installed. It follows the installed packages' own metadata from those two lists, so that tools
somebody tried out in the same environment stay out of the lock file.

With --proofs it does the same for requirements-proofs.txt; run it with .venv-proofs' Python.
"""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
PROOFS: Final = "--proofs" in sys.argv[1:]
LOCK: Final = ROOT / ("requirements-proofs.lock" if PROOFS else "requirements.lock")
SOURCES: Final = "requirements-proofs.txt" if PROOFS else "pyproject.toml or requirements-dev.txt"
HEADER: Final = f"""\
# Written by scripts/lock.py (`make lock`); edit {SOURCES} instead.
"""


def main() -> int:
    """Write the lock file, or compare it with --check; return 1 and say what is wrong."""
    pending = _direct_requirements()
    pins: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    missing: set[str] = set()
    while pending:
        requirement = pending.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.add(requirement.name)
            continue
        # "2.13.0+cpu" names one build of 2.13.0; which builds there are differs between machines
        pins[key[0]] = f"{found.metadata['Name']}=={found.version.partition('+')[0]}"
        pending += _wanted(found.requires or (), requirement.extras)
    if missing:
        sys.stderr.write(f"not installed: {', '.join(sorted(missing))}\n")
        return 1
    text = HEADER + "".join(f"{pins[name]}\n" for name in sorted(pins))
    if "--check" in sys.argv[1:]:
        # other versions of Python need a package more or less, so only ours are compared
        unlocked = {pins[r] for r in _direct_names()} - set(LOCK.read_text().splitlines())
        for pin in sorted(unlocked):
            sys.stderr.write(f"{pin} is installed and not in {LOCK.name}; run `make lock`\n")
        return 1 if unlocked else 0
    LOCK.write_text(text)
    print(f"{LOCK.name}: {len(pins)} packages")
    return 0


def _direct_names() -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in _direct_requirements()}


def _direct_requirements() -> list[Requirement]:
    if PROOFS:
        return _listed_requirements("requirements-proofs.txt")
    return [*_project_requirements(), *_listed_requirements("requirements-dev.txt")]


def _project_requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"]]


def _listed_requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if re.match(r"[A-Za-z]", line)]


def _wanted(texts: Iterable[str], extras: Iterable[str]) -> list[Requirement]:
    """Return the requirements that hold on this machine for these extras."""
    environments = [{"extra": extra} for extra in ("", *extras)]
    requirements = [Requirement(text) for text in texts]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate(environment) for environment in environments)
    ]


if __name__ == "__main__":
    sys.exit(main())
