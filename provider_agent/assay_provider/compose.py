"""Opens the real parts of a provider and runs its daemon."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from assay_node.app import (
    SystemClock,
    chain_settings,
    network_settings,
    open_store,
    peer_key,
)
from assay_node.chain.client import open_chain
from assay_node.chain.wallet import WalletChain
from assay_node.network import open_network, peer_id_of
from assay_node.ports import OrderSigner
from assay_node.private_files import private_directory
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Address, PeerId, address
from assay_node.protocol.offer import Slot
from assay_node.protocol.units import size_to_text
from assay_node.settings import ProviderSettings, Settings
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.assembly import ProviderParts
from assay_provider.daemon import serve
from assay_provider.inventory.exact import ExactSupport
from assay_provider.inventory.exact_record import exact_support, write_status
from assay_provider.inventory.machine import Machine, detect_machine
from assay_provider.keystores import operator_of
from assay_provider.panel_terms import PanelTerms
from assay_provider.personas import LOCAL_CHAIN_ID, conduct_of
from assay_provider.road_terms import RoadTerms
from assay_provider.runtime.environment import HOST_PYTHON, environment_digest
from assay_provider.runtime.exact import ExactSetup
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import Sandbox
from assay_provider.runtime.tiers import open_tiers
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

INSTANCE_CHARACTERS: Final = 20
"""A peer ID's end names the sandbox's cgroups; 20 base58 characters are unique on any machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProvider:
    """What somebody needs to know of a provider that has started."""

    operator: Address
    signer: Address
    peer_id: PeerId
    addresses: tuple[str, ...]
    schedulers: tuple[str, ...]
    exact: ExactSupport


async def run_provider(
    settings: Settings,
    signer: OrderSigner,
    *,
    stop: asyncio.Event,
    ready: Callable[[RunningProvider], None] = lambda _: None,
) -> None:
    """Run a provider until `stop` is set.

    Raises:
        LocalError: settings, machine and keys do not fit together, or a part cannot be opened.
        ChainUnavailable: the chain does not answer at the start.
    """
    if not settings.provider.schedulers:
        raise LocalError("no scheduler is configured: set provider.schedulers to its multiaddr")
    async with open_provider(settings, signer) as (parts, supply):
        conduct = conduct_of(
            settings.provider.persona, chain_id=parts.chain.chain_id, operator=supply.operator
        )
        running = RunningProvider(
            operator=supply.operator,
            signer=signer.address,
            peer_id=parts.network.peer_id,
            addresses=parts.network.addresses,
            schedulers=supply.schedulers,
            exact=supply.exact,
        )
        await serve(parts, supply, stop=stop, conduct=conduct, on_ready=lambda: ready(running))


@asynccontextmanager
async def open_provider(
    settings: Settings, signer: OrderSigner
) -> AsyncIterator[tuple[ProviderParts, Supply]]:
    """Open everything a daemon needs; closed in reverse order.

    Raises:
        LocalError, ChainUnavailable: as `run_provider`.
    """
    mine = settings.provider
    home = private_directory(mine.home)
    key = peer_key(home)
    sandbox_settings = SandboxSettings(
        instance=peer_id_of(key)[-INSTANCE_CHARACTERS:],
        uid_first=mine.uid_first,
        slots_max=mine.slots,
        oci_runtime=mine.sandbox.oci_runtime,
    )
    async with (
        open_chain(chain_settings(settings), signer) as chain,
        open_database(mine.database_url, role="provider") as database,
        open_tiers(sandbox_settings) as sandbox,
        open_network(network_settings(settings), key) as network,
        open_store(settings, home, network) as artifacts,
    ):
        supply = await asyncio.to_thread(_supply, mine, chain.chain_id)
        supply = replace(supply, exact=await _exact_support(mine, sandbox))
        await _warn_without_gas(chain, signer.address)
        parts = ProviderParts(
            network=network,
            artifacts=artifacts,
            chain=chain,
            leases=ProviderLeases(database),
            signer=signer,
            sandbox=sandbox,
            clock=SystemClock(),
        )
        yield parts, supply


