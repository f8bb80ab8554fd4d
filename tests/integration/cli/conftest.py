"""One Anvil with the contracts for all tests here."""

from tests.fixtures.chain import anvil, deployment

__all__ = ["anvil", "deployment"]
