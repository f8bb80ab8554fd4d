"""A provider's side of the court: sits on panels, shows what it knows, appeals against its slashes.

Nothing of it is remembered but what the leases hold: the chain is asked again after each start, and
every look decides anew from what it says.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from assay_node.chain.refusals import ContractRefusal
from assay_node.ports import (
    CalledPanel,
    CallPanel,
    CaseState,
    Clock,
    CloseCase,
    CourtChain,
    EnteredJob,
    Head,
    JoinPanel,
    MarketStep,
    Matter,
    OrderSigner,
    RoadState,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Digest
from assay_node.protocol.panels import PANEL_SEED_BLOCKS
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import microusd_to_text
from assay_node.services.court import Docket, appeal, docket_of, plan_case
from assay_node.services.road import with_a_place
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease
from assay_provider.commitment import answer_of
from assay_provider.lease_book import LeaseBook, order_of
from assay_provider.lease_machine import HAS_OUTPUT, Event, State
from assay_provider.outage import Outage
from assay_provider.panel_acceptance import PanelAcceptance
from assay_provider.personas import Conduct
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

REORG_BLOCKS: Final = 64
"""How far back each look reads again, for what a reorg moved; deeper ones are unheard of."""

PANELS_BACK: Final = 3_600
"""How far back the first look searches for panels that still take commits: twelve hours of a chain
with a block every twelve seconds."""

CASE_S: Final = 3 * 86_400.0
"""For how long after their orders' expiry jobs are looked for at the start: an appeal's day, its
panel's sixteen hours, twelve more to show what it said."""


