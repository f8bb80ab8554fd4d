"""`assay scheduler run`: match orders with providers and settle what they agree on."""

from typing import TYPE_CHECKING, Annotated

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption, PasswordFileOption

if TYPE_CHECKING:
    from assay_node.app import RunningScheduler
    from assay_node.keys import LocalKey
    from assay_node.settings import Settings

app = typer.Typer(help="Run a scheduler.", no_args_is_help=True)

WALLET_FILE = "wallet.json"


@app.callback()
def _scheduler() -> None:
    """Keep `run` a subcommand although it is the only one."""


@app.command("run")
def run(
    api_port: Annotated[
        int | None, typer.Option(help="TCP port of the HTTP API.", show_default=False)
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Multiaddr to listen on.", show_default=False)
    ] = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a scheduler until SIGTERM or Ctrl-C.

    It holds no money of others: it can withhold, not steal. Its own wallet, made on the first
    start, pays for gas and receives the fees. The HTTP API serves /healthz, /v1/jobs,
    /v1/providers, /metrics and, under /docs, their description.
    """
    settings = output.settings(
        {
            "scheduler.api_port": api_port,
            "network.listen": listen,
            "password_file": password_file,
        }
    )
    output.start_logging(settings.log_level)
    output.run(_run(settings, _wallet(settings), as_json=as_json))


async def _run(settings: "Settings", wallet: "LocalKey", *, as_json: bool) -> None:
    from assay_node.app import run_scheduler
    from assay_node.cli.daemon import stop_on_signals

    def ready(running: "RunningScheduler") -> None:
        if as_json:
            output.print_json(
                {
                    "wallet": wallet.address,
                    "addresses": running.addresses,
                    "api": running.api_url,
                }
            )
            return
        people = output.people()
        people.print(f"scheduler {wallet.address} is ready", markup=False)
        for address in running.addresses:
            people.print(f"  providers and requesters dial {address}", markup=False)
        people.print(f"  HTTP API at {running.api_url} (/docs describes it)", markup=False)

    await run_scheduler(settings, wallet, stop=stop_on_signals(), ready=ready)


def _wallet(settings: "Settings") -> "LocalKey":
    from assay_node.keys import create_key, load_keystore, save_keystore
    from assay_node.passwords import read_password

    path = settings.scheduler.home / WALLET_FILE
    if path.exists():
        password = read_password(what=str(path), password_file=settings.password_file)
        return load_keystore(path, password)
    password = read_password(what=str(path), password_file=settings.password_file, confirm=True)
    key = create_key()
    save_keystore(path, key, password)
    output.people().print(
        f"made the scheduler's wallet {key.address} in {path}; send it coin for gas", markup=False
    )
    return key
