import os
from collections.abc import Iterator

import pytest

from assay_provider.runtime import launch


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    yield reader, writer
    os.close(reader)


@pytest.mark.parametrize("keep", [0, 1, 1000])
def test_a_log_of_any_length_is_held_in_bounded_memory(pipe: tuple[int, int], keep: int) -> None:
    reader, writer = pipe
    watched = launch._Watched()
    largest = 0
    for number in range(50):
        os.write(writer, bytes([number]) * 65536)
        assert launch._read_log(reader, watched, keep)
        largest = max(largest, len(watched.log))
    os.close(writer)

    assert not launch._read_log(reader, watched, keep), "the end of the log"
    assert largest <= 2 * keep + 65536
    assert watched.log[len(watched.log) - keep :] == bytes([49]) * keep


def test_an_empty_pipe_is_not_its_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe

    assert launch._read_log(reader, launch._Watched(), 10)
    os.close(writer)


@pytest.mark.parametrize(
    ("log", "is_the_jobs_fault"),
    [
        (b"bwrap: execvp x: No such file or directory\n", True),
        (b"bwrap: execvp /bin/x: Permission denied\n", True),
        (b"bwrap: execvp x: Cannot allocate memory\n", False),
        (b"bwrap: Can't mkdir parents for /input: No such file or directory\n", False),
        (b"bwrap: No permissions to create new namespace\n", False),
        (b"", False),
    ],
)
def test_only_a_command_that_cannot_be_executed_is_the_jobs_fault(
    log: bytes, is_the_jobs_fault: bool
) -> None:
    assert launch._could_not_execute(bytearray(log)) is is_the_jobs_fault
