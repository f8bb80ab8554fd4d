"""`assay jobs`, `status`, `explain` and `result`: what became of an order."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.following import follow
from assay_node.cli.output import JsonOption
from assay_node.cli.submit import SchedulerOption, WalletOption
from assay_node.protocol.errors import RemoteError

if TYPE_CHECKING:
    from assay_node.protocol.ids import Digest
    from assay_node.services.standing import Standing
    from assay_node.settings import Settings

app = typer.Typer()

JobArgument = Annotated[str, typer.Argument(help="Job id, or enough of its beginning.")]
JOBS_ASKED_MAX = 20
"""Each costs a few questions to the chain; the newest are of interest."""
RESULT_BYTES_MAX = 1 << 40
"""The order's own output limit was enforced by every provider of the quorum."""


@app.command("jobs")
def jobs(
    everybody: Annotated[
        bool, typer.Option("--all", help="Jobs of all requesters, not only yours.")
    ] = False,
    scheduler: SchedulerOption = None,
    wallet: WalletOption = None,
    as_json: JsonOption = False,
) -> None:
    """List your newest jobs with their state and cost.

    Where the scheduler cannot be asked, the chain says what became of those submitted from here.
    """
    settings = _settings(scheduler, wallet)
    output.run(_jobs(settings, everybody=everybody, as_json=as_json))


@app.command("status")
def status(
    job: JobArgument,
    once: Annotated[bool, typer.Option("--once", help="Show it as it is; do not follow.")] = False,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a job stage by stage until it ends; with --json print it as it is.

    Where the scheduler cannot be asked, the chain says where the job stands there.
    """
    settings = _settings(scheduler, None)
    output.run(_status(settings, job, live=not (once or as_json), as_json=as_json))


@app.command("explain")
def explain(
    job: JobArgument, scheduler: SchedulerOption = None, as_json: JsonOption = False
) -> None:
    """Say why a job waits or failed: every provider considered, and its reason."""
    output.run(_explain(_settings(scheduler, None), job, as_json=as_json))


@app.command("result")
def result(
    job: JobArgument,
    destination: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="New directory for the result.", show_default=False),
    ] = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a job's result from the providers that hold it, and verify every byte.

    The receipt is checked against the chain: the draw, the signatures, the quorum. Nothing that a
    scheduler or provider says is trusted.
    """
    output.run(_result(_settings(scheduler, None), job, destination, as_json=as_json))


def _settings(scheduler: str | None, wallet: str | None) -> "Settings":
    return output.settings({"requester.scheduler": scheduler, "requester.wallet": wallet})


async def _jobs(settings: "Settings", *, everybody: bool, as_json: bool) -> None:
    from assay_node.app import open_requester
    from assay_node.cli.wallets import wallet_address

    mine = None if everybody else wallet_address(settings)
    try:
        async with open_requester(settings) as requester:
            document = await requester.document("jobs", requester=mine)
    except RemoteError as error:
        output.people().print(f"the scheduler cannot be asked ({error}); the chain says:")
        document = {"jobs": await _jobs_on_chain(settings)}
    if as_json:
        output.print_json(document)
        return
    _show_jobs(document["jobs"])


def _show_jobs(lines: list[dict[str, Any]]) -> None:
    from assay_node.protocol.units import microusd_to_text

    results = output.results()
    if not lines:
        results.print("no jobs yet; `assay submit DIRECTORY` orders one")
    for line in lines:
        cost = line["cost_microusd"]
        shown = "" if cost is None else f" cost {microusd_to_text(cost)}"
        results.print(f"{line['job']}  {line['state']:<10} {line['name']}{shown}", markup=False)


async def _jobs_on_chain(settings: "Settings") -> list[dict[str, Any]]:
    """Return what the chain says of the newest jobs that were submitted from here."""
    from assay_node.protocol.ids import digest_from_hex

    paths = (settings.requester.home / "jobs").glob("0x*.json")
    newest = sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)[:JOBS_ASKED_MAX]
    lines = []
    for path in newest:
        name, standing = await _standing(settings, digest_from_hex(path.stem))
        settlement = standing.settlement
        state = standing.road.state.value
        if settlement is not None:
            state = "settled" if settlement.agreed else "no_quorum"
        lines.append(
            {
                "job": path.stem,
                "name": name,
                "state": state,
                "cost_microusd": None if settlement is None else settlement.cost_microusd,
            }
        )
    return lines


async def _standing(settings: "Settings", job: "Digest") -> tuple[str, "Standing"]:
    """Return a job's name, if it was submitted from here, and where it stands on the chain."""
    from assay_node.app import chain_settings
    from assay_node.chain.client import open_reader
    from assay_node.services.order_records import read_record
    from assay_node.services.road import Holdings
    from assay_node.services.standing import standing_of

    record = read_record(settings.requester.home / "jobs", job)
    held = Holdings(
        signed_order=None if record is None else record.signed_order,
        commit_set=None if record is None else record.commit_set,
    )
    async with open_reader(chain_settings(settings)) as chain:
        return "" if record is None else record.name, await standing_of(chain, job, held)


