"""Host mathematics under a mode."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exact_host_math() -> Iterator[None]:
    """To be written by its module's owner."""
    yield
