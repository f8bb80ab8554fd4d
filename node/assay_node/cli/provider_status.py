"""`assay provider status | price`: what a provider does, and what its price is worth."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

if TYPE_CHECKING:
    from assay_node.settings import Settings
    from assay_provider.status import Status

app = typer.Typer()


@app.command("status")
def status(
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on showing it, drawn anew on a terminal."),
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.2, max=3600, help="Seconds between looks with --follow.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Show slots, jobs, machine, earnings, stake, record and schedule.

    It reads the database and the chain, and asks the daemon if one runs. With --follow and --json
    it prints one JSON document a line.
    """
    output.run(_status(output.settings(), every if follow else None, as_json=as_json))


@app.command("price")
def price(
    at: Annotated[
        int | None,
        typer.Option(
            "--price", min=0, help="Try another price, in micro-USD a second.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a slot's price is worth: floor, power, break-even, and days at 10, 50 and 100 %."""
    from assay_node.cli.provider_view import price_lines
    from assay_provider.break_even import check_price
    from assay_provider.owner.configured import costs_of
    from assay_provider.status import price_document

    settings = output.settings({"provider.price_microusd_per_second": at}).provider
    costs = costs_of(settings)
    document = price_document(costs)
    if as_json:
        output.print_json(document)
    else:
        for line in price_lines(document):
            output.results().print(line, markup=False)
    check_price(costs, below_cost=settings.prices.below_cost)


async def _status(settings: "Settings", every_s: float | None, *, as_json: bool) -> None:
    from assay_provider.status import open_status

    async with open_status(settings) as opened:
        with output.spinner("asking the daemon and the chain"):
            document = await opened.document()
        if every_s is None:
            _show(document, as_json=as_json)
        elif as_json or not output.results().is_terminal:
            await _print_on(opened, document, every_s, as_json=as_json)
        else:
            await _draw_on(opened, document, every_s)


def _show(document: dict[str, Any], *, as_json: bool) -> None:
    from assay_node.cli.provider_view import status_lines

    if as_json:
        output.print_json(document)
        return
    for line in status_lines(document):
        output.results().print(line, markup=False)


async def _print_on(
    status: "Status", document: dict[str, Any], every_s: float, *, as_json: bool
) -> None:
    while True:
        if as_json:
            output.print_json_line(document)
        else:
            _show(document, as_json=False)
            output.results().print()
        await asyncio.sleep(every_s)
        document = await status.document()


async def _draw_on(status: "Status", document: dict[str, Any], every_s: float) -> None:
    from rich.live import Live

    from assay_node.cli.provider_view import status_view

    console = output.results()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(status_view(document, height=console.height), refresh=True)
            await asyncio.sleep(every_s)
            document = await status.document()
