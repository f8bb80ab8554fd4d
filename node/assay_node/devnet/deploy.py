"""Putting the contracts on a local chain with the real deploy script, and giving test money."""

import asyncio
import fcntl
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

from assay_node.chain.client import ChainSettings, open_chain
from assay_node.chain.deployment import Deployment, load
from assay_node.chain.hex_values import to_int
from assay_node.chain.rpc import JsonRpc, RpcRefusal, open_rpc
from assay_node.devnet.anvil import contracts_folder
from assay_node.keys import create_key
from assay_node.protocol.errors import ChainError, LocalError
from assay_node.protocol.ids import Address

DEPLOYER: Final = Address("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")
"""Anvil's first funded account. Anvil signs for it itself; it does nothing else."""

WEI_PER_ETH: Final = 10**18

DEPLOY_S_MAX: Final = 300.0
"""The first run compiles the contracts with solc in WebAssembly: a minute on a slow machine."""

_OUTPUT_CHARACTERS_MAX: Final = 2_000
_POLL_S: Final = 0.05
_RPC_S_MAX: Final = 10.0


async def deploy(rpc_url: str, *, treasury: Address | None = None) -> Deployment:
    """Deploy a market to a local Anvil by running `contracts/script/Deploy.s.sol`.

    Raises:
        LocalError: this is not a checkout with its tools, or the script failed (with its output).
    """
    forge = contracts_folder() / "forge"
    if not forge.is_file():
        raise LocalError(
            f"{forge} is missing: contracts are deployed from a checkout of the repository"
        )
    build = contracts_folder() / "cache" / "devnet"
    with tempfile.TemporaryDirectory(prefix="assay-deploy-") as folder:
        out = Path(folder, "deployment.json")
        async with _alone_in(build):
            await _run(
                str(forge), "script", "script/Deploy.s.sol", "--rpc-url", rpc_url, "--broadcast",
                "--unlocked", "--sender", DEPLOYER, "--non-interactive",
                environment=_environment(build, Path(folder), out, treasury),
            )  # fmt: skip
        return load(out)


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


def _environment(build: Path, scratch: Path, out: Path, treasury: Address | None) -> dict[str, str]:
    environment = {
        **os.environ,
        "ASSAY_DEPLOYMENT_OUT": str(out),
        # Apart from the developer's own builds: coverage or a failed build leaves artifacts there
        # that cannot be deployed ("No contract bytecode").
        "FOUNDRY_OUT": str(build / "out"),
        "FOUNDRY_CACHE_PATH": str(build / "files"),
        "FOUNDRY_BROADCAST": str(scratch / "broadcast"),
    }
    environment.pop("ASSAY_TOKEN", None)  # a local chain has no token but its own
    environment.pop("ASSAY_TREASURY", None)
    return environment if treasury is None else {**environment, "ASSAY_TREASURY": treasury}


@asynccontextmanager
async def _alone_in(folder: Path) -> AsyncIterator[None]:
    """Keep other processes from compiling into `folder` meanwhile; the lock dies with us."""
    lock = await asyncio.to_thread(_open_lock, folder)
    with lock:
        async with asyncio.timeout(DEPLOY_S_MAX):
            while not _locked(lock):  # noqa: ASYNC110  # another process holds it
                await asyncio.sleep(_POLL_S)
        yield


def _open_lock(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "lock").open("w")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _add_coin(rpc: JsonRpc, to: Address, wei: int) -> None:
    balance = to_int(await rpc.read("eth_getBalance", to, "latest"))
    try:
        await rpc.call("anvil_setBalance", to, hex(balance + wei))
    except RpcRefusal as error:
        raise ChainError(f"only a local Anvil has a faucet: {error.message}") from None


async def _run(*command: str, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEPLOY_S_MAX):
            output, _ = await process.communicate()
    except TimeoutError:
        raise LocalError(f"deploying took more than {DEPLOY_S_MAX:g} s and was stopped") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = output.decode(errors="replace")[-_OUTPUT_CHARACTERS_MAX:].strip()
        raise LocalError(f"the deploy script failed with status {process.returncode}:\n{said}")
