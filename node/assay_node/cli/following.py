"""Following a job on a terminal."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from assay_node.protocol.ids import Digest
    from assay_node.services.requesting import Requester


async def follow(requester: "Requester", job: "Digest", people: "Console") -> dict[str, Any]:
    """Print each event of a job as it happens; return the last document."""
    started: float | None = None
    document: dict[str, Any] = {}
    async for document in requester.follow(job):
        for event in document["events"]:
            started = event["at"] if started is None else started
            people.print(
                f"{event['at'] - started:8.2f} s  {event['kind']:<11} {event['text']}", markup=False
            )
    return document
