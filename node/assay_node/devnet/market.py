"""A market in a box: a local chain, the contracts, a scheduler and providers, each its own process.

The demo, `assay dev`, the end-to-end tests and the benchmarks all run this one.
"""

import asyncio
import json
import os
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx

from assay_node.chain import deployment as deployments
from assay_node.chain.client import ChainSettings, open_chain
from assay_node.chain.deployment import Deployment
from assay_node.devnet.anvil import AnvilProcess, AnvilSettings
from assay_node.devnet.deploy import deploy, faucet
from assay_node.devnet.processes import ManagedProcess, run_command
from assay_node.keys import (
    SCRYPT_N_DEVELOPMENT,
    LocalKey,
    create_key,
    keystore_address,
    load_keystore,
    load_peer_key,
    save_keystore,
    save_peer_key,
)
from assay_node.network import new_peer_key, peer_id_of
from assay_node.private_files import private_directory, write_private
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address

START_S: Final = 300.0
"""Starting all daemons takes about ten seconds on two cores; a cold disk takes longer, and so does
the first start on a machine, on which each way of computing exact jobs is tested first."""
COMMAND_S: Final = 120.0
TEST_PASSWORD: Final = "development only"  # noqa: S105 - the keys behind it are worth nothing
OPERATOR_MICROUSD: Final = 2_000_000_000
REQUESTER_MICROUSD: Final = 1_000_000_000
SCHEDULER_BOND_MICROUSD: Final = 100_000_000
"""What providers ask for by default."""
TEST_ETH: Final = 10.0
LIAR: Final = "liar"
PRICE_STEP_MICROUSD: Final = 50
_POLL_S: Final = 0.1

UID_FIRST: Final = 1_000_000_000
UID_RANGE: Final = 1_000
UID_RANGES_PER_MARKET: Final = 50
UID_MARKETS_MAX: Final = 20_000
"""Two providers of one machine may not share user ids, nor may those of two markets at a time: each
market's are drawn by its folder, from ids that no account or container has."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSettings:
    """What market to start. `environment` is added to every daemon's (`ASSAY_...` settings)."""

    directory: Path
    providers: int = 6
    personas: Mapping[int, str] = field(default_factory=dict)
    """Which providers (1, 2, ...) misbehave, and how."""
    hardware_classes: Mapping[int, str] = field(default_factory=dict)
    """Which providers sell in another class than the CPU's; each class has a draw of its own."""
    slots: int = 2
    price_microusd: int = 500
    block_time_s: float = 0.25
    chain_port: int = 0
    api_port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    scheduler_environment: Mapping[str, str] = field(default_factory=dict)
    """What the scheduler gets on top."""
    provider_environments: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """What single providers get on top."""


