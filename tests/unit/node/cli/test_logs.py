import logging

import pytest

from assay_node.cli.logs import LineFormatter


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
