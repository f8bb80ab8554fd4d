"""What is signed is written down three times: in Solidity, in Python and in the documentation."""

import json
import re
import subprocess

import pytest

from assay_node.devnet.anvil import contracts_folder
from assay_node.protocol import service_terms, typed_data

CONTRACTS = contracts_folder()
SOURCES = sorted((CONTRACTS / "src").rglob("*.sol"))
DOCS = CONTRACTS.parent / "docs" / "protocol"
OFF_CHAIN = {"Offer", "HardwareProof"}
"""Signed for peers alone: no contract knows it."""

NOT_WHAT_IS_SIGNED = {"Commit"}
"""Structs of a signed type's name that are something else: what is brought to the road, with its
signature."""
DOMAIN = "EIP712Domain"
"""The domain's own type, which is EIP-712's and no message; its digests are compared elsewhere."""

PYTHON = {
    text.partition("(")[0]: text
    for module in (typed_data, service_terms)
    for name, text in vars(module).items()
    if name.endswith("_TYPE") and not name.startswith("_")
}


def solidity_types() -> dict[str, str]:
    """The text inside each `..._TYPEHASH = keccak256(...)`, which may be several literals."""
    source = "\n".join(path.read_text() for path in SOURCES)
    hashed = re.findall(r"_TYPEHASH\s*=\s*keccak256\(((?:\s*\"[^\"]*\")+)\s*\)", source)
    texts = ["".join(re.findall(r'"([^"]*)"', literals)) for literals in hashed]
    return {text.partition("(")[0]: text for text in texts}


def signed_types() -> dict[str, str]:
    return {name: text for name, text in solidity_types().items() if name != DOMAIN}


def test_solidity_and_python_sign_the_same_text() -> None:
    assert signed_types() == {k: v for k, v in PYTHON.items() if k not in OFF_CHAIN}


def test_no_type_hash_escapes_the_comparison() -> None:
    source = "\n".join(path.read_text() for path in SOURCES)
    declared = re.findall(r"\w+_TYPEHASH\s*=", source)
    assert len(declared) == len(solidity_types()) > 0


@pytest.mark.parametrize("name", sorted(PYTHON))
def test_the_documentation_shows_the_type(name: str) -> None:
    text = "\n".join(path.read_text() for path in sorted(DOCS.glob("*.md")))
    assert re.search(rf"^{re.escape(PYTHON[name])}( |$)", text, re.MULTILINE)


def test_forge_derives_the_same_text_from_the_structs() -> None:
    """A struct of a signed type's name has its members, in its order."""
    if not (CONTRACTS / "node_modules").is_dir():
        pytest.skip(f"no forge: run `make setup` in {CONTRACTS.parent}")
    derived = {}
    for path in sorted((CONTRACTS / "src" / "types").glob("*.sol")):
        said = _forge("eip712", str(path.relative_to(CONTRACTS)), "--json")
        for struct in json.loads(said):
            text = struct["type"]
            derived[text.partition("(")[0]] = text
    shared = (derived.keys() & PYTHON.keys()) - NOT_WHAT_IS_SIGNED
    assert {"Order", "Terms"} <= shared
    assert {name: derived[name] for name in shared} == {name: PYTHON[name] for name in shared}


def _forge(*arguments: str) -> str:
    done = subprocess.run(
        [str(CONTRACTS / "forge"), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout
