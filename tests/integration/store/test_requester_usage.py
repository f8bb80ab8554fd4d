"""Limits by the day, counted in SQLite and in PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assay_node.protocol.ids import Address, Digest
from assay_node.store.database import open_database
from assay_node.store.requester_usage import RequesterUsage, Usage
from tests.fakes.provider_leases import MemoryUsage, Tables

EVE = Address("0x" + "ee" * 20)
BOB = Address("0x" + "bb" * 20)
JOBS = [Digest(bytes([n]) * 32) for n in range(4)]


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
async def usage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RequesterUsage]:
    if request.param == "memory":
        yield MemoryUsage(Tables())  # type: ignore[misc]
        return
    sqlite = request.param == "sqlite"
    url = (
        f"sqlite:///{tmp_path}/provider.sqlite"
        if sqlite
        else request.getfixturevalue("postgres_url")
    )
    async with open_database(str(url), role="provider") as database:
        yield RequesterUsage(database)


async def test_jobs_count_what_they_may_take_and_then_what_they_took(usage: RequesterUsage) -> None:
    assert await usage.of(EVE, since=0) == Usage()
    assert await usage.reserve(JOBS[0], EVE, seconds=600, now=1000.0)
    assert not await usage.reserve(JOBS[0], BOB, seconds=1, now=2000.0)
    assert await usage.reserve(JOBS[1], EVE, seconds=60, now=1500.0)
    assert await usage.reserve(JOBS[2], BOB, seconds=5, now=1600.0)
    assert await usage.of(EVE, since=0) == Usage(jobs=2, seconds=660)
    await usage.ran(JOBS[0], seconds=7)
    await usage.moved(JOBS[0], bytes_moved=(1 << 40) - 5)
    await usage.moved(JOBS[0], bytes_moved=5)
    await usage.ran(JOBS[3], seconds=1)
    assert await usage.of(EVE, since=1000.0) == Usage(jobs=2, seconds=67, bytes_moved=1 << 40)
    assert await usage.of(EVE, since=1000.5) == Usage(jobs=1, seconds=60)
    assert await usage.by_requester(since=0) == {
        EVE: Usage(jobs=2, seconds=67, bytes_moved=1 << 40),
        BOB: Usage(jobs=1, seconds=5),
    }


async def test_what_no_limit_looks_back_to_is_forgotten(usage: RequesterUsage) -> None:
    for number, job in enumerate(JOBS):
        await usage.reserve(job, EVE, seconds=1, now=float(number))
    assert await usage.forget_before(2.0) == 2
    assert await usage.of(EVE, since=0) == Usage(jobs=2, seconds=2)
