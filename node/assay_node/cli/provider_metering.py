"""`assay provider metering`: what was metered of each run, and bills worked out again from it."""

from typing import Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

MIB = 1 << 20


def metering(
    job: Annotated[
        str | None,
        typer.Argument(help="A job's id, or its beginning; all when left out.", show_default=False),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Work out the seconds of every job again and compare them with what was signed; "
            "exit code 1 if one differs.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the metering log: each run's wall and processor time, memory, end and bill.

    A run is billed by its wall time, from the start of its sandbox to its exit, rounded up to whole
    seconds and cut at the order's limit. A run that was cut short bills nobody.
    """
    document = output.run(_metering(job, verify=verify))
    if as_json:
        output.print_json(document)
    else:
        for line in metering_lines(document):
            output.results().print(line, markup=False)
    if not document.get("ok", True):
        raise typer.Exit(1)


async def _metering(job: str | None, *, verify: bool) -> dict[str, Any]:
    from assay_provider.metering_report import metering_document

    return await metering_document(output.settings(), job, verify=verify)


def metering_lines(document: dict[str, Any]) -> list[str]:
    """Return a metering document in words."""
    lines = [_run_line(run) for run in document["runs"]] or ["no job has run here yet"]
    lines += [
        f"{account['job'][:18]}  WRONG: {account['fault']}"
        for account in document.get("jobs", ())
        if account["fault"]
    ]
    if "ok" in document:
        signed = [one for one in document["jobs"] if one["seconds_signed"] is not None]
        shown = sum(one["in_commit_set"] for one in signed)
        lines.append(
            f"{len(document['jobs'])} jobs checked: {len(signed)} committed to seconds, {shown} "
            "of them in a commit set that was revealed"
            + ("; all follow from the log" if document["ok"] else "")
        )
    return lines


def _run_line(run: dict[str, Any]) -> str:
    begins = f"{run['job'][:18]}  run {run['attempt']} in slot {run['slot']} ({run['tier']})"
    metered = run["metered"]
    if metered is None:
        return f"{begins}: under way, or cut short"
    anonymous = metered["memory_anonymous_bytes"]
    memory = f"{metered['memory_peak_bytes'] / MIB:.0f} MiB at most"
    if anonymous is not None:
        memory += f" ({anonymous / MIB:.0f} MiB seen without files)"
    return (
        f"{begins}: {metered['verdict']}, {run['wall_seconds']:.3f} s wall, "
        f"{metered['cpu_ns'] / 1e9:.3f} s CPU, {memory}, by {metered['meter']}: "
        f"{metered['billable_seconds']} s billed"
    )
