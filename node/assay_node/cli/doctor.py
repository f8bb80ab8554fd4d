"""`assay doctor`: what is missing on this machine, in one sentence each, with the remedy."""

from dataclasses import replace
from typing import Annotated

import typer

from assay_node.cli.machine_checks import Finding, Role, checks_for
from assay_node.cli.output import JsonOption, print_json, results, run, settings, spinner

app = typer.Typer()


@app.command("doctor")
def doctor(
    role: Annotated[Role, typer.Option(help="What this machine is to do.")] = Role.REQUESTER,
    as_json: JsonOption = False,
) -> None:
    """Check what a role needs of this machine; exit code 1 if something required is missing."""
    with spinner("Looking at this machine"):
        findings = run(_examine(role))
    missing = [finding for finding in findings if finding.required and not finding.ok]
    if as_json:
        print_json({"role": role, "ok": not missing, "findings": findings})
    else:
        _show(findings)
        many = "1 thing is" if len(missing) == 1 else f"{len(missing)} things are"
        results().print(f"\n{many} missing for a {role}." if missing else f"\nReady for a {role}.")
    if missing:
        raise typer.Exit(1)


async def _examine(role: Role) -> list[Finding]:
    mine = settings()
    findings = [finding for check in checks_for(role) for finding in await check(mine)]
    return [replace(finding, remedy="") if finding.ok else finding for finding in findings]


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        word = "ok" if finding.ok else "missing" if finding.required else "note"
        results().print(f"{word:<8} {finding.name:<{width}}  {finding.seen}")
        if finding.remedy:
            results().print(f"{'':<9}{'':<{width}}  -> {finding.remedy}")
