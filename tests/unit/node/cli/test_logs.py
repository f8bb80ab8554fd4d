import errno
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay_node.cli.logs import FloodFilter, JsonFormatter, LineFormatter, start_logging
from assay_node.protocol.errors import LocalError
from assay_node.settings import Settings


def line(message: str, *args: object, **extra: object) -> str:
    record = logging.LogRecord("assay_node.x", logging.INFO, "f.py", 1, message, args, None)
    vars(record).update(extra)
    record.created = 0
    return LineFormatter().format(record)


def test_a_line_has_time_level_name_message_and_fields() -> None:
    said = line("peer %s left", "12D3", reason="gone")
    assert said == "1970-01-01T00:00:00Z info assay_node.x: peer 12D3 left reason=gone"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "a\r\x00b", "\u202eevil", "\x9b1m"])
def test_peers_cannot_forge_lines_or_drive_a_terminal(text: str) -> None:
    for said in (line("%s", text), line("x", reason=text)):
        assert said.isprintable()


def test_a_traceback_is_indented_and_escaped() -> None:
    try:
        raise ValueError("a\x1b[31m")
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "f.py", 1, "failed", (), (ValueError, error, error.__traceback__)
        )
    first, *rest = LineFormatter().format(record).split("\n")
    assert first.endswith("error x: failed")
    assert all(part.startswith("    ") and part.isprintable() for part in rest)


def a_record(message: str, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("assay_node.x", level, "f.py", 1, message, (), None)
    vars(record).update(extra)
    record.created = 0
    return record


def test_json_lines_have_every_part_and_are_one_line_each() -> None:
    said = JsonFormatter().format(a_record("peer \x1b[31m left\n", reason="g\u202eone"))
    assert "\n" not in said
    assert said.isascii()
    assert json.loads(said) == {
        "at": "1970-01-01T00:00:00Z",
        "level": "info",
        "logger": "assay_node.x",
        "message": "peer \x1b[31m left\n",
        "fields": {"reason": "g\u202eone"},
    }
    try:
        raise ValueError("bad")
    except ValueError as error:
        record = a_record("failed")
        record.exc_info = (ValueError, error, error.__traceback__)
    assert json.loads(JsonFormatter().format(record))["trace"][-1] == "ValueError: bad"


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()])
def test_a_line_is_cut_where_nobody_reads_on(formatter: logging.Formatter) -> None:
    said = formatter.format(a_record("x" * 100_000))
    assert len(said) < 10_000
    assert "(100000 characters)" in said


def test_a_flood_is_bounded_and_counted() -> None:
    now = [0.0]
    flood = FloodFilter(clock=lambda: now[0])
    passed = [flood.filter(a_record("flood")) for _ in range(5000)]
    assert sum(passed) == 1000
    now[0] += 0.1  # room for five more
    records = [a_record("later") for _ in range(10)]
    assert [flood.filter(record) for record in records] == [True] * 5 + [False] * 5
    assert vars(records[0])["lines_dropped_before"] == 4000
    assert "lines_dropped_before" not in vars(records[1])
    now[0] += 1000
    assert sum(flood.filter(a_record("calm")) for _ in range(2000)) == 1000


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.usefixtures("restored")
def test_a_log_file_is_private_and_rotated(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "provider.log"
    start_logging(Settings(log_file=path, log_file_bytes_max=400, log_files_kept=2))
    for number in range(50):
        logging.getLogger("assay_node.x").info("line %d", number)
    files = sorted(one.name for one in path.parent.iterdir())
    assert files == ["provider.log", "provider.log.1", "provider.log.2"]
    for name in files:
        assert (path.parent / name).stat().st_mode & 0o777 == 0o600
        assert (path.parent / name).stat().st_size <= 400
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "line 49" in path.read_text()


@pytest.mark.usefixtures("restored")
def test_an_older_log_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "provider.log"
    path.write_text("before\n")
    path.chmod(0o644)
    start_logging(Settings(log_file=path, log_format="json"))
    logging.getLogger("assay_node.x").warning("after")
    assert path.stat().st_mode & 0o777 == 0o600
    first, second = path.read_text().splitlines()
    assert first == "before"
    assert json.loads(second)["message"] == "after"


@pytest.mark.usefixtures("restored")
def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "link.log").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "link.log", tmp_path, Path("/proc/nowhere/x.log")):
        with pytest.raises(LocalError, match=r"cannot write the log .*\(log_file\)"):
            start_logging(Settings(log_file=path))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("restored")
def test_a_full_disk_is_said_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start_logging(Settings(log_file=tmp_path / "x.log"))
    (handler,) = logging.getLogger().handlers

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(handler, "stream", Full())
    for _ in range(3):
        logging.getLogger("assay_node.x").info("lost")
    assert capsys.readouterr().err.count("No space left on device") == 1
