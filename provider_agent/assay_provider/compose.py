"""Opens the real parts of a provider and runs its daemon."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from assay_node.app import (
    chain_settings,
    network_settings,
    open_store,
    peer_key,
)
from assay_node.chain.client import open_chain
from assay_node.chain.wallet import WalletChain
from assay_node.network import open_network, peer_id_of
from assay_node.ports import Artifacts, OrderSigner
from assay_node.private_files import private_directory
from assay_node.protocol.benchmark import Benchmark
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Address, PeerId, address
from assay_node.protocol.job_spec import ENVIRONMENTS
from assay_node.protocol.offer import Slot
from assay_node.protocol.units import size_to_text
from assay_node.settings import ProviderSettings, Settings
from assay_node.store.database import database_file, open_database
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.assembly import ProviderParts
from assay_provider.break_even import check_price
from assay_provider.claims import UidRange, hold_home, hold_uids
from assay_provider.daemon import serve
from assay_provider.disk_room import DiskRoom, wait_for_room
from assay_provider.environments.availability import (
    CACHE_FOLDER,
    MountingSandbox,
    find_packer,
    try_environments,
)
from assay_provider.environments.availability import write_status as write_environments_status
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.preparation import (
    EnvironmentLimits,
    Environments,
    open_environments,
)
from assay_provider.gpus.opening import open_gpus
from assay_provider.gpus.slot_gpus import SlotGpus
from assay_provider.inventory.activity import OwnerSigns
from assay_provider.inventory.benchmark.record import standing
from assay_provider.inventory.benchmark.running import machine_facts
from assay_provider.inventory.exact import ExactSupport
from assay_provider.inventory.exact_record import exact_support, write_status
from assay_provider.inventory.machine import Machine, detect_machine
from assay_provider.keystores import operator_of
from assay_provider.owner.configured import check_signs, costs_of, owner_terms
from assay_provider.owner.schedule import signs
from assay_provider.panel_terms import PanelTerms
from assay_provider.personas import LOCAL_CHAIN_ID, conduct_of
from assay_provider.proving.terms import ProofTerms
from assay_provider.road_terms import RoadTerms
from assay_provider.runtime import leftovers
from assay_provider.runtime.bubblewrap import open_sandbox
from assay_provider.runtime.environment import HOST_PYTHON, environment_digest
from assay_provider.runtime.exact import ExactSetup
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import Sandbox
from assay_provider.runtime.tiers import tiers_on
from assay_provider.supply import Supply
from assay_provider.timekeeping import SteadyClock, watch_clock

logger = logging.getLogger(__name__)

INSTANCE_CHARACTERS: Final = 20
"""A peer ID's end names the sandbox's cgroups; 20 base58 characters are unique on any machine."""

WORK_FOLDER: Final = "work"
"""Below the home: inputs and outputs of the runs under way."""


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
    if not await wait_for_room(disk_room_of(settings), stop):
        return
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
    with claimed(mine, home):
        swept = await asyncio.to_thread(leftovers.sweep, territory_of(mine))
        leftovers.tell(swept)
        async with _open_parts(settings, home, signer, swept) as opened:
            yield opened


@contextmanager
def claimed(settings: ProviderSettings, home: Path) -> Iterator[None]:
    """Hold what only one daemon of this machine may have.

    Raises:
        LocalError: another one has it.
    """
    uids = uids_of(settings)
    with hold_home(home):
        if uids is None:
            yield
            return
        with hold_uids(uids, home):
            yield


def uids_of(settings: ProviderSettings) -> UidRange | None:
    """Return the host uids of a provider's slots, and of what prepares their jobs.

    One more unpacks environments, another sets containers up (`bubblewrap`). None where jobs run
    under the daemon's own.
    """
    if os.getuid() != 0:
        return None
    return UidRange(first=settings.uid_first, last=settings.uid_first + settings.slots + 1)


def territory_of(settings: ProviderSettings) -> leftovers.Territory:
    """Return where what a killed daemon of these settings left lies."""
    return leftovers.Territory(
        uids=uids_of(settings),
        folders=(settings.home / CACHE_FOLDER,),
        work_directory=settings.home / WORK_FOLDER,
    )


@asynccontextmanager
async def _open_parts(
    settings: Settings, home: Path, signer: OrderSigner, swept: tuple[leftovers.Leftover, ...]
) -> AsyncIterator[tuple[ProviderParts, Supply]]:
    mine = settings.provider
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
        open_sandbox(sandbox_settings) as bubblewrap,
        open_gpus(mine) as gpus,  # after the sandbox has ended what a killed daemon left running
        open_network(network_settings(settings), key) as network,
        open_store(settings, home, network) as artifacts,
    ):
        sandbox, cleaned = tiers_on(bubblewrap), bubblewrap.groups_cleaned
        groups = leftovers.Leftover(kind="cgroup", what=f"{cleaned} of them")
        found = (*swept, groups) if cleaned else swept
        await asyncio.to_thread(leftovers.write_report, home, found)
        supply = await asyncio.to_thread(_supply, settings, chain.chain_id, gpus)
        activity = await asyncio.to_thread(_activity, mine, supply)
        supply = replace(
            supply,
            exact=await _exact_support(mine, sandbox),
            benchmark=await asyncio.to_thread(_benchmark, mine, supply),
        )
        await _warn_without_gas(chain, signer.address)
        clock = SteadyClock()
        async with _open_environments(mine, bubblewrap, artifacts) as environments:
            if environments is not None:
                supply = replace(supply, runtimes=(*supply.runtimes, ENVIRONMENTS))
            parts = ProviderParts(
                network=network,
                artifacts=artifacts,
                chain=chain,
                leases=ProviderLeases(database),
                signer=signer,
                sandbox=sandbox,
                gpus=gpus,
                clock=clock,
                activity=activity,
                environments=environments,
                beside=(partial(watch_clock, clock, chain),),
            )
            yield parts, supply


@asynccontextmanager
async def _open_environments(
    settings: ProviderSettings, sandbox: MountingSandbox, artifacts: Artifacts
) -> AsyncIterator[Environments | None]:
    """Open the cache of environments; None, with the reason in log and status, if none can be."""
    limits, uid = settings.environments, settings.uid_first + settings.slots
    cache = await asyncio.to_thread(
        LayerCache, settings.home / CACHE_FOLDER, quota_bytes=limits.quota_bytes
    )
    await asyncio.to_thread(cache.sweep)
    support = await try_environments(sandbox, cache, uid)
    await asyncio.to_thread(write_environments_status, settings.home, support)
    if not support.served:
        logger.warning("jobs that bring their environment are refused: %s", support.remark)
        yield None
        return
    async with open_environments(
        artifacts,
        cache,
        find_packer(uid),
        EnvironmentLimits(
            unpacked_bytes_max=limits.unpacked_bytes_max, prepare_s_max=limits.prepare_s_max
        ),
    ) as environments:
        yield environments


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


def _benchmark(settings: ProviderSettings, supply: Supply) -> Benchmark | None:
    """Return what was measured of this machine as it is, for the offer."""
    facts = machine_facts(detect_machine(settings.home), supply.gpus)
    found = standing(settings.home, facts, now=time.time())
    for warning in found.warnings:
        logger.warning("%s", warning)
    return found.benchmark


def _activity(settings: ProviderSettings, supply: Supply) -> OwnerSigns | None:
    """Return what sees the owner, None when nobody has to."""
    schedule = supply.owner.schedule
    if not schedule.idle_only:
        return None
    activity = OwnerSigns(uids=range(settings.uid_first, settings.uid_first + settings.slots))
    seen = activity.read(time.time())
    check_signs(schedule, seen)
    logger.info("the owner is seen by: %s", ", ".join(signs(schedule, seen)) or "other programs")
    for why in seen.unknown:
        logger.warning("jobs are let in only while the owner is away, but %s", why)
    return activity


def _supply(all_settings: Settings, chain_id: int, gpus: SlotGpus) -> Supply:
    settings = all_settings.provider
    machine = detect_machine(settings.home)
    machine = replace(machine, hardware_class=gpus.hardware_class or machine.hardware_class)
    check_machine(settings, machine)
    costs = costs_of(settings)
    check_price(costs, below_cost=settings.prices.below_cost)
    slot = settings.slot
    return Supply(
        operator=operator_of(settings),
        hardware_class=hardware_class_digest(settings.hardware_class or machine.hardware_class),
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
            gpus=gpus.per_slot,
            gpu_memory_bytes=gpus.usable_bytes,
        ),
        gpus=gpus.offered,
        price_microusd_per_second=costs.price_microusd_per_second,
        bond_max_microusd=settings.bond_max_microusd,
        scheduler_bond_min_microusd=settings.scheduler_bond_min_microusd,
        schedulers=settings.schedulers,
        work_directory=settings.home / WORK_FOLDER,
        offer_lifetime_s=settings.offer_lifetime_s,
        requesters_denied=frozenset(address(a) for a in settings.requesters_denied),
        result_keep_s=settings.result_keep_s,
        disk=disk_room_of(all_settings),
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
        owner=owner_terms(settings),
        proof=ProofTerms(
            rounds_per_hour=settings.proof.rounds_per_hour,
            seconds_max=settings.proof.seconds_max,
            kept_in=settings.home,
        ),
    )


def disk_room_of(settings: Settings) -> DiskRoom:
    """Return the folders a provider writes to, and what has to stay free on their disks."""
    mine = settings.provider
    folders = [mine.home, settings.artifacts.root or mine.home / "artifacts"]
    database = database_file(mine.database_url)
    if database is not None:
        folders.append(database.parent)
    return DiskRoom(folders=tuple(folders), free_bytes_min=mine.disk_free_bytes_min)


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
    if settings.hardware_class not in (None, machine.hardware_class):
        logger.warning(
            "offering hardware class %s; this machine looks like %s",
            settings.hardware_class,
            machine.hardware_class,
        )
