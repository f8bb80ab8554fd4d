"""Gives up every run at once: when the daemon leaves, when its owner wants the machine back."""

import asyncio

from assay_node.protocol.ids import Digest
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_closing import LeaseClosing
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.lease_work import LeaseWork


async def hand_back_all(
    book: LeaseBook, closing: LeaseClosing, work: LeaseWork, reason: str, *, leaving: bool
) -> None:
    """Stop every run and hand its lease back; one slow scheduler delays no other.

    A lease whose run ended just before keeps its output; with `leaving` its commitment waits for
    the next start.
    """

    async def give_up(job: Digest) -> None:
        await work.stop(job)
        lease = await book.get(job)
        if lease is None or lease.closed_at is not None:
            return
        if State(lease.state) in HOLDS_SLOT:
            await closing.hand_back(job, reason)
        elif not leaving:
            work.start(job)

    running = [
        lease.job for lease in await book.store.unfinished() if State(lease.state) in HOLDS_SLOT
    ]
    await asyncio.gather(*(give_up(job) for job in running))
