"""Signing keys and how they rest: encrypted keystores for secp256k1, bare files for peer keys.

Keystores are Web3 Secret Storage version 3, so that every Ethereum wallet can read and write them.
Source: https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage/
"""

import json
import secrets
from pathlib import Path
from typing import Any, Final, NoReturn

from eth_keys.datatypes import PrivateKey

from assay_node.private_files import private_directory, read_private, write_private
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest, address

SCRYPT_N: Final = 1 << 18
"""scrypt work factor of new keystores, geth's and MetaMask's: 256 MiB and 1-2 s for each guess."""

SCRYPT_N_DEVELOPMENT: Final = 1 << 12
"""Work factor for development networks only: 4 MiB and some 15 ms, because a market in a box opens
a dozen keystores at once on two cores. The keys of such a network are worth nothing."""

SCRYPT_MEMORY_BYTES_MAX: Final = 1 << 30
"""A foreign keystore may ask for this much memory at most; geth's standard needs a quarter."""

PBKDF2_ROUNDS_MAX: Final = 20_000_000
"""A foreign keystore may ask for this many rounds at most; eth_account's standard is 1 million."""

KEYSTORE_BYTES_MAX: Final = 16 * 1024
"""A keystore has some 500 bytes."""

SECRET_BYTES: Final = 32
PEER_KEY_BYTES: Final = 32
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of secp256k1's group; secrets are 1 to one less than this (SEC 2, section 2.4.1)."""


class LocalKey:
    """A secp256k1 key held in this process; it signs, and never shows or pickles its secret."""

    __slots__ = ("_address", "_private")

    def __init__(self, secret: bytes) -> None:
        """Take the 32 bytes of a secret.

        Raises:
            LocalError: they are not a secp256k1 secret.
        """
        if len(secret) != SECRET_BYTES or not 0 < int.from_bytes(secret, "big") < _ORDER:
            raise LocalError("a private key is 32 bytes: a number from 1 to secp256k1's order")
        self._private = PrivateKey(secret)
        self._address = address(self._private.public_key.to_address())

    @property
    def address(self) -> Address:
        """The address of this key."""
        return self._address

    def sign_digest(self, digest: Digest) -> bytes:
        """Return the 65-byte signature r || s || v of a 32-byte digest; v is 27 or 28, s is low."""
        signature = self._private.sign_msg_hash(digest).to_bytes()
        return signature[:-1] + bytes((signature[-1] + 27,))

    def __repr__(self) -> str:
        return f"LocalKey({self._address})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalKey) and self._address == other._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is not copied or pickled; save it to a keystore")


def create_key() -> LocalKey:
    """Return a new key from the system's randomness."""
    return LocalKey((1 + secrets.randbelow(_ORDER - 1)).to_bytes(SECRET_BYTES, "big"))


def import_key(text: str) -> LocalKey:
    """Return the key written as 64 hexadecimal digits, with or without a leading "0x".

    Raises:
        LocalError: it is anything else. The text is not repeated, for it may be nearly a key.
    """
    try:
        secret = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise LocalError("a private key is 64 hexadecimal digits") from None
    return LocalKey(secret)


def save_keystore(path: Path, key: LocalKey, password: str, *, scrypt_n: int = SCRYPT_N) -> None:
    """Write a new encrypted keystore, readable by its owner only.

    `scrypt_n` is the work factor, a power of two; see `SCRYPT_N_DEVELOPMENT`.

    Raises:
        LocalError: the password is empty, the file exists, or it cannot be written.
    """
    # loads pairing curves: 0.4 s that only commands with keystores pay
    from eth_keyfile.keyfile import create_keyfile_json

    if not password:
        raise LocalError("a keystore needs a password that is not empty")
    if path.exists():  # before a second of scrypt; `write_private` decides
        raise LocalError(f"{path} exists already and is never overwritten; choose another name")
    keystore = create_keyfile_json(
        key._private.to_bytes(),  # noqa: SLF001  # the one way out of the key, into its cipher
        password.encode(),
        kdf="scrypt",
        iterations=scrypt_n,
    )
    write_private(path, json.dumps(keystore).encode())


def load_keystore(path: Path, password: str) -> LocalKey:
    """Return the key in a keystore. Takes a second or two: scrypt is slow on purpose.

    Raises:
        LocalError: the file is absent, open to others or no keystore, or the password is wrong.
    """
    from eth_keyfile.keyfile import decode_keyfile_json

    keystore = _read_keystore(path)
    try:
        return LocalKey(decode_keyfile_json(keystore, password.encode()))
    except (KeyError, TypeError, AttributeError, ValueError, AssertionError) as error:
        if "MAC mismatch" in str(error):
            raise LocalError(f"wrong password for {path}") from None
        raise LocalError(f"{path} is not a version 3 keystore") from None


def keystore_address(path: Path) -> Address:
    """Return the address a keystore says it holds, without opening it.

    Raises:
        LocalError: the file is absent, open to others or no keystore.
    """
    named = _read_keystore(path).get("address")
    if not isinstance(named, str):
        raise LocalError(f"{path} does not say its address; open it with its password")
    return address("0x" + named.removeprefix("0x"))


def save_peer_key(path: Path, peer_key: bytes) -> None:
    """Write a new libp2p identity: the 32 bytes of an Ed25519 secret, readable by its owner only.

    It is not encrypted: a daemon must come back after a reboot, and the key moves no money.

    Raises:
        LocalError: the length is wrong, the file exists, or it cannot be written.
    """
    if len(peer_key) != PEER_KEY_BYTES:
        raise LocalError(f"a peer key has {PEER_KEY_BYTES} bytes, not {len(peer_key)}")
    write_private(path, peer_key)


def load_peer_key(path: Path) -> bytes:
    """Return the 32 bytes of a libp2p identity.

    Raises:
        LocalError: the file is absent, open to others, or no peer key.
    """
    private_directory(path.parent)
    peer_key = read_private(path, bytes_max=KEYSTORE_BYTES_MAX)
    if len(peer_key) != PEER_KEY_BYTES:
        raise LocalError(f"{path} is not a peer key: it has {len(peer_key)} bytes, not 32")
    return peer_key


def _read_keystore(path: Path) -> dict[str, Any]:
    data = read_private(path, bytes_max=KEYSTORE_BYTES_MAX)
    private_directory(path.parent)
    try:
        keystore = json.loads(data, object_pairs_hook=_lower_case_keys)
    except (ValueError, RecursionError):
        keystore = None
    if not isinstance(keystore, dict) or keystore.get("version") != 3:
        raise LocalError(f"{path} is not a version 3 keystore")
    _check_cost(path, keystore)
    return keystore


def _lower_case_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.lower(): value for name, value in pairs}  # old geth wrote "Crypto"


def _check_cost(path: Path, keystore: dict[str, Any]) -> None:
    """Refuse key derivation that would take the machine's memory or the day."""
    crypto = keystore.get("crypto")
    parameters = crypto.get("kdfparams") if isinstance(crypto, dict) else None
    if not isinstance(parameters, dict):
        raise LocalError(f"{path} is not a version 3 keystore")
    numbers = [parameters.get(name, 1) for name in ("n", "r", "p", "c", "dklen")]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise LocalError(f"{path} is not a version 3 keystore")
    n, r, p, rounds, dklen = numbers
    if 128 * n * r > SCRYPT_MEMORY_BYTES_MAX or p > 16 or rounds > PBKDF2_ROUNDS_MAX or dklen > 64:
        raise LocalError(f"{path} asks for more work than Assay allows; export it anew from geth")
