"""A daemon's parts, wired to each other."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from assay_node.ports import Artifacts, Clock, CourtChain, Network, OrderSigner
from assay_node.protocol.typed_data import Domain
from assay_node.store.provider_leases import ProviderLeases
from assay_provider.court_watch import CourtWatch
from assay_provider.evidence import EvidenceKeeper
from assay_provider.execution import Execution
from assay_provider.lease_acceptance import LeaseAcceptance
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_closing import LeaseClosing
from assay_provider.lease_verification import LeaseVerifier
from assay_provider.lease_work import LeaseWork
from assay_provider.offering import Offering
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderParts:
    """What a daemon is made of; `compose` opens the real ones, tests bring fakes."""

    network: Network
    artifacts: Artifacts
    chain: CourtChain
    leases: ProviderLeases
    signer: OrderSigner
    sandbox: Sandbox
    clock: Clock
    new_device_worker: Callable[[], DeviceWorker] = WorkerProcess

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
        evidence = EvidenceKeeper(book=book, domain=domain, clock=clock)
        offering = Offering(
            supply=supply,
            network=parts.network,
            signer=signer,
            domain=domain,
            leases=parts.leases,
            clock=clock,
        )
        links = SchedulerLinks(
            network=parts.network,
            offering=offering,
            leases=parts.leases,
            clock=clock,
            slots_free=lambda: slots.free,
            group=group,
        )
        closing = LeaseClosing(
            book=book, artifacts=parts.artifacts, links=links, supply=supply, clock=clock
        )
        work = LeaseWork(
            group=group,
            book=book,
            execution=Execution(
                artifacts=parts.artifacts,
                sandbox=parts.sandbox,
                schedulers=links,
                supply=supply,
                conduct=conduct,
                book=book,
                tell=links.tell_progress,
            ),
            links=links,
            closing=closing,
            slots=slots,
            supply=supply,
            domain=domain,
            signer=signer,
            clock=clock,
        )
        verifier = LeaseVerifier(
            supply=supply,
            signer=signer.address,
            chain=parts.chain,
            domain=domain,
            clock=clock,
        )
        acceptance = LeaseAcceptance(
            book=book,
            verifier=verifier,
            evidence=evidence,
            slots=slots,
            domain=domain,
            clock=clock,
            scheduler_of=links.scheduler_of,
            start=work.start,
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
