"""`assay lease`: services that are paid by the second, for both sides."""

import platform
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption, PasswordFileOption, YesOption

if TYPE_CHECKING:
    from assay_node.cli.lease_steps import LeaseSent
    from assay_node.keys import LocalKey
    from assay_node.settings import Settings

app = typer.Typer(no_args_is_help=True)

START_WITHIN_S: Final = 3_600
"""Time enough for the other side to look at the terms, and little to be bound by them."""

TermsArgument = Annotated[Path, typer.Argument(help="File with the terms.")]
LeaseArgument = Annotated[
    str, typer.Argument(help="The lease's id, or the file with its terms.", metavar="LEASE")
]
NameOption = Annotated[
    str | None, typer.Option(help="The wallet; by default requester.wallet.", show_default=False)
]
KeystoreOption = Annotated[
    Path | None,
    typer.Option(
        help="Another keystore instead, such as the wallet or the signing key of a provider.",
        show_default=False,
    ),
]


@app.command("propose")
def propose(
    file: Annotated[Path, typer.Argument(help="File to write, for the operator.")],
    operator: Annotated[str, typer.Option(help="Who is to serve, by its wallet's address.")],
    spec: Annotated[
        Path, typer.Option(help="File that describes the service; its SHA-256 is in the terms.")
    ],
    rate: Annotated[int, typer.Option(min=1, help="Micro-USD a second for the operator.")],
    escrow: Annotated[str, typer.Option(help="Dollars that are set aside at the start.")],
    notice: Annotated[
        int, typer.Option(min=0, max=86_400, help="Seconds still paid once you have stopped it.")
    ],
    hardware_class: Annotated[
        str | None,
        typer.Option(
            help="Class in which the operator holds a seat; by default provider.hardware_class, or "
            "that of this machine's processor.",
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Who brought you together, by its wallet.", show_default=False),
    ] = None,
    fee_rate: Annotated[int, typer.Option(min=0, help="Micro-USD a second for it.")] = 0,
    start_within: Annotated[
        int, typer.Option(min=1, help="Seconds in which the lease must start.")
    ] = START_WITHIN_S,
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write and sign the terms of a service, as its requester.

    Send the file to the operator. Once it has signed too, anybody may start the lease: then the
    escrow leaves your free money in the Vault. Nothing is sent now.
    """
    from assay_node.cli.lease_terms import Proposal, propose_lease
    from assay_node.protocol.hardware_class import cpu_class_name
    from assay_node.protocol.ids import address
    from assay_node.protocol.units import usd_to_microusd

    mine = output.settings({"password_file": password_file})
    wanted = Proposal(
        operator=address(operator),
        spec=spec,
        hardware_class=hardware_class
        or mine.provider.hardware_class
        or cpu_class_name(platform.machine()),
        scheduler=address(scheduler) if scheduler else None,
        rate_microusd=rate,
        fee_rate_microusd=fee_rate,
        escrow_microusd=usd_to_microusd(escrow),
        notice_s=notice,
        start_within_s=start_within,
    )
    unlock = _unlock(mine, name, keystore)
    shown = output.run(propose_lease(mine, wanted, file, unlock, confirmed=yes))
    if as_json:
        output.print_json(shown)


@app.command("accept")
def accept(
    file: TermsArgument,
    spec: Annotated[
        Path | None,
        typer.Option(
            help="Your copy of the service's description, to be compared.", show_default=False
        ),
    ] = None,
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign the terms of a service, as its operator, with the wallet or the signing key.

    From the start you are paid by the second, in advance out of escrow; you may stop at any time.
    Nothing is sent now.
    """
    from assay_node.cli.lease_terms import accept_lease

    mine = output.settings({"password_file": password_file})
    unlock = _unlock(mine, name, keystore)
    shown = output.run(accept_lease(mine, file, spec, unlock, confirmed=yes))
    if as_json:
        output.print_json(shown)


@app.command("start")
def start(
    file: TermsArgument,
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a lease on signed terms: the escrow is set aside, and the clock runs.

    Anybody may, who pays for gas; a side that has not signed consents by sending it.
    """
    from assay_node.cli.lease_steps import start_lease

    mine = output.settings({"password_file": password_file})
    unlock = _unlock(mine, name, keystore)
    _finish(start_lease(mine, file, unlock, confirmed=yes), as_json=as_json)


@app.command("cancel")
def cancel(
    file: TermsArgument,
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make terms that you signed worthless, before somebody starts them; either side may."""
    from assay_node.cli.lease_steps import cancel_lease

    mine = output.settings({"password_file": password_file})
    unlock = _unlock(mine, name, keystore)
    _finish(cancel_lease(mine, file, unlock, confirmed=yes), as_json=as_json)


@app.command("show")
def show(lease: LeaseArgument, as_json: JsonOption = False) -> None:
    """Show terms and who signed them, and where the lease stands; needs no password."""
    from assay_node.cli.lease_steps import read_lease, show_lease

    found = output.run(read_lease(output.settings(), lease))
    if as_json:
        output.print_json(found)
    else:
        show_lease(found)


@app.command("top-up")
def top_up(
    lease: LeaseArgument,
    amount: Annotated[str, typer.Argument(help="Dollars, such as 5 or 0.25.")],
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Add free money in the Vault to a lease that is not over.

    Anybody may; what is left in the end goes to the requester.
    """
    from assay_node.cli.lease_steps import top_up_lease
    from assay_node.protocol.units import usd_to_microusd

    mine = output.settings({"password_file": password_file})
    unlock = _unlock(mine, name, keystore)
    microusd = usd_to_microusd(amount)
    _finish(top_up_lease(mine, lease, microusd, unlock, confirmed=yes), as_json=as_json)


@app.command("pay")
def pay(
    lease: LeaseArgument,
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pay the seconds since the last time; a lease that is over ends, and the rest goes back.

    Anybody may; it costs gas alone.
    """
    from assay_node.cli.lease_steps import pay_lease

    mine = output.settings({"password_file": password_file})
    unlock = _unlock(mine, name, keystore)
    _finish(pay_lease(mine, lease, unlock, confirmed=yes), as_json=as_json)


@app.command("stop")
def stop(
    lease: LeaseArgument,
    name: NameOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a lease: at once as its operator, a notice from now as its requester.

    The operator is paid to this second and the rest goes back to the requester in the same
    transaction. A requester calls `pay` once the notice is over, if nobody else has.
    """
    from assay_node.cli.lease_steps import stop_lease

    mine = output.settings({"password_file": password_file})
    unlock = _unlock(mine, name, keystore)
    _finish(stop_lease(mine, lease, unlock, confirmed=yes), as_json=as_json)


def _finish(work: "Coroutine[Any, Any, LeaseSent]", *, as_json: bool) -> None:
    sent = output.run(work)
    if as_json:
        output.print_json(sent)


def _unlock(
    settings: "Settings", name: str | None, keystore: Path | None
) -> "Callable[[], LocalKey]":
    """Return what opens the wallet or the keystore, once it is needed."""
    from assay_node.cli.wallets import load_wallet
    from assay_node.keys import load_keystore
    from assay_node.passwords import read_password

    def open_keystore() -> "LocalKey":
        if keystore is None:
            return load_wallet(settings, name)
        password = read_password(what=keystore.name, password_file=settings.password_file)
        with output.spinner("Opening the keystore"):
            return load_keystore(keystore, password)

    return open_keystore
