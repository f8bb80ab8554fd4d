"""What import-linter cannot say: the pure packages import nothing but what is listed here."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PURE = {
    "assay_scheduler": ROOT / "scheduler" / "assay_scheduler",
    "assay_node.protocol": ROOT / "node" / "assay_node" / "protocol",
}

ALLOWED_STDLIB = {
    "base64", "bisect", "collections", "dataclasses", "decimal", "enum", "fractions", "functools",
    "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "struct", "types", "typing",
}  # fmt: skip

ALLOWED_LIBRARIES = {
    "assay_scheduler": {"assay_node", "eth_abi", "eth_utils"},
    "assay_node.protocol": {"assay_node", "dag_cbor", "eth_abi", "eth_keys", "eth_utils"},
}


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, module) for every import, also those inside functions."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                yield from ((place, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield place, node.module or "."


@pytest.mark.parametrize("package", sorted(PURE))
def test_pure_packages_import_only_what_is_pure(package: str) -> None:
    allowed = ALLOWED_STDLIB | ALLOWED_LIBRARIES[package] | {package.split(".")[0]}
    found = [
        f"{place}: {module}"
        for place, module in imports(PURE[package])
        if module.split(".")[0] not in allowed
    ]
    assert not found, "not pure:\n" + "\n".join(found)
    assert sys.stdlib_module_names >= ALLOWED_STDLIB


def test_the_environment_is_read_by_the_settings_only() -> None:
    allowed = {
        "node/assay_node/settings/places.py",
        "node/assay_node/settings/sources.py",
    }
    found = []
    for folder in ("node", "scheduler", "provider_agent"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "getenv"):
                        found.append((name, node.lineno))
    # handing the whole environment on to a child process, or to a tool of the system, is no setting
    beyond = [f"{name}:{line}" for name, line in found if name not in allowed | CHILD_PROCESSES]
    assert not beyond, "only assay_node.settings reads the environment:\n" + "\n".join(beyond)


CHILD_PROCESSES = {
    "node/assay_node/cli/dev.py",  # the demo's runs of native torch inherit it
    "node/assay_node/devnet/market.py",  # its commands inherit it
    "node/assay_node/deploying/build.py",  # forge inherits it
    "node/assay_node/devnet/processes.py",  # daemons inherit it
    # its children are to see one GPU, and all cores
    "provider_agent/assay_provider/inventory/benchmark/running.py",
    "provider_agent/assay_provider/inventory/exact.py",  # the compiler inherits it
    "provider_agent/assay_provider/runtime/preparation.py",  # XDG_RUNTIME_DIR, not ours to set
}
