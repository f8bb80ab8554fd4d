"""The court as a small model beside the road's: cases, panels and verdicts, without money."""

from collections.abc import Callable, Sequence

from assay_node.ports import (
    AuditFund,
    CalledPanel,
    CallPanel,
    Case,
    CaseState,
    CloseCase,
    CourtTerms,
    Decided,
    EnteredJob,
    JoinPanel,
    MarketStep,
    OpenRoad,
    RoadJob,
    RoadState,
    Verdict,
)
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import SignedOrder
from assay_node.protocol.panels import PANEL_SEED_BLOCKS, Panel, panel_order
from assay_node.protocol.typed_data import Domain
from tests.fakes.road import FakeRoad

COURT = Address("0x" + "c0" * 20)
APPEAL_WINDOW_S = 86_400
PROOF_WINDOW_S = 43_200


class FakeCourt(FakeRoad):
    """`ports.CourtReader`; steps of it are mined at once, with the road's."""

    court = COURT
    address = Address("0x" + "55" * 20)

    def __init__(self, domain: Domain, now: Callable[[], int]) -> None:
        super().__init__(domain, now)
        self.entered_jobs: list[EnteredJob] = []
        self.panels: list[CalledPanel] = []
        self.cases: dict[Digest, Case] = {}
        self.decisions: dict[Digest, Decided] = {}
        self.verdicts: dict[Digest, Verdict] = {}
        self.draws: dict[Digest, bool | None] = {}
        self.fund_microusd = 10**9

    async def court_terms(self) -> CourtTerms:
        return CourtTerms(appeal_window_s=APPEAL_WINDOW_S, proof_window_s=PROOF_WINDOW_S)

    async def entered(
        self, from_block: int, to_block: int, *, job: Digest | None = None
    ) -> Sequence[EnteredJob]:
        return [
            one
            for one in self.entered_jobs
            if from_block <= one.entered_in <= to_block and job in (None, one.job)
        ]

    async def entered_of(self, job: Digest) -> EnteredJob | None:
        return next((one for one in reversed(self.entered_jobs) if one.job == job), None)

    async def panels_called(
        self, from_block: int, to_block: int, *, job: Digest | None = None
    ) -> Sequence[CalledPanel]:
        return [
            one
            for one in self.panels
            if from_block <= one.called_in <= to_block and job in (None, one.job)
        ]

    async def decided(self, entered: EnteredJob) -> Decided | None:
        return self.decisions.get(entered.job)

    async def case_of(self, job: Digest) -> Case:
        return self.cases.get(job, Case(state=CaseState.ABSENT, since=0))

    async def verdict_of(self, panel_job: Digest) -> Verdict | None:
        return self.verdicts.get(panel_job)

    async def audit_drawn(self, job: Digest, *, entered_in: int, audit_bps: int) -> bool | None:
        return self.draws.get(job)

    async def audit_fund(self, scheduler: Address) -> AuditFund:
        return AuditFund(microusd=self.fund_microusd, settled_microusd=0)

    # What tests and steps do

    def enter(self, entered: EnteredJob, decided: Decided) -> None:
        """Tell that a job was decided."""
        self.entered_jobs.append(entered)
        self.decisions[entered.job] = decided
        state = CaseState.ENTERED if entered.agreed else CaseState.SPLIT
        self.cases[entered.job] = Case(state=state, since=self._now())

    def call(self, job: Digest, panel: Panel) -> CalledPanel:
        """Call a panel for a job that was entered."""
        matter = self.decisions[job].matter
        order = panel_order(matter.order, panel, court=self.court, domain=self._domain)
        called = CalledPanel(
            job=job,
            panel_job=self._job_of(order),
            panel=panel,
            called_in=self.newest_block(),
            matter=matter,
        )
        self.panels.append(called)
        self.cases[job] = Case(state=CaseState.CALLED, since=self._now())
        return called

    def take_at_court(self, step: MarketStep) -> None:
        """Take a step at the court as anybody."""
        self.check(step)
        match step:
            case CallPanel():
                panel = Panel(
                    kind=step.kind,
                    payer=self.address,
                    seed_block=self.newest_block() + PANEL_SEED_BLOCKS,
                    expiry=self._now() + 43_200,
                )
                self.call(self._job_of(step.matter.order), panel)
            case JoinPanel():
                self._join(step)
            case CloseCase():
                del self.cases[self._job_of(step.matter.order)]
            case _:
                pass
        self.steps.append(step)

    def _join(self, step: JoinPanel) -> None:
        order = panel_order(step.matter.order, step.panel, court=self.court, domain=self._domain)
        if not step.entries:
            signed = SignedOrder(order=order, signature=b"")
            self._open(OpenRoad(signed_order=signed, round_number=0, commits=step.commits))
            return
        self._add(self._job_of(order), order, step.entries, step.commits)

    def end_panel(self, called: CalledPanel, verdict: Verdict) -> None:
        """Have a panel's road end with a verdict."""
        road = self.on_road[called.panel_job]
        self.verdicts[called.panel_job] = verdict
        self._end(road, agreed=verdict.agreed)

    def panel_road(self, called: CalledPanel) -> RoadJob:
        """Return where a panel stands on the road."""
        absent = RoadJob(job=called.panel_job, state=RoadState.ABSENT, deadline=0, round_number=0)
        return self.on_road.get(called.panel_job, absent)
