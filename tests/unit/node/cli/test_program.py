import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from assay_node.cli import output, program
from assay_node.protocol.errors import LocalError
from tests.unit.node.cli.conftest import Assay


def command_that(monkeypatch: pytest.MonkeyPatch, *, does: BaseException) -> None:
    """Make `assay doctor` end with an exception."""

    def hang_in(root: typer.Typer, entry: program.Entry) -> None:
        def command() -> None:
            raise does

        root.command(entry.name)(command)

    monkeypatch.setattr(program, "_hang_in", hang_in)


def test_help_lists_every_command_and_imports_none(assay: Assay) -> None:
    shown = assay("--help")
    assert shown.code == 0
    for entry in program.ENTRIES:
        assert entry.name in shown.out
    heavy = "{'libp2p','trio','sqlalchemy','fastapi','eth_account','web3','pydantic','aiohttp'}"
    code = (
        "import sys; from assay_node.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print('HEAVY', sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "HEAVY []" in done.stdout


def test_version(assay: Assay) -> None:
    assert assay("--version").out == "0.1.0\n"


def test_the_command_is_the_first_word_that_is_no_option() -> None:
    assert program.command_of(["--config", "wallet", "doctor", "--role", "provider"]) == "doctor"
    assert program.command_of(["--help"]) is None
    assert program.command_of(["--config"]) is None


@pytest.mark.parametrize("words", [["walet"], ["wallet", "shwo"], ["wallet", "show", "--nope"]])
def test_wrong_usage_is_exit_code_2(assay: Assay, words: list[str]) -> None:
    done = assay(*words)
    assert done.code == 2
    assert done.out == ""
    assert "Usage:" in done.err


def test_a_refusal_is_one_sentence_and_exit_code_1(
    assay: Assay, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_that(monkeypatch, does=LocalError("no such job; list yours with `assay jobs`"))
    done = assay("doctor")
    assert (done.code, done.out) == (1, "")
    assert done.err == "assay: no such job; list yours with `assay jobs`\n"


def test_ctrl_c_is_exit_code_130(assay: Assay, monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, does=KeyboardInterrupt())
    done = assay("doctor")
    assert (done.code, done.out, done.err) == (130, "", "interrupted\n")


def test_a_fault_of_ours_leaves_a_private_log_and_exit_code_70(
    assay: Assay, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    command_that(monkeypatch, does=KeyError("surprise"))
    done = assay("doctor")
    assert done.code == 70
    (log,) = (home / "logs").iterdir()
    assert done.err == f"assay: a fault of Assay's own (KeyError); the details are in {log}\n"
    assert "KeyError: 'surprise'" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_fault_is_told_even_when_the_home_is_unusable(
    assay: Assay, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    home.write_text("a file where the folder should be")
    command_that(monkeypatch, does=KeyError("surprise"))
    done = assay("doctor")
    assert done.code == 70
    assert "KeyError: 'surprise'" in Path(done.err.split()[-1]).read_text()


def test_config_names_the_file_that_settings_reads(assay: Assay, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[requester]\nwallet = 'from-the-file'\n")
    done = assay("--config", str(config), "wallet", "show")
    assert "there is no wallet 'from-the-file'" in done.err
    assert "cannot read the config file" in assay("--config", "/absent", "wallet", "show").err


def test_run_brings_an_error_out_of_nested_task_groups() -> None:
    async def refused() -> None:
        raise LocalError("not today")

    async def nested() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refused())

    async def outer() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(nested())

    with pytest.raises(LocalError, match="not today"):
        output.run(outer())


def test_run_hides_no_fault_behind_a_group() -> None:
    async def fault() -> None:
        async with asyncio.TaskGroup():
            raise KeyError("x")

    with pytest.raises(ExceptionGroup):
        output.run(fault())


def test_confirm_without_a_terminal_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(LocalError, match="--yes"):
        output.confirm("Go on?", yes=False)
    output.confirm("Go on?", yes=True)


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"hash": b"\x01\xff", "path": Path("/x"), "entry": program.ENTRIES[0]})
    document = json.loads(capsys.readouterr().out)
    assert document["hash"] == "0x01ff"
    assert document["path"] == "/x"
    assert document["entry"]["name"] == "submit"
    with pytest.raises(TypeError):
        output.print_json(object())
