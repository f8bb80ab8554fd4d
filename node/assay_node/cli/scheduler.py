"""`assay scheduler`: match orders with providers, settle what they agree on, and bond for it."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption, PasswordFileOption, YesOption
from assay_node.protocol.errors import LocalError

if TYPE_CHECKING:
    from assay_node.app import RunningScheduler
    from assay_node.keys import LocalKey
    from assay_node.settings import Settings

app = typer.Typer(help="Run a scheduler.", no_args_is_help=True)

WALLET_FILE = "wallet.json"


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
    output.start_logging(settings)
    output.run(_run(settings, _wallet(settings), as_json=as_json))


@app.command("bond")
def bond(
    amount: Annotated[str, typer.Argument(help="Dollars to add, such as 100 or 0.25.")],
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put money at stake: providers work only for schedulers that have bonded enough.

    It is slashed, all of it, if the scheduler assigns a job twice or shows two commit sets. Free
    money in its account is used first, then tokens of its wallet. Stop the scheduler meanwhile:
    both would use the wallet.
    """
    from assay_node.cli.scheduler_bond import add_bond
    from assay_node.protocol.units import usd_to_microusd

    microusd = usd_to_microusd(amount)
    mine = output.settings({"password_file": password_file})
    sent = output.run(add_bond(mine, microusd, lambda: _wallet(mine), confirmed=yes))
    if as_json:
        output.print_json(sent)
        return
    output.results().print(f"scheduler {sent.scheduler} has {_dollars(sent.bond_microusd)} bonded")


@app.command("unbond")
def unbond(
    password_file: PasswordFileOption = None, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Give notice for the bond, and take it back once the notice is over.

    Call it once to give the notice of a week, and once more after it. Until then the bond can be
    slashed; providers take no more work that could outlast it. `bond` takes a notice back.
    """
    from assay_node.cli.scheduler_bond import release_bond

    mine = output.settings({"password_file": password_file})
    sent = output.run(release_bond(mine, lambda: _existing_wallet(mine), confirmed=yes))
    if as_json:
        output.print_json(sent)


@app.command("status")
def status(as_json: JsonOption = False) -> None:
    """Show the scheduler's bond and money; needs no password, works beside a running scheduler."""
    from assay_node.cli.scheduler_bond import read_bond, show_bond
    from assay_node.keys import keystore_address

    mine = output.settings()
    found = output.run(read_bond(mine, keystore_address(_wallet_path(mine))))
    if as_json:
        output.print_json(found)
    else:
        show_bond(found)


@app.command("fund")
def fund(
    add: Annotated[
        str | None,
        typer.Option(help="Give so many dollars to the fund.", show_default=False),
    ] = None,
    take_out: Annotated[
        bool,
        typer.Option("--take-out", help="Have the scheduler paid what no audit can need any more."),
    ] = False,
    of: Annotated[
        str | None,
        typer.Option(
            help="Another scheduler's address; its fund may be filled by anybody.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Wallet that pays; by default requester.wallet.", show_default=False),
    ] = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what pays for the audits of the scheduler's jobs; add to it, or take out of it.

    The fees of orders with audits go there. A job that is drawn while the fund cannot pay for its
    panel is not audited unless somebody fills it within a day: keep several of your largest.
    """
    from assay_node.cli.audit_fund import add_to_fund, read_fund, show_fund, take_out_of_fund
    from assay_node.cli.wallets import load_wallet
    from assay_node.keys import keystore_address
    from assay_node.protocol.ids import address
    from assay_node.protocol.units import usd_to_microusd

    mine = output.settings({"password_file": password_file})
    whose = keystore_address(_wallet_path(mine)) if of is None else address(of)
    if add is not None and take_out:
        raise LocalError("give one of --add and --take-out, not both")

    def unlock() -> "LocalKey":
        return load_wallet(mine, name)

    if add is not None:
        microusd = usd_to_microusd(add)
        changed = output.run(add_to_fund(mine, whose, microusd, unlock, confirmed=yes))
    elif take_out:
        changed = output.run(take_out_of_fund(mine, whose, unlock, confirmed=yes))
    else:
        found = output.run(read_fund(mine, whose))
        if as_json:
            output.print_json({"scheduler": whose, **dataclasses.asdict(found)})
        else:
            show_fund(whose, found)
        return
    if as_json:
        output.print_json(changed)
    else:
        output.results().print(f"the fund holds {_dollars(changed.fund_microusd)}")


@app.command("report")
def report(
    evidence: Annotated[Path, typer.Argument(help="File that `assay provider evidence` wrote.")],
    name: Annotated[
        str | None,
        typer.Option(help="Wallet that pays for gas; by default requester.wallet."),
    ] = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have a scheduler slashed that contradicted itself.

    Anybody may; the treasury gets its bond.
    """
    from assay_node.cli.scheduler_bond import report_evidence
    from assay_node.cli.wallets import load_wallet

    mine = output.settings({"password_file": password_file})
    sent = output.run(
        report_evidence(mine, evidence, lambda: load_wallet(mine, name), confirmed=yes)
    )
    if as_json:
        output.print_json(sent)


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


def _dollars(microusd: int) -> str:
    from assay_node.protocol.units import microusd_to_text

    return microusd_to_text(microusd)


def _wallet_path(settings: "Settings") -> Path:
    path = settings.scheduler.home / WALLET_FILE
    if not path.exists():
        raise LocalError(
            f"there is no scheduler's wallet in {settings.scheduler.home}; `assay scheduler run` "
            "and `assay scheduler bond` make one"
        )
    return path


def _existing_wallet(settings: "Settings") -> "LocalKey":
    _wallet_path(settings)
    return _wallet(settings)


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
