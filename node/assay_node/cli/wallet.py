"""`assay wallet`: keys on this machine and money in the Vault."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from assay_node.cli.output import (
    JsonOption,
    PasswordFileOption,
    YesOption,
    print_json,
    results,
    run,
    settings,
    spinner,
)
from assay_node.protocol.errors import LocalError

if TYPE_CHECKING:
    from assay_node.keys import LocalKey

app = typer.Typer(no_args_is_help=True)

KEY_TEXT_BYTES_MAX: Final = 256
"""A private key in hexadecimal has 66 characters; what is long is something else."""

NameOption = Annotated[
    str | None, typer.Option(help="The wallet; by default requester.wallet.", show_default=False)
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        help="Scheduler, by multiaddr or by its wallet's address; by default requester.scheduler.",
        show_default=False,
    ),
]
LightOption = Annotated[
    bool, typer.Option("--light", help="Weak key derivation: for development networks only.")
]


@app.command("new")
def new(
    name: NameOption = None,
    password_file: PasswordFileOption = None,
    light: LightOption = False,
    as_json: JsonOption = False,
) -> None:
    """Create a wallet: a new key in an encrypted keystore."""
    from assay_node.keys import create_key

    path = _new_path(name)
    _save(create_key(), path, password_file, light=light, as_json=as_json)


@app.command("import")
def import_(
    name: NameOption = None,
    keystore: Annotated[
        Path | None,
        typer.Option(help="Another wallet's keystore (version 3).", show_default=False),
    ] = None,
    password_file: PasswordFileOption = None,
    light: LightOption = False,
    as_json: JsonOption = False,
) -> None:
    """Import a private key from standard input, or a keystore of another wallet.

    The key is asked for, or read as one line; it is never an argument, which others could see.
    """
    from assay_node.keys import import_key, load_keystore
    from assay_node.passwords import read_password

    path = _new_path(name)
    if keystore is None:
        key = import_key(_key_text())
    else:
        password = read_password(what=keystore.name, password_file=_password_file(password_file))
        with spinner("Opening the keystore"):
            key = load_keystore(keystore, password)
    _save(key, path, password_file, light=light, as_json=as_json)


@app.command("show")
def show(
    name: NameOption = None,
    every: Annotated[bool, typer.Option("--all", help="List all wallets.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a wallet's address and where its keystore is. Needs no password."""
    from assay_node.cli.wallets import existing_wallet, wallets_folder
    from assay_node.keys import keystore_address

    paths = sorted(wallets_folder().glob("*.json")) if every else [existing_wallet(_name(name))]
    shown = [{"name": p.stem, "address": keystore_address(p), "keystore": str(p)} for p in paths]
    if as_json:
        print_json(shown if every else shown[0])
        return
    for wallet in shown:
        results().print(f"{wallet['name']}  {wallet['address']}  {wallet['keystore']}")


