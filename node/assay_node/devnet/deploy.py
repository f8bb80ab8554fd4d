"""Putting the contracts on a local chain with the real deploy script, and giving test money."""

from dataclasses import replace
from typing import Final

from assay_node.chain.client import SENDING, ChainSettings, open_chain
from assay_node.chain.deployment import Deployment
from assay_node.chain.hex_values import to_int
from assay_node.chain.rpc import JsonRpc, RpcRefusal, open_rpc
from assay_node.deploying.config import load
from assay_node.deploying.deploy import deploy as deploy_market
from assay_node.devnet.anvil import contracts_folder
from assay_node.keys import create_key
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address

WEI_PER_ETH: Final = 10**18

_RPC_S_MAX: Final = 10.0


async def deploy(rpc_url: str, *, treasury: Address | None = None) -> Deployment:
    """Deploy a market to a local Anvil, as `contracts/deployments/local.toml` says.

    It goes the way of any other deployment; only its wallet is new and thrown away.

    Raises:
        LocalError: this is not a checkout with its tools, or the script failed (with its output).
        ChainError: this is not an Anvil.
    """
    config = load(contracts_folder() / "deployments" / "local.toml")
    deployer = create_key()
    async with open_rpc(rpc_url, timeout_s=_RPC_S_MAX) as rpc:
        await _add_coin(rpc, deployer.address, WEI_PER_ETH)
    return await deploy_market(
        config if treasury is None else replace(config, treasury=treasury),
        deployer,
        rpc_url=rpc_url,
        sending=SENDING,
        journals=None,
    )


async def faucet(
    rpc_url: str, deployment: Deployment, to: Address, *, eth: float, microusd: int
) -> None:
    """Give an address test coin for gas and test tokens, on a local Anvil.

    The tokens are minted from a new wallet for each call: Anvil's `eth_sendTransaction` gives one
    nonce to two calls that come at once, so callers cannot share a dev account.

    Raises:
        ChainError: the chain has no faucet, which only Anvil has.
        ChainUnavailable: the endpoint does not answer.
    """
    minter = create_key()
    async with open_rpc(rpc_url, timeout_s=_RPC_S_MAX) as rpc:
        await _add_coin(rpc, to, int(eth * WEI_PER_ETH))
        await _add_coin(rpc, minter.address, WEI_PER_ETH)
    settings = ChainSettings(rpc_url=rpc_url, deployment=deployment)
    async with open_chain(settings, minter) as wallet:
        await wallet.mint_test_tokens(to, microusd)


async def _add_coin(rpc: JsonRpc, to: Address, wei: int) -> None:
    balance = to_int(await rpc.read("eth_getBalance", to, "latest"))
    try:
        await rpc.call("anvil_setBalance", to, hex(balance + wei))
    except RpcRefusal as error:
        raise ChainError(f"only a local Anvil has a faucet: {error.message}") from None
