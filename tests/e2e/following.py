"""Watching a real scheduler from outside: through its API, and by reading its database."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from assay_node.devnet.market import Market

END_S = 180.0


async def submit(
    market: Market, home: Path, *folders: Path, flags: tuple[str, ...] = ()
) -> list[str]:
    """Order jobs through the CLI and return their ids."""
    answer = await market.run_json("submit", *map(str, folders), "--yes", *flags, home=home)
    return [job["job"] for job in answer["jobs"]]


async def ended(market: Market, job: str) -> dict[str, Any]:
    """Return the job's document once it has ended."""
    return await until(market, job, lambda document: bool(document["ended"]))


async def until(
    market: Market, job: str, condition: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Return the job's document once it fulfils a condition; waits for a scheduler that is away.

    A job that has ended otherwise fails the test at once, with the reason.
    """
    async with asyncio.timeout(END_S):
        while True:
            try:
                document: dict[str, Any] = await market.get(f"/v1/jobs/{job}")
                if condition(document):
                    return document
                assert not document["ended"], story(document)
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


def kinds(document: dict[str, Any]) -> list[str]:
    """Return the kinds of a job's events, in order."""
    return [event["kind"] for event in document["events"]]


def paid(document: dict[str, Any]) -> dict[str, int]:
    """Return who was paid how much."""
    return {p["operator"]: p["microusd"] for p in document["settlement"]["paid"]}


def event_kinds_stored(market: Market, job: str) -> list[str]:
    """Return the kinds of a job's events straight from the scheduler's SQLite file."""
    path = market.settings.directory / "scheduler" / "scheduler.sqlite"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        rows = connection.execute("select kind from events where job = ? order by id", (job,))
        return [kind for (kind,) in rows]
    finally:
        connection.close()


def story(document: dict[str, Any]) -> str:
    """Return why a job is as it is: its reason, its replicas, its whole history."""
    replicas = [f"{r['operator']} {r['state']} {r['reason']}" for r in document["replica_records"]]
    events = [f"{event['at']:.2f} {event['kind']}: {event['text']}" for event in document["events"]]
    return "\n".join((document["reason"], *replicas, *events))
