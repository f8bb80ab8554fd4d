"""The compiled contracts of a checkout, and the plan that the deploy script makes of them."""

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any, Final

from eth_utils.crypto import keccak

from assay_node.chain import deployment as deployments
from assay_node.chain.deployment import Deployment
from assay_node.deploying.config import DeployConfig
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest, address

FORGE_S_MAX: Final = 300.0
"""The first run compiles the contracts with solc in WebAssembly: a minute on a slow machine."""

CONTRACTS: Final = Path(__file__).resolve().parents[3] / "contracts"
"""The checkout's folder; not there in an installed package."""

_OUTPUT_CHARACTERS_MAX: Final = 2_000
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """One contract to be created, at the address that its nonce gives it."""

    contract: str
    address: Address
    nonce: int
    code: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the deploy script would send, in order, and the deployment that results."""

    creations: tuple[Creation, ...]
    deployment: Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltContract:
    """A contract's runtime code as compiled: zeros stand where its immutables go.

    `immutables` has a tuple of (start, length) for each immutable: all its places.
    """

    name: str
    runtime: bytes
    immutables: tuple[tuple[tuple[int, int], ...], ...]
    compiler: Mapping[str, str]


class Checkout:
    """The `contracts/` folder of a checkout, whose build nobody else touches meanwhile."""

    def __init__(self, folder: Path, build: Path) -> None:
        self._folder = folder
        self._build = build

    async def compile(self) -> None:
        """Bring the build up to date.

        Raises:
            LocalError: the compiler fails; with its output.
        """
        await self._forge("build", "--skip", "test", environment={})

    async def plan(self, config: DeployConfig, deployer: Address, rpc_url: str) -> Plan:
        """Run the deploy script without sending anything.

        Raises:
            LocalError: the script fails; with its output.
        """
        with tempfile.TemporaryDirectory(prefix="assay-deploy-") as scratch:
            out = Path(scratch, "deployment.json")
            environment = {
                # Not an argument: others can read those, and an endpoint's URL may hold a key.
                "FOUNDRY_ETH_RPC_URL": rpc_url,
                "FOUNDRY_BROADCAST": str(Path(scratch, "broadcast")),
                "ASSAY_DEPLOYMENT_OUT": str(out),
                "ASSAY_TREASURY": config.treasury,
                **({} if config.token is None else {"ASSAY_TOKEN": config.token.address}),
            }
            try:
                await self._forge(
                    "script", "script/Deploy.s.sol", "--sender", deployer, "--non-interactive",
                    environment=environment,
                )  # fmt: skip
                plan = Path(scratch, "broadcast", "Deploy.s.sol", str(config.chain_id), "dry-run")
                text = await asyncio.to_thread((plan / "run-latest.json").read_text)
                creations = tuple(map(_creation, json.loads(text)["transactions"]))
            except (OSError, ValueError, LookupError):
                raise LocalError("forge wrote no plan that can be read") from None
            finally:
                # forge keeps the endpoint's URL there, beside what it calls sensitive values
                shutil.rmtree(self._build / "files" / "Deploy.s.sol", ignore_errors=True)
            return Plan(creations=creations, deployment=deployments.load(out))

    def built(self, name: str) -> BuiltContract:
        """Return a compiled contract.

        Raises:
            LocalError: it is not in the build.
        """
        path = self._build / "out" / f"{name}.sol" / f"{name}.json"
        try:
            artifact = json.loads(path.read_bytes())
            deployed = artifact["deployedBytecode"]
            references = deployed.get("immutableReferences", {})
            return BuiltContract(
                name=name,
                runtime=bytes.fromhex(deployed["object"].removeprefix("0x")),
                immutables=tuple(
                    tuple((place["start"], place["length"]) for place in places)
                    for places in references.values()
                ),
                compiler=_compiler(artifact["metadata"]),
            )
        except (OSError, ValueError, LookupError, TypeError):
            raise LocalError(f"{path} is not a compiled contract; build the contracts") from None

    async def _forge(self, *arguments: str, environment: Mapping[str, str]) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        process = await asyncio.create_subprocess_exec(
            str(self._folder / "forge"),
            *arguments,
            env={
                **inherited,
                # Apart from the developer's own builds: coverage or a failed build leaves artifacts
                # there that cannot be deployed ("No contract bytecode").
                "FOUNDRY_OUT": str(self._build / "out"),
                "FOUNDRY_CACHE_PATH": str(self._build / "files"),
                **environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(FORGE_S_MAX):
                output, _ = await process.communicate()
        except TimeoutError:
            raise LocalError(f"forge took more than {FORGE_S_MAX:g} s and was stopped") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            said = output.decode(errors="replace")[-_OUTPUT_CHARACTERS_MAX:].strip()
            raise LocalError(f"forge failed with status {process.returncode}:\n{said}")


@asynccontextmanager
async def open_checkout() -> AsyncIterator[Checkout]:
    """Take the build folder of the checkout that this package runs from.

    Raises:
        LocalError: this is an installed package, or another process compiles for too long.
    """
    folder = CONTRACTS
    if not (folder / "forge").is_file():
        raise LocalError(
            f"{folder / 'forge'} is missing: contracts are deployed and verified from a checkout "
            "of the repository"
        )
    build = folder / "cache" / "devnet"
    lock = await asyncio.to_thread(_open_lock, build)
    with lock:
        try:
            async with asyncio.timeout(FORGE_S_MAX):
                while not _locked(lock):  # noqa: ASYNC110  # another process holds it
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise LocalError(f"another process has been compiling for {FORGE_S_MAX:g} s") from None
        yield Checkout(folder, build)


def abi_digest() -> Digest:
    """Return the digest of the ABIs that this Assay speaks; see `Build.abi_digest`."""
    folder = resources.files("assay_node.chain").joinpath("abi")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".json")),
        key=lambda file: file.name,
    )
    return Digest(keccak(b"".join(file.read_bytes() for file in files)))


def _creation(entry: Any) -> Creation:
    transaction = entry["transaction"]
    if entry["transactionType"] != "CREATE":
        raise LookupError("the deploy script does something else than creating contracts")
    return Creation(
        contract=entry["contractName"],
        address=address(entry["contractAddress"]),
        nonce=int(transaction["nonce"], 16),
        code=bytes.fromhex(transaction["input"].removeprefix("0x")),
    )


def _compiler(metadata: Any) -> dict[str, str]:
    settings = metadata["settings"]
    optimizer = settings["optimizer"]
    return {
        "version": str(metadata["compiler"]["version"]),
        "evm": str(settings["evmVersion"]),
        "optimizerRuns": str(optimizer["runs"]) if optimizer["enabled"] else "off",
        "viaIr": "yes" if settings.get("viaIR") else "no",
    }


def _open_lock(folder: Path) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "lock").open("w")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
