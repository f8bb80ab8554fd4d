import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay_node.cli import output
from assay_node.cli.program import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a call of `assay` did."""

    code: int
    out: str
    err: str


Assay = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ASSAY_HOME."""
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ASSAY_CONFIG", raising=False)
    monkeypatch.delenv("ASSAY_PASSWORD_FILE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def assay(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Assay:
    """Calls `assay` in this process, as the console script does."""

    def call(*words: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", _Input(stdin))
        output.config_path.set(None)
        with pytest.raises(SystemExit) as ended:
            main(words)
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(
            code=code if isinstance(code, int) else 0, out=captured.out, err=captured.err
        )

    return call


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    path.chmod(0o600)
    return path


class _Input:
    def __init__(self, text: str) -> None:
        self._lines = text.splitlines(keepends=True)

    def isatty(self) -> bool:
        return False

    def readline(self, size: int = -1) -> str:
        return self._lines.pop(0) if self._lines else ""
