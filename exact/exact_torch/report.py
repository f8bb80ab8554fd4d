"""Which ops a program uses, through which rule each is defined, and which would be refused."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """To be written."""


def report(program: object) -> Report:
    """To be written."""
    raise NotImplementedError
