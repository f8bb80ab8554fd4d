"""Opening a connection to a market on a chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from assay_node.chain.contracts import to_bytes, to_int
from assay_node.chain.deployment import Deployment
from assay_node.chain.rpc import JsonRpc, open_rpc
from assay_node.chain.settlement import EventReader
from assay_node.chain.wallet import WalletChain
from assay_node.ports.keys import OrderSigner
from assay_node.protocol.errors import LocalError

REQUEST_S_MAX: Final = 10.0
"""One request; the slowest one, estimating a full batch, takes well under a second."""

_CONTRACTS: Final = ("token", "vault", "providers", "market", "road", "leases")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSettings:
    """Which chain, and how deep a block must be before its events count (1: as soon as mined)."""

    rpc_url: str
    deployment: Deployment
    confirmations: int = 1
    request_s_max: float = REQUEST_S_MAX

    def __post_init__(self) -> None:
        if self.confirmations < 1 or self.request_s_max <= 0:
            raise LocalError("confirmations is at least 1 and a request's time limit above 0")


@asynccontextmanager
async def open_reader(settings: ChainSettings) -> AsyncIterator[EventReader]:
    """Open a connection that only reads.

    Raises:
        LocalError: the endpoint serves another chain, or the contracts are not there.
        ChainUnavailable: the endpoint does not answer.
    """
    async with open_rpc(settings.rpc_url, timeout_s=settings.request_s_max) as rpc:
        await _check(rpc, settings.deployment)
        yield EventReader(rpc, settings.deployment)


@asynccontextmanager
async def open_chain(settings: ChainSettings, signer: OrderSigner) -> AsyncIterator[WalletChain]:
    """Open a connection that also writes, from the wallet of `signer`.

    Raises:
        LocalError: the endpoint serves another chain, or the contracts are not there.
        ChainUnavailable: the endpoint does not answer.
    """
    async with open_rpc(settings.rpc_url, timeout_s=settings.request_s_max) as rpc:
        await _check(rpc, settings.deployment)
        yield WalletChain(rpc, settings.deployment, signer, confirmations=settings.confirmations)


async def _check(rpc: JsonRpc, deployment: Deployment) -> None:
    served = to_int(await rpc.read("eth_chainId"))
    if served != deployment.chain_id:
        raise LocalError(
            f"{rpc.endpoint} serves chain {served}, but the deployment is on chain "
            f"{deployment.chain_id}; check the endpoint's URL"
        )
    addresses = [getattr(deployment, name) for name in _CONTRACTS]
    codes = await asyncio.gather(*(rpc.read("eth_getCode", a, "latest") for a in addresses))
    for name, address, code in zip(_CONTRACTS, addresses, codes, strict=True):
        if not to_bytes(code):
            raise LocalError(
                f"there is no contract at {address}, the {name} of the deployment; was the local "
                "chain started anew, or is this another chain's deployment file?"
            )
