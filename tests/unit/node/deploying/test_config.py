"""What may be deployed, and why everything else is refused."""

from pathlib import Path

import pytest

from assay_node.deploying.config import load
from assay_node.protocol.errors import LocalError

CONTRACTS = Path(__file__).parents[4] / "contracts" / "deployments"
USDC = "0x" + "A0" * 20
GOOD = f'''
chain_id = 1
token = "{USDC}"
treasury = "0x{"07" * 20}"
[[tokens]]
address = "{USDC}"
symbol = "USDC"
decimals = 6
reviewed = "2026-01-02, by the operators"
'''


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "market.toml"
    path.write_text(text)
    return path


def test_a_reviewed_token_is_taken(tmp_path: Path) -> None:
    found = load(config(tmp_path, GOOD))
    assert found.token is not None
    assert (found.chain_id, found.token.symbol, found.token.decimals) == (1, "USDC", 6)
    assert found.token.address == USDC.lower()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (f'token = "{USDC}"', f'token = "0x{"bb" * 20}"', "not on the list .* neither rebases"),
        (f'token = "{USDC}"', 'token = "test"', "test token is refused on chain 1"),
        (f'token = "{USDC}"', "", "token is missing"),
        ("decimals = 6", "decimals = 2", "has 2 decimals; .* needs 6 or more"),
        ("decimals = 6", "", "a token has address"),
        ('reviewed = "2026-01-02, by the operators"', 'reviewed = " "', "who read its source"),
        (f'treasury = "0x{"07" * 20}"', "", "treasury is missing"),
        (f'treasury = "0x{"07" * 20}"', f'treasury = "0x{"00" * 20}"', "treasury is missing"),
        ("chain_id = 1", "chain_id = true", "chain_id is missing"),
        ("chain_id = 1", "chain_id = 1\nowner = 1", "the config has no 'owner'"),
        ('symbol = "USDC"', 'symbol = "USDC"\nfee = 1', "a token has no 'fee'"),
        ("chain_id = 1", "chain_id = ", "market.toml"),
    ],
)
def test_whatever_else_is_asked_for_is_refused_with_its_reason(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert old in GOOD
    with pytest.raises(LocalError, match=reason):
        load(config(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize("path", sorted(CONTRACTS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_files_that_are_there_can_be_loaded(path: Path) -> None:
    load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot read"):
        load(tmp_path / "nothing.toml")