@app.command("balance")
def balance(
    name: NameOption = None,
    address: Annotated[
        str | None, typer.Option(help="Any address, instead of a wallet.", show_default=False)
    ] = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a wallet holds, and what it has in the Vault. Needs no password."""
    from assay_node.cli.wallet_money import read_balance, show_balance
    from assay_node.cli.wallets import wallet_address
    from assay_node.protocol.ids import address as parse_address

    mine = settings()
    owner = parse_address(address) if address else wallet_address(mine, name)
    with spinner("Reading the chain"):
        found = run(read_balance(mine, owner, scheduler))
    if as_json:
        print_json(found)
    else:
        show_balance(found)


@app.command("deposit")
def deposit(
    amount: Annotated[str, typer.Argument(help="Dollars, such as 5 or 0.25.")],
    name: NameOption = None,
    scheduler: SchedulerOption = None,
    budget: Annotated[
        bool, typer.Option("--budget/--no-budget", help="Set it aside for the scheduler.")
    ] = True,
    from_free: Annotated[
        bool, typer.Option("--from-free", help="Use free money in the Vault: only set it aside.")
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            help="Give it to another address's account, such as the signing key with which a "
            "provider's daemon appeals; needs --no-budget.",
            show_default=False,
        ),
    ] = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move money into the Vault and set it aside as the budget for a scheduler's orders."""
    from assay_node.cli.wallet_money import Deposit, make_deposit
    from assay_node.protocol.ids import address as parse_address
    from assay_node.protocol.units import usd_to_microusd

    if from_free and not budget:
        raise LocalError("--from-free with --no-budget leaves nothing to do")
    if to is not None and budget:
        raise LocalError("a budget is your own; give money to another address with --no-budget")
    wanted = Deposit(
        amount_microusd=usd_to_microusd(amount),
        scheduler=scheduler,
        into_budget=budget,
        from_free=from_free,
        to=None if to is None else parse_address(to),
    )
    sent = run(
        make_deposit(settings(), wanted, lambda: _unlock(name, password_file), confirmed=yes)
    )
    if as_json:
        print_json(sent)


@app.command("withdraw")
def withdraw(
    amount: Annotated[
        str | None, typer.Argument(help="Dollars, or 'all' that is free.", show_default=False)
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Receiver; by default the wallet.", show_default=False)
    ] = None,
    budget: Annotated[
        bool,
        typer.Option(
            "--budget", help="First take back the budget for the scheduler, or give notice for it."
        ),
    ] = False,
    name: NameOption = None,
    scheduler: SchedulerOption = None,
    password_file: PasswordFileOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send free money from the Vault back to the wallet.

    A budget is promised to a scheduler's orders, so it becomes free only after a notice during
    which it still pays for those: call this with --budget once to give the notice, and once more
    when it is over.
    """
    from assay_node.cli.wallet_money import Withdrawal, make_withdrawal
    from assay_node.protocol.ids import address as parse_address
    from assay_node.protocol.units import usd_to_microusd

    if amount is None and not budget:
        raise LocalError("say how much to withdraw, or --budget to take back a budget")
    wanted = Withdrawal(
        amount_microusd=usd_to_microusd(amount) if amount not in (None, "all") else None,
        everything=amount == "all",
        to=parse_address(to) if to else None,
        from_budget=budget,
        scheduler=scheduler,
    )
    sent = run(
        make_withdrawal(settings(), wanted, lambda: _unlock(name, password_file), confirmed=yes)
    )
    if as_json:
        print_json(sent)


def _name(name: str | None) -> str:
    return name or settings().requester.wallet


def _new_path(name: str | None) -> Path:
    """Refuse a taken name before anybody types a password."""
    from assay_node.cli.wallets import wallet_path

    path = wallet_path(_name(name))
    if path.exists():
        raise LocalError(f"there is a wallet {path.stem!r} already; choose another --name")
    return path


def _password_file(given: Path | None) -> Path | None:
    return settings({"password_file": given}).password_file


def _save(
    key: "LocalKey", path: Path, password_file: Path | None, *, light: bool, as_json: bool
) -> None:
    from assay_node.keys import SCRYPT_N, SCRYPT_N_DEVELOPMENT, save_keystore
    from assay_node.passwords import read_password

    password = read_password(
        what=path.stem, password_file=_password_file(password_file), confirm=True
    )
    with spinner("Encrypting the key"):
        save_keystore(path, key, password, scrypt_n=SCRYPT_N_DEVELOPMENT if light else SCRYPT_N)
    if as_json:
        print_json({"name": path.stem, "address": key.address, "keystore": str(path)})
        return
    results().print(f"Wallet {path.stem}: {key.address}")
    results().print(f"Its keystore is {path}; keep a copy of it, and its password, elsewhere.")


def _unlock(name: str | None, password_file: Path | None) -> "LocalKey":
    from assay_node.cli.wallets import load_wallet

    return load_wallet(settings({"password_file": password_file}), name)


def _key_text() -> str:
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass("Private key (64 hexadecimal digits, not shown): ")
    return sys.stdin.readline(KEY_TEXT_BYTES_MAX)
