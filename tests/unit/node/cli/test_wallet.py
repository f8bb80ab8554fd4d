import json
from pathlib import Path

import pytest

from assay_node.keys import SCRYPT_N_DEVELOPMENT, create_key, load_keystore, save_keystore
from tests.unit.node.cli.conftest import Assay

SECRET = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536e3605d9c16a7a3d7b1898e529396a65c23"


def test_new_wallet_opens_with_its_password(assay: Assay, home: Path, password_file: Path) -> None:
    done = assay("wallet", "new", "--light", "--json", "--password-file", str(password_file))
    wallet = json.loads(done.out)
    path = home / "wallets" / "default.json"
    assert (done.code, wallet["name"], wallet["keystore"]) == (0, "default", str(path))
    assert load_keystore(path, "correct horse").address == wallet["address"]


def test_password_file_by_environment(
    assay: Assay, home: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_PASSWORD_FILE", str(password_file))
    assert assay("wallet", "new", "--light").code == 0
    load_keystore(home / "wallets" / "default.json", "correct horse")


def test_a_taken_name_is_refused_and_the_wallet_stays(
    assay: Assay, home: Path, password_file: Path
) -> None:
    words = ("wallet", "new", "--light", "--password-file", str(password_file))
    assert assay(*words).code == 0
    before = (home / "wallets" / "default.json").read_bytes()
    done = assay(*words)
    assert (done.code, done.out) == (1, "")
    assert "choose another --name" in done.err
    assert (home / "wallets" / "default.json").read_bytes() == before


def test_no_password_and_no_terminal(assay: Assay, home: Path) -> None:
    done = assay("wallet", "new", "--light")
    assert done.code == 1
    assert "--password-file" in done.err
    assert not (home / "wallets").exists()


def test_import_reads_the_key_from_standard_input(
    assay: Assay, home: Path, password_file: Path
) -> None:
    words = ("wallet", "import", "--light", "--name", "old", "--password-file", str(password_file))
    done = assay(*words, "--json", stdin=f"0x{SECRET}\n")
    assert json.loads(done.out)["address"] == ADDRESS
    assert SECRET not in done.out + done.err
    assert SECRET not in (home / "wallets" / "old.json").read_text()


@pytest.mark.parametrize("typed", ["", "nonsense\n", f"{SECRET}00\n"])
def test_import_refuses_what_is_no_key(assay: Assay, password_file: Path, typed: str) -> None:
    done = assay(
        "wallet", "import", "--light", "--password-file", str(password_file), stdin=typed
    )  # fmt: skip
    assert done.code == 1
    assert "private key" in done.err
    assert SECRET not in done.err


def test_import_of_a_keystore(assay: Assay, tmp_path: Path, password_file: Path) -> None:
    key = create_key()
    foreign = tmp_path / "foreign.json"
    save_keystore(foreign, key, "correct horse", scrypt_n=SCRYPT_N_DEVELOPMENT)
    words = ("wallet", "import", "--light", "--password-file", str(password_file))
    done = assay(*words, "--json", "--keystore", str(foreign))
    assert json.loads(done.out)["address"] == key.address


def test_show_one_and_all(assay: Assay, password_file: Path) -> None:
    for name in ("b", "a"):
        assay("wallet", "new", "--light", "--name", name, "--password-file", str(password_file))
    listed = json.loads(assay("wallet", "show", "--all", "--json").out)
    assert [wallet["name"] for wallet in listed] == ["a", "b"]
    one = assay("wallet", "show", "--name", "b")
    assert one.out.split() == ["b", listed[1]["address"], listed[1]["keystore"]]


@pytest.mark.parametrize("name", ["../x", "A", "", ".hidden", "a/b", "x" * 65])
def test_a_name_is_never_a_path(assay: Assay, home: Path, password_file: Path, name: str) -> None:
    words = ("wallet", "new", "--light", "--password-file", str(password_file))
    done = assay(*words, "--name", name)
    if name == "":  # as not given
        assert done.code == 0
        return
    assert done.code == 1
    assert "is no name for a wallet" in done.err
    assert not home.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["balance"], "there is no wallet 'default'"),
        (["balance", "--address", "0x12"], "is not an Ethereum address"),
        (["deposit", "many"], "is not an amount in dollars"),
        (["deposit", "5", "--from-free", "--no-budget"], "leaves nothing to do"),
        (["deposit", "5"], "cannot read the deployment file"),
        (["withdraw"], "say how much"),
        (["withdraw", "5"], "cannot read the deployment file"),
    ],
)
def test_money_commands_refuse_in_one_sentence(assay: Assay, words: list[str], said: str) -> None:
    done = assay("wallet", *words)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert done.err.count("\n") == 1
