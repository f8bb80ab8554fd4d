"""`ports.CourtReader` over JSON-RPC."""

import asyncio
from typing import Final

from assay_node.chain import court
from assay_node.chain.event_reader import EventReader
from assay_node.chain.refusals import ContractRefusal
from assay_node.ports.court import (
    AuditFund,
    CalledPanel,
    Case,
    CourtTerms,
    Decided,
    EnteredJob,
    Verdict,
)
from assay_node.protocol.ids import Address, Digest

_SEED_UNKNOWN: Final = "Court_SeedUnknown"


class CourtReader(EventReader):
    """Reads the court, beside what `EventReader` reads."""

    @property
    def court(self) -> Address:
        """The contract, which is the requester of every panel's order."""
        return self.deployment.court

    async def court_terms(self) -> CourtTerms:
        """Return the contract's windows."""
        contract = self._contracts.court
        appeal, proof = await asyncio.gather(contract.appeal_window(), contract.proof_window())
        return CourtTerms(appeal_window_s=appeal, proof_window_s=proof)

    async def entered(
        self, from_block: int, to_block: int, *, job: Digest | None = None
    ) -> tuple[EnteredJob, ...]:
        """Return the jobs that came to the court in these blocks, both included, or one of them."""
        logs = await self._logs(court.entered_topics(job), from_block, to_block, of=self.court)
        return tuple(map(court.entered_job, logs))

    async def entered_of(self, job: Digest) -> EnteredJob | None:
        """Return when a job last came to the court, however long ago; None if it never did.

        The newest blocks are asked first: cases are over after three days.
        """
        last = (await self.head()).number
        logs = await self._newest_logs(court.entered_topics(job), last, of=self.court)
        return court.entered_job(logs[-1]) if logs else None

    async def panels_called(
        self, from_block: int, to_block: int, *, job: Digest | None = None
    ) -> tuple[CalledPanel, ...]:
        """Return the panels called in these blocks, both included, or those for one job."""
        logs = await self._logs(court.called_topics(job), from_block, to_block, of=self.court)
        calls = [await self._call_data(Digest(log.transaction)) for log in logs]
        return tuple(
            court.called_panel(log, data, court_address=self.court, domain=self.domain)
            for log, data in zip(logs, calls, strict=True)
        )

    async def decided(self, entered: EnteredJob) -> Decided | None:
        """Return what a job was decided by, None where no wallet's call data has it."""
        data = await self._call_data(entered.transaction)
        return None if data is None else court.decided_in(data, entered, self.domain)

    async def case_of(self, job: Digest) -> Case:
        """Return where a job stands at the court."""
        case = await self._contracts.court.case_of(job)
        return Case(state=court.STATES[case.state], since=case.since)

    async def verdict_of(self, panel_job: Digest) -> Verdict | None:
        """Return how a panel ended; None before it has, and after its case was closed."""
        verdict = await self._contracts.court.verdict_of(panel_job)
        if not verdict.ended_at:
            return None
        return Verdict(
            tag=verdict.tag,
            cost_microusd=verdict.cost,
            ended_at=verdict.ended_at,
            agreed=verdict.agreed,
        )

    async def audit_drawn(self, job: Digest, *, entered_in: int, audit_bps: int) -> bool | None:
        """Tell whether a job was drawn for an audit; None while, or after, nobody can know."""
        try:
            return await self._contracts.court.is_drawn(job, entered_in, audit_bps)
        except ContractRefusal as refusal:
            if refusal.name == _SEED_UNKNOWN:
                return None
            raise

    async def audit_fund(self, scheduler: Address) -> AuditFund:
        """Return what can pay for the audits of a scheduler's jobs."""
        fund = await self._contracts.court.fund_of(scheduler)
        return AuditFund(
            microusd=fund.settled + fund.previous + fund.current, settled_microusd=fund.settled
        )
