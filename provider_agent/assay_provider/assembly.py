"""A daemon's parts, wired to each other."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

from assay_node.ports import Artifacts, Clock, CourtChain, Network, OrderSigner
from assay_node.protocol.typed_data import Domain
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.court_watch import CourtWatch
from assay_provider.evidence import EvidenceKeeper
from assay_provider.execution import EnvironmentRoots, Execution
from assay_provider.gpus.slot_gpus import SlotGpus
from assay_provider.handing_back import hand_back_all
from assay_provider.inventory.sensors import GpuSensors, Sensors, no_gpus
from assay_provider.lease_acceptance import LeaseAcceptance
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_closing import LeaseClosing
from assay_provider.lease_verification import LeaseVerifier
from assay_provider.lease_work import LeaseWork
from assay_provider.offering import Offering
from assay_provider.owner.denials import DENIED_FILE, Denials
from assay_provider.owner.gate import Gate
from assay_provider.owner.limits import RequesterLimits
from assay_provider.owner.live import LiveStatus
from assay_provider.owner.watch import OwnerWatch, SeesOwner
from assay_provider.panel_acceptance import PanelAcceptance
from assay_provider.personas import Conduct
from assay_provider.proving.device_worker import DeviceWorker, WorkerProcess
from assay_provider.proving.service import ProofService
from assay_provider.reconciliation import Reconciliation
from assay_provider.road_watch import RoadWatch
from assay_provider.runtime.sandbox import Sandbox
from assay_provider.scheduler_links import SchedulerLinks
from assay_provider.scheduler_requests import SchedulerRequests
from assay_provider.slots import Slots
from assay_provider.supply import Supply
from assay_provider.timekeeping import Deadlines


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderParts:
    """What a daemon is made of; `compose` opens the real ones, tests bring fakes.

    `activity` sees the machine's owner; without it nobody is looked for.
    """

    network: Network
    artifacts: Artifacts
    chain: CourtChain
    leases: ProviderLeases
    signer: OrderSigner
    sandbox: Sandbox
    clock: Clock
    new_device_worker: Callable[[], DeviceWorker] = WorkerProcess
    gpus: SlotGpus = field(default_factory=SlotGpus)
    environments: EnvironmentRoots | None = None
    activity: SeesOwner | None = None
    gpu_sensors: GpuSensors = no_gpus
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    """What runs for ever beside the daemon's own loops."""

    @property
    def domain(self) -> Domain:
        """What this provider's signatures bind."""
        return Domain(self.chain.chain_id, self.chain.market)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """Everything a daemon does, by what it does."""

    book: LeaseBook
    offering: Offering
    links: SchedulerLinks
    closing: LeaseClosing
    work: LeaseWork
    acceptance: LeaseAcceptance
    requests: SchedulerRequests
    reconciliation: Reconciliation
    road: RoadWatch
    court: CourtWatch
    gate: Gate
    live: LiveStatus
    proofs: ProofService

    @classmethod
    def of(
        cls,
        parts: ProviderParts,
        supply: Supply,
        conduct: Conduct,
        slots: Slots,
        group: asyncio.TaskGroup,
    ) -> Self:
        """Wire the parts; `group` owns every task they start."""
        domain, signer, clock = parts.domain, parts.signer, parts.clock
        book = LeaseBook(leases=parts.leases, clock=clock)
        deadlines = Deadlines(chain=parts.chain, clock=clock)
        gate = Gate(denials=denials_of(supply))
        limits = RequesterLimits(limits=supply.owner.limits, book=book, clock=clock)
        evidence = EvidenceKeeper(book=book, domain=domain, clock=clock)
        offering = Offering(
            supply=supply,
            network=parts.network,
            signer=signer,
            domain=domain,
            leases=parts.leases,
            clock=clock,
            lets_in=lambda: gate.refusal() is None,
        )
        links = SchedulerLinks(
            network=parts.network,
            offering=offering,
            leases=parts.leases,
            clock=clock,
            slots_free=lambda: 0 if gate.refusal() or supply.disk.shortage() else slots.free,
            group=group,
        )
        closing = LeaseClosing(
            book=book,
            artifacts=parts.artifacts,
            links=links,
            supply=supply,
            clock=clock,
            deadlines=deadlines,
        )
        work = LeaseWork(
            group=group,
            book=book,
            execution=Execution(
                artifacts=parts.artifacts,
                sandbox=parts.sandbox,
                gpus=parts.gpus,
                schedulers=links,
                supply=supply,
                conduct=conduct,
                book=book,
                tell=links.tell_progress,
                denials=gate.denials,
                limits=limits,
                environments=parts.environments,
            ),
            links=links,
            closing=closing,
            slots=slots,
            supply=supply,
            domain=domain,
            signer=signer,
            clock=clock,
            deadlines=deadlines,
        )
        verifier = LeaseVerifier(
            supply=supply,
            signer=signer.address,
            chain=parts.chain,
            domain=domain,
            clock=clock,
            denials=gate.denials,
        )
        acceptance = LeaseAcceptance(
            book=book,
            verifier=verifier,
            evidence=evidence,
            slots=slots,
            gate=gate,
            limits=limits,
            domain=domain,
            clock=clock,
            scheduler_of=links.scheduler_of,
            start=work.start,
            disk=supply.disk,
        )
        road = RoadWatch(
            road=parts.chain,
            book=book,
            closing=closing,
            supply=supply,
            domain=domain,
            signer=signer,
            clock=clock,
            conduct=conduct,
            terms=supply.road,
            is_connected=links.is_connected,
            stop=work.stop,
        )
        return cls(
            book=book,
            offering=offering,
            links=links,
            closing=closing,
            work=work,
            acceptance=acceptance,
            requests=SchedulerRequests(
                book=book,
                closing=closing,
                evidence=evidence,
                supply=supply,
                domain=domain,
                signer=signer,
                clock=clock,
                conduct=conduct,
                scheduler_of=links.scheduler_of,
                stop=work.stop,
            ),
            reconciliation=Reconciliation(book=book, closing=closing, links=links, stop=work.stop),
            road=road,
            court=CourtWatch(
                chain=parts.chain,
                book=book,
                seats=PanelAcceptance(
                    chain=parts.chain,
                    book=book,
                    verifier=verifier,
                    acceptance=acceptance,
                    slots=slots,
                    supply=supply,
                    domain=domain,
                    clock=clock,
                    terms=supply.panels,
                    start=work.start,
                ),
                supply=supply,
                domain=domain,
                signer=signer,
                clock=clock,
                conduct=conduct,
                track=road.track,
            ),
            gate=gate,
            live=LiveStatus(
                supply=supply,
                book=book,
                slots=slots,
                gate=gate,
                sensors=Sensors(gpus=parts.gpu_sensors),
                clock=clock,
                connected=links.connected,
            ),
            proofs=ProofService(
                supply=supply,
                slots=slots,
                chain=parts.chain,
                clock=clock,
                domain=domain,
                conduct=conduct,
                scheduler_of=links.scheduler_of,
                new_worker=parts.new_device_worker,
            ),
        )

    def owner_watch(
        self, parts: ProviderParts, supply: Supply, stop: Callable[[], None]
    ) -> OwnerWatch:
        """Return what attends to the owner's schedule and drains; `stop` ends the daemon."""

        async def give_up(reason: str) -> None:
            await self.acceptance.none_half_taken()
            await hand_back_all(self.book, self.closing, self.work, reason, leaving=False)

        return OwnerWatch(
            gate=self.gate,
            schedule=supply.owner.schedule,
            activity=parts.activity,
            book=self.book,
            clock=parts.clock,
            hand_back_all=give_up,
            announce=self.offering.look_again,
            stop=stop,
        )


def denials_of(supply: Supply) -> Denials:
    """Return whom and what this provider denies: its settings, and the files they name."""
    terms = supply.owner
    mine = () if terms.home is None else (terms.home / DENIED_FILE,)
    return Denials(paths=(*mine, *terms.denied_files), always=supply.requesters_denied)
