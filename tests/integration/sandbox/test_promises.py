"""The table of promises names tests that are there."""

from pathlib import Path

from tests.integration.sandbox.promises import PROMISES


def test_every_promise_is_tried_by_tests_that_exist() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    missing = [t for _, tests in PROMISES for t in tests if f"def {t}(" not in sources]
    assert missing == []
    assert all(tests for _, tests in PROMISES)
