"""The metering log: one row for each run of a job, begun before it starts and ended once for all.

A row says what was read off the meters and nothing that was decided later, so that whoever holds
the log can work out again what a receipt bills. A row without an end is a run that a crash, or a
lease that was given up, cut short: nobody is billed for it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Row, func, insert, select, update

from assay_node.protocol.ids import Digest
from assay_node.store.availability import available
from assay_node.store.database import Database
from assay_node.store.provider_schema import runs
from assay_node.store.undisturbed import undisturbed


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What the meters said of a run that has ended. Times in nanoseconds, never negative.

    `started_ns` and `exited_ns` are of one monotonic clock, in the process that started the job and
    waited for it; only their difference means anything. `meter` names what counted the rest: a
    version of cgroups, or processes where a machine has none. Counters are None where that meter
    has no such one. `memory_peak_bytes` counts page cache and files in memory too;
    `memory_anonymous_bytes` is the most that was seen without them, when it was looked at.
    """

    meter: str
    started_ns: int
    exited_ns: int
    cpu_ns: int
    memory_peak_bytes: int
    memory_anonymous_bytes: int | None
    oom_kills: int | None
    pids_refused: int | None
    verdict: str
    billable_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """One run of a job, the first being attempt 1. `began_at` and `ended_at` are Unix seconds.

    `seconds_max` is the order's limit; `metered` is None while it runs, and for ever if cut short.
    """

    job: Digest
    attempt: int
    round_number: int
    slot: int
    tier: str
    seconds_max: int
    began_at: float
    ended_at: float | None = None
    metered: Metered | None = None


_METERED = tuple(field.name for field in dataclasses.fields(Metered))


class ProviderRuns:
    """The metering log of one provider in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @undisturbed
    @available
    async def begin(
        self,
        job: Digest,
        *,
        round_number: int,
        slot: int,
        tier: str,
        seconds_max: int,
        now: float,
    ) -> int:
        """Note durably that a run is about to start; return the number of the attempt."""
        earlier = select(func.max(runs.c.attempt)).where(runs.c.job == job.hex())
        async with self._database.write() as connection:
            attempt = ((await connection.execute(earlier)).scalar_one() or 0) + 1
            await connection.execute(
                insert(runs).values(
                    job=job.hex(),
                    attempt=attempt,
                    round_number=round_number,
                    slot=slot,
                    tier=tier,
                    seconds_max=seconds_max,
                    began_at=now,
                )
            )
        return attempt

    @undisturbed
    @available
    async def end(self, job: Digest, attempt: int, metered: Metered, *, now: float) -> bool:
        """Write down what was metered; False, and no change, if that was done before."""
        open_row = (runs.c.job == job.hex(), runs.c.attempt == attempt, runs.c.ended_at.is_(None))
        values = {"ended_at": now, **dataclasses.asdict(metered)}
        async with self._database.write() as connection:
            changed = await connection.execute(update(runs).where(*open_row).values(**values))
            return changed.rowcount == 1

    @undisturbed
    @available
    async def of_job(self, job: Digest) -> tuple[LoggedRun, ...]:
        """Return every run of a job, the first first."""
        query = select(runs).where(runs.c.job == job.hex()).order_by(runs.c.attempt)
        async with self._database.read() as connection:
            return tuple(_from_row(row) for row in (await connection.execute(query)).all())

    @undisturbed
    @available
    async def newest(self, limit: int) -> tuple[LoggedRun, ...]:
        """Return the newest runs, newest first."""
        query = select(runs).order_by(runs.c.began_at.desc(), runs.c.job, runs.c.attempt.desc())
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(limit))).all()
        return tuple(_from_row(row) for row in rows)


def _from_row(row: Row[tuple[object, ...]]) -> LoggedRun:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a mapping
    metered = {name: values.pop(name) for name in _METERED}
    values["job"] = Digest(bytes.fromhex(str(values["job"])))
    return LoggedRun(**values, metered=_metered(metered))


def _metered(values: Mapping[str, object]) -> Metered | None:
    return None if values["meter"] is None else Metered(**values)  # type: ignore[arg-type]
