"""Where wallets are kept, and opening one: for every command that signs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from assay_node.protocol.errors import LocalError

if TYPE_CHECKING:
    from assay_node.keys import LocalKey
    from assay_node.protocol.ids import Address
    from assay_node.settings import Settings

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def wallets_folder() -> Path:
    """Return the folder of all keystores."""
    from assay_node.settings import assay_home

    return assay_home() / "wallets"


def wallet_path(name: str) -> Path:
    """Return where a wallet's keystore is, or would be.

    Raises:
        LocalError: the name could not be a file's everywhere.
    """
    if not _NAME.fullmatch(name):
        raise LocalError(
            f"{name!r} is no name for a wallet: use lower-case letters, digits, dots and dashes"
        )
    return wallets_folder() / f"{name}.json"


def existing_wallet(name: str) -> Path:
    """Return where a wallet's keystore is.

    Raises:
        LocalError: there is none of this name.
    """
    path = wallet_path(name)
    if not path.exists():
        raise LocalError(
            f"there is no wallet {name!r}; create it with: assay wallet new --name {name}"
        )
    return path


def wallet_address(settings: "Settings", name: str | None = None) -> "Address":
    """Return a wallet's address, `requester.wallet` by default; needs no password.

    Raises:
        LocalError: there is no such wallet.
    """
    from assay_node.keys import keystore_address

    return keystore_address(existing_wallet(name or settings.requester.wallet))


def load_wallet(settings: "Settings", name: str | None = None) -> "LocalKey":
    """Return the key of a wallet, `requester.wallet` by default.

    Its password comes from `password_file`, the keyring or a prompt.

    Raises:
        LocalError: there is no such wallet, or the password is wrong.
    """
    from assay_node.cli.output import spinner
    from assay_node.keys import load_keystore
    from assay_node.passwords import read_password

    path = existing_wallet(name or settings.requester.wallet)
    password = read_password(what=path.stem, password_file=settings.password_file)
    with spinner("Opening the wallet"):
        return load_keystore(path, password)
