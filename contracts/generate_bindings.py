#!/usr/bin/env python3
"""Write the contracts as typed Python: node/assay_node/chain/bindings/<contract>.py.

One module for each ABI in node/assay_node/chain/abi/ (see export_abi.py), and one with the structs,
which contracts share. With --check it writes nothing and fails when a module is stale. Needs
Python's standard library and ruff, which formats.
"""

import argparse
import builtins
import json
import keyword
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

CHAIN: Final = Path(__file__).resolve().parent.parent / "node" / "assay_node" / "chain"
ABIS: Final = CHAIN / "abi"
DESTINATION: Final = CHAIN / "bindings"

HEADER: Final = '''"""{contract} as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
{structs}from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest
'''

STRUCTS_HEADER: Final = '''"""The contracts' structs as Python.

Written by contracts/generate_bindings.py from the ABIs; do not edit.
"""

from typing import NamedTuple

from assay_node.protocol.ids import Address, Digest
'''

INDEX: Final = '''"""The contracts as typed Python, one module for each ABI.

Written by contracts/generate_bindings.py; do not edit.
"""
'''

_BASE_TYPES: Final = {"address": "Address", "bool": "bool", "string": "str", "bytes": "bytes"}

_TUPLES_OWN: Final = ("count", "index")  # a `NamedTuple` cannot redefine them

_SHOWN_MAX: Final = 80  # a longer signature does not fit a line

# What a method may not be called: names that `BoundContract` has for itself.
_RESERVED: Final = frozenset({"address", "errors"})


def main() -> int:
    """Return 0 when the modules are as they should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when stale")
    check = parser.parse_args().check
    wanted = {DESTINATION / "__init__.py": INDEX}
    abis = {path.stem: json.loads(path.read_text()) for path in sorted(ABIS.glob("*.json"))}
    shared = structs(entry for abi in abis.values() for entry in functions_of(abi))
    wanted[DESTINATION / "structs.py"] = formatted(STRUCTS_HEADER + "".join(shared.values()))
    for contract, abi in abis.items():
        wanted[DESTINATION / f"{snake(contract)}.py"] = formatted("".join(module(contract, abi)))
    there = set(DESTINATION.glob("*.py")) if DESTINATION.is_dir() else set()
    stale = [p for p, text in wanted.items() if p not in there or p.read_text() != text]
    gone = sorted(there - set(wanted))
    for path in (*stale, *gone):
        sys.stdout.write(f"{'stale' if check else 'wrote'} {path.relative_to(CHAIN)}\n")
    if check:
        if stale or gone:
            sys.stderr.write("run: contracts/generate_bindings.py\n")
        return 1 if stale or gone else 0
    DESTINATION.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path])
    for path in gone:
        path.unlink()
    return 0


def module(contract: str, abi: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the parts of a contract's module."""
    functions = functions_of(abi)
    events = [entry for entry in abi if entry["type"] == "event"]
    errors = [entry for entry in abi if entry["type"] == "error"]
    for kind in (functions, events, errors):
        names = [entry["name"] for entry in kind]
        if doubles := {name for name in names if names.count(name) > 1}:
            sys.exit(f"{contract} overloads {sorted(doubles)}, which has no name in Python")
    shared = ", ".join(sorted(structs(functions)))
    origin = "assay_node.chain.bindings.structs"
    imported = f"from {origin} import {shared}\n" if shared else ""
    yield HEADER.format(contract=contract, structs=imported)
    yield from map(results_class, (f for f in functions if len(f["outputs"]) > 1))
    yield from map(event_class, events)
    yield from map(function_constant, functions)
    yield from map(error_constant, errors)
    selectors = (f"{(c := '_' + constant(f['name']))}.selector: {c}" for f in functions)
    yield mapping("FUNCTIONS", "bytes, Function", selectors)
    if events:
        yield "\n\nEvent = " + " | ".join(e["name"] for e in events) + "\n"
        yield '"""Whatever this contract says."""\n'
    yield mapping(
        "EVENTS", "bytes, type[Event]", (f"{e['name']}.ABI.hash: {e['name']}" for e in events)
    )
    names = [constant(e["name"]) for e in errors]
    yield mapping("ERRORS", "bytes, ErrorType", (f"{name}.selector: {name}" for name in names))
    yield f"\n\nclass {contract}(BoundContract):\n"
    yield f'    """The contract {contract} at its address."""\n\n    errors = ERRORS\n'
    yield from map(method, functions)


