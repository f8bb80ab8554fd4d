import copy
import json
import pickle
import stat
from pathlib import Path

import pytest
from eth_account import Account

from assay_node import keys, passwords
from assay_node.keys import (
    SCRYPT_N_DEVELOPMENT,
    LocalKey,
    create_key,
    import_key,
    keystore_address,
    load_keystore,
    load_peer_key,
    save_keystore,
    save_peer_key,
)
from assay_node.protocol import typed_data
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest

SECRET = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"  # web3.js's documented pair
DIGEST = Digest(bytes(range(32)))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def save(path: Path, key: LocalKey, password: str = "correct horse") -> None:
    save_keystore(path, key, password, scrypt_n=SCRYPT_N_DEVELOPMENT)


def test_import_gives_the_known_address_in_lower_case() -> None:
    assert import_key("0x" + SECRET).address == ADDRESS
    assert import_key(f" {SECRET}\n").address == ADDRESS


@pytest.mark.parametrize(
    "text", ["", "0x", SECRET[:-2], SECRET + "00", "g" * 64, "0" * 64, "f" * 64]
)
def test_import_refuses_what_is_no_key_without_repeating_it(text: str) -> None:
    with pytest.raises(LocalError) as refused:
        import_key(text)
    assert not text.strip("0x") or text not in str(refused.value)


def test_signature_is_recovered_by_the_protocol_with_low_s() -> None:
    key = create_key()
    for n in range(32):
        digest = Digest(bytes((n,)) * 32)
        signature = key.sign_digest(digest)
        assert signature[64] in (27, 28)
        # `recover` refuses high s
        assert typed_data.recover(digest, signature) == key.address


def test_a_key_never_shows_its_secret() -> None:
    key = import_key(SECRET)
    shown = f"{key} {key!r} {[key]} {dir(key)}"
    assert SECRET not in shown
    assert ADDRESS in shown
    assert not hasattr(key, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied or pickled"):
            leak(key)


def test_keystore_comes_back_and_eth_account_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "wallets" / "a.json"
    key = import_key(SECRET)
    save(path, key)
    assert load_keystore(path, "correct horse") == key
    assert keystore_address(path) == ADDRESS
    assert Account.decrypt(path.read_text(), "correct horse").hex() == SECRET
    assert SECRET not in path.read_text()
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert names(path.parent) == ["a.json"]


def test_keystore_of_another_wallet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "geth.json"
    theirs = Account.encrypt(bytes.fromhex(SECRET), "x", kdf="pbkdf2", iterations=1000)
    theirs["Crypto"] = theirs.pop("crypto")  # as old geth wrote it
    path.write_text(json.dumps(theirs))
    path.chmod(0o600)
    assert load_keystore(path, "x").address == ADDRESS


def test_new_keystores_use_the_full_work_factor_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys.SCRYPT_N == 262_144
    defaults = save_keystore.__kwdefaults__
    assert defaults == {"scrypt_n": keys.SCRYPT_N}


def test_wrong_password_and_empty_password(tmp_path: Path) -> None:
    save(tmp_path / "a.json", create_key())
    with pytest.raises(LocalError, match=r"wrong password for .*a\.json"):
        load_keystore(tmp_path / "a.json", "wrong")
    with pytest.raises(LocalError, match="not empty"):
        save(tmp_path / "b.json", create_key(), password="")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    save(path, create_key())
    before = path.read_bytes()
    with pytest.raises(LocalError, match="never overwritten"):
        save(path, create_key())
    with pytest.raises(LocalError, match="never overwritten"):
        save_peer_key(path, bytes(32))
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.json"]


def test_wide_open_files_and_folders_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "k" / "a.json"
    save(path, create_key())
    path.chmod(0o640)
    with pytest.raises(LocalError, match=f"chmod 600 {path}$"):
        load_keystore(path, "correct horse")
    path.chmod(0o600)
    path.parent.chmod(0o755)
    with pytest.raises(LocalError, match=f"chmod 700 {path.parent}$"):
        load_keystore(path, "correct horse")
    with pytest.raises(LocalError, match="chmod 700"):
        save(path.parent / "b.json", create_key())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 10_000,
        b'{"version": 4}',
        b'{"version": 3}',
        b'{"version": 3, "crypto": {}}',
        b'{"version": 3, "crypto": {"kdfparams": {}}}',
        b'{"version": 3, "crypto": {"kdfparams": {"n": "9"}}}',
        b'{"version": 3, "crypto": {"kdf": "scrypt", "kdfparams": {"n": 4}, "ciphertext": 1}}',
    ],
)
def test_what_is_no_keystore_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(LocalError, match="is not a version 3 keystore"):
        load_keystore(path, "x")


@pytest.mark.parametrize(
    "parameters", [{"n": 1 << 40, "r": 8, "p": 1}, {"n": 2, "r": 1, "p": 1 << 30}, {"c": 10**12}]
)
def test_a_keystore_cannot_order_endless_work(tmp_path: Path, parameters: dict[str, int]) -> None:
    save(tmp_path / "a.json", create_key())
    keystore = json.loads((tmp_path / "a.json").read_text())
    # an innocent "crypto" before a greedy "CRYPTO" must not pass either
    greedy = {**keystore["crypto"], "kdfparams": {**keystore["crypto"]["kdfparams"], **parameters}}
    (tmp_path / "a.json").write_text(json.dumps({**keystore, "CRYPTO": greedy}))
    with pytest.raises(LocalError, match="more work than Assay allows"):
        load_keystore(tmp_path / "a.json", "correct horse")


def test_peer_key_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    save_peer_key(path, bytes(range(32)))
    assert load_peer_key(path) == bytes(range(32))
    assert mode(path) == 0o600
    with pytest.raises(LocalError, match="32 bytes, not 31"):
        save_peer_key(tmp_path / "short.key", bytes(31))
    with pytest.raises(LocalError, match=r"cannot read .*no such file"):
        load_peer_key(tmp_path / "absent.key")
    path.chmod(0o644)
    with pytest.raises(LocalError, match="chmod 600"):
        load_peer_key(path)


# --- passwords ----------------------------------------------------------------------------------


def password_file(path: Path, content: bytes, *, permissions: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(permissions)
    return path


def test_password_from_a_file(tmp_path: Path) -> None:
    path = password_file(tmp_path / "p", b"correct horse\n")
    assert passwords.read_password(what="default", password_file=path) == "correct horse"


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff\xfe", b"x" * 5000])
def test_password_file_with_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = password_file(tmp_path / "p", content)
    with pytest.raises(LocalError):
        passwords.read_password(what="default", password_file=path)


def test_password_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = password_file(tmp_path / "p", b"x", permissions=0o644)
    with pytest.raises(LocalError, match="chmod 600"):
        passwords.read_password(what="default", password_file=path)


def test_password_from_the_keyring_but_not_for_a_new_wallet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keyring.get_password", lambda service, what: f"{service}/{what}")
    assert passwords.read_password(what="a", password_file=None) == "assay/a"
    with pytest.raises(LocalError, match="--password-file"):
        passwords.read_password(what="a", password_file=None, confirm=True)


def test_prompt_asks_twice_for_a_new_wallet(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "one", "one", "two"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert passwords.read_password(what="a", password_file=None, confirm=True) == "one"
    with pytest.raises(LocalError, match="differ"):
        passwords.read_password(what="a", password_file=None, confirm=True)
