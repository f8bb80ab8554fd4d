"""Following a job on a terminal."""

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from assay_node.protocol.ids import Digest
    from assay_node.services.requesting import Requester


async def follow(
    requester: "Requester", job: "Digest", people: "Console", *, records: "Path | None" = None
) -> dict[str, Any]:
    """Print each event of a job as it happens; return the last document.

    A commit set is kept in `records`, so that the job can be ended without its scheduler.
    """
    started: float | None = None
    document: dict[str, Any] = {}
    async for document in requester.follow(job):
        for event in document["events"]:
            started = event["at"] if started is None else started
            people.print(
                f"{event['at'] - started:8.2f} s  {event['kind']:<11} {event['text']}", markup=False
            )
            if event["kind"] == "commit_set" and records is not None:
                await _keep_commit_set(requester, job, records)
    return document


async def _keep_commit_set(requester: "Requester", job: "Digest", records: "Path") -> None:
    from assay_node.protocol.errors import AssayError
    from assay_node.services.order_records import keep_commit_set, read_record

    record = read_record(records, job)
    if record is not None:
        with contextlib.suppress(AssayError):  # the next round has begun, and has a set of its own
            keep_commit_set(records, await requester.commit_set(record))
