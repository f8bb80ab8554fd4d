"""`assay provider init | run | evidence`: sell this machine's compute. More are in files beside."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_node.cli import (
    output,
    provider_benchmark,
    provider_owner,
    provider_status,
    provider_unit,
)
from assay_node.cli.output import JsonOption, PasswordFileOption, YesOption
from assay_node.cli.provider_gpus import gpus
from assay_node.cli.provider_metering import metering

if TYPE_CHECKING:
    from assay_node.settings import Settings
    from assay_provider.compose import RunningProvider
    from assay_provider.keystores import Password

app = typer.Typer(help="Set up and run a provider.", no_args_is_help=True)
app.command("gpus")(gpus)

SchedulersOption = Annotated[
    list[str] | None,
    typer.Option("--scheduler", help="Multiaddr of a scheduler; may be repeated."),
]


@app.command("init")
def init(
    seats: Annotated[
        int, typer.Option(min=1, help="Seats to hold; each is drawn for jobs like any other.")
    ] = 1,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make keys, stake for seats in your hardware class, and name the signing key on chain.

    The operator's wallet owns the stake and is paid; the daemon works with the signing key alone.
    It is safe to repeat: what is there is left as it is.
    """
    output.run(
        _init(output.settings({"password_file": password_file}), seats, yes=yes, as_json=as_json)
    )


@app.command("run")
def run(
    schedulers: SchedulersOption = None,
    price: Annotated[
        int | None,
        typer.Option(help="Price of a slot in micro-USD a second.", show_default=False),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Jobs run side by side.", show_default=False)
    ] = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sell this machine's compute until SIGTERM or Ctrl-C.

    Jobs run in a sandbox without network, under the limits of a slot. The daemon refuses to start
    when this machine cannot enforce them, and says what is missing. On SIGTERM unfinished jobs are
    handed back; after a crash the next start goes on where this one was.
    """
    settings = output.settings(
        {
            "provider.schedulers": tuple(schedulers) if schedulers else None,
            "provider.price_microusd_per_second": price,
            "provider.slots": slots,
            "password_file": password_file,
        }
    )
    output.start_logging(settings)
    output.run(_run(settings, as_json=as_json))


@app.command("evidence")
def evidence(
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to write one file for each into.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which schedulers contradicted themselves towards this provider.

    With --to it writes what proves it; `assay scheduler report FILE` takes the scheduler's bond.
    """
    output.run(_evidence(output.settings(), to, as_json=as_json))


for _more in (provider_status, provider_owner, provider_benchmark, provider_unit):
    app.registered_commands += _more.app.registered_commands
app.command("metering")(metering)


async def _init(settings: "Settings", seats: int, *, yes: bool, as_json: bool) -> None:
    from assay_node.protocol.units import microusd_to_text
    from assay_provider.setup import init_provider

    registration = await init_provider(
        settings,
        seats=seats,
        password=_password(settings),
        tell=lambda sentence: output.people().print(sentence, markup=False),
        confirm=lambda question: output.confirm(question, yes=yes),
    )
    if as_json:
        output.print_json(registration)
        return
    stake = microusd_to_text(registration.stake_microusd)
    output.results().print(
        f"operator {registration.operator} holds {registration.seats} seat(s) in "
        f"{registration.hardware_class} with {stake} staked; start with: assay provider run",
        markup=False,
    )


async def _run(settings: "Settings", *, as_json: bool) -> None:
    from assay_node.cli.daemon import stop_on_signals
    from assay_node.cli.provider_view import exact_line
    from assay_provider.compose import run_provider
    from assay_provider.keystores import load_signer

    def ready(running: "RunningProvider") -> None:
        if as_json:
            output.print_json(running)
            return
        people = output.people()
        people.print(f"provider of operator {running.operator} is ready", markup=False)
        for scheduler in running.schedulers:
            people.print(f"  works for {scheduler}", markup=False)
        people.print(f"  {exact_line(asdict(running.exact))}", markup=False)

    stop = stop_on_signals()
    signer = load_signer(settings.provider, _password(settings))
    await run_provider(settings, signer, stop=stop, ready=ready)


async def _evidence(settings: "Settings", to: Path | None, *, as_json: bool) -> None:
    from assay_provider.evidence_files import evidence_document, write_evidence

    found = await (evidence_document(settings) if to is None else write_evidence(settings, to))
    if as_json:
        output.print_json(found)
        return
    for one in found:
        where = f": {one['file']}" if "file" in one else ""
        line = f"scheduler {one['scheduler']} contradicted itself in job {one['job'][:18]}{where}"
        output.results().print(line, markup=False)
    if not found:
        output.people().print("no scheduler contradicted itself")


def _password(settings: "Settings") -> "Password":
    from assay_node.passwords import read_password

    def password(path: "Path", choosing: bool) -> str:
        return read_password(what=str(path), password_file=settings.password_file, confirm=choosing)

    return password