async def _status(settings: "Settings", job: str, *, live: bool, as_json: bool) -> None:
    from assay_node.app import open_requester

    job_id = job_id_of(settings, job)
    records = settings.requester.home / "jobs"
    try:
        async with open_requester(settings) as requester:
            if live:
                document = await follow(requester, job_id, output.people(), records=records)
            else:
                document = await requester.document("job", job=job_id)
    except RemoteError as error:
        await _status_on_chain(settings, job_id, error, as_json=as_json)
        return
    if as_json:
        output.print_json(document)
        return
    await _show_status(settings, job_id, document)


async def _show_status(settings: "Settings", job: "Digest", document: dict[str, Any]) -> None:
    from assay_node.services.standing import standing_lines
    from assay_node.services.summary import summary_lines

    for line in summary_lines(document):
        output.results().print(line, markup=False)
    if document["state"] == "on_road":
        _, standing = await _standing(settings, job)
        for line in standing_lines(standing):
            output.results().print(f"  {line}", markup=False)


async def _status_on_chain(
    settings: "Settings", job: "Digest", error: "RemoteError", *, as_json: bool
) -> None:
    """Say what the chain knows of a job whose scheduler cannot be asked.

    Raises:
        RemoteError: nothing at all.
    """
    from assay_node.protocol.ids import to_hex
    from assay_node.services.standing import standing_document, standing_lines

    name, standing = await _standing(settings, job)
    if not standing.known:
        raise error
    output.people().print(f"the scheduler cannot be asked ({error}); the chain says:")
    if as_json:
        output.print_json(standing_document(standing))
        return
    for line in (f"{name} {to_hex(job)}".strip(), *standing_lines(standing)):
        output.results().print(line, markup=False)


async def _explain(settings: "Settings", job: str, *, as_json: bool) -> None:
    from assay_node.app import open_requester

    job_id = job_id_of(settings, job)
    async with open_requester(settings) as requester:
        document = await requester.document("explain", job=job_id)
    if as_json:
        output.print_json(document)
        return
    for line in _explanation(document):
        output.results().print(line, markup=False)


async def _result(
    settings: "Settings", job: str, destination: Path | None, *, as_json: bool
) -> None:
    from assay_node.app import open_requester
    from assay_node.ports import ArtifactLimits
    from assay_node.protocol.ids import to_hex

    job_id = job_id_of(settings, job)
    target = destination or Path(f"result-{to_hex(job_id)[2:10]}")
    async with open_requester(settings) as requester:
        with output.spinner("checking the result against the chain"):
            found = await requester.result(job_id)
        with output.spinner(f"fetching {found.output}"):
            limits = ArtifactLimits(bytes_max=RESULT_BYTES_MAX)
            await requester.fetch(found, target, limits=limits)
    document = {
        "job": to_hex(job_id),
        "output": found.output,
        "verdict": found.verdict,
        "path": str(target.absolute()),
        "verified": True,
        "signed_by": [r.operator for r in found.receipt.replicas] if found.receipt else [],
        "panel": None if found.panel_job is None else to_hex(found.panel_job),
    }
    if as_json:
        output.print_json(document)
        return
    output.results().print(f"{found.output} ({found.verdict}), verified: in {target}", markup=False)


def _explanation(document: dict[str, Any]) -> list[str]:
    lines = [f"{document['name']} {document['job']} is {document['state']}: {document['why']}"]
    decision = document["decision"]
    for replica in document["replicas"]:
        why = f": {replica['reason']}" if replica["reason"] else ""
        lines.append(f"  replica of {replica['operator']}: {replica['stage']}{why}")
    if decision is None:
        return lines
    lines.append(f"Last decision: {decision['summary']}")
    for verdict in decision["providers"]:
        if verdict["chosen"]:
            lines.append(f"  {verdict['operator']}: chosen at ticket {verdict['ticket']}")
        else:
            texts = "; ".join(reason["text"] for reason in verdict["reasons"])
            lines.append(f"  {verdict['operator']}: {texts}")
    lines += [f"It would help: {text}" for text in decision["relaxations"]]
    return lines


def job_id_of(settings: "Settings", text: str) -> "Digest":
    """Return a job id from its beginning, using the records of what was submitted from here."""
    from assay_node.protocol.errors import LocalError
    from assay_node.protocol.ids import digest_from_hex

    wanted = text.lower().removeprefix("0x")
    if len(wanted) == 64:
        return digest_from_hex(wanted)
    records = settings.requester.home / "jobs"
    found = sorted(path.stem for path in records.glob(f"0x{wanted}*.json")) if wanted else []
    if len(found) != 1:
        what = "no job" if not found else f"{len(found)} jobs"
        raise LocalError(
            f"{what} submitted from here begins with {text!r}; `assay jobs` lists them"
        )
    return digest_from_hex(found[0])
