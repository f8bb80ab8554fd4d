"""A scheduler's jobs at the court: panels are called where order and draw ask for them, and closed.

Audits protect everybody who sells one replica's word, and escalations are what a requester ordered;
neither costs the scheduler more than gas. What the chain says is asked anew after each start.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import (
    CalledPanel,
    CallPanel,
    CaseState,
    Clock,
    CloseCase,
    CourtStep,
    EnteredJob,
    Head,
    JobRecord,
    KeepAuditSeed,
    NewEvent,
    SchedulerChain,
    SchedulerStore,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Digest, to_hex
from assay_node.protocol.panels import audit_block
from assay_node.services.court import Docket, docket_of, plan_case

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often the chain is looked at, if there is a new block: the court's windows are hours."""

REORG_BLOCKS: Final = 64
"""How far back each look reads again, for what a reorg moved; deeper ones are unheard of."""

BLOCKS_BACK: Final = 8_191
"""How far back the first look searches: older audit blocks have left the chain's own memory."""


@dataclass(slots=True, kw_only=True)
class CourtWatch:
    """Follows the court for one scheduler."""

    chain: SchedulerChain
    store: SchedulerStore
    clock: Clock
    sending: Callable[[], None]
    """Called when a transaction is on its way: somebody else pursues it."""
    _looked_at: int = -1
    _next_block: int | None = None
    _entered: dict[Digest, EnteredJob] = field(default_factory=dict)
    _called: dict[Digest, CalledPanel] = field(default_factory=dict)
    """By the job, not the panel's."""
    _over: set[Digest] = field(default_factory=set)
    _seeds_kept: set[int] = field(default_factory=set)
    _told: dict[Digest, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self.look()
            except ChainError as error:
                logger.warning("the court is not in sight: %s", error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Do what the court's new blocks ask for.

        Raises:
            ChainUnavailable: the endpoint does not answer; look again later.
        """
        head = await self.chain.head()
        if head.number == self._looked_at:
            return
        await self._find_new(head)
        for entered in tuple(self._entered.values()):
            await self._whatever_it_is(entered.job, self._follow(entered, head))
        self._looked_at = head.number

    async def _whatever_it_is(self, job: Digest, work: Awaitable[None]) -> None:
        """Do one job's part; what is wrong with it must not keep another from its turn."""
        try:
            await work
        except ChainUnavailable:
            raise
        except ChainError as error:  # somebody was faster, gas is too dear, a budget is empty
            self._tell(job, str(error))
        except Exception:
            logger.exception("job %s at the court failed", to_hex(job))

    async def _find_new(self, head: Head) -> None:
        if self._next_block is None:
            self._next_block = max(0, head.number - BLOCKS_BACK)
        for entered in await self.chain.entered(self._next_block, head.number):
            if entered.job not in self._over and await self.store.job(entered.job) is not None:
                self._entered[entered.job] = entered
        for called in await self.chain.panels_called(self._next_block, head.number):
            if called.job in self._entered:
                self._called[called.job] = called
        self._next_block = max(self._next_block, head.number - REORG_BLOCKS)

    async def _follow(self, entered: EnteredJob, head: Head) -> None:
        job = await self.store.job(entered.job)
        assert job is not None, "jobs are never forgotten"
        called = self._called.get(entered.job)
        if called is not None:
            await self._note_call(called)
        elif not self._may_call(job, entered, head):
            return
        docket = await docket_of(self.chain, entered.job, entered=entered, called=called)
        if docket.case.state is CaseState.ABSENT:
            await self._is_over(job, called)
            return
        if docket.drawn is False and called is None:
            self._forget(entered.job)
            return
        found = plan_case(docket, now=head.timestamp, digests=_digests(job))
        if isinstance(found.step, CallPanel | CloseCase):
            await self._take(entered.job, found.step)
            return
        self._tell(entered.job, found.text)
        if docket.drawn and found.step is None:
            await self._keep_seed(docket)

    def _may_call(self, job: JobRecord, entered: EnteredJob, head: Head) -> bool:
        """Tell whether a panel could be called for a job at all by now."""
        if not entered.agreed:
            return job.order.escalate
        return bool(job.order.audit_bps) and head.number > audit_block(entered.entered_in)

    async def _keep_seed(self, docket: Docket) -> None:
        """Have the chain remember that a job was drawn until somebody fills the fund."""
        assert docket.matter is not None, "its draw was known"
        block = audit_block(docket.matter.entered_in)
        if block not in self._seeds_kept:
            self._seeds_kept.add(block)
            await self._take(docket.job, KeepAuditSeed(seed_block=block))

    async def _take(self, job: Digest, step: CourtStep) -> None:
        if await self.chain.start_case_step(job, step):
            self.sending()

    # What people are told

    async def _note_call(self, called: CalledPanel) -> None:
        panel = called.panel
        data: dict[str, object] = {
            "panel_job": to_hex(called.panel_job),
            "kind": panel.kind.value,
            "expiry": panel.expiry,
        }
        text = f"a panel was called ({panel.kind.value}); it commits until {panel.expiry}"
        await self._note(called.job, NewEvent(kind="panel_called", text=text, data=data))

    async def _is_over(self, job: JobRecord, called: CalledPanel | None) -> None:
        if called is not None:
            data: dict[str, object] = {"panel_job": to_hex(called.panel_job)}
            event = NewEvent(
                kind="case_closed", text="the panel's verdict is carried out", data=data
            )
            await self._note(job.job, event)
        self._forget(job.job)

    async def _note(self, job: Digest, event: NewEvent) -> None:
        """Write a line into the job's history, once."""
        if not any(
            (known.kind, known.data) == (event.kind, event.data)
            for known in await self.store.events(job)
        ):
            logger.info("job %s: %s", to_hex(job), event.text)
            await self.store.note(job, event, now=self.clock.now())

    def _tell(self, job: Digest, text: str) -> None:
        """Say something once."""
        if self._told.get(job) != text:
            logger.info("job %s at the court: %s", to_hex(job), text)
        self._told[job] = text

    def _forget(self, job: Digest) -> None:
        self._over.add(job)
        self._entered.pop(job, None)
        self._called.pop(job, None)
        self._told.pop(job, None)


def _digests(job: JobRecord) -> Iterable[Digest]:
    """Return the digests of all outputs that a job's replicas gave."""
    outputs = {lease.reveal.output for lease in job.leases if lease.reveal is not None}
    return map(cids.to_digest, outputs)
