"""Opening a connection to a market on a chain."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.chain.court_reader import CourtReader
from assay_node.chain.deployment import Deployment
from assay_node.chain.hex_values import to_bytes, to_int
from assay_node.chain.journal import open_journal
from assay_node.chain.outbox import WEI_PER_GWEI, SendingSettings
from assay_node.chain.pursuit import Patience
from assay_node.chain.rpc import JsonRpc, open_rpc
from assay_node.chain.wallet import WalletChain
from assay_node.ports.keys import OrderSigner
from assay_node.ports.transactions import TransactionStore
from assay_node.protocol.errors import LocalError

REQUEST_S_MAX: Final = 10.0
"""One request; the slowest one, estimating a full batch, takes well under a second."""

GAS_PRICE_MAX: Final = 200 * WEI_PER_GWEI
"""Ethereum's gas has cost more for minutes only."""

SENDING: Final = SendingSettings(
    patience=Patience(confirmations=1, resend_s=2.0, replace_s=30.0), price_max=GAS_PRICE_MAX
)
"""For a chain that is trusted as soon as it has mined something."""

_CONTRACTS: Final = (
    "token",
    "vault",
    "providers",
    "market",
    "road",
    "leases",
    "court",
    "schedulers",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSettings:
    """Which chain, and how one writes there."""

    rpc_url: str
    deployment: Deployment
    request_s_max: float = REQUEST_S_MAX
    sending: SendingSettings = SENDING
    journals: Path | None = None
    """Folder where wallets without a database keep what they send; None keeps it in memory."""

    def __post_init__(self) -> None:
        if self.request_s_max <= 0:
            raise LocalError("a request's time limit is above 0")


@asynccontextmanager
async def open_reader(settings: ChainSettings) -> AsyncIterator[CourtReader]:
    """Open a connection that only reads.

    Raises:
        LocalError: the endpoint serves another chain, or the contracts are not there.
        ChainUnavailable: the endpoint does not answer.
    """
    async with open_rpc(settings.rpc_url, timeout_s=settings.request_s_max) as rpc:
        await _check(rpc, settings.deployment)
        yield CourtReader(rpc, settings.deployment)


@asynccontextmanager
async def open_chain(
    settings: ChainSettings, signer: OrderSigner, *, store: TransactionStore | None = None
) -> AsyncIterator[WalletChain]:
    """Open a connection that also writes, from the wallet of `signer`.

    What it sends is kept in `store`, where one is given, else in the wallet's journal, which no
    other process can use meanwhile.

    Raises:
        LocalError: the endpoint serves another chain, the contracts are not there, or another
            process uses the wallet.
        ChainUnavailable: the endpoint does not answer.
    """
    deployment = settings.deployment
    async with open_rpc(settings.rpc_url, timeout_s=settings.request_s_max) as rpc:
        await _check(rpc, deployment)
        if store is not None:
            yield WalletChain(rpc, deployment, signer, store=store, sending=settings.sending)
            return
        async with open_journal(settings.journals, deployment.chain_id, signer.address) as journal:
            yield WalletChain(rpc, deployment, signer, store=journal, sending=settings.sending)


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
