"""After each introduction: provider and scheduler agree on which leases exist."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from assay_node.protocol.errors import AssayError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.messages import HAND_BACK, Ack, HandBack, Welcome
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_closing import LeaseClosing
from assay_provider.lease_machine import State
from assay_provider.scheduler_links import SchedulerLinks

logger = logging.getLogger(__name__)

BEFORE_COMMIT = frozenset({State.ACCEPTED, State.RUNNING, State.EXECUTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """Compares a Welcome with the stored leases. `stop` ends a lease's task."""

    book: LeaseBook
    closing: LeaseClosing
    links: SchedulerLinks
    stop: Callable[[Digest], Awaitable[None]]

    async def welcomed(self, welcome: Welcome, sent_at: float) -> None:
        """Act on a Welcome whose HELLO was sent at `sent_at`.

        1. Tell of leases given up while the scheduler was away. 2. Drop leases that it no longer
        lists, unless they are past the commit: a commitment stands until the order expires, and the
        release may be on its way. 3. Hand back what it lists and we do not have; an offer without
        an answer may not have come here yet.
        """
        await self.closing.deliver_owed(welcome.scheduler)  # 1
        for lease in await self.book.store.unfinished():  # 2
            if (
                lease.scheduler == welcome.scheduler
                and lease.job not in (*welcome.active_jobs, *welcome.offered_jobs)
                and lease.accepted_at < sent_at  # younger ones were not yet there to be listed
            ):
                await self._drop_before_commit(lease.job)
        for job in welcome.active_jobs:  # 3
            await self._disown_unknown(welcome.scheduler, job)

    async def _drop_before_commit(self, job: Digest) -> None:
        async with self.book.exclusively(job):
            lease = await self.book.get(job)
            if lease is None or State(lease.state) not in BEFORE_COMMIT:
                return
            await self.stop(job)
            await self.closing.close(job, "the scheduler no longer lists this lease")

    async def _disown_unknown(self, scheduler: Address, job: Digest) -> None:
        # exclusively: an offer of this very lease may be arriving at the same time
        async with self.book.exclusively(job):
            lease = await self.book.get(job)
            if lease is not None and lease.closed_at is None:
                return
            reason = "this provider holds no such lease" if lease is None else lease.closed_reason
            try:
                message = HandBack(job=job, reason=reason or "")
                await self.links.ask(scheduler, HAND_BACK, message, Ack)
            except AssayError as error:
                logger.info("disowning job %s: %s", job.hex()[:12], error)
