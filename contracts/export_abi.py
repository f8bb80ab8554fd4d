#!/usr/bin/env python3
"""Write the ABIs that the node reads: node/assay_node/chain/abi/<contract>.json.

Run it after `contracts/forge build`. With --check it writes nothing and fails when a file is stale.
Needs nothing but Python's standard library.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

CONTRACTS: Final = Path(__file__).resolve().parent
DESTINATION: Final = CONTRACTS.parent / "node" / "assay_node" / "chain" / "abi"
NAMES: Final = ("Vault", "Providers", "Market", "Road", "Leases", "TestUsd")


def main() -> int:
    """Return 0 when the files are as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when stale")
    check = parser.parse_args().check
    stale = []
    for name in NAMES:
        path = DESTINATION / f"{name}.json"
        wanted = abi_text(name)
        if path.is_file() and path.read_text() == wanted:
            continue
        stale.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted)
    for path in stale:
        sys.stdout.write(f"{'stale' if check else 'wrote'} {path.relative_to(CONTRACTS.parent)}\n")
    if check and stale:
        sys.stderr.write("run: contracts/forge build && contracts/export_abi.py\n")
        return 1
    return 0


def abi_text(name: str) -> str:
    """Return a contract's ABI as text that depends on nothing but the ABI."""
    artifact = CONTRACTS / "out" / f"{name}.sol" / f"{name}.json"
    if not artifact.is_file():
        sys.exit(f"{artifact} is missing; run: contracts/forge build")
    entries = [_without_names(entry) for entry in json.loads(artifact.read_bytes())["abi"]]
    entries.sort(key=lambda entry: (entry["type"], entry.get("name", ""), json.dumps(entry)))
    return json.dumps(entries, indent=1) + "\n"


def _without_names(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop Solidity's own type names, which say nothing about the encoding."""
    return {
        key: [_without_names(member) for member in value] if isinstance(value, list) else value
        for key, value in entry.items()
        if key != "internalType"
    }


if __name__ == "__main__":
    sys.exit(main())