async def _exact_support(settings: ProviderSettings, sandbox: Sandbox) -> ExactSupport:
    setup = ExactSetup(
        engine=settings.exact.engine,
        threads=settings.exact.threads,
        instruction_set=settings.exact.instruction_set,
    )
    slot = settings.slot
    support = await exact_support(
        sandbox, setup, memory_bytes=slot.memory_bytes, cpus=slot.cpus_milli / 1000
    )
    if not support.modes:
        logger.warning("jobs with an exact mode are refused: %s", support.remark)
    await asyncio.to_thread(write_status, settings.home, support)
    return support


async def _warn_without_gas(chain: WalletChain, signer: Address) -> None:
    if not await chain.eth_balance(signer):
        logger.warning(
            "the signing key %s holds no coin for gas: should a scheduler disappear, this provider "
            "cannot reveal on the on-chain road and loses its bond; send it enough for a few "
            "transactions",
            signer,
        )


def _supply(settings: ProviderSettings, chain_id: int) -> Supply:
    machine = detect_machine(settings.home)
    check_machine(settings, machine)
    slot = settings.slot
    return Supply(
        operator=operator_of(settings),
        hardware_class=hardware_class_digest(settings.hardware_class),
        cpu_model=machine.cpu_model,
        tiers=settings.sandbox.tiers,
        runtimes=(HOST_PYTHON,),
        software_digest=environment_digest(),
        slots=settings.slots,
        slot=Slot(
            memory_bytes=slot.memory_bytes,
            cpus_milli=slot.cpus_milli,
            scratch_bytes=slot.scratch_bytes,
            output_bytes=slot.output_bytes,
            input_bytes=slot.input_bytes,
            seconds_max=slot.seconds_max,
        ),
        price_microusd_per_second=settings.price_microusd_per_second,
        bond_max_microusd=settings.bond_max_microusd,
        scheduler_bond_min_microusd=settings.scheduler_bond_min_microusd,
        schedulers=settings.schedulers,
        work_directory=settings.home / "work",
        offer_lifetime_s=settings.offer_lifetime_s,
        requesters_denied=frozenset(address(a) for a in settings.requesters_denied),
        result_keep_s=settings.result_keep_s,
        allow_weak_isolation=chain_id == LOCAL_CHAIN_ID,
        road=RoadTerms(
            opens=settings.road_opens,
            patience_s=settings.road_patience_s,
            margin_s=settings.road_margin_s,
            turn_s=settings.road_turn_s,
            poll_s=settings.road_poll_s,
        ),
        panels=PanelTerms(
            sits=settings.panels_sit, appeal_max_microusd=settings.appeal_max_microusd
        ),
    )


def check_machine(settings: ProviderSettings, machine: Machine) -> None:
    """Refuse to sell more than the machine has.

    Raises:
        LocalError: naming the setting to lower.
    """
    promised = settings.slots * settings.slot.memory_bytes
    if promised > machine.memory_bytes:
        raise LocalError(
            f"{settings.slots} slot(s) of {size_to_text(settings.slot.memory_bytes)} are more than "
            f"this machine's {size_to_text(machine.memory_bytes)} of memory; lower provider.slots "
            "or provider.slot.memory_bytes"
        )
    if settings.slot.cpus_milli > 1000 * machine.cpus:
        raise LocalError(
            f"a slot of {settings.slot.cpus_milli / 1000:g} CPUs is more than this machine's "
            f"{machine.cpus}; lower provider.slot.cpus_milli"
        )
    if settings.hardware_class != machine.hardware_class:
        logger.warning(
            "offering hardware class %s; this machine looks like %s",
            settings.hardware_class,
            machine.hardware_class,
        )