def functions_of(abi: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an ABI's functions."""
    return [entry for entry in abi if entry["type"] == "function"]


def structs(functions: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return a class for each struct by its name, the inner ones first."""
    found: dict[str, str] = {}

    def visit(member: dict[str, Any]) -> None:
        if not member["type"].startswith("tuple"):
            return
        for inner in member["components"]:
            visit(inner)
        fields = "".join(
            f"    {name}: {annotation(inner)}\n"
            for name, inner in zip(names(member["components"]), member["components"], strict=True)
        )
        name = struct_name(member)
        text = f'\n\nclass {name}(NamedTuple):\n    """The struct {name}."""\n\n{fields}'
        if found.setdefault(name, text) != text:
            sys.exit(f"two different structs are called {name}")

    for function in functions:
        for member in (*function["inputs"], *function["outputs"]):
            visit(member)
    return found


def results_class(function: dict[str, Any]) -> str:
    """Return the class of what a function with several results returns."""
    fields = zip(names(function["outputs"]), function["outputs"], strict=True)
    lines = "".join(f"    {name}: {annotation(member)}\n" for name, member in fields)
    name = results_name(function)
    return f'\n\nclass {name}(NamedTuple):\n    """What `{function["name"]}` returns."""\n\n{lines}'


def event_class(event: dict[str, Any]) -> str:
    """Return the class of an event; its fields are in the order of the ABI."""
    members = event["inputs"]
    fields = "".join(
        f"    {name}: {annotation(member)}\n"
        for name, member in zip(names(members), members, strict=True)
    )
    indexed = tuple(bool(member["indexed"]) for member in members)
    abi = f"EventType({event['name']!r}, {names(members)!r}, {types(members)!r}, {indexed!r})"
    return (
        f"\n\n@dataclass(frozen=True, slots=True)\nclass {event['name']}(DecodedEvent):\n"
        f'    """The event {event["name"]}."""\n\n'
        f"    ABI = {abi}\n{fields}"
    )


def function_constant(function: dict[str, Any]) -> str:
    """Return the codec of a function."""
    arguments = (
        function["name"],
        names(function["inputs"]),
        types(function["inputs"]),
        types(function["outputs"]),
    )
    return f"\n_{constant(function['name'])}: Final = Function{arguments!r}"


def error_constant(error: dict[str, Any]) -> str:
    """Return an error's codec. Its members keep Solidity's names: sentences speak of them."""
    members = tuple(member["name"] for member in error["inputs"])
    arguments = (error["name"], members, types(error["inputs"]))
    return f"\n{constant(error['name'])}: Final = ErrorType{arguments!r}"


def mapping(name: str, kinds: str, items: Iterable[str]) -> str:
    """Return a mapping as a constant."""
    return f"\n\n{name}: Final[Mapping[{kinds}]] = {{" + "".join(f"{i}," for i in items) + "}\n"


def method(function: dict[str, Any]) -> str:
    """Return a method: a view is read at once, anything else is a `Call` to be sent."""
    name = snake(function["name"])
    if name in _RESERVED or keyword.iskeyword(name):
        name += "_"
    inputs = function["inputs"]
    parameters = "".join(
        f", {n}: {parameter(member)}" for n, member in zip(names(inputs), inputs, strict=True)
    )
    arguments = ", ".join(names(inputs)) + ("," if len(inputs) == 1 else "")
    codec = f"_{constant(function['name'])}"
    shown = signature(function)
    text = f'        """`{shown if len(shown) <= _SHOWN_MAX else function["name"]}`."""\n'
    if function["stateMutability"] not in ("view", "pure"):
        return (
            f"\n    def {name}(self{parameters}) -> Call:\n{text}"
            f"        return self._call({codec}, ({arguments}))\n"
        )
    outputs = function["outputs"]
    returns = annotation(outputs[0]) if len(outputs) == 1 else results_name(function)
    values = [conversion(member, f"values[{i}]") for i, member in enumerate(outputs)]
    result = values[0] if len(outputs) == 1 else f"{returns}({', '.join(values)})"
    return (
        f'\n    async def {name}(self{parameters}, *, block: str = "latest") -> {returns}:\n{text}'
        f"        values = await self._read({codec}, ({arguments}), block)\n"
        f"        return {result}\n"
    )


def annotation(member: dict[str, Any]) -> str:
    """Return the Python type of a value that comes from the chain."""
    base, arrays = split(member["type"])
    inner = struct_name(member) if base == "tuple" else base_type(base)
    for _ in range(arrays):
        inner = f"tuple[{inner}, ...]"
    return inner


def parameter(member: dict[str, Any]) -> str:
    """Return the Python type of a value that goes to the chain."""
    base, arrays = split(member["type"])
    inner = struct_name(member) if base == "tuple" else base_type(base)
    inner = "bytes" if inner == "Digest" else inner
    for _ in range(arrays):
        inner = f"Sequence[{inner}]"
    return inner


def conversion(member: dict[str, Any], value: str, depth: int = 0) -> str:
    """Return the expression that makes the Python value of a decoded one."""
    base, arrays = split(member["type"])
    if arrays:
        item = f"v{depth}"
        inner = {**member, "type": member["type"].rpartition("[")[0]}
        return f"tuple({conversion(inner, item, depth + 1)} for {item} in {value})"
    if base == "tuple":
        parts = (conversion(m, f"{value}[{i}]", depth) for i, m in enumerate(member["components"]))
        return f"{struct_name(member)}({', '.join(parts)})"
    return f"{base_type(base)}({value})"


def base_type(kind: str) -> str:
    """Return the Python type of an elementary ABI type."""
    if kind.startswith(("uint", "int")):
        return "int"
    if kind == "bytes32":
        return "Digest"
    return _BASE_TYPES["bytes" if kind.startswith("bytes") else kind]


def split(kind: str) -> tuple[str, int]:
    """Return an ABI type without its arrays, and how many of those it is inside of."""
    base, *arrays = re.split(r"\[\d*\]", kind)
    return base, len(arrays)


def names(members: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return members' names as Python writes them."""
    found = (snake(member["name"]) or f"value_{i}" for i, member in enumerate(members))
    taken = {*keyword.kwlist, *dir(builtins), *_TUPLES_OWN}
    return tuple(f"{name}_" if name in taken else name for name in found)


def types(members: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return members' canonical ABI types."""
    return tuple(map(canonical, members))


def canonical(member: dict[str, Any]) -> str:
    """Return an ABI type with its structs written out."""
    kind: str = member["type"]
    if kind.startswith("tuple"):
        return f"({','.join(types(member['components']))}){kind.removeprefix('tuple')}"
    return kind


def signature(entry: dict[str, Any]) -> str:
    """Return how Solidity names an entry, with structs by their names."""
    shown = (
        struct_name(m) + m["type"].removeprefix("tuple")
        if m["type"].startswith("tuple")
        else m["type"]
        for m in entry["inputs"]
    )
    return f"{entry['name']}({', '.join(shown)})"


def struct_name(member: dict[str, Any]) -> str:
    """Return a struct's own name, without its contract's and without arrays."""
    return re.sub(r"^struct (.*\.)?|\[.*", "", member["internalType"])


def results_name(function: dict[str, Any]) -> str:
    """Return the name of the class for several results."""
    return f"{function['name'][0].upper()}{function['name'][1:]}Result"


def snake(name: str) -> str:
    """Return a Solidity name as Python writes it: hardwareClass, DOMAIN_SEPARATOR, TestUsd."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def constant(name: str) -> str:
    """Return a Solidity name as that of a Python constant."""
    return snake(name).upper()


def formatted(text: str) -> str:
    """Return Python source without the imports it does not need, as ruff formats it."""
    used = text.partition('"""\n\n')[2]
    lines = [_needed(line, used) for line in text.splitlines(keepends=True)]
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--stdin-filename",
        str(DESTINATION / "x.py"),
    ]
    done = subprocess.run(
        [*command, "-"], input="".join(lines), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"ruff cannot format the bindings: {done.stderr}")
    return done.stdout


def _needed(line: str, text: str) -> str:
    match = re.fullmatch(r"from (\S+) import (.*)\n", line)
    if match is None:
        return line
    body = re.sub(r"^from .*$", "", text, flags=re.MULTILINE)
    wanted = [n for n in match[2].split(", ") if re.search(rf"\b{n}\b", body)]
    return f"from {match[1]} import {', '.join(wanted)}\n" if wanted else ""


if __name__ == "__main__":
    sys.exit(main())
