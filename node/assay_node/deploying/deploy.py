"""Deploying a market: planned by the deploy script, sent by the outbox, verified, written down."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from assay_node.chain import deployment as deployments
from assay_node.chain.bindings.test_usd import TestUsd
from assay_node.chain.bound_contract import Call
from assay_node.chain.deployment import Deployment
from assay_node.chain.hex_values import to_bytes, to_int
from assay_node.chain.journal import open_journal
from assay_node.chain.outbox import Outbox, SendingSettings
from assay_node.chain.rpc import JsonRpc, open_rpc
from assay_node.chain.sender import Sender
from assay_node.deploying.build import Creation, Plan, open_checkout
from assay_node.deploying.config import DECIMALS_MIN, AllowedToken, DeployConfig
from assay_node.deploying.verification import Verification, verify, with_build
from assay_node.ports.keys import OrderSigner
from assay_node.protocol.errors import ChainError, ChainUnavailable, LocalError

RPC_S_MAX: Final = 30.0

Tell = Callable[[str], None]


async def deploy(
    config: DeployConfig,
    signer: OrderSigner,
    *,
    rpc_url: str,
    sending: SendingSettings,
    journals: Path | None,
    tell: Tell = lambda _: None,
) -> Deployment:
    """Put a market on a chain and return where it is, once its code has been verified.

    A deployment that is cut short leaves contracts that nothing refers to: deploy again.

    Args:
        config: which chain, which token, whose treasury.
        signer: pays for it; has no power over what it deploys.
        rpc_url: the chain's endpoint.
        sending: how transactions are paid for and pursued.
        journals: folder where wallets keep what they send; None for a wallet that is thrown away.
        tell: hears each step in a sentence.

    Raises:
        LocalError: the config does not fit the chain, this is no checkout, the wallet was used
            meanwhile, or the code on the chain is not what was built.
        ChainError: the chain refused a step; what was created before it is of no use to anybody.
        ChainUnavailable: the endpoint does not answer.
    """
    async with (
        open_rpc(rpc_url, timeout_s=RPC_S_MAX) as rpc,
        open_journal(journals, config.chain_id, signer.address) as journal,
        open_checkout() as checkout,
    ):
        await _check_chain(rpc, config)
        outbox = Outbox(
            rpc, chain_id=config.chain_id, signer=signer, store=journal, settings=sending
        )
        sender = Sender(rpc, outbox, journal)
        for what in await sender.finish_earlier():
            tell(f"an earlier command was cut short before it saw the end of: {what}")
        tell("compiling the contracts and planning the deployment")
        plan = await checkout.plan(config, signer.address, rpc_url)
        await _carry_out(rpc, plan, sender, tell)
        tell("comparing the code on the chain with what was built")
        return await with_build(rpc, plan.deployment, checkout)


async def verify_deployment(path: Path, *, rpc_url: str) -> Verification:
    """Compare the deployment in a file with this checkout's build.

    Raises:
        LocalError: the file or the checkout cannot be used, or the endpoint is another chain's.
        ChainUnavailable: the endpoint does not answer.
    """
    deployment = deployments.load(path)
    async with open_rpc(rpc_url, timeout_s=RPC_S_MAX) as rpc, open_checkout() as checkout:
        await _check_chain_id(rpc, deployment.chain_id)
        return await verify(rpc, deployment, checkout)


async def _carry_out(rpc: JsonRpc, plan: Plan, sender: Sender, tell: Tell) -> None:
    """Create the contracts one after the other: each constructor looks at those before it."""
    for creation in plan.creations:
        tell(f"creating {creation.contract} at {creation.address}")
        await sender.do(Call(to=None, data=creation.code), f"creating {creation.contract}")
        await _check_created(rpc, creation)


async def _check_created(rpc: JsonRpc, creation: Creation) -> None:
    if not to_bytes(await rpc.read("eth_getCode", creation.address, "latest")):
        raise LocalError(
            f"{creation.contract} is not where it was planned: the wallet was used meanwhile, or "
            "had transactions waiting; deploy again with a wallet that nobody else uses"
        )


async def _check_chain(rpc: JsonRpc, config: DeployConfig) -> None:
    await _check_chain_id(rpc, config.chain_id)
    if config.token is not None:
        await _check_token(rpc, config.token)


async def _check_chain_id(rpc: JsonRpc, chain_id: int) -> None:
    served = to_int(await rpc.read("eth_chainId"))
    if served != chain_id:
        raise LocalError(
            f"{rpc.endpoint} serves chain {served}, and the contracts belong on chain {chain_id}"
        )


async def _check_token(rpc: JsonRpc, token: AllowedToken) -> None:
    """Refuse a token that is not what the list says: a wrong address, or another chain's."""
    if not to_bytes(await rpc.read("eth_getCode", token.address, "latest")):
        raise LocalError(f"there is no contract at {token.address}, the token {token.symbol}")
    contract = TestUsd(rpc, token.address)  # any ERC-20 answers these two
    try:
        symbol, decimals = await contract.symbol(), await contract.decimals()
    except ChainUnavailable:
        raise
    except ChainError as error:
        raise LocalError(f"{token.address} is not an ERC-20 token: {error}") from None
    if (symbol, decimals) != (token.symbol, token.decimals):
        raise LocalError(
            f"the token at {token.address} calls itself {symbol[:20]!r} with {decimals} decimals, "
            f"and {token.symbol!r} with {token.decimals} was reviewed"
        )
    assert decimals >= DECIMALS_MIN, "the list takes no others"
