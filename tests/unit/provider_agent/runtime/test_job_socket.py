import json

import pytest

from assay_provider.runtime.job_socket import TEXT_CHARACTERS_MAX, progress_in


def test_a_jobs_words_are_for_people_and_do_nothing_else() -> None:
    assert progress_in(b'{"progress": "epoch 3 of 10"}\n') == ("epoch 3 of 10", "")
    text, error = progress_in(json.dumps({"progress": "\x1b[2Jé\n"}).encode())
    assert (text, error) == ("?[2Jé?", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "JSON"),
        (b"progress", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 1000, "JSON"),
        (b"[]", "nothing else"),
        (b"{}", "nothing else"),
        (b'{"progress": "a", "more": 1}', "nothing else"),
        (b'{"progress": 7}', "1 to 200"),
        (b'{"progress": ""}', "1 to 200"),
        (json.dumps({"progress": "x" * (TEXT_CHARACTERS_MAX + 1)}).encode(), "1 to 200"),
    ],
)
def test_what_is_not_understood_says_what_is(line: bytes, said: str) -> None:
    text, error = progress_in(line)
    assert text == ""
    assert said in error
