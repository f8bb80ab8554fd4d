"""The composition root: the only place that knows which class stands behind each port."""

import asyncio
import contextlib
import importlib.metadata
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.chain import deployment as deployments
from assay_node.chain.client import ChainSettings, open_chain, open_reader
from assay_node.chain.outbox import WEI_PER_GWEI, SendingSettings
from assay_node.chain.pursuit import Patience
from assay_node.keys import LocalKey, load_peer_key, save_peer_key
from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.ports import Network
from assay_node.protocol.errors import LocalError
from assay_node.services.lifecycle import Timing
from assay_node.services.policy import Policy
from assay_node.services.proof_schedule import ProofTerms
from assay_node.services.requesting import Requester
from assay_node.services.settlement_timing import SettlementTerms
from assay_node.settings import SchedulerSettings, Settings, assay_home

logger = logging.getLogger(__name__)

VERSION = importlib.metadata.version("assay")
PEER_KEY_FILE = "peer.key"
JOURNALS_FOLDER = "transactions"
"""What commands have sent and not seen mined, one file for each wallet."""
ADDRESSES_FILE = "addresses"
"""Where a running scheduler writes its multiaddrs, one a line, for people and scripts."""


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningScheduler:
    """What somebody needs to reach a scheduler that has started."""

    addresses: tuple[str, ...]
    api_url: str


@contextlib.asynccontextmanager
async def open_requester(settings: Settings) -> AsyncIterator[Requester]:
    """Open what a requester needs and connect to its scheduler.

    Raises:
        LocalError: no scheduler is configured, or a part cannot be opened.
        RemoteError: the scheduler cannot be reached.
    """
    address = settings.requester.scheduler
    if address is None:
        raise LocalError(
            "no scheduler is configured: pass --scheduler MULTIADDR, or set requester.scheduler"
        )
    home = settings.requester.home
    async with (
        open_reader(chain_settings(settings)) as chain,
        open_network(_listen_locally(settings), peer_key(home)) as network,
        open_store(settings, home, network) as artifacts,
    ):
        scheduler = await network.connect(address)
        yield Requester(
            network=network,
            artifacts=artifacts,
            chain=chain,
            clock=SystemClock(),
            scheduler=scheduler,
        )


async def run_scheduler(
    settings: Settings,
    wallet: LocalKey,
    *,
    stop: asyncio.Event,
    ready: Callable[[RunningScheduler], None] = lambda _: None,
) -> None:
    """Run a scheduler with its HTTP API until `stop` is set."""
    # FastAPI and SQLAlchemy are a scheduler's own; a requester's command should not import them
    from assay_node.api.server import create_app, serve
    from assay_node.services.parts import SchedulerParts
    from assay_node.services.scheduler import Scheduler
    from assay_node.store.database import open_database
    from assay_node.store.scheduler_jobs import SchedulerJobs

    mine = settings.scheduler
    async with (
        open_database(mine.database_url, role="scheduler") as database,
        open_chain(chain_settings(settings), wallet, store=SchedulerJobs(database)) as chain,
        open_network(network_settings(settings), peer_key(mine.home)) as network,
        open_store(settings, mine.home, network) as artifacts,
    ):
        if (await chain.scheduler_bond(wallet.address)).amount_microusd == 0:
            logger.warning(
                "this scheduler has no bond, which most providers ask for: `assay scheduler bond`"
            )
        store = SchedulerJobs(database)
        scheduler = Scheduler(
            SchedulerParts(
                signer=wallet,
                network=network,
                artifacts=artifacts,
                chain=chain,
                store=store,
                clock=SystemClock(),
                policy=policy(settings),
            )
        )
        app = create_app(scheduler.queries, counts=store.counts, head=chain.head, version=VERSION)
        async with serve(app, host=mine.api_host, port=mine.api_port) as port:
            running = RunningScheduler(
                addresses=network.addresses, api_url=f"http://{mine.api_host}:{port}"
            )
            (mine.home / ADDRESSES_FILE).write_text("".join(f"{a}\n" for a in network.addresses))
            await _run_until(stop, scheduler.run(ready=lambda: ready(running)))


