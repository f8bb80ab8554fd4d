"""Fixtures that several folders share; a server of the session is started once."""

from tests.fixtures.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]
