"""Where the result of a job is: told by its receipt, or by the chain and whoever won there.

A job that ended on the on-chain road has no receipt that is whole, and one that a panel decided has
another set of operators. The chain keeps what they agreed on as a tag; the output that it stands
for is asked of those who were paid, and checked against it.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from assay_node.ports import (
    ChainReader,
    JobRecord,
    Network,
    SchedulerStore,
    Settlement,
)
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, Refused
from assay_node.protocol.ids import Address, Digest, digest_from_hex, to_hex
from assay_node.protocol.lease import JOB_ENDS, JobState
from assay_node.protocol.messages import OUTPUT, Output, OutputRequest, Result
from assay_node.services.membership import Membership
from assay_node.services.queries import why
from assay_node.services.settlement import receipt_of
from assay_node.services.verification import is_agreed_on

logger = logging.getLogger(__name__)

ASK_S: Final = 5.0
"""Providers answer from their database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Answers requesters who come for results."""

    store: SchedulerStore
    membership: Membership
    chain: ChainReader
    network: Network

    async def of(self, job_id: Digest) -> Result:
        """Return where a job's output is, with what proves it.

        Raises:
            Refused: there is no result, or not yet; the text says which.
            ChainUnavailable: the chain cannot be asked now.
        """
        job = await self.store.job(job_id)
        if job is None:
            raise Refused(f"no job {to_hex(job_id)} here")
        if job.output is not None:
            return self._by_receipt(job)
        panel_job = await self._panel_of(job_id)
        if panel_job is not None:
            seed_block = job.order.seed_block
            settlement = await self.chain.settlement_of(panel_job, from_block=seed_block)
            if settlement is None:
                raise Refused(f"there is no result yet: panel {to_hex(panel_job)} runs the job")
            if settlement.agreed:
                return await self._by_chain(job, settlement, panel_job)
        if job.settlement is not None and job.settlement.agreed:
            return await self._by_chain(job, job.settlement, None)
        if job.state in JOB_ENDS or job.state is JobState.SETTLING:
            raise Refused(f"the job has no result: {why(job)}")
        raise Refused(f"there is no result yet: {why(job)}")

    def _by_receipt(self, job: JobRecord) -> Result:
        assert job.output is not None
        holders = [
            lease.operator
            for lease in job.leases
            if lease.reveal and lease.reveal.output == job.output
        ]
        return Result(
            receipt=receipt_of(job),
            panel_job=None,
            round_number=job.round_number,
            output=job.output,
            verdict=job.verdict,
            sources=self._sources(holders),
        )

    async def _panel_of(self, job: Digest) -> Digest | None:
        """Return the panel that was called because no quorum formed."""
        for event in await self.store.events(job):
            if event.kind == "panel_called" and event.data.get("kind") == "escalation":
                return digest_from_hex(str(event.data["panel_job"]))
        return None

    async def _by_chain(
        self, job: JobRecord, settlement: Settlement, panel_job: Digest | None
    ) -> Result:
        winners = [paid.operator for paid in settlement.paid]
        request = OutputRequest(job=panel_job or job.job)
        answers = await asyncio.gather(*(self._ask(one, request) for one in winners))
        good = [
            (operator, answer)
            for operator, answer in zip(winners, answers, strict=True)
            if answer is not None and is_agreed_on(answer.output, settlement)
        ]
        if not good:
            raise Refused(
                "the job was settled on the chain, and none of those who were paid can be asked "
                "for its output now; try again when they are back"
            )
        _, first = good[0]
        return Result(
            receipt=None,
            panel_job=panel_job,
            round_number=0,
            output=first.output,
            verdict=first.verdict,
            sources=self._sources([operator for operator, _ in good]),
        )

    async def _ask(self, operator: Address, request: OutputRequest) -> Output | None:
        offer = self.membership.offer_of(operator)
        if offer is None:
            return None
        try:
            data = await self.network.request(
                offer.peer_id, OUTPUT, codec.encode(request), timeout_s=ASK_S
            )
            return codec.decode(Output, data)
        except AssayError as error:
            logger.info("output of %s from %s: %s", to_hex(request.job), operator, error)
            return None

    def _sources(self, operators: Sequence[Address]) -> tuple[str, ...]:
        offers = [self.membership.offer_of(operator) for operator in operators]
        return tuple(a for offer in offers if offer is not None for a in offer.addresses)