def chain_settings(settings: Settings) -> ChainSettings:
    """Return how to reach the chain."""
    chain = settings.chain
    return ChainSettings(
        rpc_url=chain.rpc_url,
        deployment=deployments.load(chain.deployment),
        request_s_max=chain.rpc_timeout_s,
        sending=sending_settings(settings),
        journals=assay_home() / JOURNALS_FOLDER,
    )


def sending_settings(settings: Settings) -> SendingSettings:
    """Return how transactions are paid for and pursued."""
    chain = settings.chain
    return SendingSettings(
        patience=Patience(
            confirmations=chain.confirmations,
            resend_s=chain.resend_s,
            replace_s=chain.replace_s,
        ),
        price_max=_wei(chain.gas_price_max_gwei),
    )


def network_settings(settings: Settings) -> NetworkSettings:
    """Return how to listen for peers."""
    network = settings.network
    return NetworkSettings(
        listen=network.listen,
        announce=network.announce,
        connections_max=network.connections_max,
    )


@contextlib.asynccontextmanager
async def open_store(
    settings: Settings, home: Path, network: Network | None
) -> AsyncIterator[EmbeddedArtifacts]:
    """Open a role's artifact store; without a network it neither fetches nor serves."""
    root = settings.artifacts.root or home / "artifacts"
    store = ArtifactSettings(root=root, quota_bytes=settings.artifacts.quota_bytes)
    async with open_artifacts(store, network) as artifacts:
        yield artifacts


def peer_key(home: Path) -> bytes:
    """Return the libp2p key in a role's home, made on first use."""
    path = home / PEER_KEY_FILE
    if not path.exists():
        save_peer_key(path, new_peer_key())
    return load_peer_key(path)


def policy(settings: Settings) -> Policy:
    """Return a scheduler operator's decisions as the services take them."""
    mine: SchedulerSettings = settings.scheduler
    return Policy(
        fee_microusd=mine.fee_microusd,
        seconds_max=mine.seconds_max,
        input_bytes_max=mine.input_bytes_max,
        seed_blocks_ahead_max=mine.seed_blocks_ahead_max,
        expiry_s_max=mine.expiry_s_max,
        heartbeat_s=mine.heartbeat_s,
        fetch_timeout_s=mine.fetch_timeout_s,
        environment_bytes_max=mine.environment_bytes_max,
        environment_fetch_s=mine.environment_fetch_s,
        settlement=SettlementTerms(
            batch_max=mine.settle_batch_max,
            wait_s=mine.settle_wait_s,
            gas_cheap=_wei(mine.settle_gas_cheap_gwei),
            gas_dear=_wei(mine.settle_gas_dear_gwei),
            wait_dear_s=mine.settle_wait_dear_s,
            urgent_s=mine.settle_urgent_s,
        ),
        resend_s=settings.chain.resend_s,
        keep_seed_after_blocks=mine.keep_seed_after_blocks,
        poll_interval_s=settings.chain.poll_interval_s,
        reveal_timeout_s=mine.reveal_timeout_s,
        timing=Timing(
            lease_grace_s=mine.lease_grace_s,
            offer_timeout_s=mine.offer_timeout_s,
            settle_margin_s=mine.settle_margin_s,
        ),
        proof=ProofTerms(
            interval_s=mine.proof.interval_s,
            seconds=mine.proof.seconds,
            age_s_max=mine.proof.age_s_max,
            together=mine.proof.together,
            required=mine.proof.required,
        ),
        confirmations=settings.chain.confirmations,
    )


def _wei(gwei: float) -> int:
    return round(gwei * WEI_PER_GWEI)


async def _run_until(stop: asyncio.Event, daemon: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(daemon)
        await stop.wait()
        running.cancel()


def _listen_locally(settings: Settings) -> NetworkSettings:
    """A command that runs for seconds dials out and is dialled by nobody."""
    return NetworkSettings(
        listen=("/ip4/127.0.0.1/tcp/0",), connections_max=settings.network.connections_max
    )
