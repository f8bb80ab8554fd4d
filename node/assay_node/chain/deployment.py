"""Where the contracts live on one chain, as a small JSON file that people pass around."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Address, address

_FILE_BYTES_MAX = 16 << 10  # a deployment has eight fields; anything larger is another file
_ADDRESSES = ("token", "vault", "providers", "market", "road", "leases", "treasury")
_CHAIN_ID, _DEPLOY_BLOCK = "chainId", "deployBlock"  # as the deploy script spells them


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The contracts of one market. `deploy_block` is where reading its events starts."""

    chain_id: int
    token: Address
    vault: Address
    providers: Address
    market: Address
    road: Address
    leases: Address
    treasury: Address
    deploy_block: int

    def __post_init__(self) -> None:
        for name in _ADDRESSES:
            if address(getattr(self, name)) != getattr(self, name):
                raise MalformedMessage(f"{name} is not written in lower case")
        if self.chain_id < 1 or self.deploy_block < 0:
            raise MalformedMessage("chain_id is at least 1 and deploy_block at least 0")


def load(path: Path) -> Deployment:
    """Read and check a deployment file.

    Raises:
        LocalError: the file is missing or is not a deployment; the text says which field.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise LocalError(
            f"cannot read the deployment file {path}: {error.strerror}; "
            "get it from whoever runs the market, or start a local one with `assay dev up`"
        ) from None
    if len(raw) > _FILE_BYTES_MAX:
        raise LocalError(f"{path} is too large to be a deployment file")
    try:
        return _parse(json.loads(raw))
    except (ValueError, MalformedMessage) as error:
        raise LocalError(f"{path} is not a deployment file: {error}") from None


def save(deployment: Deployment, path: Path) -> None:
    """Write a deployment file, whole or not at all, as `contracts/script/Deploy.s.sol` does."""
    fields = {
        _CHAIN_ID: deployment.chain_id,
        _DEPLOY_BLOCK: deployment.deploy_block,
        **{name: getattr(deployment, name) for name in _ADDRESSES},
    }
    text = json.dumps(fields, indent=2) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(text)
    partial.replace(path)


def _parse(fields: Any) -> Deployment:
    if not isinstance(fields, dict):
        raise MalformedMessage("it is not a JSON object")
    return Deployment(
        chain_id=_integer(fields, _CHAIN_ID),
        deploy_block=_integer(fields, _DEPLOY_BLOCK),
        **{name: _address(fields, name) for name in _ADDRESSES},
    )


def _integer(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int:
        raise MalformedMessage(f"{name} is missing or not an integer")
    return value


def _address(fields: dict[str, Any], name: str) -> Address:
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedMessage(f"{name} is missing or not a string")
    return address(value)