@dataclass(slots=True, kw_only=True)
class CourtWatch:
    """Looks at the court again and again."""

    chain: CourtChain
    book: LeaseBook
    seats: PanelAcceptance
    supply: Supply
    domain: Domain
    signer: OrderSigner
    clock: Clock
    conduct: Conduct
    track: Callable[[Digest], None]
    """Has a job on the on-chain road answered. Others may have taken it there long before us."""
    _next_block: int | None = None
    _panels: dict[Digest, CalledPanel] = field(default_factory=dict)
    """By the panel's job."""
    _entered: dict[Digest, EnteredJob] = field(default_factory=dict)
    """Jobs in which this provider was slashed, and may appeal."""
    _closable_since: dict[Digest, float] = field(default_factory=dict)
    _told: dict[Digest, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Look until cancelled."""
        outage = Outage(what="the court", logger=logger, clock=self.clock)
        while True:
            try:
                await self.look()
                outage.over()
            except (ChainError, StoreUnavailable) as error:
                # The endpoint is away, gas too dear, or the disk full: the windows last.
                outage.failed(error)
            await asyncio.sleep(self.supply.road.poll_s)

    async def look(self) -> None:
        """Do whatever is due now.

        Raises:
            ChainUnavailable: the chain cannot be asked; look again later.
        """
        if not self.conduct.works or not self.conduct.reveals:
            return
        head = await self.chain.head()
        await self._find_new(head)
        for called in tuple(self._panels.values()):
            await self._whatever_it_is(called.job, self._serve(called, head))
        for entered in tuple(self._entered.values()):
            await self._whatever_it_is(entered.job, self._appeal(entered, head))

    async def _whatever_it_is(self, job: Digest, work: Awaitable[None]) -> None:
        """Do one job's part; what is wrong with it must not keep another from its turn."""
        try:
            await work
        except (ChainUnavailable, StoreUnavailable):
            raise
        except ChainError as error:
            self._tell(job, f"waits at the court: {error}")
        except Exception:
            logger.exception("job %s at the court failed", job.hex()[:12])

    async def _find_new(self, head: Head) -> None:
        if self._next_block is None:
            self._next_block = await self._first_block(head)
        for called in await self.chain.panels_called(self._next_block, head.number):
            self._panels[called.panel_job] = called
            self._entered.pop(called.job, None)
        for entered in await self.chain.entered(self._next_block, head.number):
            if entered.held_of(self.supply.operator) and entered.job not in {
                called.job for called in self._panels.values()
            }:
                self._entered[entered.job] = entered
        self._next_block = max(self._next_block, head.number - REORG_BLOCKS)

    async def _first_block(self, head: Head) -> int:
        since = min(self.clock.now(), head.timestamp) - CASE_S
        leases = await self.book.store.answerable(expiring_after=since)
        blocks = [order_of(lease).seed_block - PANEL_SEED_BLOCKS for lease in leases]
        return max(0, min([head.number - PANELS_BACK, *blocks]))

    # Panels

    async def _serve(self, called: CalledPanel, head: Head) -> None:
        """Do what a panel needs of this provider: run, commit, show what it said."""
        lease, first = await self.book.get(called.panel_job), await self.book.get(called.job)
        if (await self.chain.case_of(called.job)).state is not CaseState.CALLED:
            if head.number > called.called_in:  # over, or a reorg took the call back
                self._forget(called)
            return
        if called.matter is None:
            self._tell(called.panel_job, "a contract called this panel; its order is not public")
        elif lease is None and head.timestamp <= called.panel.expiry:
            await self.seats.consider(called, called.matter, head)
        elif lease is not None and State(lease.state) in HAS_OUTPUT:
            await self._join(called, called.matter, lease, head)
        outputs = [held.output for held in (lease, first) if held and held.output]
        if outputs and head.timestamp > called.panel.expiry:
            await self._close(called, [cids.to_digest(output) for output in outputs], head)
        elif lease is None and first is None and head.timestamp > called.panel.expiry:
            self._forget(called)

    async def _join(
        self, called: CalledPanel, matter: Matter, lease: ProviderLease, head: Head
    ) -> None:
        road = await self.chain.road_of(called.panel_job, from_block=called.called_in)
        if any(entry.operator == self.supply.operator for entry in road.entries):
            await self.book.apply(lease.job, Event.COMMIT)
            self.track(lease.job)
            return
        deadline = called.panel.expiry if road.state is RoadState.ABSENT else road.deadline
        if road.state not in (RoadState.ABSENT, RoadState.COMMITTING) or head.timestamp > deadline:
            return
        own = answer_of(
            lease, operator=self.supply.operator, domain=self.domain, signer=self.signer
        ).commit
        commits = with_a_place(road, order_of(lease).replicas, (own,))
        if commits:
            step = JoinPanel(
                matter=matter, panel=called.panel, entries=road.entries, commits=commits
            )
            await self._take(lease.job, step)

    async def _close(self, called: CalledPanel, digests: list[Digest], head: Head) -> None:
        docket = await docket_of(self.chain, called.job, called=called)
        step = plan_case(docket, now=head.timestamp, digests=digests).step
        if isinstance(step, CloseCase) and self._is_our_turn(called, docket):
            await self._take(called.job, step)

    def _is_our_turn(self, called: CalledPanel, docket: Docket) -> bool:
        """Let those before us go first, so that not all pay for gas at once."""
        parties = [share.operator for share in docket.matter.shares] if docket.matter else []
        if docket.panel_road is not None:
            parties += [entry.operator for entry in docket.panel_road.entries]
        if called.panel.payer == self.chain.address:
            place = 0
        elif self.supply.operator in parties:
            place = 1 + parties.index(self.supply.operator)
        else:
            place = 1 + len(parties)
        now = self.clock.now()
        since = min(self._closable_since.get(called.panel_job, now), now)
        self._closable_since[called.panel_job] = since
        return now >= since + place * self.supply.road.turn_s

    def _forget(self, called: CalledPanel) -> None:
        self._panels.pop(called.panel_job, None)
        self._closable_since.pop(called.panel_job, None)
        self._told.pop(called.panel_job, None)
        self._told.pop(called.job, None)

    # Appeals

    async def _appeal(self, entered: EnteredJob, head: Head) -> None:
        """Appeal against a slash, if this provider gave the answer that it worked out."""
        lease = await self.book.get(entered.job)
        if lease is None or lease.output is None or self.conduct.lies_as is not None:
            self._entered.pop(entered.job, None)
            return
        docket = await docket_of(self.chain, entered.job, entered=entered)
        found = appeal(docket, now=head.timestamp)
        if not isinstance(found.step, CallPanel):
            if docket.case.state is not CaseState.ENTERED or docket.matter is not None:
                self._entered.pop(entered.job, None)
            self._tell(entered.job, f"was slashed: {found.text}")
            return
        cost = found.step.matter.order.panel_cost_microusd
        free = (await self.chain.account(self.chain.address)).free_microusd
        if cost > self.seats.terms.appeal_max_microusd or cost > free:
            self._tell(
                entered.job,
                f"was slashed {microusd_to_text(entered.held_of(self.supply.operator))}; "
                f"{found.text}, and this daemon may set aside "
                f"{microusd_to_text(self.seats.terms.appeal_max_microusd)}, of which its key has "
                f"{microusd_to_text(free)}; to appeal: assay job appeal 0x{entered.job.hex()}",
            )
            return
        if await self._take(entered.job, found.step):
            logger.warning("job %s: appealed against our slash", entered.job.hex()[:12])

    async def _take(self, job: Digest, step: MarketStep) -> bool:
        """Send a step; False if the contract refuses it as things are."""
        try:
            return await self.chain.start_step(job, step)
        except ContractRefusal as refusal:
            # Somebody was faster, or the chain moved on meanwhile: the next look sees how it is.
            self._tell(job, str(refusal))
            return False

    def _tell(self, job: Digest, text: str) -> None:
        """Say something once."""
        if self._told.get(job) != text:
            logger.warning("job %s: %s", job.hex()[:12], text)
        self._told[job] = text
