"""What to deploy, as a TOML file: `contracts/deployments/*.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Address, address

THE_TEST_ONE: Final = "test"
"""In place of a token's address: deploy a token of which anybody makes as much as they like."""

TEST_CHAINS: Final = {
    31_337: "Anvil",
    17_000: "Holesky",
    560_048: "Hoodi",
    84_532: "Base Sepolia",
    421_614: "Arbitrum Sepolia",
    11_155_111: "Sepolia",
}
"""Where nothing is worth anything: the only chains where the test token may be paid with."""

DECIMALS_MIN: Final = 6
"""The market counts in micro-dollars; a coarser token could not pay one."""

_FILE_BYTES_MAX: Final = 64 << 10
_KEYS: Final = {"chain_id", "token", "treasury", "tokens"}
_TOKEN_KEYS: Final = {"address", "symbol", "decimals", "reviewed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedToken:
    """A token that somebody has read the source of.

    `reviewed` says who found, and when, that it is a standard ERC-20: it moves exactly what it is
    told to, calls nobody back, and balances change by transfers only (it does not rebase). The
    Vault keeps its own books; a token that changes balances by itself would empty them.
    """

    address: Address
    symbol: str
    decimals: int
    reviewed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployConfig:
    """A market to be. `token` None is the test token."""

    chain_id: int
    token: AllowedToken | None
    treasury: Address


def load(path: Path) -> DeployConfig:
    """Read and check a config.

    Raises:
        LocalError: it cannot be read, or what it asks for is refused; the text says why.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX)
        return _parse(tomllib.loads(raw.decode()))
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, MalformedMessage) as error:
        raise LocalError(f"{path}: {error}") from None


def _parse(fields: Mapping[str, Any]) -> DeployConfig:
    _only(fields, _KEYS, "the config")
    chain_id, treasury = fields.get("chain_id"), fields.get("treasury")
    if type(chain_id) is not int or chain_id < 1:
        raise MalformedMessage("chain_id is missing or not a positive integer")
    if not isinstance(treasury, str) or int(address(treasury), 16) == 0:
        raise MalformedMessage("treasury is missing: the address that receives what is slashed")
    tokens = fields.get("tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        raise MalformedMessage("[[tokens]] is a list of tables")
    allowed = [_token(token) for token in tokens]
    return DeployConfig(
        chain_id=chain_id,
        token=_chosen(fields.get("token"), allowed, chain_id),
        treasury=address(treasury),
    )


def _chosen(token: Any, allowed: list[AllowedToken], chain_id: int) -> AllowedToken | None:
    if not isinstance(token, str):
        raise MalformedMessage('token is missing: an address on the list [[tokens]], or "test"')
    if token == THE_TEST_ONE:
        if chain_id not in TEST_CHAINS:
            raise MalformedMessage(
                f"the test token is refused on chain {chain_id}: anybody can make it, so nobody "
                "would be paid; name a token of the list [[tokens]]"
            )
        return None
    for candidate in allowed:
        if candidate.address == address(token):
            return candidate
    raise MalformedMessage(
        f"token {token} is not on the list [[tokens]]: add it once somebody has read its source "
        "and found that it neither rebases, nor takes fees on transfers, nor calls back"
    )


def _token(fields: Mapping[str, Any]) -> AllowedToken:
    _only(fields, _TOKEN_KEYS, "a token")
    match fields:
        case {
            "address": str(where),
            "symbol": str(symbol),
            "decimals": int(decimals),
            "reviewed": str(reviewed),
        }:
            pass
        case _:
            raise MalformedMessage("a token has address, symbol, decimals and reviewed")
    if not reviewed.strip():
        raise MalformedMessage(f"token {symbol}: `reviewed` says who read its source, and when")
    if not DECIMALS_MIN <= decimals <= 36:
        raise MalformedMessage(
            f"token {symbol} has {decimals} decimals; the market counts in micro-dollars and needs "
            f"{DECIMALS_MIN} or more"
        )
    return AllowedToken(address=address(where), symbol=symbol, decimals=decimals, reviewed=reviewed)


def _only(fields: Mapping[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(set(fields) - known):
        raise MalformedMessage(f"{what} has no {unknown[0]!r}")
