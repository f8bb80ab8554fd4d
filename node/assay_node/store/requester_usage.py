"""What each requester's jobs took of a provider: for limits by the day, across restarts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from assay_node.protocol.ids import Address, Digest
from assay_node.store.availability import available
from assay_node.store.database import Database
from assay_node.store.provider_schema import usage
from assay_node.store.undisturbed import undisturbed

_Sums = Select[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The sum over some jobs. A job that has not ended counts the seconds it may take."""

    jobs: int = 0
    seconds: int = 0
    bytes_moved: int = 0


class RequesterUsage:
    """One row a job, kept for as long as limits look back. Only the provider's daemon writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @undisturbed
    @available
    async def reserve(self, job: Digest, requester: Address, *, seconds: int, now: float) -> bool:
        """Count a job with the seconds it may take; False, and no change, when it is counted."""
        row = {"job": job.hex(), "requester": requester, "at": now, "seconds": seconds}
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(usage).values(**row, bytes_moved=0))
        except IntegrityError:
            return False
        return True

    @undisturbed
    @available
    async def ran(self, job: Digest, *, seconds: int) -> None:
        """Count the seconds that a job took instead of those it might have taken."""
        async with self._database.write() as connection:
            mine = update(usage).where(usage.c.job == job.hex())
            await connection.execute(mine.values(seconds=seconds))

    @undisturbed
    @available
    async def moved(self, job: Digest, *, bytes_moved: int) -> None:
        """Count bytes that were fetched or kept for a job, beside those counted before."""
        async with self._database.write() as connection:
            mine = update(usage).where(usage.c.job == job.hex())
            more = mine.values(bytes_moved=usage.c.bytes_moved + bytes_moved)
            await connection.execute(more)

    @undisturbed
    @available
    async def of(self, requester: Address, *, since: float) -> Usage:
        """Return what a requester's jobs taken since a moment took."""
        found = await self._sums(_sums().where(usage.c.requester == requester), since)
        return found.get(requester, Usage())

    @undisturbed
    @available
    async def by_requester(self, *, since: float) -> Mapping[Address, Usage]:
        """Return what each requester's jobs taken since a moment took."""
        return await self._sums(_sums(), since)

    @undisturbed
    @available
    async def forget_before(self, moment: float) -> int:
        """Delete what no limit looks back to; return how many jobs."""
        async with self._database.write() as connection:
            return (await connection.execute(delete(usage).where(usage.c.at < moment))).rowcount

    async def _sums(self, query: _Sums, since: float) -> dict[Address, Usage]:
        grouped = query.where(usage.c.at >= since).group_by(usage.c.requester)
        async with self._database.read() as connection:
            rows = (await connection.execute(grouped)).all()
        return {
            Address(row.requester): Usage(
                jobs=int(row.jobs), seconds=int(row.seconds), bytes_moved=int(row.bytes_moved)
            )
            for row in rows
        }


def _sums() -> _Sums:
    return select(
        usage.c.requester,
        func.count().label("jobs"),
        func.sum(usage.c.seconds).label("seconds"),
        func.sum(usage.c.bytes_moved).label("bytes_moved"),
    )
