"""Where the password of a keystore comes from: a file, the desktop's keyring, or a person.

Never from argv and never from an environment variable: both are shown to other processes.
"""

import getpass
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Final

from assay_node.private_files import read_private
from assay_node.protocol.errors import LocalError

logger = logging.getLogger(__name__)

PASSWORD_BYTES_MAX: Final = 4096
"""A password file is one line; a larger file is another file."""

_SERVICE: Final = "assay"


def read_password(*, what: str, password_file: Path | None, confirm: bool = False) -> str:
    """Return the password for `what` (a wallet's name), from the first source that has one.

    1. `password_file`: its first line; the file is 0600.
    2. The keyring, with the `keyring` extra installed and an entry for service "assay" and `what`.
    3. A prompt, when standard input is a terminal; asked twice when `confirm`.

    Raises:
        LocalError: none of them gives one.
    """
    if password_file is not None:
        return _from_file(password_file)
    if not confirm and (stored := _from_keyring(what)) is not None:
        return stored
    if not sys.stdin.isatty():
        raise LocalError(
            f"no password for {what!r}: name a file with --password-file or ASSAY_PASSWORD_FILE"
        )
    password = getpass.getpass(f"Password for {what!r}: ")
    if confirm and getpass.getpass("The same again: ") != password:
        raise LocalError("the two passwords differ; nothing was written")
    return password


def _from_file(path: Path) -> str:
    data = read_private(path, bytes_max=PASSWORD_BYTES_MAX)
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise LocalError(f"{path} is not text; a password file has one line") from None
    if len(lines) != 1 or not lines[0]:
        raise LocalError(f"{path} must hold one line, the password, and nothing else")
    return lines[0]


def _from_keyring(what: str) -> str | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(_SERVICE, what)
    except KeyringError as error:
        # a machine without a desktop has the library and no keyring behind it: go on to the prompt
        logger.debug("the keyring does not answer: %s", type(error).__name__)
        return None