class Market:
    """A running market. Use as an async context manager; everything it started ends with it."""

    def __init__(self, settings: MarketSettings, tell: Tell = lambda _: None) -> None:
        self.settings = settings
        self._tell = tell
        self._stack = AsyncExitStack()
        self._directory = settings.directory
        self._keys: dict[str, LocalKey] = {}
        self._api_port = settings.api_port or free_port()
        self.processes: dict[str, ManagedProcess] = {}
        self.chain = AnvilProcess(
            AnvilSettings(
                port=settings.chain_port,
                block_time_s=settings.block_time_s,
                state=settings.directory / "chain.json",
            )
        )
        self.deployment: Deployment
        self.scheduler_address: str

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # What tests and the demo use

    @property
    def rpc_url(self) -> str:
        """The chain's JSON-RPC endpoint."""
        return self.chain.url

    @property
    def api_url(self) -> str:
        """The scheduler's HTTP API."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def config(self) -> Path:
        """The config file with which `assay` speaks to this market."""
        return self._directory / "config.toml"

    @property
    def scheduler_wallet(self) -> LocalKey:
        """The scheduler's wallet."""
        return self._keys["scheduler"]

    @property
    def operators(self) -> dict[str, Address]:
        """Each provider's name and operator address."""
        return {name: key.address for name, key in self._keys.items() if name != "scheduler"}

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """Return the environment for an `assay` command of a requester."""
        return self._environment(home or self._directory / "requester")

    async def run(self, *arguments: str, home: Path | None = None) -> str:
        """Run an `assay` command against this market; return its standard output."""
        return await run_command(arguments, environment=self.environment(home), timeout_s=COMMAND_S)

    async def run_json(self, *arguments: str, home: Path | None = None) -> Any:
        """Run an `assay` command with `--json`; return the document."""
        return json.loads(await self.run(*arguments, "--json", home=home))

    async def get(self, path: str) -> Any:
        """Return a JSON document of the scheduler's HTTP API."""
        async with httpx.AsyncClient(base_url=self.api_url, timeout=10.0) as http:
            answer = await http.get(path)
            answer.raise_for_status()
            return answer.json()

    async def fund(self, address: Address, microusd: int = REQUESTER_MICROUSD) -> None:
        """Give an address coin for gas and test dollars."""
        await faucet(self.rpc_url, self.deployment, address, eth=TEST_ETH, microusd=microusd)

    async def new_requester(self, home: Path, *, budget_usd: str | None = "500") -> Address:
        """Make a requester with a wallet in `home`, funded and with a budget for the scheduler."""
        await self.run("wallet", "new", "--light", home=home)
        shown = await self.run_json("wallet", "show", home=home)
        address = Address(shown["address"])
        await self.fund(address)
        if budget_usd is not None:
            await self.run("wallet", "deposit", budget_usd, "--yes", home=home)
        return address

    async def wait_for_providers(self, count: int | None = None) -> None:
        """Wait until so many providers (by default all) are connected to the scheduler.

        Raises:
            LocalError: a daemon ended, or it took too long.
        """
        wanted = self.settings.providers if count is None else count
        connected = 0
        try:
            async with asyncio.timeout(START_S):
                while connected != wanted:
                    await asyncio.sleep(_POLL_S)
                    for process in self.processes.values():
                        process.check()
                    listed = await self._try_get("/v1/providers") or {"providers": []}
                    connected = sum(1 for p in listed["providers"] if p["connected"])
        except TimeoutError:
            raise LocalError(
                f"{connected} of {wanted} providers connected within {START_S:.0f} s; "
                f"see the logs in {self._directory / 'logs'}"
            ) from None

    async def wait_for_api(self) -> None:
        """Wait until the scheduler answers.

        Raises:
            LocalError: it ended, or took too long.
        """
        try:
            async with asyncio.timeout(START_S):
                while await self._try_get("/healthz") is None:
                    self.processes["scheduler"].check()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise LocalError(
                f"the scheduler did not answer within {START_S:.0f} s: "
                f"{self.processes['scheduler'].tail()}"
            ) from None

    # Starting

    async def _start(self) -> None:
        private_directory(self._directory)
        self._tell(f"starting a local chain with blocks of {self.settings.block_time_s:g} s")
        await self._stack.enter_async_context(self.chain)
        await self._deploy()
        self._make_keys()
        self._tell("giving the scheduler and the operators test money")
        for name, key in self._keys.items():
            money = SCHEDULER_BOND_MICROUSD if name == "scheduler" else OPERATOR_MICROUSD
            await self.fund(key.address, money)
        self._write_config()
        await self._bond_scheduler()
        self._tell("starting the scheduler")
        await self._start_scheduler()
        self._tell(f"registering {self.settings.providers} providers, each with its own wallet")
        await self._register_providers()
        self._tell(f"starting {self.settings.providers} provider daemons")
        for number in range(1, self.settings.providers + 1):
            await self._start_provider(number)
        await self.wait_for_providers()

    async def _deploy(self) -> None:
        path = self._directory / "deployment.json"
        if path.exists():
            self.deployment = deployments.load(path)
            return
        self._tell("deploying the contracts and a test stablecoin")
        self.deployment = await deploy(self.rpc_url)
        deployments.save(self.deployment, path)

    def _make_keys(self) -> None:
        write_if_missing(self._directory / "password", TEST_PASSWORD.encode() + b"\n")
        names = ["scheduler"] + [self.provider(n) for n in range(1, self.settings.providers + 1)]
        for name in names:
            self._keys[name] = self._key(self._directory / name / "wallet.json")
        path = self._directory / "scheduler" / "peer.key"
        if not path.exists():
            save_peer_key(path, new_peer_key())
        self._port = self._saved_port()
        peer_id = peer_id_of(load_peer_key(path))
        self.scheduler_address = f"/ip4/127.0.0.1/tcp/{self._port}/p2p/{peer_id}"

    async def _bond_scheduler(self) -> None:
        """A market that is started again has its bond already."""
        key = self.scheduler_wallet
        settings = ChainSettings(rpc_url=self.rpc_url, deployment=self.deployment)
        async with open_chain(settings, key) as chain:
            bond = await chain.scheduler_bond(key.address)
            missing = SCHEDULER_BOND_MICROUSD - bond.amount_microusd
            if missing > 0:
                self._tell("bonding for the scheduler")
                await chain.deposit(missing)
                await chain.bond_scheduler(missing)

    def _key(self, path: Path) -> LocalKey:
        if not path.exists():
            save_keystore(path, create_key(), TEST_PASSWORD, scrypt_n=SCRYPT_N_DEVELOPMENT)
        return load_keystore(path, TEST_PASSWORD)

    def _saved_port(self) -> int:
        """A restarted scheduler must be found where it was."""
        path = self._directory / "scheduler" / "port"
        if not path.exists():
            path.write_text(str(free_port()))
        return int(path.read_text())

    def _write_config(self) -> None:
        lines = [
            "# Speaks to a development market; its keys and money are worth nothing.",
            f'password_file = "{self._directory / "password"}"',
            "[chain]",
            f'rpc_url = "{self.rpc_url}"',
            f'deployment = "{self._directory / "deployment.json"}"',
            "poll_interval_s = 0.05",
            "[requester]",
            f'scheduler = "{self.scheduler_address}"',
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def _environment(self, home: Path) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        return {
            **kept,
            "ASSAY_HOME": str(home),
            "ASSAY_CONFIG": str(self.config),
            **self.settings.environment,
        }

    async def _start_scheduler(self) -> None:
        home = self._directory / "scheduler"
        listen = f"/ip4/127.0.0.1/tcp/{self._port}"
        environment = self._environment(home) | {
            "ASSAY_SCHEDULER__HOME": str(home),
            "ASSAY_NETWORK__LISTEN": listen,
            "ASSAY_SCHEDULER__API_PORT": str(self._api_port),
            # All daemons share this machine: to a proof they are adverts of one device.
            "ASSAY_SCHEDULER__PROOF__INTERVAL_S": "0",
            **self.settings.scheduler_environment,
        }
        await self._launch("scheduler", ("scheduler", "run"), environment)
        await self.wait_for_api()

    async def _register_providers(self) -> None:
        limit = asyncio.Semaphore(os.cpu_count() or 1)

        async def register(number: int) -> None:
            async with limit:
                await run_command(
                    ("provider", "init", "--yes"),
                    environment=self._provider_environment(number),
                    timeout_s=COMMAND_S,
                )
                # The daemon pays for what it does on the on-chain road.
                await self.fund(keystore_address(self._signer_path(number)), 0)

        async with asyncio.TaskGroup() as tasks:
            for number in range(1, self.settings.providers + 1):
                tasks.create_task(register(number))

    async def _start_provider(self, number: int) -> None:
        environment = self._provider_environment(number)
        await self._launch(self.provider(number), ("provider", "run"), environment)

    async def _launch(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        log = self._directory / "logs" / f"{name}.log"
        process = ManagedProcess(name, arguments, environment=environment, log=log)
        self.processes[name] = process
        self._stack.push_async_callback(process.stop)
        await process.start()

    def _signer_path(self, number: int) -> Path:
        return self._directory / self.provider(number) / "signer.json"

    def provider(self, number: int) -> str:
        """Return the name of provider `number`."""
        return f"provider-{number}"

    def _provider_environment(self, number: int) -> dict[str, str]:
        home = self._directory / self.provider(number)
        settings = self.settings
        environment = self._environment(home) | {
            "ASSAY_PROVIDER__HOME": str(home),
            "ASSAY_PROVIDER__OPERATOR": self._keys[self.provider(number)].address,
            "ASSAY_PROVIDER__SCHEDULERS": self.scheduler_address,
            "ASSAY_PROVIDER__SLOTS": str(settings.slots),
            "ASSAY_PROVIDER__PRICE_MICROUSD_PER_SECOND": str(
                settings.price_microusd + PRICE_STEP_MICROUSD * number
            ),
            "ASSAY_PROVIDER__UID_FIRST": str(self._uid_first(number)),
            "ASSAY_PROVIDER__SLOT__MEMORY_BYTES": "1G",
            # providers of one machine cannot all sell its GPUs, and its jobs need none
            "ASSAY_PROVIDER__GPUS__USE": "none",
        }
        if number in settings.hardware_classes:
            environment["ASSAY_PROVIDER__HARDWARE_CLASS"] = settings.hardware_classes[number]
        persona = settings.personas.get(number)
        if persona is not None:
            environment["ASSAY_PROVIDER__PERSONA"] = persona
        return environment | dict(settings.provider_environments.get(number, {}))

    def _uid_first(self, number: int) -> int:
        """Return a range of user ids of a provider's own, and of this market's own."""
        assert number < UID_RANGES_PER_MARKET
        place = zlib.crc32(bytes(self._directory.absolute())) % UID_MARKETS_MAX
        return UID_FIRST + UID_RANGE * (UID_RANGES_PER_MARKET * place + number)

    async def _try_get(self, path: str) -> Any:
        try:
            return await self.get(path)
        except httpx.HTTPError:
            return None


def free_port() -> int:
    """Return a TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_if_missing(path: Path, data: bytes) -> None:
    """Write a private file unless it is there."""
    if not path.exists():
        write_private(path, data)
