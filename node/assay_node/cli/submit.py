"""`assay submit`: order jobs, after showing the most they can cost."""

import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.following import follow
from assay_node.cli.output import JsonOption, PasswordFileOption, YesOption

app = typer.Typer()

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", help="Multiaddr of the scheduler, ending in /p2p/ID.", show_default=False
    ),
]
WalletOption = Annotated[
    str | None, typer.Option("--wallet", help="Name of the wallet that pays.", show_default=False)
]

_FREEDOM_NOTE = (
    "The draw's first {last} tickets may be used, so the scheduler can pass over up to {skips} of "
    "them. The chance that a cartel with 10 % of the stake gets 2 of 3 replicas is 2.8 % without "
    "skips, 11 % with 3 and 49 % with 13."
)


@app.command("submit")
def submit(
    directories: Annotated[
        list[Path],
        typer.Argument(help="Directories with a job's files and, if you like, a job.toml."),
    ],
    command: Annotated[
        str | None,
        typer.Option(
            "--command", help="What to run, as one shell-quoted line.", show_default=False
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A label.", show_default=False)] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the job; may be repeated.")
    ] = None,
    max_price: Annotated[
        str | None,
        typer.Option(help="Most to pay per second and replica, in dollars.", show_default=False),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="How many providers run it.", show_default=False)
    ] = None,
    quorum: Annotated[
        int | None, typer.Option(help="How many must agree.", show_default=False)
    ] = None,
    timeout: Annotated[
        int | None, typer.Option(help="Longest run, in seconds.", show_default=False)
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Such as 2G.", show_default=False)] = None,
    cpus: Annotated[float | None, typer.Option(help="Cores.", show_default=False)] = None,
    scratch: Annotated[
        str | None, typer.Option(help="Space in /tmp, such as 256M.", show_default=False)
    ] = None,
    max_output: Annotated[
        str | None, typer.Option(help="Space in /output, such as 64M.", show_default=False)
    ] = None,
    exact: Annotated[
        str | None,
        typer.Option(
            help="E21, E14 or FMA: a PyTorch script with the same bits on any machine; as-is: your "
            "word that its operations are exact anyway.",
            show_default=False,
        ),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option(
            help="The weakest isolation that will do: t0 (WebAssembly), t1, t2.",
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="CID of an environment (assay env build).", show_default=False),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(help="GPUs, each to this job alone.", show_default=False)
    ] = None,
    gpu_memory: Annotated[
        str | None, typer.Option(help="Memory of each GPU, such as 20G.", show_default=False)
    ] = None,
    comparison: Annotated[
        str | None,
        typer.Option(
            help="exact or class; exact by default where --exact is given.", show_default=False
        ),
    ] = None,
    bond: Annotated[
        str | None, typer.Option(help="What each provider stakes, in dollars.", show_default=False)
    ] = None,
    max_ticket: Annotated[
        int | None, typer.Option(help="Last ticket of the draw.", show_default=False)
    ] = None,
    expires_in: Annotated[
        int | None, typer.Option(help="Seconds until the order is void.", show_default=False)
    ] = None,
    audit: Annotated[
        float | None,
        typer.Option(help="Chance in percent that the job is audited.", show_default=False),
    ] = None,
    escalate: Annotated[
        bool | None,
        typer.Option(
            "--escalate/--no-escalate",
            help="Pay for a panel of fresh providers if no quorum forms.",
            show_default=False,
        ),
    ] = None,
    scheduler: SchedulerOption = None,
    wallet: WalletOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the jobs to their end.")] = False,
    yes: YesOption = False,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Order one job for each directory, signed by your wallet.

    What lies in a directory is mounted read-only at /input; what the command leaves in /output is
    the result. Flags win over job.toml. Before anything is signed, the most the jobs can cost is
    shown; money that is not spent stays yours.
    """
    overrides = _overrides(
        command=command,
        name=name,
        environment=env,
        max_price=max_price,
        replicas=replicas,
        quorum=quorum,
        timeout_s=timeout,
        exact=exact,
        tier=tier,
        runtime=runtime,
        comparison=comparison,
        bond=bond,
        max_ticket=max_ticket,
        expires_in_s=expires_in,
        audit_percent=audit,
        escalate=escalate,
        resources={
            key: value
            for key, value in (
                ("memory", memory),
                ("cpus", cpus),
                ("scratch", scratch),
                ("output", max_output),
                ("gpus", gpus),
                ("gpu_memory", gpu_memory),
            )
            if value is not None
        },
    )
    settings = output.settings(
        {
            "requester.scheduler": scheduler,
            "requester.wallet": wallet,
            "password_file": password_file,
        }
    )
    output.run(_submit(settings, directories, overrides, wait=wait, yes=yes, as_json=as_json))


async def _submit(
    settings: Any,
    directories: list[Path],
    overrides: dict[str, Any],
    *,
    wait: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from assay_node.app import open_requester
    from assay_node.cli.wallets import load_wallet
    from assay_node.job_file import read_job
    from assay_node.protocol.hardware_class import cpu_class_name
    from assay_node.protocol.ids import to_hex
    from assay_node.protocol.units import microusd_to_text
    from assay_node.services.summary import summary_lines

    default_class = settings.provider.hardware_class or cpu_class_name(platform.machine())
    requests = [read_job(d, overrides, default_class=default_class) for d in directories]
    key = load_wallet(settings)
    people = output.people()
    async with open_requester(settings) as requester:
        terms = await requester.terms()
        with output.spinner("adding the files to the artifact store"):
            prepared = [await requester.prepare(request, terms) for request in requests]
        cost = sum(job.max_cost_microusd for job in prepared)
        for job in prepared:
            r = job.request
            people.print(
                f"{r.name}: {r.replicas} replicas (quorum {r.quorum}) for at most {r.max_seconds} "
                f"s at {microusd_to_text(r.max_rate_microusd)} per second, fee "
                f"{microusd_to_text(job.fee_microusd)}: at most "
                f"{microusd_to_text(job.max_cost_microusd)}"
            )
            for note in _notes(r):
                people.print(f"  note: {note}")
        people.print(f"In all this can cost at most {microusd_to_text(cost)}.")
        output.confirm("Sign and submit?", yes=yes)
        records = settings.requester.home / "jobs"
        submitted = []
        for job in prepared:
            with output.spinner(f"submitting {job.request.name}"):
                submitted.append(await requester.submit(job, terms, key, records))
            people.print(f"admitted {to_hex(submitted[-1].job)}")
        documents: list[dict[str, Any]] = []
        if wait:
            documents = [
                await follow(requester, done.job, people, records=records) for done in submitted
            ]
    if as_json:
        output.print_json(
            {
                "jobs": [
                    {"job": to_hex(j.job), "name": j.name, "max_cost_microusd": j.max_cost_microusd}
                    for j in submitted
                ],
                "max_cost_microusd": cost,
                "ended": documents if wait else None,
            }
        )
        return
    results = output.results()
    for document in documents:
        for line in summary_lines(document):
            results.print(line, markup=False)
    if not wait:
        for done in submitted:
            results.print(to_hex(done.job), markup=False)


def _overrides(**flags: Any) -> dict[str, Any]:
    import shlex

    from assay_node.protocol.errors import LocalError

    given = {key: value for key, value in flags.items() if value not in (None, {}, [])}
    if "command" in given:
        given["command"] = shlex.split(given["command"])
    if "environment" in given:
        pairs = [item.partition("=") for item in given["environment"]]
        if any(not equals for _, equals, _ in pairs):
            raise LocalError("--env takes NAME=VALUE")
        given["environment"] = {key: value for key, _, value in pairs}
    return given


def _notes(request: Any) -> list[str]:
    from assay_node.job_file import TICKETS_PER_REPLICA
    from assay_node.protocol.units import microusd_to_text

    notes = []
    panel = microusd_to_text(request.panel_cost_microusd)
    if request.audit_bps:
        notes.append(
            f"audited with a chance of {request.audit_bps / 100:g} %: of the fee, "
            f"{microusd_to_text(request.audit_fee_microusd)} pays for audits of at most {panel}"
        )
    elif request.replicas == 1:
        notes.append(
            "one replica: nobody checks its result; use --replicas 3 to have it checked, or "
            "--audit to have it checked by chance"
        )
    if request.escalate:
        notes.append(f"if no quorum forms, {2 * request.replicas + 1} others run it: {panel} of it")
    if request.max_ticket > TICKETS_PER_REPLICA * request.replicas:
        last = request.max_ticket + 1
        notes.append(_FREEDOM_NOTE.format(last=last, skips=last - request.replicas))
    return notes
