"""A provider's keys in its home: the operator's wallet, the signing key, the peer key.

The wallet may be taken away once `assay provider init` is done: the daemon signs with the signing
key alone.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from assay_node.keys import (
    SCRYPT_N,
    SCRYPT_N_DEVELOPMENT,
    LocalKey,
    create_key,
    keystore_address,
    load_keystore,
    save_keystore,
)
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address
from assay_node.settings import ProviderSettings
from assay_provider.personas import LOCAL_CHAIN_ID

WALLET_FILE: Final = "wallet.json"
SIGNER_FILE: Final = "signer.json"

Password = Callable[[Path, bool], str]
"""Returns a keystore's password, given its path and whether it is being chosen now."""


def operator_of(settings: ProviderSettings) -> Address:
    """Return the operator this provider works for: as configured, or the wallet in its home.

    Raises:
        LocalError: neither says.
    """
    if settings.operator is not None:
        return Address(settings.operator)
    path = settings.home / WALLET_FILE
    if not path.exists():
        raise LocalError(
            f"there is no provider in {settings.home} yet; set it up with: assay provider init"
        )
    return keystore_address(path)


def load_signer(settings: ProviderSettings, password: Password) -> LocalKey:
    """Return the signing key in a provider's home.

    Raises:
        LocalError: it is not there, or the password is wrong.
    """
    path = settings.home / SIGNER_FILE
    if not path.exists():
        raise LocalError(
            f"there is no signing key in {settings.home}; set it up with: assay provider init"
        )
    return load_keystore(path, password(path, False))


def load_or_create(path: Path, password: Password, *, chain_id: int) -> tuple[LocalKey, bool]:
    """Return the key in a keystore, made now if there is none, and whether it was made.

    Raises:
        LocalError: the keystore cannot be opened or written.
    """
    if path.exists():
        return load_keystore(path, password(path, False)), False
    key = create_key()
    work_factor = SCRYPT_N_DEVELOPMENT if chain_id == LOCAL_CHAIN_ID else SCRYPT_N
    save_keystore(path, key, password(path, True), scrypt_n=work_factor)
    return key, True
